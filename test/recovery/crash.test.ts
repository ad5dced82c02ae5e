import { describe, expect, it } from 'vitest'
import { chosenSweeps, inline, run, seeds, stride } from './sweep-run.ts'

const TIMEOUT_MS = 300_000

describe('a crash at any call', { concurrent: !inline }, () => {
  for (const { name } of chosenSweeps('crash')) {
    for (const seed of seeds()) {
      it(`keeps the contract: ${name}, seed ${seed}`, { timeout: TIMEOUT_MS }, async () => {
        const { calls, states } = await run(name, seed)

        expect(calls).toBeGreaterThan(250 / stride)
        expect(states).toBeGreaterThan(500 / stride)
      })
    }
  }
})
