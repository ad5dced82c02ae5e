/** More than this is never synced on the spot, in bytes. */
const QUICK_BYTES = 256 * 1024
/** A sync that took longer was not worth it, in milliseconds. */
const QUICK_MS = 2
/** How long threads sync after a slow one; twice as long after the next one, and so on. In milliseconds. */
const FIRST_PAUSE_MS = 1000
const LAST_PAUSE_MS = 60_000

/**
 * Decides which syncs are made on the spot, and not by a thread. To hand a sync over and to be woken costs as much as a
 * good disk takes for it (measured, bench `durable-put`); a slow disk would hold up the whole process, and gets
 * little chance to.
 */
export class QuickSync {
  #notBeforeMs = 0
  #pauseMs = FIRST_PAUSE_MS

  /** Whether so many bytes, which have been written since the last sync, should be synced on the spot now. */
  isWorthIt(dirtyBytes: number, nowMs: number): boolean {
    return dirtyBytes <= QUICK_BYTES && nowMs >= this.#notBeforeMs
  }

  /** Takes note of a sync that was made on the spot. */
  took(durationMs: number, nowMs: number): void {
    if (durationMs <= QUICK_MS) {
      this.#pauseMs = FIRST_PAUSE_MS
    } else {
      this.#notBeforeMs = nowMs + this.#pauseMs
      this.#pauseMs = Math.min(this.#pauseMs * 2, LAST_PAUSE_MS)
    }
  }
}
