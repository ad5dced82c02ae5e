import { describe, expect, it } from 'vitest'
import { chosenSweeps, inline, run, seeds, stride } from './sweep-run.ts'

const TIMEOUT_MS = 300_000

describe('a refusal of any memory', { concurrent: !inline }, () => {
  for (const { name } of chosenSweeps('memory')) {
    for (const seed of seeds()) {
      const title = `fails only the operations that it hits: ${name}, seed ${seed}`

      it(title, { timeout: TIMEOUT_MS }, async () => {
        const { calls, states } = await run(name, seed)

        expect(calls).toBeGreaterThan(200 / stride)
        expect(states).toBeGreaterThan(50 / stride)
      })
    }
  }
})

describe('a failure of any call', { concurrent: !inline }, () => {
  for (const { name, mode } of chosenSweeps('call')) {
    for (const seed of seeds()) {
      const title = `fails only the operations that it hits: ${name}, seed ${seed}`

      it(title, { timeout: TIMEOUT_MS }, async () => {
        const { calls, states } = await run(name, seed)

        expect(calls).toBeGreaterThan((mode === 'full' ? 100 : 900) / stride)
        // A short write is continued, and changes nothing.
        expect(states).toBeGreaterThan((mode === 'short' ? 50 : 300) / stride)
      })
    }
  }
})
