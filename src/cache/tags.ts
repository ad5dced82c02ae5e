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
import { checksum } from '../format/checksum.ts'
import { MAX_KEY_SIZE } from '../format/record.ts'
import { type Entry, NO_ENTRY } from '../keydir/keydir.ts'

const TAG_MARK = 0xff

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

/** The sequence at which a tag was last invalidated; 0 where it never was, or nothing is left that is so old. */
export function invalidatedAt(engine: Engine, tag: Uint8Array): number {
  seekTag(engine, tag)
  // A tag never expires.
  const entry: Entry = engine.find()
  return entry === NO_ENTRY ? 0 : engine.keydir.entries.sequenceOf(entry)
}

/** Tags are spread over so many tables, so that none of them takes long to grow. */
const TABLE_COUNT = 256
const FIRST_SLOTS = 16

/**
 * When an entry was last put under each tag, off the JavaScript heap.
 *
 * Tags are known by 32 bits of checksum: of two that have the same, each is taken for the one that was put last.
 */
export class TagIndex {
  readonly #oldest: () => number
  readonly #tables: (TagTable | undefined)[] = new Array<undefined>(TABLE_COUNT).fill(undefined)

  /** @param oldest answers the lowest sequence that the log has; what was noted of lower ones is forgotten */
  constructor(oldest: () => number) {
    this.#oldest = oldest
  }

  /** Takes note that the record of this sequence has a tag. */
  note(tag: Uint8Array, sequence: number): void {
    const hash = hashOf(tag)
    const index = hash % TABLE_COUNT
    const table = this.#tables[index] ?? new TagTable()
    this.#tables[index] = table
    if (table.isFull) table.grow(this.#oldest())
    table.note(hash, sequence)
  }

  /** The highest sequence that was noted for a tag; 0 where none was. */
  lastOf(tag: Uint8Array): number {
    const hash = hashOf(tag)
    return this.#tables[hash % TABLE_COUNT]?.lastOf(hash) ?? 0
  }

  /** Forgets all tags. */
  clear(): void {
    this.#tables.fill(undefined)
  }
}

/** Hashes and sequences in open addressing; a sequence of 0 is an empty slot. */
class TagTable {
  #hashes = new Uint32Array(FIRST_SLOTS)
  #sequences = new Float64Array(FIRST_SLOTS)
  #count = 0

  get isFull(): boolean {
    return this.#count * 2 >= this.#hashes.length
  }

  lastOf(hash: number): number {
    return this.#sequences[this.#slotOf(hash)] as number
  }

  /** Notes a sequence; the table must not be full. */
  note(hash: number, sequence: number): void {
    const slot = this.#slotOf(hash)
    if (this.#sequences[slot] === 0) this.#count++
    this.#hashes[slot] = hash
    this.#sequences[slot] = sequence
  }

  /** Makes room by forgetting what no record has any more, and where that is not enough, more slots. */
  grow(oldest: number): void {
    const hashes = this.#hashes
    const sequences = this.#sequences
    const left = sequences.reduce((count, sequence) => count + (sequence >= oldest ? 1 : 0), 0)
    const slots = left * 4 > hashes.length ? hashes.length * 2 : hashes.length
    this.#hashes = new Uint32Array(slots)
    this.#sequences = new Float64Array(slots)
    this.#count = 0
    for (const [slot, sequence] of sequences.entries()) {
      if (sequence >= oldest) this.note(hashes[slot] as number, sequence)
    }
  }

  /** The slot of a hash, or the empty one where it would be. */
  #slotOf(hash: number): number {
    const mask = this.#hashes.length - 1
    let slot = Math.floor(hash / TABLE_COUNT) & mask
    while (this.#sequences[slot] !== 0 && this.#hashes[slot] !== hash) slot = (slot + 1) & mask
    return slot
  }
}

function hashOf(tag: Uint8Array): number {
  return checksum(tag, 0, tag.length, 0) >>> 0
}
