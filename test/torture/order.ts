/** What the torture and its writers say to each other: an order on standard input, reports on descriptor 3. */

import type { KeydirKind, MergeOptions, SyncOption } from '../../src/index.ts'

/** Where in a call of the operating system a writer kills itself; half-way can be only a write. */
export type Moment = 'before' | 'half-way' | 'after'

/** What a writer is to do. */
export interface Order {
  readonly directory: string
  readonly seed: number
  readonly keydir: KeydirKind
  readonly sync: SyncOption
  readonly maxSegmentBytes: number
  readonly merge: MergeOptions
  /** Whether it writes until it is killed or has written enough; otherwise it opens and closes. */
  readonly writes: boolean
  /** It closes after so many commits. */
  readonly closeAfter: number
  /** The number of its first commit; each later one's is one more. */
  readonly firstNumber: number
  /** Where it kills itself: in the nth call of a file; merges then run on the main thread. */
  readonly selfKill: { readonly nth: number; readonly moment: Moment } | undefined
}

/** A change of a commit as it is reported: key, size of the value or `null` for none, expiry or 0. */
export type ReportedChange = readonly [key: string, size: number | null, expiresAtMs: number]

/** What a writer says, each before it goes on. */
export type Report =
  /** The store is open, and showed entries of this digest at this moment. */
  | readonly ['opened', digest: string, nowMs: number]
  /** A commit is about to be made. */
  | readonly ['begin', number: number, changes: readonly ReportedChange[]]
  /** A commit has settled; or it turned out to change nothing. */
  | readonly ['settled' | 'void', number: number]
  | readonly ['merge', phase: string]
  | readonly ['closing']
  | readonly ['closed']
  /** Something is wrong. */
  | readonly ['wrong', message: string]

/** The value that a commit gives a key: it says where it is from. */
export function makeValue(number: number, key: string, size: number): string {
  return `${number}:${key}:`.padEnd(size, 'firkin-')
}
