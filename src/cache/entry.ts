/**
 * The entry of a cache: a head, and then the value.
 *
 *   size  field
 *      1  flags: 1 turns stale, 2 has tags, 4 has a load time, 8 is a failure
 *      6  when it turns stale, milliseconds since 1970 (flag 1)
 *      1  count of tags (flag 2), then for each
 *      2    its size
 *      +    the tag, UTF-8
 *      4  how long it took to load, milliseconds (flag 4)
 *      +  the value; for a failure, JSON
 *
 * The record's checksum covers all of it, so what is read is what was written.
 */

import { readUint48, UINT48_SIZE, writeUint48 } from '../format/bytes.ts'
import { type Page, pageOf } from '../format/record.ts'

const TURNS_STALE = 1
const HAS_TAGS = 2
const HAS_LOAD_TIME = 4
const IS_FAILURE = 8

const MAX_TAG_COUNT = 255
const MAX_LOAD_MS = 2 ** 32 - 1

/** The fields of an entry's head. */
interface EntryExtras {
  /** When the value turns stale, in milliseconds since 1970; 0 if it is fresh until it expires. */
  readonly staleAtMs: number
  readonly tags: readonly Buffer[]
  /** How long the value took to load, in milliseconds; 0 if that is not known. */
  readonly loadMs: number
  /** Whether the value is the error of a load. */
  readonly isFailure: boolean
}

/** Encodes an entry: the head, then the value. @throws RangeError for more than 255 tags */
export function encodeEntry(value: Uint8Array | string, extras: EntryExtras): Uint8Array | string {
  const { staleAtMs, tags, loadMs, isFailure } = extras
  const isPlain = staleAtMs === 0 && tags.length === 0 && loadMs === 0 && !isFailure
  if (isPlain && typeof value === 'string') return `\0${value}`
  if (tags.length > MAX_TAG_COUNT) {
    throw new RangeError(`An entry has ${tags.length} tags; the limit is ${MAX_TAG_COUNT}`)
  }
  let headSize = 1
  if (staleAtMs !== 0) headSize += UINT48_SIZE
  if (tags.length > 0) headSize += 1
  for (const tag of tags) headSize += 2 + tag.length
  if (loadMs !== 0) headSize += 4
  const valueSize = typeof value === 'string' ? Buffer.byteLength(value) : value.length
  const { bytes, view } = pageOf(Buffer.allocUnsafe(headSize + valueSize))
  bytes[0] =
    (staleAtMs !== 0 ? TURNS_STALE : 0) |
    (tags.length > 0 ? HAS_TAGS : 0) |
    (loadMs !== 0 ? HAS_LOAD_TIME : 0) |
    (isFailure ? IS_FAILURE : 0)
  let at = 1
  if (staleAtMs !== 0) {
    writeUint48(view, at, staleAtMs)
    at += UINT48_SIZE
  }
  if (tags.length > 0) view.setUint8(at++, tags.length)
  for (const tag of tags) {
    view.setUint16(at, tag.length, true)
    bytes.set(tag, at + 2)
    at += 2 + tag.length
  }
  if (loadMs !== 0) {
    view.setUint32(at, Math.min(Math.ceil(loadMs), MAX_LOAD_MS), true)
    at += 4
  }
  if (typeof value === 'string') bytes.write(value, at, 'utf8')
  else bytes.set(value, at)
  return bytes
}

/** The head of the entry that was read last. One object serves a whole cache. */
export class EntryHead {
  /** When the value turns stale, in milliseconds since 1970; 0 if it is fresh until it expires. */
  staleAtMs = 0
  /** The tags, as views that are valid as long as the page is. */
  tags: readonly Uint8Array[] = NO_TAGS
  /** How long the value took to load, in milliseconds; 0 if that is not known. */
  loadMs = 0
  /** Whether the value is the error of a load. */
  isFailure = false
  /** The offset of the value in the page. */
  valueAt = 0

  /** Reads the head at the offset `at` of a page. */
  read({ bytes, view }: Page, at: number): void {
    const flags = view.getUint8(at++)
    this.isFailure = (flags & IS_FAILURE) !== 0
    this.staleAtMs = 0
    this.tags = NO_TAGS
    this.loadMs = 0
    if ((flags & TURNS_STALE) !== 0) {
      this.staleAtMs = readUint48(view, at)
      at += UINT48_SIZE
    }
    if ((flags & HAS_TAGS) !== 0) {
      const tags: Uint8Array[] = []
      for (let left = view.getUint8(at++); left > 0; left--) {
        const start = at + 2
        at = start + view.getUint16(at, true)
        tags.push(bytes.subarray(start, at))
      }
      this.tags = tags
    }
    if ((flags & HAS_LOAD_TIME) !== 0) {
      this.loadMs = view.getUint32(at, true)
      at += 4
    }
    this.valueAt = at
  }
}

const NO_TAGS: readonly Uint8Array[] = []
