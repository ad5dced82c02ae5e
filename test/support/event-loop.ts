import type { EventLoop, PendingTurn } from '../../src/scheduling/event-loop.ts'

/** An event loop that turns when it is told to, and whose clock stands still; until it is let go. */
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

  /** Lets so much time pass, and every timer fire that is due then. */
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

  /** Turns as the real one does from now on. */
  letGo(): void {
    this.#isFree = true
    this.pass(1e9)
  }
}
