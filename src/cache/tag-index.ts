/** An index of when each tag was last put: it shows whether a record of the log may have one. */

import { checksum } from '../format/checksum.ts'

/** Tags are spread over this many tables, so that none of them takes long to grow. */
const TABLE_COUNT = 256
const FIRST_SLOTS = 16

/**
 * When an entry was last put under each tag, off the JavaScript heap.
 *
 * Tags are identified by 32 bits of checksum. Two tags with the same checksum share the sequence of
 * the one that was put last.
 */
export class TagIndex {
  readonly #oldest: () => number
  readonly #tables: (TagTable | undefined)[] = new Array<undefined>(TABLE_COUNT).fill(undefined)

  /** @param oldest returns the lowest sequence in the log; notes of lower ones are forgotten */
  constructor(oldest: () => number) {
    this.#oldest = oldest
  }

  /** Notes that the record with this sequence has a tag. */
  note(tag: Uint8Array, sequence: number): void {
    const hash = hashOf(tag)
    const index = hash % TABLE_COUNT
    const table = this.#tables[index] ?? new TagTable()
    this.#tables[index] = table
    if (table.isFull) table.grow(this.#oldest())
    table.note(hash, sequence)
  }

  /** Returns the highest sequence noted for a tag; 0 if there is none. */
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

  /** Whether the table must grow before the next note. */
  get isFull(): boolean {
    return this.#count * 2 >= this.#hashes.length
  }

  /** Returns the sequence of a hash; 0 if there is none. */
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

  /** Makes space: forgets hashes that no record has any longer, and adds slots if necessary. */
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

  /** Returns the slot of a hash, or the empty slot where it belongs. */
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
