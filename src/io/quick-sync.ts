/** More than this is never synced on the spot, in bytes. */
const QUICK_BYTES = 256 * 1024
/** What a sync on the spot may take on average, in milliseconds. */
const QUICK_MS = 1
/** How much of that average is the last one. */
const WEIGHT = 1 / 16
/** How long threads sync where it took longer; twice as long the next time, and so on. In milliseconds. */
const FIRST_PAUSE_MS = 1000
const LAST_PAUSE_MS = 60_000

/**
 * Decides which syncs are made on the spot, and not by a thread. To hand a sync over and to be woken costs as much as a
 * good disk takes for it (measured, bench `durable-put`); a slow disk would hold up the whole process, and gets
 * little chance to. A good one that is slow now and then counts as good.
 */
export class QuickSync {
  #meanMs = QUICK_MS / 2
  #notBeforeMs = 0
  #pauseMs = FIRST_PAUSE_MS

  /** Whether so many bytes, which have been written since the last sync, should be synced on the spot now. */
  isWorthIt(dirtyBytes: number, nowMs: number): boolean {
    return dirtyBytes <= QUICK_BYTES && nowMs >= this.#notBeforeMs
  }

  /** Takes note of a sync that was made on the spot. */
  took(durationMs: number, nowMs: number): void {
    this.#meanMs += (durationMs - this.#meanMs) * WEIGHT
    if (this.#meanMs > QUICK_MS) {
      // After the pause one that is slow is enough.
      this.#meanMs = QUICK_MS
      this.#notBeforeMs = nowMs + this.#pauseMs
      this.#pauseMs = Math.min(this.#pauseMs * 2, LAST_PAUSE_MS)
    } else if (this.#meanMs < QUICK_MS / 2) {
      this.#pauseMs = FIRST_PAUSE_MS
    }
  }
}
