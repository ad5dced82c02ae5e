import { type Page, pageOf } from '../format/record.ts'
import { allocateOwnBuffer } from '../io/memory.ts'

/** A page for what is too large for the usual one. It is used again: to take its memory anew takes longer (measured). */
export class LargePage {
  #last: WeakRef<Page> | undefined

  /**
   * A page of so many bytes at least; the same one as before where that is large enough, and still there.
   *
   * @throws {@link StoreError} FIRKIN_NO_MEMORY
   */
  of(size: number): Page {
    const last = this.#last?.deref()
    if (last !== undefined && last.bytes.length >= size) return last
    const page = pageOf(allocateOwnBuffer(size))
    this.#last = new WeakRef(page)
    return page
  }
}
