/**
 * Work that is due by time: by timers while the event loop turns, and in the calls of writers while it does not.
 *
 * Invariant: nothing is staged, and no operation of the engine is under way, while a chore is done. So one may do
 * whatever a timer may.
 */

import type { EventLoop } from './event-loop.ts'
import { timers } from './time.ts'

interface Chore {
  readonly intervalMs: number
  readonly work: () => void
  readonly timer: NodeJS.Timeout
  dueAtMs: number
}

/** The chores of one store or cache. They keep no process alive. */
export class Chores {
  readonly #loop: EventLoop
  readonly #onError: (error: unknown) => void
  readonly #chores: Chore[] = []
  #isAtWork = false

  /** @param onError told what a chore throws: neither a timer nor a writer wants to hear of it */
  constructor(loop: EventLoop, onError: (error: unknown) => void) {
    this.#loop = loop
    this.#onError = onError
  }

  /** Does `work` every so many milliseconds. */
  every(intervalMs: number, work: () => void): void {
    const timer = timers.setInterval(() => this.#do(chore), intervalMs)
    timer.unref()
    const chore: Chore = { intervalMs, work, timer, dueAtMs: this.#loop.nowMs() + intervalMs }
    this.#chores.push(chore)
  }

  /** Does what should have been done by now; for a writer that finds the event loop stalled. */
  catchUp(): void {
    // What a chore writes may find the loop stalled as well.
    if (this.#isAtWork) return
    const nowMs = this.#loop.nowMs()
    for (const chore of this.#chores) {
      if (nowMs >= chore.dueAtMs) this.#do(chore)
    }
  }

  /** Does nothing any more. */
  stop(): void {
    for (const { timer } of this.#chores.splice(0)) timers.clearInterval(timer)
  }

  #do(chore: Chore): void {
    this.#isAtWork = true
    try {
      chore.work()
    } catch (error) {
      this.#onError(error)
    }
    this.#isAtWork = false
    chore.dueAtMs = this.#loop.nowMs() + chore.intervalMs
  }
}
