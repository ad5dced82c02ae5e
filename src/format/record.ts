/**
 * The record: one checksummed entry of a segment.
 *
 *   offset  size  field
 *        0     4  CRC-32 of everything after it, continued from the store's seed
 *        4     1  kind: 1 put, 2 tombstone, 3 batch end
 *        5     1  flags: 1 expires, 2 has a namespace, 4 member of a batch
 *        6     2  key size
 *        8     4  value size
 *       12     6  sequence
 *       18     6  when it expires, milliseconds since 1970 (flag 1)
 *        +     4  namespace (flag 2; 0 if absent)
 *        +        key, then value
 *
 * Invariants
 * - Kind 0 is never written, so zeroed disk is never a record.
 * - Sizes are checked against the limits and the available bytes before any other field is trusted
 *   or anything is allocated.
 * - A tombstone has no value. A batch end has no key; its value is the count of the batch's
 *   members, which carry the sequences just below its own.
 */

import { MAX_UINT48, readUint48, UINT48_SIZE, writeUint48 } from './bytes.ts'
import { checksum, copyChecksum, VIEW_LIMIT, viewChecksum } from './checksum.ts'

/** The largest key in bytes. */
export const MAX_KEY_SIZE = 65_535
/** The largest value in bytes: 1 GiB. */
export const MAX_VALUE_SIZE = 2 ** 30
/** The largest sequence. */
export const MAX_SEQUENCE = MAX_UINT48

/** A record that gives a key a value. */
export const PUT = 1
/** A record that removes a key. */
export const TOMBSTONE = 2
/** A record that ends a batch: the records before it count only with it. */
export const BATCH_END = 3

/** The kind of a record. */
export type RecordKind = typeof PUT | typeof TOMBSTONE | typeof BATCH_END

/** The flag of a record that expires. */
export const EXPIRES = 1
/** The flag of a record whose key lies in a namespace. */
export const HAS_NAMESPACE = 2
/** The flag of a record that belongs to a batch. */
export const IN_BATCH = 4
const KNOWN_FLAGS = EXPIRES | HAS_NAMESPACE | IN_BATCH

/** The size of the checksum at the start of a record. */
export const RECORD_CRC_SIZE = 4
const KIND_SIZE = 1
const FLAGS_SIZE = 1
const KEY_SIZE_SIZE = 2
const VALUE_SIZE_SIZE = 4
const EXPIRY_SIZE = UINT48_SIZE
const NAMESPACE_SIZE = 4
/** The size of a batch end's value: the count of members. */
export const BATCH_COUNT_SIZE = 4

/** Where the kind lies. It is never zero. */
export const KIND_AT = RECORD_CRC_SIZE
const FLAGS_AT = KIND_AT + KIND_SIZE
const KEY_SIZE_AT = FLAGS_AT + FLAGS_SIZE
const VALUE_SIZE_AT = KEY_SIZE_AT + KEY_SIZE_SIZE
const SEQUENCE_AT = VALUE_SIZE_AT + VALUE_SIZE_SIZE

/** The size of what precedes a record's key, without expiry and namespace. */
export const RECORD_HEADER_SIZE = SEQUENCE_AT + UINT48_SIZE
/** The largest size of what precedes a record's key. */
export const MAX_HEAD_SIZE = RECORD_HEADER_SIZE + EXPIRY_SIZE + NAMESPACE_SIZE
/** The smallest record: a tombstone of a one-byte key. */
export const MIN_RECORD_SIZE = RECORD_HEADER_SIZE + 1
/** The largest number of zeros that may follow the last record of the active segment. */
export const MAX_PREALLOCATION_SIZE = 128 * 1024
/** The size of a batch end. */
export const BATCH_END_SIZE = RECORD_HEADER_SIZE + BATCH_COUNT_SIZE

/**
 * Bytes, and a view of the same bytes. Both are kept so that neither is created for every record.
 */
export interface Page {
  readonly bytes: Buffer
  readonly view: DataView
}

/** Returns bytes together with a view of them. */
export function pageOf(bytes: Buffer): Page {
  return { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength) }
}

/** Returns the size of a record in bytes. */
export function recordSize(keySize: number, valueSize: number, expires: boolean): number {
  return RECORD_HEADER_SIZE + (expires ? EXPIRY_SIZE : 0) + keySize + valueSize
}

