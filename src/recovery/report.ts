/** The report of opening a store: its source, the torn bytes it cut, and the losses of salvage. */

import type { StoreError } from '../errors.ts'

/** A piece of the tail that a crash cut short. */
export interface TornTail {
  readonly file: string
  /** The offset at which the file was cut; 0 if it was removed. */
  readonly offset: number
  /** The number of bytes from there to the end of the file. */
  readonly bytes: number
}

/** The report of opening a store. */
export interface RecoveryReport {
  /** The source of the keydir; `'segments'` if any segment had no sound hint. */
  readonly source: 'new' | 'checkpoint' | 'hints' | 'segments'
  /**
   * The reason for which the checkpoint was not used, if it is damaged or cannot be read. It is
   * also reported by an event `error`.
   */
  readonly checkpointFault: StoreError | undefined
  /** Whether the store had been closed in good order. */
  readonly closed: boolean
  /**
   * The milliseconds by which the clock is behind its reading when the manifest was written; 0 for
   * up to a minute. What had been swept by then stays gone; what had only expired may be back.
   */
  readonly clockBackMs: number
  readonly torn: readonly TornTail[]
  /** Files with names of the store that were not part of it. A writer removes them. */
  readonly leftovers: readonly string[]
  /** The ids of sealed segments without a sound hint. */
  readonly unhinted: readonly number[]
  /** The number of records read from the tail. */
  readonly replayedCount: number
  /** With `recovery: 'salvage'`: what is missing; `undefined` if nothing was damaged. */
  readonly lost: LossReport | undefined
}

/** A range of bytes that are not records. */
export interface DamagedRange {
  /** The path that the file had. */
  readonly file: string
  readonly offset: number
  readonly bytes: number
}

/** The report of a salvage: what was damaged, and what is missing. */
export interface LossReport {
  /** Whether the manifest was lost, and was rebuilt from the segments. */
  readonly manifestRebuilt: boolean
  readonly damaged: readonly DamagedRange[]
  /** The bytes at the end that a crash left unfinished: they were never promised. */
  readonly torn: readonly DamagedRange[]
  /** The bytes of all damaged ranges. */
  readonly bytesLost: number
  /** The number of records in them, as far as hints or the checkpoint list them. */
  readonly recordsLost: number
  /** The bytes of damaged ranges whose records neither of them lists. */
  readonly bytesUnknown: number
  /** The keys that lost their newest record, and now have an older value or none. */
  readonly keys: readonly LostKey[]
  /** The paths at which damaged files, and bytes that were cut off, are kept. */
  readonly kept: readonly string[]
}

/** A key that has another value than before the damage, or none. */
export interface LostKey {
  readonly key: Buffer
  /** The sequence of the lost record; `undefined` for a tombstone known only by its effect. */
  readonly sequence: number | undefined
  /** The sequence of the older record that the key has now; `undefined` if it has none. */
  readonly rolledBackTo: number | undefined
}
