/** Detection of calls that block the process. */

/**
 * How long calls are left to a thread after a stall, in milliseconds; doubled if the next stall
 * comes soon after, up to the last value.
 */
const FIRST_PAUSE_MS = 1000
const LAST_PAUSE_MS = 32_000
/** The number of pauses within which a stall counts as soon. */
const SOON = 4

/**
 * Detects when calls of one sort block the process. A write, for example, only hands bytes to the
 * system, but it occasionally takes 20 to 60 ms, if the system is short of memory for them or the
 * disk frees deleted files. A round trip to a thread takes some 50 us, so all other calls are
 * quicker when made directly.
 */
export class Stalls {
  readonly #limitMs: number
  #untilMs = Number.NEGATIVE_INFINITY
  #pauseMs = FIRST_PAUSE_MS

  /** @param limitMs the duration from which on a call has blocked its process, in milliseconds */
  constructor(limitMs: number) {
    this.#limitMs = limitMs
  }

  /** Whether there was a stall lately; if not, there is no need to read the clock. */
  get haveBeen(): boolean {
    return this.#untilMs !== Number.NEGATIVE_INFINITY
  }

  /** Whether the next call should be left to a thread. */
  areLikely(nowMs: number): boolean {
    if (nowMs >= this.#untilMs + SOON * this.#pauseMs) this.#untilMs = Number.NEGATIVE_INFINITY
    return nowMs < this.#untilMs
  }

  /**
   * Records how long a direct call took. The duration of a call in a thread says nothing: its end
   * is noticed only when the event loop turns.
   */
  took(durationMs: number, nowMs: number): void {
    if (durationMs < this.#limitMs) return
    const isSoon = nowMs < this.#untilMs + SOON * this.#pauseMs
    this.#pauseMs = isSoon ? Math.min(2 * this.#pauseMs, LAST_PAUSE_MS) : FIRST_PAUSE_MS
    this.#untilMs = nowMs + this.#pauseMs
  }
}
