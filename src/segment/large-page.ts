/** Memory for records that are too large for the usual buffers. */

import { type Page, pageOf } from '../format/record.ts'
import { allocateOwnBuffer } from '../io/memory.ts'
import { timers } from '../scheduling/time.ts'

/** The time for which an unused page is kept, in milliseconds. */
const KEPT_MS = 2000

/**
 * A page for what is too large for the usual one. It is kept for a while to be used again, because
 * taking its memory from the system takes longer than filling it: 1 to 4 ms for each mebibyte on a
 * virtual machine (measured).
 */
export class LargePage {
  #kept: Page | undefined
  /** Counts the uses, to find out whether there was one since a timer was started. */
  #uses = 0
  #timer: NodeJS.Timeout | undefined

  /**
   * Returns a page of at least `size` bytes; the same one as before if that is large enough and was
   * kept.
   *
   * @throws {@link StoreError} FIRKIN_NO_MEMORY
   */
  of(size: number): Page {
    this.#uses++
    this.#timer ??= this.#wait()
    if (this.#kept === undefined || this.#kept.bytes.length < size) {
      // There may not be enough memory for both.
      this.#kept = undefined
      this.#kept = pageOf(allocateOwnBuffer(size))
    }
    return this.#kept
  }

  #wait(): NodeJS.Timeout {
    const uses = this.#uses
    const timer = timers.setTimeout(() => {
      this.#timer = this.#uses === uses ? undefined : this.#wait()
      if (this.#timer === undefined) this.#kept = undefined
    }, KEPT_MS)
    return timer.unref()
  }
}
