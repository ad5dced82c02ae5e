/**
 * Periodic work: done by timers while the event loop turns, and in the calls of writers while it
 * does not.
 *
 * Invariant: while a chore is done, no operation of the engine is under way, and nothing is staged
 * except a group that is written in steps. So a chore may do whatever a timer may.
 */

import type { EventLoop } from './event-loop.ts'
import { timers } from './time.ts'

interface Chore {
  readonly intervalMs: number
  readonly work: () => number
  readonly timer: NodeJS.Timeout
  /** Fires if the work is due before the interval is over. */
  soon: NodeJS.Timeout | undefined
  dueAtMs: number
}

/** The chores of one store or cache. They do not keep the process alive. */
export class Chores {
  readonly #loop: EventLoop
  readonly #onError: (error: unknown) => void
  #chores: Chore[] = []
  #isAtWork = false

  /**
   * @param onError receives what a chore throws, because neither a timer nor a writer can handle it
   */
  constructor(loop: EventLoop, onError: (error: unknown) => void) {
    this.#loop = loop
    this.#onError = onError
  }

  /** Does `work` every `intervalMs` milliseconds. */
  every(intervalMs: number, work: () => void): void {
    this.atLeastEvery(intervalMs, () => {
      work()
      return intervalMs
    })
  }

  /** Does `work` every `intervalMs` milliseconds, or sooner if it returns fewer. */
  atLeastEvery(intervalMs: number, work: () => number): void {
    const timer = timers.setInterval(() => this.#do(chore), intervalMs)
    timer.unref()
    const dueAtMs = this.#loop.nowMs() + intervalMs
    const chore: Chore = { intervalMs, work, timer, soon: undefined, dueAtMs }
    this.#chores.push(chore)
  }

  /** Does the chores that are overdue; for a writer that finds the event loop stalled. */
  catchUp(): void {
    // A write of a chore may find the loop stalled too.
    if (this.#isAtWork) return
    const nowMs = this.#loop.nowMs()
    for (const chore of this.#chores) {
      if (nowMs >= chore.dueAtMs) this.#do(chore)
    }
  }

  /** Stops all chores. */
  stop(): void {
    for (const { timer, soon } of this.#chores) {
      timers.clearInterval(timer)
      timers.clearTimeout(soon)
    }
    this.#chores = []
  }

  #do(chore: Chore): void {
    let { intervalMs: delayMs } = chore
    this.#isAtWork = true
    try {
      delayMs = chore.work()
    } catch (error) {
      this.#onError(error)
    }
    this.#isAtWork = false
    chore.dueAtMs = this.#loop.nowMs() + delayMs
    timers.clearTimeout(chore.soon)
    chore.soon = undefined
    if (delayMs >= chore.intervalMs || !this.#chores.includes(chore)) return
    chore.soon = timers.setTimeout(() => this.#do(chore), Math.max(delayMs, 1))
    chore.soon.unref()
  }
}
