/** A budget for calls that may block. */

/** The share of the latest duration in the average. */
const WEIGHT = 1 / 16
/**
 * How long no call is made after the average was too high, in milliseconds; doubled each time, up
 * to the last value.
 */
const FIRST_PAUSE_MS = 1000
const LAST_PAUSE_MS = 60_000

/**
 * Decides whether a call that mostly takes no time, but may block the whole process on another
 * machine, is made at once. It uses the average of the durations: calls that are slow now and then
 * count as quick, and calls that are always slow are made rarely.
 */
export class LatencyBudget {
  readonly #limitMs: number
  #meanMs: number
  #notBeforeMs = 0
  #pauseMs = FIRST_PAUSE_MS

  /** @param limitMs the average that the call may take, in milliseconds */
  constructor(limitMs: number) {
    this.#limitMs = limitMs
    this.#meanMs = limitMs / 2
  }

  /** Whether the call should be made now. */
  lasts(nowMs: number): boolean {
    return nowMs >= this.#notBeforeMs
  }

  /** Records how long a call took. */
  took(durationMs: number, nowMs: number): void {
    this.#meanMs += (durationMs - this.#meanMs) * WEIGHT
    if (this.#meanMs > this.#limitMs) {
      // After the pause, one slow call is enough to pause again.
      this.#meanMs = this.#limitMs
      this.#notBeforeMs = nowMs + this.#pauseMs
      this.#pauseMs = Math.min(this.#pauseMs * 2, LAST_PAUSE_MS)
    } else if (this.#meanMs < this.#limitMs / 2) {
      this.#pauseMs = FIRST_PAUSE_MS
    }
  }
}
