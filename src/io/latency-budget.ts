/** How much of the average the last time is. */
const WEIGHT = 1 / 16
/** How long nothing is done on the spot once it took too long; twice as long the next time, and so on. In milliseconds. */
const FIRST_PAUSE_MS = 1000
const LAST_PAUSE_MS = 60_000

/**
 * Decides whether something that mostly takes no time, but may hold up the whole process on another machine, is done on
 * the spot. It goes by the average of what it took: what is slow now and then counts as quick, and what is slow gets
 * little chance to be.
 */
export class LatencyBudget {
  readonly #limitMs: number
  #meanMs: number
  #notBeforeMs = 0
  #pauseMs = FIRST_PAUSE_MS

  /** @param limitMs what it may take on average, in milliseconds */
  constructor(limitMs: number) {
    this.#limitMs = limitMs
    this.#meanMs = limitMs / 2
  }

  /** Whether it should be done on the spot now. */
  lasts(nowMs: number): boolean {
    return nowMs >= this.#notBeforeMs
  }

  /** Takes note of what it took. */
  took(durationMs: number, nowMs: number): void {
    this.#meanMs += (durationMs - this.#meanMs) * WEIGHT
    if (this.#meanMs > this.#limitMs) {
      // After the pause one that is slow is enough.
      this.#meanMs = this.#limitMs
      this.#notBeforeMs = nowMs + this.#pauseMs
      this.#pauseMs = Math.min(this.#pauseMs * 2, LAST_PAUSE_MS)
    } else if (this.#meanMs < this.#limitMs / 2) {
      this.#pauseMs = FIRST_PAUSE_MS
    }
  }
}
