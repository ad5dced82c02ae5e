/**
 * The end of a store: which segments are its tail, and how much of them counts. Recovery,
 * verification and salvage go by these rules.
 *
 * - The tail consists of the appended segments from the manifest's tail id on that the manifest
 *   does not list, oldest first.
 * - A segment whose header was never written is not part of the tail, unless the manifest knows of
 *   bytes in it.
 * - A segment counts only if all that was written before it is there: its predecessor, up to the
 *   size that it had when the segment was begun. Otherwise, or after a torn segment, nothing in it
 *   was promised.
 * - A fault is *torn*, the mark of a crash, if all that is known to be whole lies before it, and no
 *   whole record after it. Any other fault is damage. Salvage, which runs on damaged stores, takes
 *   only the newest segment for torn: it gives up nothing that later segments hold.
 */

import type { Predecessor } from '../format/file-header.ts'
import type { Manifest } from '../format/manifest.ts'

type TailMark = Pick<Manifest, 'tailId' | 'tailSize'>

/** Returns those of the ascending ids that belong to the tail if their segments were appended. */
export function tailIdsOf(
  ids: readonly number[],
  { tailId, segments }: Pick<Manifest, 'tailId' | 'segments'>,
): number[] {
  const listed = new Set(segments.map(({ id }) => id))
  return ids.filter((id) => id >= tailId && !listed.has(id))
}

/**
 * Returns whether the manifest knows of bytes in a segment that is missing.
 *
 * @param ids the ids of the tail's segments that are there
 */
export function lacksFirst(ids: readonly number[], { tailId, tailSize }: TailMark): boolean {
  return tailSize > 0 && !ids.includes(tailId)
}

/** Returns whether a segment of the tail may lack its header: nothing in it was promised then. */
export function mayBeBlank(id: number, { tailId, tailSize }: TailMark): boolean {
  return id !== tailId || tailSize === 0
}

/**
 * Returns whether a fault is that of a torn tail.
 *
 * @param end where the records before it end
 * @param known how many bytes are known to be whole
 * @param next where a whole record follows it, if any does
 */
export function isTorn(end: number, known: number, next: number | undefined): boolean {
  return end >= known && next === undefined
}

/** The ends of the segments of a tail, which are added oldest first. */
export class TailEnds {
  readonly #tailId: number
  readonly #ends = new Map<number, number>()
  #isTorn = false

  constructor(tailId: number) {
    this.#tailId = tailId
  }

  /**
   * Returns whether the next segment, which was begun after `predecessor`, counts; if not, no later
   * one does.
   */
  goesOn(predecessor: Predecessor | undefined): boolean {
    const isListed = predecessor === undefined || predecessor.id < this.#tailId
    const hasAll = isListed || (this.#ends.get(predecessor.id) ?? 0) >= predecessor.size
    if (!hasAll) this.#isTorn = true
    return !this.#isTorn
  }

  /** Records where a segment ends, and whether it is torn there. */
  ends(id: number, end: number, isTorn: boolean): void {
    this.#ends.set(id, end)
    if (isTorn) this.#isTorn = true
  }
}
