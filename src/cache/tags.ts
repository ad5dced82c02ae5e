/**
 * Tags, by which entries are invalidated together in constant time.
 *
 * Invalidating a tag puts an empty record under a key of the tag's own. An entry with that tag is
 * valid if the sequence of its record is higher. So the log itself counts the generations of a tag,
 * and they survive whatever the log survives.
 *
 * Nothing is put if no record of the log can have the tag: an index knows when each was last put.
 *
 * The keys of tags begin with a byte that never begins UTF-8 text, so no entry has such a key.
 */

import type { Engine } from '../engine/engine.ts'
import { MAX_KEY_SIZE } from '../format/record.ts'
import { type Entry, NO_ENTRY } from '../keydir/keydir.ts'
import { TagIndex } from './tag-index.ts'

/** The first byte of a tag's key. */
const TAG_MARK = 0xff

/** About how many bytes a tag's record takes in the keydir. */
export const TAG_MEMORY_BYTES = 48
/** A tag's key is the mark and the tag. */
const MAX_TAG_SIZE = MAX_KEY_SIZE - 1

/** Encodes a tag. @throws TypeError, RangeError */
export function encodeTag(tag: string): Buffer {
  if (typeof tag !== 'string') throw new TypeError(`A tag is a string, not ${typeof tag}`)
  if (!tag.isWellFormed()) throw new TypeError('The tag has a lone surrogate')
  const encoded = Buffer.from(tag)
  if (encoded.length > MAX_TAG_SIZE) {
    throw new RangeError(`Tag is ${encoded.length} bytes; the limit is ${MAX_TAG_SIZE}`)
  }
  return encoded
}

/** Whether a key is a tag's. */
export function isTagKey(key: Uint8Array): boolean {
  return key[0] === TAG_MARK
}

/** Makes `engine.key` the key of a tag. */
export function seekTag(engine: Engine, tag: Uint8Array): void {
  const key = Buffer.allocUnsafe(tag.length + 1)
  key[0] = TAG_MARK
  key.set(tag, 1)
  engine.key.encode(key)
}

/** The tags of one cache: those that were invalidated, and those that entries may have. */
export class Tags {
  readonly #engine: Engine
  readonly #oldestSequence: () => number
  readonly #index: TagIndex
  /** Records below this sequence may have tags that the index does not know. */
  readonly #indexedFrom: number
  #count = 0
  #byteSize = 0

  /**
   * @param indexedFrom the sequence from which on every tag is noted
   * @param oldestSequence returns the lowest sequence in any segment
   */
  constructor(engine: Engine, indexedFrom: number, oldestSequence: () => number) {
    this.#engine = engine
    this.#indexedFrom = indexedFrom
    this.#oldestSequence = oldestSequence
    this.#index = new TagIndex(oldestSequence)
  }

  /** How many tags have a record of when they were invalidated. */
  get count(): number {
    return this.#count
  }

  /** The bytes of these records. */
  get byteSize(): number {
    return this.#byteSize
  }

  /** The bytes of these records and, approximately, of their entries in the keydir. */
  get totalBytes(): number {
    return this.#byteSize + this.#count * TAG_MEMORY_BYTES
  }

  /** Starts counting the records again. */
  resetCount(): void {
    this.restore(0, 0)
  }

  /** Takes over the figures of the last close. */
  restore(count: number, byteSize: number): void {
    this.#count = count
    this.#byteSize = byteSize
  }

  /** Counts a tag's record of `size` bytes. */
  add(size: number): void {
    this.#count++
    this.#byteSize += size
  }

  /** Counts a tag's record of `size` bytes as gone. */
  drop(size: number): void {
    this.#count--
    this.#byteSize -= size
  }

  /** Notes that the record with this sequence has these tags. */
  note(tags: readonly Uint8Array[], sequence: number): void {
    for (const tag of tags) this.#index.note(tag, sequence)
  }

  /** Whether one of an entry's tags was invalidated after the entry was put. */
  isInvalid(entry: Entry, tags: readonly Uint8Array[]): boolean {
    const engine = this.#engine
    const sequence = engine.keydir.entries.sequenceOf(entry)
    return tags.some((tag) => invalidatedAt(engine, tag) >= sequence)
  }

  /** Whether the log may hold a record with this tag that is still valid. */
  mayBeInUse(tag: Uint8Array): boolean {
    const last = Math.max(this.#index.lastOf(tag), this.#indexedFrom - 1)
    return last > invalidatedAt(this.#engine, tag) && last >= this.#oldestSequence()
  }

  /** Forgets all tags. */
  clear(): void {
    this.#index.clear()
    this.resetCount()
  }
}

/**
 * Returns the sequence at which a tag was last invalidated; 0 if it never was, or if no record left
 * is older.
 */
function invalidatedAt(engine: Engine, tag: Uint8Array): number {
  seekTag(engine, tag)
  // A tag never expires.
  const entry: Entry = engine.find()
  return entry === NO_ENTRY ? 0 : engine.keydir.entries.sequenceOf(entry)
}
