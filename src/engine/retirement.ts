/**
 * Keeps segments that no longer belong to the set, until no view can look into them.
 *
 * A view may show any segment that was in the set when it was opened. So a segment is closed once
 * all views are closed that were opened before it was retired. Files are closed by a thread
 * (segment/disposal.ts).
 */

import type { StoreError } from '../errors.ts'
import { Disposal } from '../segment/disposal.ts'
import type { Segment } from '../segment/segment.ts'
import type { Segments } from '../segment/segments.ts'
import type { LiveKeydir } from './live-keydir.ts'

/** Keeps retired segments open for as long as views may look into them. */
export class Retirement {
  readonly #live: LiveKeydir
  readonly #disposal: Disposal
  /** Retired segments, and the id of the first view that cannot look into them. */
  #retired: { readonly segment: Segment; readonly viewId: number }[] = []
  /** The segments of former stores, whose place another store has taken, in the same way. */
  #former: { readonly segments: Segments; readonly viewId: number }[] = []

  constructor(live: LiveKeydir, maxOpenFiles: number, failed: (error: StoreError) => void) {
    this.#live = live
    this.#disposal = new Disposal(() => live.segments.context.files, maxOpenFiles, failed)
  }

  /** Takes a segment out of the set. It is closed once no view may look into it. */
  retire(segment: Segment): void {
    this.#live.segments.retire(segment)
    this.#retired.push({ segment, viewId: this.#live.views.nextId })
  }

  /**
   * Keeps the segments that `next` does not take over from the set in use, which it is about to
   * replace.
   */
  replaceWith(next: Segments): void {
    const { segments, views } = this.#live
    this.#retired = next.inherit(segments).map((segment) => ({ segment, viewId: views.nextId }))
  }

  /**
   * Keeps all of the set in use, whose store is about to be replaced by another. Segments may have
   * the same ids there.
   */
  replaceWithAnother(): void {
    const { segments, views } = this.#live
    this.#former.push({ segments, viewId: views.nextId })
    this.#retired = []
  }

  /**
   * Lets go of up to `most` of the retired segments that no view can look into any more, and
   * returns them. Their files are closed after this turn: delete before that what is to be deleted
   * of them. If many wait to be closed, lets go of one.
   */
  release(most = Number.POSITIVE_INFINITY): Segment[] {
    const oldest = this.#live.views.oldestOpenId
    for (const { segments, viewId } of this.#former) if (viewId <= oldest) segments.close()
    this.#former = this.#former.filter(({ viewId }) => viewId > oldest)
    const atMost =
      most === Number.POSITIVE_INFINITY ? most : Math.min(most, this.#disposal.freeSlots + 1)
    const released: Segment[] = []
    this.#retired = this.#retired.filter(({ segment, viewId }) => {
      if (viewId > oldest || released.length === atMost) return true
      released.push(segment)
      return false
    })
    for (const segment of released) {
      this.#live.segments.drop(segment)
      const remains = segment.leave()
      if (remains !== undefined) this.#disposal.take(remains)
    }
    return released
  }

  /** Whether {@link release} has something to let go of. */
  get mayRelease(): boolean {
    const oldest = this.#live.views.oldestOpenId
    return this.#retired.some(({ viewId }) => viewId <= oldest)
  }

  /** Resolves when the files of all segments that were let go of are closed. */
  async settle(): Promise<void> {
    await this.#disposal.settle()
  }

  /** Closes the segments of former stores. Retired ones are closed with their set. */
  close(): void {
    for (const { segments } of this.#former) segments.close()
  }
}
