/**
 * Records without their values, held until they are applied to a keydir. In words:
 *
 *     0   rank
 *     1   kind (2 bits); bit 2: keeps an absence; bit 3: expires
 *     2   id of the segment
 *     3   offset
 *     4   record size
 *     5   sequence, low 32 bits
 *     6   sequence, high 16 bits; key size << 16
 *     7…  the key, padded with zeros to a word
 *     …   if it expires: the expiry, low 32 bits, then high 32 bits
 *
 * They follow each other in blocks. No record spans two blocks.
 */

import {
  MAX_KEY_SIZE,
  type Page,
  PUT,
  type RecordFields,
  type RecordKind,
} from '../format/record.ts'
import { allocateBytes, allocateWords } from '../io/memory.ts'
import { givePage, HUGE_PAGE_SIZE, makeHuge, takePage } from '../io/pages.ts'
import { Location } from '../keydir/entries.ts'
import type { KeyVisitor } from '../keydir/key-ranks.ts'
import { LITTLE_ENDIAN } from '../keydir/key-words.ts'

/** The number of words in a block, as a power of two. A larger record has a block of its own. */
const BLOCK_BITS = 13
const BLOCK_WORDS = 1 << BLOCK_BITS
const IN_BLOCK = BLOCK_WORDS - 1
const BLOCK_SIZE = BLOCK_WORDS * 4

const FLAGS = 1
const SEGMENT = 2
const OFFSET = 3
const SIZE = 4
const SEQUENCE_LOW = 5
const SEQUENCE_HIGH = 6
const KEY = 7
const EXPIRY_WORDS = 2

const KIND_MASK = 3
const KEEPS_ABSENCE = 4
const EXPIRES = 8
const KEY_SIZE_SHIFT = 16
const SEQUENCE_HIGH_MASK = 0xffff
const WORD_RANGE = 2 ** 32

/** The record that was read last. One object serves all of them. */
export class HeldRecord extends Location {
  kind: RecordKind = PUT
  /** 0 if the record does not expire. */
  expiresAtMs = 0
  keepAbsence = false
  /** The key as words, padded with zeros. */
  readonly words = new Uint32Array((MAX_KEY_SIZE + 1) / 4)
  /** The same memory as bytes. */
  readonly key = new Uint8Array(this.words.buffer)
}

/** Memory that holds records. */
interface Block {
  readonly words: Uint32Array
  /** The same memory as bytes. */
  readonly bytes: Uint8Array
  /** The end of its last record, in words. */
  end: number
}

/** The memory for all held records: huge pages, cut into blocks. */
export class HeldMemory {
  /** The number of bytes in use. */
  used = 0
  readonly #pages: Uint8Array[] = []
  #spare: Block[] = []

