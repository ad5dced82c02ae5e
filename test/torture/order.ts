/** The messages of torture and writers: an order on standard input, and reports on descriptor 3. */

import type { KeydirKind, MergeOptions, SyncOption } from '../../src/index.ts'

/** The moment in a system call at which a writer kills itself. Only a write can be half-way. */
export type Moment = 'before' | 'half-way' | 'after'

/** The order that a writer gets. */
export interface Order {
  readonly directory: string
  readonly seed: number
  readonly keydir: KeydirKind
  readonly sync: SyncOption
  readonly maxSegmentBytes: number
  readonly merge: MergeOptions
  /** Whether it writes until it is killed or has written enough; otherwise it opens and closes. */
  readonly writes: boolean
  /** The number of commits after which it closes. */
  readonly closeAfter: number
  /** The number of its first commit; later commits count on from there. */
  readonly firstNumber: number
  /** The file call in which it kills itself. Merges run on the main thread then. */
  readonly selfKill: { readonly nth: number; readonly moment: Moment } | undefined
}

/** A change of a commit in a report: key, size of the value or `null` for none, expiry or 0. */
export type ReportedChange = readonly [key: string, size: number | null, expiresAtMs: number]

/** A report of a writer, which it sends before it goes on. */
export type Report =
  /** The store is open, and shows entries with this digest at this moment. */
  | readonly ['opened', digest: string, nowMs: number]
  /** A commit is about to be made. */
  | readonly ['begin', number: number, changes: readonly ReportedChange[]]
  /** A commit has settled, or it has changed nothing. */
  | readonly ['settled' | 'void', number: number]
  | readonly ['merge', phase: string]
  | readonly ['closing']
  | readonly ['closed']
  /** Something is wrong. */
  | readonly ['wrong', message: string]

/** Makes the value that a commit gives a key. It shows its origin. */
export function makeValue(number: number, key: string, size: number): string {
  return `${number}:${key}:`.padEnd(size, 'firkin-')
}