/** Returns where a record's key begins, counted from the start of the record. */
export function keyOffset(flags: number): number {
  return (
    RECORD_HEADER_SIZE +
    ((flags & EXPIRES) !== 0 ? EXPIRY_SIZE : 0) +
    ((flags & HAS_NAMESPACE) !== 0 ? NAMESPACE_SIZE : 0)
  )
}

/**
 * Writes everything before a record's key, except the checksum, and returns where the key goes.
 *
 * @param expiresAtMs 0 if the record does not expire
 */
export function writeRecordHeader(
  view: DataView,
  at: number,
  kind: RecordKind,
  flags: number,
  keySize: number,
  valueSize: number,
  sequence: number,
  expiresAtMs: number,
): number {
  const allFlags = expiresAtMs === 0 ? flags : flags | EXPIRES
  view.setUint16(at + KIND_AT, kind | (allFlags << 8), true)
  view.setUint16(at + KEY_SIZE_AT, keySize, true)
  view.setUint32(at + VALUE_SIZE_AT, valueSize, true)
  writeUint48(view, at + SEQUENCE_AT, sequence)
  if (expiresAtMs === 0) return at + RECORD_HEADER_SIZE
  writeUint48(view, at + RECORD_HEADER_SIZE, expiresAtMs)
  return at + RECORD_HEADER_SIZE + EXPIRY_SIZE
}

/** Gives a record another sequence; its checksum must be rewritten. */
export function writeSequence(view: DataView, at: number, sequence: number): void {
  writeUint48(view, at + SEQUENCE_AT, sequence)
}

/** Removes a record from its batch; its checksum must be rewritten. */
export function clearBatchFlag(view: DataView, at: number): void {
  view.setUint8(at + FLAGS_AT, view.getUint8(at + FLAGS_AT) & ~IN_BATCH)
}

/** Writes the checksum of a record that ends before `end`. */
export function writeChecksum(page: Page, at: number, end: number, seed: number): void {
  page.view.setUint32(at, pageChecksum(page, at + RECORD_CRC_SIZE, end, seed), true)
}

/** A record whose checksum is computed in steps because it is large. */
export class UnsealedRecord {
  /** Where the record begins in its page. */
  readonly at: number
  readonly #page: Page
  readonly #end: number
  #checkedTo: number
  #crc: number

  /**
   * @param size the size of the record, which is in the page from `at` on except for its checksum
   */
  constructor(page: Page, at: number, size: number, seed: number) {
    this.at = at
    this.#page = page
    this.#end = at + size
    this.#checkedTo = at + RECORD_CRC_SIZE
    this.#crc = seed
  }

