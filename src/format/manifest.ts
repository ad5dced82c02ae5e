/**
 * The manifest: the list of the segments that make up the store. It only ever changes by being
 * replaced as a whole, by a rename.
 *
 *   offset  size  field
 *        0    44  file header (type "M", file id: the generation, one more at each replacement)
 *       44     4  tail id: the appended segments from this id on are the tail, listed or not
 *       48     4  tail size: bytes of the tail's first segment known to be whole and durable
 *       52     4  next segment id: every id ever used is lower
 *       56     6  next sequence: every sequence known to the writer of the manifest is lower
 *       62     1  keydir kind used last: 1 btree, 2 hash, 3 skiplist, 4 bplustree
 *       63     1  1 if the store was closed cleanly
 *       64     4  count of sealed segments
 *       68     6  clock: the time when its writer last read the clock
 *       74     2  count of sweeps
 *       76    12  each sweep (see SweepMark): time, next sequence
 *        +    42  each sealed segment (see SealedSegment), ascending by id
 *        +     4  CRC-32 of everything after the file header, continued from the store's seed
 *
 * Version 1 has neither clock nor sweeps: its sealed segments begin at 68.
 *
 * Invariants
 * - A sealed segment's size and contents are durable before a manifest lists it.
 * - Every file with one of the store's own names that is neither listed nor in the tail is a
 *   leftover.
 */

import { readUint48, UINT48_SIZE, viewOf, writeUint48 } from './bytes.ts'
import { checksum } from './checksum.ts'
import {
  encodeFileHeader,
  FILE_HEADER_SIZE,
  type Origin,
  storeSeed,
  versionOf,
} from './file-header.ts'
import type { KeydirKind } from './keydir-kind.ts'

/** The figures of a segment's contents, counted once when it is sealed; they never change. */
export interface SegmentFigures {
  /** The file's size in bytes, header included. */
  size: number
  putCount: number
  tombstoneCount: number
  /** The bytes taken by tombstones. */
  tombstoneBytes: number
  /** The lowest and highest sequence; 0 if there is no record. */
  minSequence: number
  maxSequence: number
  /** The time when the last of its puts expires; 0 if one never does, or there is none. */
  lastExpiryMs: number
}

/** A sealed segment as the manifest lists it. */
export interface SealedSegment extends Readonly<SegmentFigures> {
  readonly id: number
  readonly origin: Exclude<Origin, 'none'>
}

/**
 * A sweep of expired keys: every record with a lower sequence that expires at or before its time is
 * gone.
 */
export interface SweepMark {
  /** Milliseconds since 1970, by the store's clock; at least 1. */
  readonly atMs: number
  /** The sequence that the next record was to get. */
  readonly nextSequence: number
}

/** The contents of a manifest. */
export interface Manifest {
  readonly storeId: Uint8Array
  readonly generation: number
  readonly tailId: number
  readonly tailSize: number
  readonly nextSegmentId: number
  readonly nextSequence: number
  readonly keydirKind: KeydirKind
  readonly closed: boolean
  /** The time when its writer last read the clock, in milliseconds since 1970; 0 if unknown. */
  readonly clockMs: number
  /** By descending times and ascending sequences. */
  readonly sweeps: readonly SweepMark[]
  readonly segments: readonly SealedSegment[]
}

const KINDS: readonly KeydirKind[] = ['btree', 'hash', 'skiplist', 'bplustree']

const TAIL_ID_AT = FILE_HEADER_SIZE
const TAIL_SIZE_AT = TAIL_ID_AT + 4
const NEXT_SEGMENT_ID_AT = TAIL_SIZE_AT + 4
const NEXT_SEQUENCE_AT = NEXT_SEGMENT_ID_AT + 4
const KIND_AT = NEXT_SEQUENCE_AT + UINT48_SIZE
const CLOSED_AT = KIND_AT + 1
const COUNT_AT = CLOSED_AT + 1
const CLOCK_AT = COUNT_AT + 4
const SWEEP_COUNT_AT = CLOCK_AT + UINT48_SIZE
const SWEEPS_AT = SWEEP_COUNT_AT + 2
const CRC_SIZE = 4

/** The size of what precedes a manifest's segments in version 1. */
const FIRST_HEAD_SIZE = CLOCK_AT
const SWEEP_SIZE = 2 * UINT48_SIZE

/*
 * A sealed segment:
 *   0   4  id
 *   4   4  origin: 1 appended, 2 merged
 *   8   4  size
 *  12   4  puts
 *  16   4  tombstones
 *  20   4  tombstone bytes
 *  24   6  lowest sequence
 *  30   6  highest sequence
 *  36   6  last expiry
 */
const SEGMENT_SIZE = 24 + 3 * UINT48_SIZE

