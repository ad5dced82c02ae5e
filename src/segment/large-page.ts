import { type Page, pageOf } from '../format/record.ts'
import { allocateOwnBuffer } from '../io/memory.ts'
import { timers } from '../scheduling/time.ts'

/** How long a page is kept that is not used, in milliseconds. */
const KEPT_MS = 2000

/**
 * A page for what is too large for the usual one. It is used again: to take its memory anew takes longer than to fill it,
 * 1 to 4 ms a mebibyte on a virtual machine (measured).
 */
export class LargePage {
  #kept: Page | undefined
  /** Counts the uses, to tell whether there was one since a timer was started. */
  #uses = 0
  #timer: NodeJS.Timeout | undefined

  /**
   * A page of at least `size` bytes; the same one as before where that is large enough, and still there.
   *
   * @throws {@link StoreError} FIRKIN_NO_MEMORY
   */
  of(size: number): Page {
    this.#uses++
    this.#timer ??= this.#wait()
    if (this.#kept === undefined || this.#kept.bytes.length < size) {
      // The memory of both may be more than there is.
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
