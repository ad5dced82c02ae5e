/** Fakes the timers that Firkin holds. */

import { onTestFinished, vi } from 'vitest'
import { timers } from '../../src/scheduling/time.ts'

type Timer = keyof typeof timers

/** Fakes Firkin's own timers, which `vi.useFakeTimers` does not reach, until the test is over. */
export function fakeOwnTimers(...names: readonly Timer[]): void {
  const real = { ...timers }
  vi.useFakeTimers({ toFake: [...names] })
  Object.assign(timers, Object.fromEntries(names.map((name) => [name, globalThis[name]])))
  onTestFinished(() => {
    Object.assign(timers, real)
    vi.useRealTimers()
  })
}
