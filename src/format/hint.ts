/**
 * The hint: everything that the keydir needs of a sealed segment, without the values.
 *
 *   offset  size  field
 *        0    44  file header (type "H", file id and origin: the segment's)
 *       44     4  size of the segment in bytes
 *       48     4  count of entries
 *       52     4  CRC-32 of the size, the count and the entries, continued from the store's seed
 *       56        entries, in the order of the segment's records; batch ends have none
 *
 * An entry is its record with the record's offset in place of the checksum, and without the value.
 */

import { viewOf } from './bytes.ts'
import { checksum } from './checksum.ts'
import { encodeFileHeader, FILE_HEADER_SIZE, type Origin, storeSeed } from './file-header.ts'
import {
  keyOffset,
  MAX_HEAD_SIZE,
  MAX_KEY_SIZE,
  MIN_RECORD_SIZE,
  type Page,
  pageOf,
  RecordFields,
} from './record.ts'

const SEGMENT_SIZE_AT = FILE_HEADER_SIZE
const COUNT_AT = SEGMENT_SIZE_AT + 4
const CRC_AT = COUNT_AT + 4
const ENTRIES_AT = CRC_AT + 4

const INITIAL_SIZE = 64 * 1024

/** Returns an upper limit of a hint's size: an entry is no larger than its record. */
function hintSizeBound(segmentSize: number): number {
  return ENTRIES_AT + segmentSize
}

/** The size of what precedes a hint's entries. */
export const HINT_HEAD_SIZE = ENTRIES_AT

/** Whether a hint that begins with these {@link HINT_HEAD_SIZE} bytes can have this size. */
export function isHintSize(head: Uint8Array, fileSize: number, segmentSize: number): boolean {
  const view = viewOf(head)
  const count = view.getUint32(COUNT_AT, true)
  const size = fileSize - ENTRIES_AT
  return (
    view.getUint32(SEGMENT_SIZE_AT, true) === segmentSize &&
    fileSize <= hintSizeBound(segmentSize) &&
    size >= count * MIN_RECORD_SIZE &&
    size <= count * (MAX_HEAD_SIZE + MAX_KEY_SIZE)
  )
}

/** Collects the hint of one segment. */
export class HintEncoder {
  #page = pageOf(Buffer.allocUnsafe(INITIAL_SIZE))
  #size = ENTRIES_AT
  #count = 0

  /**
   * Adds the record at `at` of `page`, whose fields were just read; `offset` is its offset in the
   * segment.
   */
  add(page: Page, at: number, fields: RecordFields, offset: number): void {
    const headSize = keyOffset(fields.flags) + fields.keySize
    this.#reserve(headSize)
    page.bytes.copy(this.#page.bytes, this.#size, at, at + headSize)
    this.#page.view.setUint32(this.#size, offset, true)
    this.#size += headSize
    this.#count++
  }

  /** Returns the whole file, as a view that the next `add` may change. */
  finish(storeId: Uint8Array, id: number, origin: Origin, segmentSize: number): Buffer {
    const { bytes, view } = this.#page
    encodeFileHeader({ type: 'hint', storeId, fileId: id, origin }).copy(bytes)
    view.setUint32(SEGMENT_SIZE_AT, segmentSize, true)
    view.setUint32(COUNT_AT, this.#count, true)
    view.setUint32(CRC_AT, hintChecksum(bytes, this.#size, storeSeed(storeId)), true)
    return bytes.subarray(0, this.#size)
  }

  #reserve(size: number): void {
    const needed = this.#size + size
    if (needed <= this.#page.bytes.length) return
    const grown = Buffer.allocUnsafe(Math.max(needed, this.#page.bytes.length * 2))
    this.#page.bytes.copy(grown, 0, 0, this.#size)
    this.#page = pageOf(grown)
  }
}

/** Reads the entries of a hint one after another. */
export class HintDecoder {
  /** The entry that was read last; `size` is its record's, `keyAt` lies in `page`. */
  readonly fields = new RecordFields()
  readonly page: Page
  /** Where the record begins in the segment. */
  offset = 0
  #at = ENTRIES_AT
  #left: number

  private constructor(page: Page) {
    this.page = page
    this.#left = page.view.getUint32(COUNT_AT, true)
  }

  /**
   * Begins to read a whole hint, whose file header the caller has read.
   *
   * @returns `undefined` if the hint is damaged, or not of a segment of `segmentSize` bytes
   */
  static open(file: Uint8Array, storeId: Uint8Array, segmentSize: number): HintDecoder | undefined {
    if (file.length < ENTRIES_AT) return undefined
    const page = pageOf(Buffer.from(file.buffer, file.byteOffset, file.byteLength))
    if (page.view.getUint32(SEGMENT_SIZE_AT, true) !== segmentSize) return undefined
    const expected = hintChecksum(file, file.length, storeSeed(storeId))
    return page.view.getUint32(CRC_AT, true) === expected ? new HintDecoder(page) : undefined
  }

  /** Begins to read a whole hint that this process has just encoded. */
  static of(file: Uint8Array): HintDecoder {
    return new HintDecoder(pageOf(Buffer.from(file.buffer, file.byteOffset, file.byteLength)))
  }

  /** Reads the next entry; returns false at the end. */
  next(): boolean {
    if (this.#left === 0) return false
    this.#left--
    const { fields, page } = this
    // The checksum guarantees that an encoder wrote this.
    fields.readHeader(page, this.#at, page.bytes.length)
    this.offset = page.view.getUint32(this.#at, true)
    this.#at = fields.valueAt
    return true
  }
}

function hintChecksum(bytes: Uint8Array, size: number, seed: number): number {
  const fieldsCrc = checksum(bytes, SEGMENT_SIZE_AT, CRC_AT, seed)
  return checksum(bytes, ENTRIES_AT, size, fieldsCrc)
}
