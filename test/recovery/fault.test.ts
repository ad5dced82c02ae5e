import { describe, expect, it, vi } from 'vitest'
import { type FaultMode, sweepFaults } from './fault-sweep.ts'

const TIMEOUT_MS = 300_000

describe('a failure of any call', () => {
  const modes: readonly FaultMode[] = ['short', 'full']
  for (const mode of modes) {
    it(`is an error of what it hits, and of nothing else: ${mode}`, {
      timeout: TIMEOUT_MS,
    }, async () => {
      vi.useFakeTimers({ toFake: ['setTimeout', 'setInterval'] })
      try {
        expect(await sweepFaults(mode, { sync: 'always' })).toBeGreaterThan(50)
      } finally {
        vi.useRealTimers()
      }
    })
  }
})
