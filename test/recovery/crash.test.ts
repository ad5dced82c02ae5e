import { describe, expect, it, vi } from 'vitest'
import { sweepCrashes } from './crash-sweep.ts'

const TIMEOUT_MS = 300_000

describe('a crash at any call', () => {
  // With timers that stand still, 'interval' and 'never' sync when they are told to, and no sooner.
  for (const sync of ['always', 'interval', { everyWrites: 3 }] as const) {
    const title = `keeps the contract, with sync ${JSON.stringify(sync)}`

    it(title, { timeout: TIMEOUT_MS }, async () => {
      vi.useFakeTimers({ toFake: ['setTimeout', 'setInterval'] })
      try {
        expect(await sweepCrashes({ sync })).toBeGreaterThan(500)
      } finally {
        vi.useRealTimers()
      }
    })
  }
})
