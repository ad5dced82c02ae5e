import { monotonicMs, timers } from './time.ts'

/** The event loop and its clock, as far as writes depend on them; a test puts one of its own in their place. */
export interface EventLoop {
  /** Milliseconds since some moment; never goes back. */
  nowMs(): number
  /** Calls `work` once the loop has turned: timers that are due and I/O have had their chance then. */
  afterTurn(work: () => void): PendingTurn
  /** Calls `work` after so many milliseconds. It keeps the process alive. */
  after(delayMs: number, work: () => void): void
}

/** A call that waits for the loop to turn. It keeps the process alive unless `unref` says otherwise. */
export interface PendingTurn {
  ref(): unknown
  unref(): unknown
}

/** The event loop that this runs on. */
export const systemLoop: EventLoop = {
  nowMs: monotonicMs,
  afterTurn: (work) => timers.setImmediate(work),
  after: (delayMs, work) => void timers.setTimeout(work, delayMs),
}