/** Returns the whole file. */
export function encodeManifest(manifest: Manifest): Buffer {
  const { segments, sweeps } = manifest
  const segmentsAt = SWEEPS_AT + sweeps.length * SWEEP_SIZE
  const bytes = Buffer.alloc(segmentsAt + segments.length * SEGMENT_SIZE + CRC_SIZE)
  const view = viewOf(bytes)
  encodeFileHeader({
    type: 'manifest',
    storeId: manifest.storeId,
    fileId: manifest.generation,
    origin: 'none',
  }).copy(bytes)
  view.setUint32(TAIL_ID_AT, manifest.tailId, true)
  view.setUint32(TAIL_SIZE_AT, manifest.tailSize, true)
  view.setUint32(NEXT_SEGMENT_ID_AT, manifest.nextSegmentId, true)
  writeUint48(view, NEXT_SEQUENCE_AT, manifest.nextSequence)
  view.setUint8(KIND_AT, KINDS.indexOf(manifest.keydirKind) + 1)
  view.setUint8(CLOSED_AT, manifest.closed ? 1 : 0)
  view.setUint32(COUNT_AT, segments.length, true)
  writeUint48(view, CLOCK_AT, manifest.clockMs)
  view.setUint16(SWEEP_COUNT_AT, sweeps.length, true)
  for (const [index, { atMs, nextSequence }] of sweeps.entries()) {
    const at = SWEEPS_AT + index * SWEEP_SIZE
    writeUint48(view, at, atMs)
    writeUint48(view, at + UINT48_SIZE, nextSequence)
  }
  for (const [index, segment] of segments.entries()) {
    const at = segmentsAt + index * SEGMENT_SIZE
    view.setUint32(at, segment.id, true)
    view.setUint32(at + 4, segment.origin === 'merged' ? 2 : 1, true)
    view.setUint32(at + 8, segment.size, true)
    view.setUint32(at + 12, segment.putCount, true)
    view.setUint32(at + 16, segment.tombstoneCount, true)
    view.setUint32(at + 20, segment.tombstoneBytes, true)
    writeUint48(view, at + 24, segment.minSequence)
    writeUint48(view, at + 24 + UINT48_SIZE, segment.maxSequence)
    writeUint48(view, at + 24 + 2 * UINT48_SIZE, segment.lastExpiryMs)
  }
  const end = bytes.length - CRC_SIZE
  view.setUint32(end, checksum(bytes, FILE_HEADER_SIZE, end, storeSeed(manifest.storeId)), true)
  return bytes
}

/** A generous limit: a million segments take 42 MB. */
const MAX_MANIFEST_SIZE = 64 * 1024 * 1024
/** The bytes that determine a manifest's size; a manifest of version 1 may be shorter than this. */
export const MANIFEST_HEAD_SIZE = SWEEPS_AT
/** The size of the checksum at its end. */
export const MANIFEST_CRC_SIZE = CRC_SIZE

/** Whether a manifest that begins with these {@link MANIFEST_HEAD_SIZE} bytes has this size. */
export function isManifestSize(head: Uint8Array, fileSize: number): boolean {
  const count = viewOf(head).getUint32(COUNT_AT, true)
  const size = segmentsOffset(head) + count * SEGMENT_SIZE + CRC_SIZE
  return fileSize <= MAX_MANIFEST_SIZE && fileSize === size
}

/** Returns where the sealed segments begin, from the first {@link MANIFEST_HEAD_SIZE} bytes. */
function segmentsOffset(head: Uint8Array): number {
  if (versionOf(head) === 1) return FIRST_HEAD_SIZE
  return SWEEPS_AT + viewOf(head).getUint16(SWEEP_COUNT_AT, true) * SWEEP_SIZE
}

/**
 * Reads everything after the file header, which the caller has read.
 *
 * @returns the offset of the damage if the bytes are not a manifest
 */
export function decodeManifest(
  bytes: Uint8Array,
  storeId: Uint8Array,
  generation: number,
): Manifest | number {
  const isFirst = versionOf(bytes) === 1
  if (bytes.length < (isFirst ? FIRST_HEAD_SIZE : SWEEPS_AT) + CRC_SIZE) return bytes.length
  const view = viewOf(bytes)
  const count = view.getUint32(COUNT_AT, true)
  const segmentsAt = segmentsOffset(bytes)
  const end = segmentsAt + count * SEGMENT_SIZE
  if (end + CRC_SIZE !== bytes.length) return COUNT_AT
  if (view.getUint32(end, true) !== checksum(bytes, FILE_HEADER_SIZE, end, storeSeed(storeId))) {
    return FILE_HEADER_SIZE
  }
  const sweeps: SweepMark[] = []
  for (let at = SWEEPS_AT; at < segmentsAt; at += SWEEP_SIZE) {
    sweeps.push({
      atMs: readUint48(view, at),
      nextSequence: readUint48(view, at + UINT48_SIZE),
    })
  }
  const segments: SealedSegment[] = []
  for (let at = segmentsAt; at < end; at += SEGMENT_SIZE) {
    segments.push({
      id: view.getUint32(at, true),
      origin: view.getUint32(at + 4, true) === 2 ? 'merged' : 'appended',
      size: view.getUint32(at + 8, true),
      putCount: view.getUint32(at + 12, true),
      tombstoneCount: view.getUint32(at + 16, true),
      tombstoneBytes: view.getUint32(at + 20, true),
      minSequence: readUint48(view, at + 24),
      maxSequence: readUint48(view, at + 24 + UINT48_SIZE),
      lastExpiryMs: readUint48(view, at + 24 + 2 * UINT48_SIZE),
    })
  }
  const keydirKind = KINDS[view.getUint8(KIND_AT) - 1]
  if (keydirKind === undefined) return KIND_AT
  return {
    storeId,
    generation,
    tailId: view.getUint32(TAIL_ID_AT, true),
    tailSize: view.getUint32(TAIL_SIZE_AT, true),
    nextSegmentId: view.getUint32(NEXT_SEGMENT_ID_AT, true),
    nextSequence: readUint48(view, NEXT_SEQUENCE_AT),
    keydirKind,
    closed: view.getUint8(CLOSED_AT) === 1,
    clockMs: isFirst ? 0 : readUint48(view, CLOCK_AT),
    sweeps,
    segments,
  }
}

/**
 * Returns how many bytes of a segment after the listed ones are known to be whole and durable; 0
 * for most.
 */
export function knownTailSize({ tailId, tailSize }: Manifest, id: number): number {
  return id === tailId ? tailSize : 0
}
