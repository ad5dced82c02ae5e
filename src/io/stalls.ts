/** How long calls are left to a thread after one: twice as long where the next comes soon after, up to the last. */
const FIRST_PAUSE_MS = 1000
const LAST_PAUSE_MS = 32_000
/** Soon is within so many pauses. */
const SOON = 4

/**
 * Notices where calls of a sort hold up the process. A write, for one, only hands bytes to the system, but where the system
 * is short of room for them, or the disk frees what was deleted, it takes 20 to 60 ms now and then. A thread takes some
 * 50 us to be asked and heard of, so that all else is quicker on the spot.
 */
export class Stalls {
  readonly #limitMs: number
  #untilMs = Number.NEGATIVE_INFINITY
  #pauseMs = FIRST_PAUSE_MS

  /** @param limitMs a call that takes as long has held up its process, in milliseconds */
  constructor(limitMs: number) {
    this.#limitMs = limitMs
  }

  /** Whether there was one lately; without, there is no need to look at the clock. */
  get haveBeen(): boolean {
    return this.#untilMs !== Number.NEGATIVE_INFINITY
  }

  /** Whether the next call should be left to a thread. */
  areLikely(nowMs: number): boolean {
    if (nowMs >= this.#untilMs + SOON * this.#pauseMs) this.#untilMs = Number.NEGATIVE_INFINITY
    return nowMs < this.#untilMs
  }

  /**
   * Takes note of how long a call took on the spot. What it takes by a thread says nothing: it is heard of only when the
   * event loop turns.
   */
  took(durationMs: number, nowMs: number): void {
    if (durationMs < this.#limitMs) return
    const isSoon = nowMs < this.#untilMs + SOON * this.#pauseMs
    this.#pauseMs = isSoon ? Math.min(2 * this.#pauseMs, LAST_PAUSE_MS) : FIRST_PAUSE_MS
    this.#untilMs = nowMs + this.#pauseMs
  }
}
