/**
 * Work that is due by time: by timers while the event loop turns, and in the calls of writers while it does not.
 *
 * Invariant: no operation of the engine is under way while a chore is done, and nothing is staged but a group that is
 * written in steps. So one may do whatever a timer may.
 */

import type { EventLoop } from './event-loop.ts'
import { timers } from './time.ts'

interface Chore {
  readonly intervalMs: number
  readonly work: () => number
  readonly timer: NodeJS.Timeout
  /** Fires where it is due before the interval is over. */
  soon: NodeJS.Timeout | undefined
  dueAtMs: number
}

/** The chores of one store or cache. They keep no process alive. */
export class Chores {
  readonly #loop: EventLoop
  readonly #onError: (error: unknown) => void
  #chores: Chore[] = []
  #isAtWork = false

  /** @param onError told what a chore throws: neither a timer nor a writer wants to hear of it */
  constructor(loop: EventLoop, onError: (error: unknown) => void) {
    this.#loop = loop
    this.#onError = onError
  }

  /** Does `work` every so many milliseconds. */
  every(intervalMs: number, work: () => void): void {
    this.atLeastEvery(intervalMs, () => {
      work()
      return intervalMs
    })
  }

  /** Does `work` every so many milliseconds, and sooner where it answers fewer. */
  atLeastEvery(intervalMs: number, work: () => number): void {
    const timer = timers.setInterval(() => this.#do(chore), intervalMs)
    timer.unref()
    const dueAtMs = this.#loop.nowMs() + intervalMs
    const chore: Chore = { intervalMs, work, timer, soon: undefined, dueAtMs }
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
