/**
 * The pages of memory that a writer stages groups in.
 *
 * - The *usual* page serves as long as nothing takes long.
 * - A *spare* one takes its place while a thread still writes the usual one.
 * - A *roomy* one is used while the system holds up writes, so that what a turn of the event loop
 *   stages mostly fits.
 * - A *large* one is made for a record or batch that is larger than the usual page.
 *
 * Invariant: a page that is left to a thread is not used again until it is given back.
 */

import { type Page, pageOf } from '../format/record.ts'
import { allocateOwnBuffer } from '../io/memory.ts'
import { LargePage } from './large-page.ts'

/** The number of bytes that are staged before they are written unasked. */
export const STAGE_SIZE = 256 * 1024

const ROOMY_STAGE_SIZE = 1024 * 1024
/** The most unused roomy pages that are kept. */
const MAX_UNUSED_ROOMY = 2
/** A large page has as much space again after what it is made for, up to this many bytes. */
const MAX_EXTRA_SIZE = 64 * 1024 * 1024

/** The pages of one writer. */
export class StagePages {
  #usual: Page = pageOf(allocateOwnBuffer(STAGE_SIZE))
  #spare: Page | undefined
  readonly #roomy = new WeakSet<Page>()
  readonly #unusedRoomy: Page[] = []
  #large = new LargePage()

  /** The page that serves as long as nothing takes long. */
  get usual(): Page {
    return this.#usual
  }

  /** Returns whether a page is a roomy one. */
  isRoomy(page: Page): boolean {
    return this.#roomy.has(page)
  }

  /** Returns a roomy page; the usual one if there is no memory for it. */
  roomy(): Page {
    const unused = this.#unusedRoomy.pop()
    if (unused !== undefined) return unused
    try {
      const page = pageOf(allocateOwnBuffer(ROOMY_STAGE_SIZE))
      this.#roomy.add(page)
      return page
    } catch {
      return this.#usual
    }
  }

  /**
   * Returns a page with space for a record or batch of `size` bytes, and for others after it.
   *
   * @throws {@link StoreError} FIRKIN_NO_MEMORY
   */
  large(size: number): Page {
    return this.#large.of(size + Math.max(STAGE_SIZE, Math.min(size, MAX_EXTRA_SIZE)))
  }

  /** Returns whether there is a page to stage in while a thread still writes `page`. */
  hasAnother(page: Page): boolean {
    if (page !== this.#usual || this.#spare !== undefined) return true
    try {
      this.#spare = pageOf(allocateOwnBuffer(STAGE_SIZE))
      return true
    } catch {
      // Without memory the caller writes it on the spot.
      return false
    }
  }

  /**
   * Leaves a page to a thread that still writes it; call {@link giveBack} when the thread is done.
   */
  leave(page: Page): void {
    if (page !== this.#usual) this.#large = new LargePage()
    else if (this.#spare !== undefined) {
      this.#usual = this.#spare
      this.#spare = undefined
    }
  }

  /** Keeps a page that nothing is staged in any more, to be used again, if it is worth it. */
  giveBack(page: Page): void {
    if (page === this.#usual) return
    if (page.bytes.length === STAGE_SIZE) this.#spare ??= page
    else if (this.#roomy.has(page) && this.#unusedRoomy.length < MAX_UNUSED_ROOMY) {
      this.#unusedRoomy.push(page)
    }
  }
}