  /** Continues by `byteCount` bytes; returns whether the checksum is written. */
  sealMore(byteCount: number): boolean {
    const to = Math.min(this.#checkedTo + byteCount, this.#end)
    this.#crc = checksum(this.#page.bytes, this.#checkedTo, to, this.#crc)
    this.#checkedTo = to
    if (to < this.#end) return false
    this.#page.view.setUint32(this.at, this.#crc, true)
    return true
  }
}

/** Whether the `size` bytes at `at` are the record with this sequence, by sequence and checksum. */
export function verifyRecord(
  page: Page,
  at: number,
  size: number,
  seed: number,
  sequence: number,
): boolean {
  return (
    readUint48(page.view, at + SEQUENCE_AT) === sequence &&
    page.view.getUint32(at, true) === pageChecksum(page, at + RECORD_CRC_SIZE, at + size, seed)
  )
}

/** The largest record that is verified and copied in one go. */
export const SHORT_RECORD_SIZE = VIEW_LIMIT

/**
 * Like {@link verifyRecord}, for a record of up to {@link SHORT_RECORD_SIZE} bytes, which is also
 * copied to `targetAt` of another page. The copy is what was verified; it lacks only the checksum.
 */
export function copyVerified(
  page: Page,
  at: number,
  size: number,
  seed: number,
  sequence: number,
  target: Page,
  targetAt: number,
): boolean {
  const { view } = page
  const crc = copyChecksum(
    view,
    at + RECORD_CRC_SIZE,
    at + size,
    seed,
    target.view,
    targetAt + RECORD_CRC_SIZE,
  )
  return crc === view.getUint32(at, true) && readUint48(view, at + SEQUENCE_AT) === sequence
}

/**
 * Returns where the value of the record at `at` begins, counted from there, given its key's size.
 */
export function valueOffset(view: DataView, at: number, keySize: number): number {
  return keyOffset(view.getUint8(at + FLAGS_AT)) + keySize
}

/** Writes a whole batch end at `at` and returns where it ends. */
export function writeBatchEnd(
  page: Page,
  at: number,
  count: number,
  sequence: number,
  seed: number,
): number {
  const valueAt = writeRecordHeader(page.view, at, BATCH_END, 0, 0, BATCH_COUNT_SIZE, sequence, 0)
  page.view.setUint32(valueAt, count, true)
  writeChecksum(page, at, valueAt + BATCH_COUNT_SIZE, seed)
  return valueAt + BATCH_COUNT_SIZE
}

/** Returned by {@link RecordFields.read}: the bytes end before the record does. */
export const SHORT = 0
/** Returned by {@link RecordFields.read}: these bytes are not a record. */
export const DAMAGED = -1

/**
 * The fields of the record that was read last. One object serves a whole scan, so reading a record
 * allocates nothing.
 */
export class RecordFields {
  kind: RecordKind = PUT
  flags = 0
  keySize = 0
  valueSize = 0
  sequence = 0
  /** 0 if the record does not expire. */
  expiresAtMs = 0
  namespace = 0
  /** Where the key begins in the page. */
  keyAt = 0
  /** Where the value begins in the page. */
  valueAt = 0
  /** The whole record's size in bytes. */
  size = 0

  /**
   * Reads the record at `at` of a page whose bytes count up to `end`, and verifies it.
   *
   * @returns its size, {@link SHORT} or {@link DAMAGED}
   */
  read(page: Page, at: number, end: number, seed: number): number {
    const size = this.readHeader(page, at, end)
    if (size <= 0) return size
    if (at + size > end) return SHORT
    return this.verify(page, at, seed) ? size : DAMAGED
  }

  /**
   * Reads the fields at `at` without checking the checksum. If they are plausible, returns the
   * size, which may reach beyond `end`.
   *
   * @returns the size, {@link SHORT} or {@link DAMAGED}
   */
  readHeader(page: Page, at: number, end: number): number {
    if (at + RECORD_HEADER_SIZE > end) return SHORT
    const view = page.view
    const first = view.getUint32(at + KIND_AT, true)
    const kind = first & 0xff
    const flags = (first >>> 8) & 0xff
    const keySize = first >>> 16
    const valueSize = view.getUint32(at + VALUE_SIZE_AT, true)
    if ((flags & ~KNOWN_FLAGS) !== 0 || !isPlausible(kind, flags, keySize, valueSize)) {
      return DAMAGED
    }
    this.kind = kind as RecordKind
    this.flags = flags
    this.keySize = keySize
    this.valueSize = valueSize
    this.sequence = readUint48(view, at + SEQUENCE_AT)
    this.keyAt = at + keyOffset(flags)
    this.valueAt = this.keyAt + keySize
    this.size = this.valueAt + valueSize - at
    if (this.keyAt > end) return SHORT
    this.expiresAtMs = (flags & EXPIRES) === 0 ? 0 : readUint48(view, at + RECORD_HEADER_SIZE)
    this.namespace =
      (flags & HAS_NAMESPACE) === 0 ? 0 : view.getUint32(this.keyAt - NAMESPACE_SIZE, true)
    return this.size
  }

  /** Whether the checksum of the record that was just read at `at` matches its bytes. */
  verify(page: Page, at: number, seed: number): boolean {
    const expected = pageChecksum(page, at + RECORD_CRC_SIZE, at + this.size, seed)
    return page.view.getUint32(at, true) === expected
  }

  /** Returns a batch end's count of members. */
  batchCount(page: Page): number {
    return page.view.getUint32(this.valueAt, true)
  }
}

function pageChecksum(page: Page, start: number, end: number, seed: number): number {
  return end - start <= VIEW_LIMIT
    ? viewChecksum(page.view, start, end, seed)
    : checksum(page.bytes, start, end, seed)
}

function isPlausible(kind: number, flags: number, keySize: number, valueSize: number): boolean {
  switch (kind) {
    case PUT:
      return keySize > 0 && valueSize <= MAX_VALUE_SIZE
    case TOMBSTONE:
      return keySize > 0 && valueSize === 0 && (flags & EXPIRES) === 0
    case BATCH_END:
      return keySize === 0 && valueSize === BATCH_COUNT_SIZE && flags === 0
    default:
      return false
  }
}
