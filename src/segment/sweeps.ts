/**
 * Sweeps of expired keys: what has been forgotten because it had expired stays gone, whatever the
 * clock says later.
 *
 * Expiry goes by the clock, and a clock may be put back. A key that was swept would then be there
 * again wherever its record still lies, in a segment or a hint, and stay gone where it does not, in
 * a checkpoint. So a sweep is remembered: the moment that it went by, and the sequence that the
 * next record was to get. A record with a lower sequence that expires at or before that moment had
 * expired then, and is gone for good. A record that was put later is judged by the clock alone,
 * whatever the clock said before.
 *
 *     moment
 *       ^  t1 -------+            sequences below s1 that expire up to t1 are gone,
 *       |            |            sequences below s2 that expire up to t2, and so on;
 *       |  t2 -------+------+     a later sweep that goes by a later moment
 *       |            |      |     implies all those before it
 *       +------------s1-----s2--> sequence
 *
 * Invariants
 * - The moments descend and the sequences ascend: there is one step for each time that the clock
 *   was put back.
 * - Only records that had expired by the store's clock, while they were there, are covered.
 * - The sweeps of a moment are immutable, so that a view keeps those of its own moment.
 */

import { MAX_UINT48 } from '../format/bytes.ts'
import type { SweepMark } from '../format/manifest.ts'
import type { Entry, EntryReader } from '../keydir/keydir.ts'

/**
 * The most steps that are kept; if a clock is put back more often than that, the one about the
 * oldest records is forgotten.
 */
export const MAX_SWEEPS = 32

/** Decides which records have expired: by a moment of the clock, or because of a sweep before. */
export interface Expiry {
  /** Milliseconds since 1970. */
  readonly nowMs: number
  readonly sweeps: Sweeps
}

/** The sweeps of a store that are not implied by later ones. */
export class Sweeps {
  /** The sweeps as the manifest lists them. */
  readonly list: readonly SweepMark[]
  /**
   * The latest moment of a sweep: nothing that expires later was ever swept. 0 if there is none.
   */
  readonly latestMs: number

  private constructor(list: readonly SweepMark[]) {
    this.list = list
    this.latestMs = list[0]?.atMs ?? 0
  }

  /** Returns the sweeps that a manifest lists; `list` is the same array. */
  static of(list: readonly SweepMark[]): Sweeps {
    return new Sweeps(list)
  }

  /** A sequence higher than that of any record that was swept: no record may get a lower one. */
  get nextSequence(): number {
    return this.list.at(-1)?.nextSequence ?? 1
  }

  /** Returns whether a record was swept, or had expired when others were. */
  covers(expiresAtMs: number, sequence: number): boolean {
    if (expiresAtMs > this.latestMs) return false
    return this.list.some((sweep) => expiresAtMs <= sweep.atMs && sequence < sweep.nextSequence)
  }

  /** Returns these sweeps and one more; itself if those imply it already. */
  with(sweep: SweepMark): Sweeps {
    const { atMs, nextSequence } = sweep
    if (atMs === 0 || this.covers(atMs, nextSequence - 1)) return this
    const left = this.list.filter((each) => each.atMs > atMs)
    return new Sweeps([...left, sweep].slice(-MAX_SWEEPS))
  }
}

/** Returns a moment as the format stores it: whole milliseconds from 0 on. */
export function wholeMs(clockMs: number): number {
  return Number.isNaN(clockMs) ? 0 : Math.min(Math.max(Math.floor(clockMs), 0), MAX_UINT48)
}

/** Returns whether an entry expires, and has done so. */
export function hasExpired(entries: EntryReader, entry: Entry, { nowMs, sweeps }: Expiry): boolean {
  const expiresAtMs = entries.expiresAtOf(entry)
  if (expiresAtMs === 0) return false
  if (expiresAtMs <= nowMs) return true
  return expiresAtMs <= sweeps.latestMs && sweeps.covers(expiresAtMs, entries.sequenceOf(entry))
}
