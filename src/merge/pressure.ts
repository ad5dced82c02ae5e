/**
 * Decides whether merging keeps up with what is written, and how much writers are slowed if it does
 * not.
 *
 *     target = maxSpaceAmplification x live bytes + 4 segments
 *
 * is compared with the bytes of all segments of the set. What only open views still look into is
 * not counted, and slows nobody. Writes settle later from a quarter below the target on, or from
 * two segments below it if that is more. The nearer the target, the longer the delay: up to 15 ms
 * per mebibyte at the target. Beyond it the delay grows fourfold for each further stretch of that
 * length, up to 250 ms. So a writer that is faster than the merge slows down smoothly to the pace
 * of the merge, however slow that is.
 *
 * Invariants
 * - A writer is slowed only for bytes that a merge by the policy gives back now, and only if such a
 *   merge may run. So nothing slows one for good: not segments that no merge would take, a high
 *   trigger, a rate limit, a time window or a failure. A missed target is reported all the same.
 * - No write fails because of it.
 */

import type { MergePolicy } from '../options.ts'
import { type PlannedSegment, planAutomatic } from './plan.ts'

/** The reason why no merge starts by itself. */
export type MergeHindrance = 'off' | 'window' | 'failure' | 'rate limit'

/** The state of merging, and its backlog. */
export interface Pressure {
  /**
   * `'none'`; `'slowed'` if writers are slowed; `'missed'` if there are more bytes than the target
   * allows, whether writers are slowed or not.
   */
  readonly state: 'none' | 'slowed' | 'missed'
  /** The bytes of all segments. */
  readonly bytes: number
  /** The most bytes that there should be. */
  readonly targetBytes: number
  /** The bytes that the merges that are due give back. */
  readonly reclaimableBytes: number
  /** The time by which writes settle later, in milliseconds per mebibyte. */
  readonly delayMsPerMib: number
  /** The reason why no merge that may slow a writer runs; `undefined` if one may run. */
  readonly hindrance: MergeHindrance | undefined
}

/** The delay of a mebibyte that is written at the target, in milliseconds. */
const DELAY_MS_PER_MIB = 15
/**
 * The growth of the delay for each ramp beyond the target, and the most it grows to: merges may be
 * starved of the machine.
 */
const GROWTH = 4
const MAX_DELAY_MS_PER_MIB = 250
/** The number of segments allowed for what is being written, synced and merged. */
const SPARE_SEGMENTS = 4
/**
 * Writers are slowed from this many segments below the target on, or from this part of the target
 * if that is more.
 */
const RAMP_SEGMENTS = 2
const RAMP_PART = 1 / 4

/** @internal Returns the pressure of a store with these segments. */
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
  // Without live bytes the product would not be a number.
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

/**
 * Returns the delay for a number of ramps beyond the beginning of the first, which ends at the
 * target.
 */
function delayAt(ramps: number): number {
  if (ramps <= 1) return DELAY_MS_PER_MIB * ramps
  return Math.min(MAX_DELAY_MS_PER_MIB, DELAY_MS_PER_MIB * GROWTH ** (ramps - 1))
}
