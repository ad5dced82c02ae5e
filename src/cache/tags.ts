/**
 * Tags, under which entries are invalidated together in constant time.
 *
 * Invalidating a tag puts an empty record under the tag's own key. An entry with that tag is valid if its record's
 * sequence is higher than that one's: so the log itself counts the generations, and they survive what it survives.
 *
 * Nothing is put where no record of the log can have the tag: the index knows when each was last put.
 *
 * Tags' keys begin with a byte that no UTF-8 text begins with, so that no entry's key is one of them.
 */

import type { Engine } from '../engine/engine.ts'
import { MAX_KEY_SIZE } from '../format/record.ts'
import { type Entry, NO_ENTRY } from '../keydir/keydir.ts'
import { TagIndex } from './tag-index.ts'

const TAG_MARK = 0xff

/** What a tag's record takes in the keydir, about. */
export const TAG_MEMORY_BYTES = 48
/** The mark and the tag make a key. */
const MAX_TAG_SIZE = MAX_KEY_SIZE - 1

/** The bytes of a tag. @throws TypeError, RangeError */
export function encodeTag(tag: string): Buffer {
  if (typeof tag !== 'string') throw new TypeError(`A tag is a string, not ${typeof tag}`)
  if (!tag.isWellFormed()) throw new TypeError('The tag has a lone surrogate')
  const encoded = Buffer.from(tag)
  if (encoded.length > MAX_TAG_SIZE) {
    throw new RangeError(`Tag is ${encoded.length} bytes; the limit is ${MAX_TAG_SIZE}`)
  }
  return encoded
}

/** Whether a key is that of a tag. */
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

/** The tags of one cache: which are invalidated, and which an entry may have. */
export class Tags {
  readonly #engine: Engine
  readonly #oldestSequence: () => number
  readonly #index: TagIndex
  /** Records below this sequence may have tags that the index does not know. */
  readonly #indexedFrom: number
  #count = 0
  #byteSize = 0

  /**
   * @param indexedFrom the sequence from which on every tag will be noted
   * @param oldestSequence returns the lowest sequence that any segment holds
   */
  constructor(engine: Engine, indexedFrom: number, oldestSequence: () => number) {
    this.#engine = engine
    this.#indexedFrom = indexedFrom
    this.#oldestSequence = oldestSequence
    this.#index = new TagIndex(oldestSequence)
  }

  /** How many tags have a record that says when they were invalidated. */
  get count(): number {
    return this.#count
  }

  /** The bytes of these records. */
  get byteSize(): number {
    return this.#byteSize
  }

  /** The bytes of these records and, about, of their entries in the keydir. */
  get totalBytes(): number {
    return this.#byteSize + this.#count * TAG_MEMORY_BYTES
  }

  /** Begins to count the records again. */
  resetCount(): void {
    this.restore(0, 0)
  }

  /** Takes over the figures that were kept at the last close. */
  restore(count: number, byteSize: number): void {
    this.#count = count
    this.#byteSize = byteSize
  }

  /** Counts the record of a tag, of `size` bytes. */
  add(size: number): void {
    this.#count++
    this.#byteSize += size
  }

  /** Counts that the record of a tag is gone. */
  drop(size: number): void {
    this.#count--
    this.#byteSize -= size
  }

  /** Takes note that the record of this sequence has these tags. */
  note(tags: readonly Uint8Array[], sequence: number): void {
    for (const tag of tags) this.#index.note(tag, sequence)
  }

  /** Whether an entry, which has these tags, was put before one of them was invalidated. */
  isInvalid(entry: Entry, tags: readonly Uint8Array[]): boolean {
    const engine = this.#engine
    const sequence = engine.keydir.entries.sequenceOf(entry)
    return tags.some((tag) => invalidatedAt(engine, tag) >= sequence)
  }

  /** Whether the log may have a record with this tag that is not invalidated yet. */
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

/** The sequence at which a tag was last invalidated; 0 where it never was, or nothing is left that is so old. */
function invalidatedAt(engine: Engine, tag: Uint8Array): number {
  seekTag(engine, tag)
  // A tag never expires.
  const entry: Entry = engine.find()
  return entry === NO_ENTRY ? 0 : engine.keydir.entries.sequenceOf(entry)
}
