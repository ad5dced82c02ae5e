/**
 * What was forgotten because it had expired stays gone, whatever the clock says later.
 *
 * Expiry goes by the clock, and a clock may be put back. A key that was swept would then be there again wherever its
 * record still lies, in a segment or a hint, and not where it does not, in a checkpoint. So a sweep is remembered: the
 * moment that it went by, and the sequence that the next record was to get. A record below that sequence which
 * expires at or before that moment had expired then, and is gone for good. A record that was put later is not: the
 * clock itself is never held up by what it once said.
 *
 *     moment
 *       ^  t1 -------+            sequences below s1 that expire up to t1 are gone,
 *       |            |            sequences below s2 that expire up to t2, and so on;
 *       |  t2 -------+------+     a later sweep that goes by a later moment says all that those before it say
 *       |            |      |
 *       +------------s1-----s2--> sequence
 *
 * Invariants
 * - The moments descend and the sequences ascend: there is one step for each time that the clock was put back.
 * - It says gone only of what had expired by the store's clock while it was there.
 * - It is immutable, so that a view keeps the one of its own moment.
 */

import { MAX_UINT48 } from '../format/bytes.ts'
import type { SweepMark } from '../format/manifest.ts'
import type { Entry, EntryReader } from '../keydir/keydir.ts'

/** So many steps are kept; should a clock go down more often than that, the one about the oldest records goes. */
export const MAX_SWEEPS = 32

/** What is gone by a moment of the clock, or because it was swept before. */
export interface Expiry {
  /** Milliseconds since 1970. */
  readonly nowMs: number
  readonly sweeps: Sweeps
}

/** The sweeps of a store, as far as they are not implied by later ones. */
export class Sweeps {
  /** As the manifest has them. */
  readonly list: readonly SweepMark[]
  /** Nothing that expires later was ever swept; 0 where nothing was. */
  readonly latestMs: number

  private constructor(list: readonly SweepMark[]) {
    this.list = list
    this.latestMs = list[0]?.atMs ?? 0
  }

  /** Those that a manifest lists; `list` is the same array. */
  static of(list: readonly SweepMark[]): Sweeps {
    return new Sweeps(list)
  }

  /** Higher than the sequence of whatever was swept: no record may get a lower one. */
  get nextSequence(): number {
    return this.list.at(-1)?.nextSequence ?? 1
  }

  /** Whether a record was swept, or had expired when others were. */
  covers(expiresAtMs: number, sequence: number): boolean {
    if (expiresAtMs > this.latestMs) return false
    return this.list.some((sweep) => expiresAtMs <= sweep.atMs && sequence < sweep.nextSequence)
  }

  /** These and one more; itself where that says nothing new. */
  with(sweep: SweepMark): Sweeps {
    const { atMs, nextSequence } = sweep
    if (atMs === 0 || this.covers(atMs, nextSequence - 1)) return this
    const left = this.list.filter((each) => each.atMs > atMs)
    return new Sweeps([...left, sweep].slice(-MAX_SWEEPS))
  }
}

/** A moment as the format can say it: whole milliseconds from 0 on. */
export function wholeMs(clockMs: number): number {
  return Number.isNaN(clockMs) ? 0 : Math.min(Math.max(Math.floor(clockMs), 0), MAX_UINT48)
}

/** Whether an entry expires, and has done so. */
export function hasExpired(entries: EntryReader, entry: Entry, { nowMs, sweeps }: Expiry): boolean {
  const expiresAtMs = entries.expiresAtOf(entry)
  if (expiresAtMs === 0) return false
  if (expiresAtMs <= nowMs) return true
  return expiresAtMs <= sweeps.latestMs && sweeps.covers(expiresAtMs, entries.sequenceOf(entry))
}
