/** The event loop, as an interface that tests can replace. */

import { monotonicMs, timers } from './time.ts'

/** The event loop and its clock, as far as writes depend on them. */
export interface EventLoop {
  /** Returns milliseconds since some fixed time; never goes back. */
  nowMs(): number
  /**
   * Calls `work` once the loop has turned, after timers that are due and I/O have had their chance.
   */
  afterTurn(work: () => void): PendingTurn
  /** Calls `work` after `delayMs` milliseconds. It keeps the process alive. */
  after(delayMs: number, work: () => void): void
}

/** A call that waits for the loop to turn. It keeps the process alive unless `unref` is called. */
export interface PendingTurn {
  ref(): unknown
  unref(): unknown
}

/** The event loop of this thread. */
export const systemLoop: EventLoop = {
  nowMs: monotonicMs,
  afterTurn: (work) => timers.setImmediate(work),
  after: (delayMs, work) => void timers.setTimeout(work, delayMs),
}
