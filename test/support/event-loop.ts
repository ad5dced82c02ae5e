/** An event loop that tests turn by hand. */

import type { EventLoop, PendingTurn } from '../../src/scheduling/event-loop.ts'

/** An event loop that turns only on demand, with a clock that stands still, until `letGo`. */
export class FakeLoop implements EventLoop {
  now = 0
  #waiting: (() => void)[] = []
  #timers: { readonly atMs: number; readonly work: () => void }[] = []
  #isFree = false

  nowMs(): number {
    return this.now
  }

  afterTurn(work: () => void): PendingTurn {
    if (this.#isFree) return setImmediate(work)
    this.#waiting.push(work)
    return { ref() {}, unref() {} }
  }

  after(delayMs: number, work: () => void): void {
    if (this.#isFree) setTimeout(work, delayMs)
    else this.#timers.push({ atMs: this.now + delayMs, work })
  }

  /** Lets `ms` milliseconds pass, and fires the timers that are due then. */
  pass(ms: number): void {
    this.now += ms
    const due = this.#timers.filter(({ atMs }) => atMs <= this.now)
    this.#timers = this.#timers.filter(({ atMs }) => atMs > this.now)
    this.turn()
    for (const { work } of due) work()
  }

  /** Lets the loop turn once. */
  turn(): void {
    for (const work of this.#waiting.splice(0)) work()
  }

  /** Turns like the real one from now on. */
  letGo(): void {
    this.#isFree = true
    this.pass(1e9)
  }
}
