/**
 * Whether merging keeps up with what is written, and how much writers are slowed where it does not.
 *
 *     target = maxSpaceAmplification x live bytes + 4 segments
 *
 * is held against the bytes of all segments of the set; what only open views still look into is neither counted nor
 * slowed for. From a quarter below the target on, two segments at least, writes settle later: the nearer the target, the
 * later, up to 15 ms for each mebibyte at the target, and four times as long for each such stretch beyond it, up to 250 ms.
 * So a writer that is faster than the merge comes down to the pace of the merge, smoothly, however slow that is.
 *
 * Invariants
 * - A writer is slowed only for bytes that a merge by the policy gives back now, and only where such a merge may run: what
 *   no merge would take, a high trigger, a rate limit, a time window, a failure, never slows one for good. That the target is
 *   missed is told all the same.
 * - No write fails for it.
 */

import type { MergePolicy } from '../options.ts'
import { type PlannedSegment, planAutomatic } from './plan.ts'

/** Why nothing is merged by itself. */
export type MergeHindrance = 'off' | 'window' | 'failure' | 'rate limit'

/** How far merging is behind. */
export interface Pressure {
  /**
   * `'none'`; `'slowed'`, where writers are; `'missed'`, where there are more bytes than the target allows, slowed or
   * not.
   */
  readonly state: 'none' | 'slowed' | 'missed'
  /** Bytes of all segments. */
  readonly bytes: number
  /** How many there should be at most. */
  readonly targetBytes: number
  /** How many the merges that are due give back. */
  readonly reclaimableBytes: number
  /** How much later writes settle, in milliseconds for each mebibyte. */
  readonly delayMsPerMib: number
  /** Why no merge that may slow a writer runs; `undefined` where one may. */
  readonly hindrance: MergeHindrance | undefined
}

/** How long a mebibyte that is written at the target is delayed, in milliseconds. */
const DELAY_MS_PER_MIB = 15
/** By how much that grows for each ramp beyond the target, and the most it grows to: merges may be starved of the machine. */
const GROWTH = 4
const MAX_DELAY_MS_PER_MIB = 250
/** So many segments are allowed for what is being written, synced and merged. */
const SPARE_SEGMENTS = 4
/** Writers are slowed from so many segments below the target on, and from such a part of it. */
const RAMP_SEGMENTS = 2
const RAMP_PART = 1 / 4

/** The pressure of a store whose segments are these. */
export function pressureOf(
  segments: readonly PlannedSegment[],
  policy: MergePolicy,
  maxSegmentBytes: number,
  hindrance: MergeHindrance | undefined,
  nowMs: number,
): Pressure {
  let bytes = 0
  let wasteBytes = 0
  for (const segment of segments) {
    bytes += segment.size
    wasteBytes += segment.deadBytes + segment.tombstoneBytes
  }
  const { maxSpaceAmplification } = policy
  const isBounded = maxSpaceAmplification !== Number.POSITIVE_INFINITY
  // Without live bytes the product would be no number.
  const targetBytes = isBounded
    ? maxSpaceAmplification * (bytes - wasteBytes) + SPARE_SEGMENTS * maxSegmentBytes
    : Number.POSITIVE_INFINITY
  const part = isBounded ? RAMP_PART * targetBytes : 0
  const ramp = Math.max(RAMP_SEGMENTS * maxSegmentBytes, part)
  const excess = bytes - (targetBytes - ramp)
  let reclaimableBytes = 0
  if (excess > 0 && hindrance !== 'off') {
    const { inputs, unread } = planAutomatic(segments, policy, nowMs)
    for (const { bytesGained } of [...inputs, ...unread]) reclaimableBytes += bytesGained
  }
  const slowing = hindrance === undefined ? Math.min(excess, reclaimableBytes) : 0
  const delayMsPerMib = delayAt(Math.max(0, slowing) / ramp)
  const state = bytes > targetBytes ? 'missed' : delayMsPerMib > 0 ? 'slowed' : 'none'
  return { state, bytes, targetBytes, reclaimableBytes, delayMsPerMib, hindrance }
}

/** The delay where writers are so many ramps beyond the beginning of the first, which ends at the target. */
function delayAt(ramps: number): number {
  if (ramps <= 1) return DELAY_MS_PER_MIB * ramps
  return Math.min(MAX_DELAY_MS_PER_MIB, DELAY_MS_PER_MIB * GROWTH ** (ramps - 1))
}
