/**
 * Where a store ends: which segments are its tail, and how much of them counts. Recovery, verification and salvage go by this.
 *
 * - The tail are the appended segments from the manifest's tail id on that it does not list, oldest first.
 * - One whose header was never written is not of the tail, unless the manifest knows of bytes in it.
 * - One counts only if all that was written before it is there: the segment that it was begun after, as far as it had
 *   been written then. Where not, or after one that is torn, nothing in it was promised.
 * - A fault is *torn*, the mark of a crash, if all that is known to be whole lies before it, and no whole record after it.
 *   Any other is damage. Salvage, which is asked where something is damaged, takes for torn only the newest segment: it
 *   gives up nothing that later ones hold.
 */

import type { Predecessor } from '../format/file-header.ts'
import type { Manifest } from '../format/manifest.ts'

type TailMark = Pick<Manifest, 'tailId' | 'tailSize'>

/** Those of the ids, ascending, that are of the tail if their segments were appended. */
export function tailIdsOf(
  ids: readonly number[],
  { tailId, segments }: Pick<Manifest, 'tailId' | 'segments'>,
): number[] {
  const listed = new Set(segments.map(({ id }) => id))
  return ids.filter((id) => id >= tailId && !listed.has(id))
}

/** Whether the manifest knows of bytes in a segment that is not there, `ids` being those of the tail that are. */
export function lacksFirst(ids: readonly number[], { tailId, tailSize }: TailMark): boolean {
  return tailSize > 0 && !ids.includes(tailId)
}

/** Whether the header of a segment of the tail may be missing: nothing in it was promised then. */
export function mayBeBlank(id: number, { tailId, tailSize }: TailMark): boolean {
  return id !== tailId || tailSize === 0
}

/**
 * Whether a fault is that of a torn tail.
 *
 * @param end where the records before it end
 * @param known how much is known to be whole
 * @param next where a whole record follows it
 */
export function isTorn(end: number, known: number, next: number | undefined): boolean {
  return end >= known && next === undefined
}

/** How far the segments of a tail reach, oldest first. */
export class TailEnds {
  readonly #tailId: number
  readonly #ends = new Map<number, number>()
  #isTorn = false

  constructor(tailId: number) {
    this.#tailId = tailId
  }

  /** Whether the next segment counts, which was begun after `predecessor`; where not, no later one does. */
  goesOn(predecessor: Predecessor | undefined): boolean {
    const isListed = predecessor === undefined || predecessor.id < this.#tailId
    const hasAll = isListed || (this.#ends.get(predecessor.id) ?? 0) >= predecessor.size
    if (!hasAll) this.#isTorn = true
    return !this.#isTorn
  }

  /** Takes note of where the records of a segment end, and whether it is torn there. */
  ends(id: number, end: number, isTorn: boolean): void {
    this.#ends.set(id, end)
    if (isTorn) this.#isTorn = true
  }
}