  /** Returns a block with space for a record of `wordCount` words. */
  take(wordCount: number): Block {
    const size = Math.max(wordCount, BLOCK_WORDS)
    if (size === BLOCK_WORDS && this.#spare.length === 0) this.#addPage()
    const block = size > BLOCK_WORDS ? blockOf(allocateWords(size)) : this.#spare.pop()
    this.used += size * 4
    return block as Block
  }

  /** Takes blocks back. */
  give(blocks: readonly Block[]): void {
    for (const block of blocks) {
      this.used -= block.words.byteLength
      block.end = 0
      if (block.words.length === BLOCK_WORDS) this.#spare.push(block)
    }
  }

  /** Gives all memory back to the system. None may be in use. */
  release(): void {
    for (const page of this.#pages) givePage(page)
    this.#pages.length = 0
    this.#spare = []
  }

  #addPage(): void {
    // The first page is small, in case there is little to hold.
    const own = this.#pages.length === 0 ? undefined : takePage()
    if (own !== undefined) makeHuge(own, false)
    const page = own ?? allocateBytes(this.#pages.length === 0 ? BLOCK_SIZE : HUGE_PAGE_SIZE)
    this.#pages.push(page)
    for (let at = 0; at < page.length; at += BLOCK_SIZE) {
      const words = new Uint32Array(page.buffer, page.byteOffset + at, BLOCK_WORDS)
      this.#spare.push(blockOf(words))
    }
  }
}

/** Holds records. */
export class HeldRecords {
  /** The number of records. */
  count = 0
  readonly #memory: HeldMemory
  #blocks: Block[] = []
  #last: Block = NO_BLOCK

  constructor(memory: HeldMemory) {
    this.#memory = memory
  }

  /** Adds a record whose fields were just read from `page`. */
  add(
    rank: number,
    fields: RecordFields,
    page: Page,
    segment: number,
    offset: number,
    keepAbsence: boolean,
  ): void {
    const { keySize, sequence, expiresAtMs } = fields
    const keyWords = (keySize + 3) >>> 2
    const wordCount = KEY + keyWords + (expiresAtMs > 0 ? EXPIRY_WORDS : 0)
    const { words, end: at } = this.#blockFor(wordCount)
    words[at] = rank
    words[at + FLAGS] =
      fields.kind | (keepAbsence ? KEEPS_ABSENCE : 0) | (expiresAtMs > 0 ? EXPIRES : 0)
    words[at + SEGMENT] = segment
    words[at + OFFSET] = offset
    words[at + SIZE] = fields.size
    words[at + SEQUENCE_LOW] = sequence >>> 0
    words[at + SEQUENCE_HIGH] = (keySize << KEY_SIZE_SHIFT) | Math.floor(sequence / WORD_RANGE)
    copyToWords(page, fields.keyAt, keySize, words, at + KEY)
    if (expiresAtMs > 0) {
      words[at + KEY + keyWords] = expiresAtMs >>> 0
      words[at + KEY + keyWords + 1] = Math.floor(expiresAtMs / WORD_RANGE)
    }
    this.#last.end = at + wordCount
    this.count++
  }

  /** Copies the record at `place` of others here, with a rank. */
  take(rank: number, from: HeldRecords, place: number): void {
    const source = from.#blocks[place >>> BLOCK_BITS] as Block
    const start = place & IN_BLOCK
    const wordCount = wordsOf(source.words, start)
    const block = this.#blockFor(wordCount)
    block.words.set(source.words.subarray(start, start + wordCount), block.end)
    block.words[block.end] = rank
    block.end += wordCount
    this.count++
  }

  /** Writes ranks and places to `pairs`, in turns, in the order in which the records were added. */
  list(pairs: Uint32Array): void {
    let at = 0
    for (let number = 0; number < this.#blocks.length; number++) {
      const { words, end } = this.#blocks[number] as Block
      for (let start = 0; start < end; start += wordsOf(words, start)) {
        pairs[at] = words[start] as number
        pairs[at + 1] = (number << BLOCK_BITS) | start
        at += 2
      }
    }
  }

  /** Calls `visit` with the key of the record at a place, without copying it. */
  showKey(place: number, visit: KeyVisitor): void {
    const { words, bytes } = this.#blocks[place >>> BLOCK_BITS] as Block
    const at = place & IN_BLOCK
    visit(bytes, (at + KEY) * 4, (words[at + SEQUENCE_HIGH] as number) >>> KEY_SIZE_SHIFT)
  }

  /** Reads the record at a place. */
  read(place: number, record: HeldRecord): void {
    const source = (this.#blocks[place >>> BLOCK_BITS] as Block).words
    const at = place & IN_BLOCK
    const flags = source[at + FLAGS] as number
    const high = source[at + SEQUENCE_HIGH] as number
    record.kind = (flags & KIND_MASK) as RecordKind
    record.keySize = high >>> KEY_SIZE_SHIFT
    record.segment = source[at + SEGMENT] as number
    record.offset = source[at + OFFSET] as number
    record.size = source[at + SIZE] as number
    record.sequence =
      (high & SEQUENCE_HIGH_MASK) * WORD_RANGE + (source[at + SEQUENCE_LOW] as number)
    record.keepAbsence = (flags & KEEPS_ABSENCE) !== 0
    const { words } = record
    const count = (record.keySize + 3) >>> 2
    let from = at + KEY
    for (let index = 0; index < count; index++) words[index] = source[from++] as number
    record.expiresAtMs =
      (flags & EXPIRES) === 0
        ? 0
        : (source[from + 1] as number) * WORD_RANGE + (source[from] as number)
  }

  /** Removes all records, and gives their memory back. */
  clear(): void {
    this.#memory.give(this.#blocks)
    this.#blocks = []
    this.#last = NO_BLOCK
    this.count = 0
  }

  #blockFor(wordCount: number): Block {
    if (this.#last.end + wordCount > this.#last.words.length) {
      this.#last = this.#memory.take(wordCount)
      this.#blocks.push(this.#last)
    }
    return this.#last
  }
}

const NO_BLOCK = blockOf(new Uint32Array(0))

function blockOf(words: Uint32Array): Block {
  const bytes = new Uint8Array(words.buffer, words.byteOffset, words.byteLength)
  return { words, bytes, end: 0 }
}

/** Returns the number of words that the record at `at` takes. */
function wordsOf(words: Uint32Array, at: number): number {
  const keySize = (words[at + SEQUENCE_HIGH] as number) >>> KEY_SIZE_SHIFT
  const expiryWords = ((words[at + FLAGS] as number) & EXPIRES) === 0 ? 0 : EXPIRY_WORDS
  return KEY + ((keySize + 3) >>> 2) + expiryWords
}

/** Copies bytes into whole words, and pads the last one with zeros. */
function copyToWords(
  { bytes, view }: Page,
  from: number,
  size: number,
  words: Uint32Array,
  at: number,
): void {
  const whole = size >>> 2
  for (let index = 0; index < whole; index++) {
    words[at + index] = view.getUint32(from + index * 4, LITTLE_ENDIAN)
  }
  if ((size & 3) === 0) return
  let last = 0
  for (let index = 0; index < (size & 3); index++) {
    const byte = bytes[from + whole * 4 + index] as number
    last |= byte << (LITTLE_ENDIAN ? index * 8 : 24 - index * 8)
  }
  words[at + whole] = last
}
