/**
 * Chooses which segments a merge rewrites, and what it may drop. Pure: figures in, plan out.
 *
 * Rewriting a segment gains its dead bytes, and its tombstones if none of them is needed any more.
 * A tombstone is needed while a segment outside the merge may hold an older put of its key. Such a
 * put is dead. So only segments that have dead puts, and a lower bound of sequences below the
 * tombstone's, *block* it. The same holds for a put that has expired: it hides what is older.
 *
 * Invariants
 * - The active segment is never chosen.
 * - A segment is dropped unread only if all its puts are dead or have expired and nothing blocks
 *   its newest record.
 * - A segment that cannot be read whole is never rewritten, and blocks as long as it stays.
 */

import type { SegmentFigures } from '../format/manifest.ts'
import type { MergePolicy } from '../options.ts'

/** @internal The figures of a segment that a plan depends on. */
export interface PlannedSegment extends Readonly<Omit<SegmentFigures, 'tombstoneCount'>> {
  readonly id: number
  readonly deadPutCount: number
  readonly deadBytes: number
  /** Whether it may be chosen. */
  readonly sealed: boolean
  /** Whether a merge has found that it cannot be read whole. */
  readonly leftOut: boolean
}

/** The reason why a segment is part of a plan. */
export type PlanReason =
  | 'asked'
  | 'dead ratio'
  | 'dead bytes'
  | 'rides along'
  | 'small'
  | 'blocks tombstones'
  | 'all dead'
  | 'expired'

/** A segment of a plan. */
export interface PlanEntry {
  readonly id: number
  readonly reason: PlanReason
  /** The segment's size in bytes. */
  readonly bytes: number
  /** The bytes that the merge is expected to give back. */
  readonly bytesGained: number
}

/** The work of a merge. */
export interface MergePlan {
  /** Segments to be rewritten. */
  readonly inputs: readonly PlanEntry[]
  /** Segments to be deleted unread. */
  readonly unread: readonly PlanEntry[]
  /** The ids of segments that stay because they cannot be read whole. */
  readonly leftOut: readonly number[]
  /** Tombstones and expired puts below this sequence are no longer needed. */
  readonly dropBelow: number
  /** The approximate size of the copies, in bytes. */
  readonly bytesToCopy: number
  /** Whether the disk has no space for all that was worth merging. */
  readonly isPortion: boolean
}

/** The approximate size of a record's entry in a hint, in bytes. */
const HINT_ENTRY_SIZE = 40
/** The number of small segments from which they are folded together. */
const SMALL_COUNT = 8

/**
 * @internal Chooses what an automatic merge rewrites; the plan is empty if nothing is worth it.
 *
 * @param roomBytes the space that the copies may take
 */
export function planAutomatic(
  segments: readonly PlannedSegment[],
  policy: MergePolicy,
  nowMs: number,
  roomBytes = Number.POSITIVE_INFINITY,
): MergePlan {
  const unread = chooseUnread(segments, [], nowMs)
  const left = segments.filter((segment) => mayBeRead(segment) && !unread.includes(segment))
  const chosen = new Map<PlannedSegment, PlanReason>()

  for (const segment of left) {
    if (segment.deadBytes >= policy.triggerDeadRatio * segment.size) {
      chosen.set(segment, 'dead ratio')
    }
  }
  const totalDead = left.reduce((sum, segment) => sum + segment.deadBytes, 0)
  if (chosen.size > 0 || totalDead >= policy.triggerDeadBytes) {
    for (const segment of left) {
      if (chosen.has(segment) || !ridesAlong(segment, policy)) continue
      chosen.set(segment, chosen.size === 0 ? 'dead bytes' : 'rides along')
    }
  }
  const small = left.filter(
    (segment) => segment.size < policy.smallSegmentBytes && !chosen.has(segment),
  )
  if (small.length >= SMALL_COUNT || (chosen.size > 0 && small.length > 0)) {
    for (const segment of small) chosen.set(segment, 'small')
  }
  if (chosen.size === 0) {
    for (const segment of chooseForTombstones(segments, left, policy)) {
      chosen.set(segment, 'blocks tombstones')
    }
  }
  const taken = capInput(chosen, policy)
  // A single small segment stays small: it would be rewritten again and again.
  const [reason] = taken.size === 1 ? taken.values() : []
  return finish(segments, reason === 'small' ? new Map() : taken, unread, { nowMs, roomBytes })
}

