/** Which tags were last put when: what tells whether a record of the log may have one. */

import { checksum } from '../format/checksum.ts'

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
