import type { EventLoop, PendingTurn } from '../../src/event-loop.ts'

/** An event loop that turns when it is told to, and whose clock stands still; until it is let go. */
export class FakeLoop implements EventLoop {
  now = 0
  #waiting: (() => void)[] = []
  #isFree = false

  nowMs(): number {
    return this.now
  }

  afterTurn(work: () => void): PendingTurn {
    if (this.#isFree) return setImmediate(work)
    this.#waiting.push(work)
    return { ref() {}, unref() {} }
  }

  /** Lets the loop turn once. */
  turn(): void {
    for (const work of this.#waiting.splice(0)) work()
  }

  /** Turns as the real one does from now on. */
  letGo(): void {
    this.#isFree = true
    this.turn()
  }
}