/**
 * @internal Chooses every sealed segment that has anything to give back, as far as there is space
 * for the copies.
 */
export function planAll(
  segments: readonly PlannedSegment[],
  nowMs: number,
  roomBytes = Number.POSITIVE_INFINITY,
): MergePlan {
  const readable = segments.filter(mayBeRead)
  const whole = planReadable(segments, readable, readable, nowMs, roomBytes)
  // What is left out for lack of space blocks segments that could otherwise go unread.
  return whole.isPortion ? planReadable(segments, readable, [], nowMs, roomBytes) : whole
}

/** @param merged the segments that count as merged when deciding what goes unread */
function planReadable(
  segments: readonly PlannedSegment[],
  readable: readonly PlannedSegment[],
  merged: readonly PlannedSegment[],
  nowMs: number,
  roomBytes: number,
): MergePlan {
  const unread = chooseUnread(segments, merged, nowMs)
  const left = readable.filter((segment) => !unread.includes(segment))
  const wasteful = left.filter((segment) => segment.deadBytes > 0 || isExpired(segment, nowMs))
  const blocking = blockingSequence(segments, [...unread, ...wasteful])
  const worthwhile = left.filter(
    (segment) =>
      wasteful.includes(segment) || (segment.tombstoneBytes > 0 && segment.maxSequence < blocking),
  )
  const chosen = new Map<PlannedSegment, PlanReason>(
    worthwhile.map((segment) => [segment, 'asked']),
  )
  return finish(segments, chosen, unread, { nowMs, roomBytes })
}

function mayBeRead({ sealed, leftOut }: PlannedSegment): boolean {
  return sealed && !leftOut
}

function ridesAlong(segment: PlannedSegment, policy: MergePolicy): boolean {
  return (
    segment.deadBytes >= policy.thresholdDeadRatio * segment.size ||
    segment.deadBytes >= policy.thresholdDeadBytes
  )
}

/**
 * Chooses segments that mostly consist of tombstones, with those that block them, if that gives
 * back at least the threshold's share of what it reads. So tombstones cannot pile up for ever
 * because of one old segment.
 */
function chooseForTombstones(
  all: readonly PlannedSegment[],
  sealed: readonly PlannedSegment[],
  policy: MergePolicy,
): PlannedSegment[] {
  const heavy = sealed.filter(
    (segment) =>
      segment.deadBytes + segment.tombstoneBytes >= policy.triggerDeadRatio * segment.size,
  )
  if (heavy.length === 0) return []
  const newest = Math.max(...heavy.map((segment) => segment.maxSequence))
  const blockers = sealed.filter(
    (segment) =>
      !heavy.includes(segment) && segment.deadPutCount > 0 && segment.minSequence < newest,
  )
  const chosen = [...heavy, ...blockers]
  if (newest >= blockingSequence(all, chosen)) return []
  const bytes = sumOf(chosen, (segment) => segment.size)
  const gain = sumOf(chosen, (segment) => segment.deadBytes + segment.tombstoneBytes)
  return gain >= policy.thresholdDeadRatio * bytes && bytes <= policy.maxInputBytes ? chosen : []
}

/** Returns the segments without any live put that nothing blocks, given what else is merged. */
function chooseUnread(
  all: readonly PlannedSegment[],
  merged: readonly PlannedSegment[],
  nowMs: number,
): PlannedSegment[] {
  let unread = all.filter(
    (segment) => segment.sealed && (isDead(segment) || isExpired(segment, nowMs)),
  )
  for (;;) {
    const blocking = blockingSequence(all, [...unread, ...merged])
    const free = unread.filter((segment) => segment.maxSequence < blocking)
    if (free.length === unread.length) return unread
    unread = free
  }
}

