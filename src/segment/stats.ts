/** The figures of a segment, as a store reports them. */

import type { Segment } from './segment.ts'

/** The figures of one segment. */
export interface SegmentStats {
  readonly id: number
  readonly origin: 'appended' | 'merged'
  readonly active: boolean
  /** The size of its file in bytes, including what is staged. */
  readonly bytes: number
  /** The bytes of puts that are the newest records of their keys. */
  readonly liveBytes: number
  /** The bytes that a merge frees; tombstones are counted separately. */
  readonly deadBytes: number
  readonly tombstoneBytes: number
  readonly livePuts: number
  readonly deadPuts: number
  readonly tombstones: number
  /** 0 if there is no record. */
  readonly minSequence: number
  readonly maxSequence: number
  /** When the last put will have expired; 0 if any never does. */
  readonly lastExpiryMs: number
}

/** @internal Returns the figures of a segment. */
export function segmentStats(segment: Segment, active: boolean): SegmentStats {
  const { usage } = segment
  return {
    id: segment.id,
    origin: segment.origin,
    active,
    bytes: usage.size,
    liveBytes: usage.liveBytes,
    deadBytes: usage.deadBytes,
    tombstoneBytes: usage.tombstoneBytes,
    livePuts: usage.livePutCount,
    deadPuts: usage.deadPutCount,
    tombstones: usage.tombstoneCount,
    minSequence: usage.minSequence,
    maxSequence: usage.maxSequence,
    lastExpiryMs: usage.lastExpiryMs,
  }
}
