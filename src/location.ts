/** Where a record lives. The only currency between segments and keydir. */
export interface Location {
  /** The segment's id. */
  readonly segment: number
  /** Where the record begins in the segment's file, in bytes. */
  readonly offset: number
  /** The record's size in bytes; 0 for an absence. */
  readonly size: number
  readonly sequence: number
  /** 0 where the record does not expire. */
  readonly expiresAtMs: number
}