function isDead(segment: PlannedSegment): boolean {
  return segment.maxSequence > 0 && segment.deadPutCount === segment.putCount
}

function isExpired(segment: PlannedSegment, nowMs: number): boolean {
  return segment.putCount > 0 && segment.lastExpiryMs !== 0 && segment.lastExpiryMs <= nowMs
}

/** Returns the lowest sequence that may be in a segment that stays and has dead puts. */
function blockingSequence(
  all: readonly PlannedSegment[],
  going: readonly PlannedSegment[],
): number {
  let lowest = Number.POSITIVE_INFINITY
  for (const segment of all) {
    if (segment.deadPutCount > 0 && !going.includes(segment)) {
      lowest = Math.min(lowest, segment.minSequence)
    }
  }
  return lowest
}

/** Takes the segments that give back the largest share first, up to the cap; always takes one. */
function capInput(
  chosen: ReadonlyMap<PlannedSegment, PlanReason>,
  policy: MergePolicy,
): Map<PlannedSegment, PlanReason> {
  const byGain = [...chosen].sort(
    ([a], [b]) => b.deadBytes / b.size - a.deadBytes / a.size || a.id - b.id,
  )
  const taken = new Map<PlannedSegment, PlanReason>()
  let bytes = 0
  for (const [segment, reason] of byGain) {
    if (taken.size > 0 && bytes + segment.size > policy.maxInputBytes) continue
    taken.set(segment, reason)
    bytes += segment.size
  }
  return taken
}

/** Takes the segments with the smallest copies first, as far as there is space. */
function fitRoom(
  wanted: ReadonlyMap<PlannedSegment, PlanReason>,
  roomBytes: number,
): ReadonlyMap<PlannedSegment, PlanReason> {
  if (sumOf([...wanted.keys()], copySize) <= roomBytes) return wanted
  const taken = new Map<PlannedSegment, PlanReason>()
  let bytes = 0
  for (const [segment, reason] of [...wanted].sort(([a], [b]) => copySize(a) - copySize(b))) {
    bytes += copySize(segment)
    if (bytes > roomBytes) break
    taken.set(segment, reason)
  }
  return taken
}

/** Returns the approximate size of the copy of a segment, with its hint. */
function copySize({ size, deadBytes, putCount, deadPutCount }: PlannedSegment): number {
  return size - deadBytes + (putCount - deadPutCount) * HINT_ENTRY_SIZE
}

function finish(
  all: readonly PlannedSegment[],
  wanted: ReadonlyMap<PlannedSegment, PlanReason>,
  unread: readonly PlannedSegment[],
  { nowMs, roomBytes }: { readonly nowMs: number; readonly roomBytes: number },
): MergePlan {
  const chosen = fitRoom(wanted, roomBytes)
  const dropBelow = blockingSequence(all, [...chosen.keys(), ...unread])
  const entry = (segment: PlannedSegment, reason: PlanReason, bytesGained: number): PlanEntry => ({
    id: segment.id,
    reason,
    bytes: segment.size,
    bytesGained,
  })
  return {
    inputs: [...chosen]
      .sort(([a], [b]) => a.minSequence - b.minSequence)
      .map(([segment, reason]) => {
        const tombstones = segment.maxSequence < dropBelow ? segment.tombstoneBytes : 0
        return entry(segment, reason, segment.deadBytes + tombstones)
      }),
    unread: unread.map((segment) =>
      entry(segment, isExpired(segment, nowMs) ? 'expired' : 'all dead', segment.size),
    ),
    leftOut: all
      .filter((segment) => segment.leftOut && !unread.includes(segment))
      .map(({ id }) => id),
    dropBelow,
    bytesToCopy: sumOf([...chosen.keys()], copySize),
    isPortion: chosen.size < wanted.size,
  }
}

function sumOf(
  segments: readonly PlannedSegment[],
  figure: (segment: PlannedSegment) => number,
): number {
  return segments.reduce((sum, segment) => sum + figure(segment), 0)
}
