/**
 * The entries of a keydir: keys and locations, in one arena.
 *
 * An entry's number is the position of its first word. In words:
 *
 *     0   segment id (31 bits), top bit: expires
 *     1   offset
 *     2   sequence, low 32 bits
 *     3   key size (8 bits, 0 in a wide entry); sequence, its 8 bits above those << 8;
 *         record size << 16, 0 for an absence
 *     4…  the key, padded with zeros to a word
 *     …   expiry: expiresAtMs, low 32 bits, then high 32 bits
 *
 * If a value does not fit word 3, the entry is *wide*. Two words then precede the key:
 *
 *     4   key size (16 bits); sequence, high 16 bits << 16
 *     5   record size
 *
 * A freed entry keeps its expiry bit and its key size, has segment id 0, and links through word 1
 * to the next free block of the same size.
 *
 * Invariants
 * - A record that is moved, to any offset of any segment, fits its entry.
 * - Segment ids start at 1 and keys have at least one byte. So a free block differs from a live
 *   one, and both differ from the zeros after a chunk's last block.
 * - Blocks are never cut or joined. Their boundaries are fixed from the first use, so the arena can
 *   be walked from start to end whatever changes meanwhile.
 * - While pinned, freed entries are not used again, and their keys stay readable.
 */

import { Arena, CHUNK_MASK, CHUNK_SIZE, type ChunkSource } from './arena.ts'
import { type Entry, NO_ENTRY } from './entry.ts'
import { CLASS_LIMIT, FreeLists } from './free-lists.ts'
import type { KeyHash } from './key-hash.ts'
import {
  compareKeys,
  equalKeys,
  keyHead,
  keyWords,
  LITTLE_ENDIAN,
  sharedSize,
} from './key-words.ts'
import type { SearchKey } from './search-key.ts'

const IN_CHUNK = CHUNK_MASK

const OFFSET = 1
const SEQUENCE = 2
const SHAPE = 3
const KEY = 4
/** Where the key of most entries ends. */
const KEY_END = KEY + 3
const EXPIRY_WORDS = 2

/** Words of a wide entry. */
const WIDE_SHAPE = 4
const WIDE_SIZE = 5
const WIDE_WORDS = 2

const EXPIRES = 0x80000000
const SEGMENT_MASK = 0x7fffffff
const WORD_RANGE = 2 ** 32

const KEY_SIZE_MASK = 0xff
const SEQUENCE_SHIFT = 8
const SEQUENCE_MASK = 0xff
const SIZE_SHIFT = 16
const MAX_SIZE = 0xffff
const SEQUENCE_LIMIT = WORD_RANGE * (SEQUENCE_MASK + 1)
const WIDE_KEY_SIZE_MASK = 0xffff
const WIDE_SEQUENCE_SHIFT = 16

/**
 * The number of the first entry; number 0 stands for no entry. From here on, entries of eight words
 * (keys of 16 bytes) straddle no cache line.
 */
const FIRST_ENTRY = 8

/** The layout above and its byte order. An image of entries with another layout cannot be read. */
const LAYOUT = LITTLE_ENDIAN ? 'le 2' : 'be 2'

const { utf8Slice } = Buffer.prototype as unknown as {
  utf8Slice(this: Uint8Array, start: number, end: number): string
}

const WORD_SIZE = 4
const CHUNK_WORDS = CHUNK_SIZE / WORD_SIZE

/** The number of freed entries that are given back with each one that is added. */
const RETURNED_AT_ONCE = 8

/** The figures that `Entries` needs besides its arena to be restored; plain JSON. */
interface EntriesMeta {
  readonly layout: string
  readonly used: number
  readonly count: number
  readonly expiringCount: number
  /** Missing in images of earlier releases. */
  readonly freeWords?: number
  readonly free: readonly (readonly number[])[]
  /** The lists of blocks that were freed while pinned: the first block of each, and their count. */
  readonly limbo: readonly (readonly [first: number, count: number])[]
}

/** Where a record lies, and what it must contain. One object serves all reads. */
export class Location {
  segment = 0
  offset = 0
  /** The record's size in bytes. */
  size = 0
  keySize = 0
  sequence = 0
}

/** The keys and locations of a keydir, off the JavaScript heap. */
export class Entries {
  readonly arena: Arena
  readonly #free: FreeLists
  #count = 0
  #expiringCount = 0
  /** Words of blocks that were freed and not used again. */
  #freeWords = 0
  #pins = 0
  /** The entries freed since the first pin, linked like a free list, but of any size. */
  #limboFirst: Entry = NO_ENTRY
  #limboCount = 0
  /** Such lists that nothing pins any more. They are given back step by step. */
  #returning: [first: Entry, count: number][] = []

  /** Creates an empty collection, or one in a restored arena. */
  constructor(arena?: Arena, free?: FreeLists) {
    this.arena = arena ?? new Arena()
    if (arena === undefined) this.arena.reserve(FIRST_ENTRY)
    this.#free = free ?? new FreeLists(this.arena, OFFSET)
  }

  /**
   * Restores entries from a checkpoint's meta without touching a chunk.
   *
   * @throws RangeError if `meta()` cannot have returned this
   */
  static restore(meta: unknown, arena: number, source: ChunkSource): Entries {
    const image = (meta ?? {}) as Record<string, unknown>
    const { layout, used, count, expiringCount, freeWords, free, limbo } = image
    if (layout !== LAYOUT) throw new RangeError('The entries of an image are laid out otherwise')
    const restored = Arena.restore(used, arena, source)
    const limit = restored.used
    if (!isCount(count, limit) || !isCount(expiringCount, count) || !Array.isArray(limbo)) {
      throw new RangeError('The entries of an image contradict each other')
    }
    const lists = FreeLists.restore(restored, OFFSET, free, CLASS_LIMIT - 1)
    const entries = new Entries(restored, lists)
    entries.#count = count
    entries.#expiringCount = expiringCount
    entries.#freeWords = isCount(freeWords, limit) ? freeWords : 0
    for (const list of limbo) {
      const [first, length] = Array.isArray(list) ? list : []
      if (!isCount(first, limit - 1) || !isCount(length, limit)) {
        throw new RangeError('A list of freed entries is outside of its arena')
      }
      entries.#returning.push([first, length])
    }
    return entries
  }

  /** The number of live entries, absences included. */
  get count(): number {
    return this.#count
  }

  /** The number of live entries that expire. */
  get expiringCount(): number {
    return this.#expiringCount
  }

  /** The bytes that entries use or have used. */
  get usedSize(): number {
    return this.arena.used * WORD_SIZE
  }

  /** The part of those bytes that freed entries have left. */
  get freeSize(): number {
    return this.#freeWords * WORD_SIZE
  }

  /** The bytes of memory reserved. */
  get byteSize(): number {
    return this.arena.byteSize
  }

  /** Returns what `restore` needs besides the arena. */
  meta(): EntriesMeta {
    return {
      layout: LAYOUT,
      used: this.arena.used,
      count: this.#count,
      expiringCount: this.#expiringCount,
      freeWords: this.#freeWords,
      free: this.#free.image(),
      limbo: [...this.#returning, [this.#limboFirst, this.#limboCount]],
    }
  }

  /**
   * Adds an entry, with a copy of the key. Checks nothing: the caller of the keydir has done that.
   *
   * @throws {@link StoreError} FIRKIN_NO_MEMORY; nothing has changed then
   */
  allocate(
    key: SearchKey,
    segment: number,
    offset: number,
    size: number,
    sequence: number,
    expiresAtMs: number,
  ): Entry {
    const keySize = key.size
    const keyWordCount = (keySize + 3) >>> 2
    const wide = isWide(keySize, size, sequence)
    const keyPlace = wide ? KEY + WIDE_WORDS : KEY
    const wordCount = keyPlace + keyWordCount + (expiresAtMs > 0 ? EXPIRY_WORDS : 0)
    if (this.#returning.length > 0) this.#giveBack()
    let entry = this.#free.take(wordCount)
    if (entry === 0) entry = this.arena.reserve(wordCount)
    else this.#freeWords -= wordCount
    const words = this.arena.chunkAt(entry)
    const at = entry & IN_CHUNK
    const keyAt = at + keyPlace
    const source = key.words
    for (let i = 0; i < keyWordCount; i++) words[keyAt + i] = source[i] as number
    if (wide) words[at + WIDE_SHAPE] = keySize
    words[at + SHAPE] = wide ? 0 : keySize
    write(words, at, segment, offset, size, sequence, expiresAtMs)
    if (expiresAtMs > 0) this.#expiringCount++
    this.#count++
    return entry
  }

  /** Whether a live entry can hold these values, so that `set` may be called. */
  fits(entry: Entry, size: number, sequence: number, expiresAtMs: number): boolean {
    const words = this.arena.chunkAt(entry)
    const at = entry & IN_CHUNK
    const shape = words[at + SHAPE] as number
    return (
      (words[at] as number) >= EXPIRES === expiresAtMs > 0 &&
      (!isWide(0, size, sequence) || (shape & KEY_SIZE_MASK) === 0)
    )
  }

  /** Changes a live entry in place; see `fits`. */
  set(
    entry: Entry,
    segment: number,
    offset: number,
    size: number,
    sequence: number,
    expiresAtMs: number,
  ): void {
    const words = this.arena.chunkAt(entry)
    write(words, entry & IN_CHUNK, segment, offset, size, sequence, expiresAtMs)
  }

  /** Frees a live entry. Its number may be used again: at once, or once nothing is pinned. */
  free(entry: Entry): void {
    const words = this.arena.chunkAt(entry)
    const at = entry & IN_CHUNK
    this.#count--
    if (this.expires(entry)) this.#expiringCount--
    words[at] = (words[at] as number) & EXPIRES
    const wordCount = blockWords(words, at)
    this.#freeWords += wordCount
    if (this.#pins > 0) {
      words[at + OFFSET] = this.#limboFirst
      this.#limboFirst = entry
      this.#limboCount++
    } else {
      this.#free.give(wordCount, entry)
    }
  }

  /** Keeps the keys of entries that are freed from now on readable, until `unpin`. Pins nest. */
  pin(): void {
    this.#pins++
  }

  /**
   * Ends one `pin`. After the last one, the entries freed meanwhile are given back: some at once,
   * and some with each entry that is added. So there is no pause, however many there are.
   */
  unpin(): void {
    this.#pins--
    if (this.#pins > 0 || this.#limboCount === 0) return
    this.#returning.push([this.#limboFirst, this.#limboCount])
    this.#limboFirst = NO_ENTRY
    this.#limboCount = 0
    // So that short lists do not pile up while nothing is added.
    this.#giveBack()
  }

  /**
   * Reads each of the first `count` entries of a list, so that the processor has them in its cache
   * when they are needed; the number returned means nothing. The loop contains nothing else,
   * because the processor looks ahead by a limited number of instructions (measured, bench
   * `iterate`).
   */
  touch(list: readonly Entry[], count: number): number {
    let sum = 0
    for (let index = 0; index < count; index++) {
      const entry = list[index] as Entry
      const words = this.arena.chunkAt(entry)
      const at = entry & IN_CHUNK
      sum += (words[at] as number) + (words[Math.min(at + KEY_END, words.length - 1)] as number)
    }
    return sum
  }

  /** Whether an entry is in use; a freed one is not, even while a pin keeps its key readable. */
  isLive(entry: Entry): boolean {
    return (this.#word(entry, 0) & SEGMENT_MASK) !== 0
  }

  /** Sets all fields of a location, by one look at the entry (measured, bench `get`). */
  locate(entry: Entry, location: Location): void {
    const words = this.arena.chunkAt(entry)
    const at = entry & IN_CHUNK
    const shape = words[at + SHAPE] as number
    let high = (shape >>> SEQUENCE_SHIFT) & SEQUENCE_MASK
    location.segment = (words[at] as number) & SEGMENT_MASK
    location.offset = words[at + OFFSET] as number
    location.keySize = shape & KEY_SIZE_MASK
    location.size = shape >>> SIZE_SHIFT
    if ((shape & KEY_SIZE_MASK) === 0) {
      const wideShape = words[at + WIDE_SHAPE] as number
      high = wideShape >>> WIDE_SEQUENCE_SHIFT
      location.keySize = wideShape & WIDE_KEY_SIZE_MASK
      location.size = words[at + WIDE_SIZE] as number
    }
    location.sequence = high * WORD_RANGE + (words[at + SEQUENCE] as number)
  }

  /** Returns the id of the segment that the record lies in. */
  segmentOf(entry: Entry): number {
    return this.#word(entry, 0) & SEGMENT_MASK
  }

  /** Returns where the record begins in its segment, in bytes. */
  offsetOf(entry: Entry): number {
    return this.#word(entry, OFFSET)
  }

  /** Returns the record's size in bytes; 0 for an absence. */
  sizeOf(entry: Entry): number {
    const words = this.arena.chunkAt(entry)
    const at = entry & IN_CHUNK
    const shape = words[at + SHAPE] as number
    if ((shape & KEY_SIZE_MASK) === 0) return words[at + WIDE_SIZE] as number
    return shape >>> SIZE_SHIFT
  }

  /** Returns the record's sequence. */
  sequenceOf(entry: Entry): number {
    const words = this.arena.chunkAt(entry)
    const at = entry & IN_CHUNK
    const shape = words[at + SHAPE] as number
    const high =
      (shape & KEY_SIZE_MASK) === 0
        ? (words[at + WIDE_SHAPE] as number) >>> WIDE_SEQUENCE_SHIFT
        : (shape >>> SEQUENCE_SHIFT) & SEQUENCE_MASK
    return high * WORD_RANGE + (words[at + SEQUENCE] as number)
  }

  /** Whether the record expires. */
  expires(entry: Entry): boolean {
    return this.#word(entry, 0) >= EXPIRES
  }

  /** Returns when the record expires, in milliseconds since 1970; 0 if it does not. */
  expiresAtOf(entry: Entry): number {
    const words = this.arena.chunkAt(entry)
    const at = entry & IN_CHUNK
    if ((words[at] as number) < EXPIRES) return 0
    const expiryAt = at + blockWords(words, at) - EXPIRY_WORDS
    return (words[expiryAt + 1] as number) * WORD_RANGE + (words[expiryAt] as number)
  }

  /** Returns the key's size in bytes. */
  keySizeOf(entry: Entry): number {
    return keySizeAt(this.arena.chunkAt(entry), entry & IN_CHUNK)
  }

  /** Returns the key as a view, valid until the entry is freed and nothing is pinned. */
  keyView(entry: Entry): Uint8Array {
    const bytes = this.arena.bytesAt(entry)
    const start = this.#keyAt(entry) * 4
    return bytes.subarray(start, start + this.keySizeOf(entry))
  }

  /** Returns the key as UTF-8 text. Creates only the string (measured, bench `iterate`). */
  keyText(entry: Entry): string {
    const start = this.#keyAt(entry) * 4
    // Safety: a Buffer's method, which accepts any Uint8Array.
    return utf8Slice.call(this.arena.bytesAt(entry), start, start + this.keySizeOf(entry))
  }

  /** Copies the key to `target` at position `at`, and returns its size. */
  copyKey(entry: Entry, target: Uint8Array, at: number): number {
    const bytes = this.arena.bytesAt(entry)
    const start = this.#keyAt(entry) * 4
    const size = this.keySizeOf(entry)
    for (let i = 0; i < size; i++) target[at + i] = bytes[start + i] as number
    return size
  }

  /** Whether the entry's key is the first `keySize` bytes of `key`. */
  equalsKey(entry: Entry, key: Uint8Array, keySize: number): boolean {
    const size = this.keySizeOf(entry)
    if (size !== keySize) return false
    const bytes = this.arena.bytesAt(entry)
    const start = this.#keyAt(entry) * 4
    for (let i = 0; i < size; i++) {
      if (bytes[start + i] !== key[i]) return false
    }
    return true
  }

  /** Compares the entry's key with the first `keySize` bytes of `key`. */
  compareKey(entry: Entry, key: Uint8Array, keySize: number): number {
    const bytes = this.arena.bytesAt(entry)
    const start = this.#keyAt(entry) * 4
    const size = this.keySizeOf(entry)
    const shorter = Math.min(size, keySize)
    for (let i = 0; i < shorter; i++) {
      const difference = (bytes[start + i] as number) - (key[i] as number)
      if (difference !== 0) return difference
    }
    return size - keySize
  }

  /** Whether the entry's key is the one being searched for. */
  equalsSearch(entry: Entry, key: SearchKey): boolean {
    const words = this.arena.chunkAt(entry)
    const at = entry & IN_CHUNK
    const size = (words[at + SHAPE] as number) & KEY_SIZE_MASK
    if (size === 0) return this.#equalsWide(words, at, key)
    return equalKeys(words, at + KEY, size, key.words, 0, key.size)
  }

  /** Compares the entry's key with the one being searched for, from word `from` on. */
  compareSearch(entry: Entry, key: SearchKey, from: number): number {
    const words = this.arena.chunkAt(entry)
    const at = entry & IN_CHUNK
    const size = keySizeAt(words, at)
    return compareKeys(words, keyAt(words, at), size, key.words, 0, key.size, from)
  }

  /** Compares the keys of two entries. */
  compare(a: Entry, b: Entry): number {
    const aWords = this.arena.chunkAt(a)
    const bWords = this.arena.chunkAt(b)
    const aAt = this.#keyAt(a)
    const bAt = this.#keyAt(b)
    return compareKeys(aWords, aAt, this.keySizeOf(a), bWords, bAt, this.keySizeOf(b), 0)
  }

  /** Returns how many bytes the keys of two entries share from their start. */
  sharedSize(a: Entry, b: Entry): number {
    const aWords = this.arena.chunkAt(a)
    const bWords = this.arena.chunkAt(b)
    const aAt = this.#keyAt(a)
    const bAt = this.#keyAt(b)
    return sharedSize(aWords, aAt, this.keySizeOf(a), bWords, bAt, this.keySizeOf(b))
  }

  /** Returns how many bytes the entry's key shares with the start of the one searched for. */
  sharedWithSearch(entry: Entry, key: SearchKey): number {
    const words = this.arena.chunkAt(entry)
    const at = this.#keyAt(entry)
    return sharedSize(words, at, this.keySizeOf(entry), key.words, 0, key.size)
  }

  /** Returns the bits of the key after its first `prefix` bytes; see {@link keyHead}. */
  headOf(entry: Entry, prefix: number): number {
    const words = this.arena.chunkAt(entry)
    return keyHead(words, this.#keyAt(entry), this.keySizeOf(entry), prefix)
  }

  /** Hashes the entry's key. */
  hash(entry: Entry, hash: KeyHash): void {
    hash.compute(this.arena.chunkAt(entry), this.#keyAt(entry), this.keySizeOf(entry))
  }

  /** Makes the entry's key the one to search for. */
  readSearch(entry: Entry, key: SearchKey): void {
    key.setWords(this.arena.chunkAt(entry), this.#keyAt(entry), this.keySizeOf(entry))
  }

  /**
   * Visits the live entries among the next `limit` blocks from `position` on, in no order of keys.
   * Returns where to continue, or -1 at the end. A walk from 0 to -1 visits every entry that is
   * there all the time exactly once; entries added, freed or moved meanwhile may be visited or not.
   * `visit` may change anything.
   */
  walk(position: number, limit: number, visit: (entry: Entry) => void): number {
    let at = Math.max(position, FIRST_ENTRY)
    for (let left = limit; left > 0; ) {
      if (at >= this.arena.used) return -1
      const words = this.arena.chunkAt(at)
      const offset = at & IN_CHUNK
      const count = blockWords(words, offset)
      if (count === 0) {
        at = at - offset + CHUNK_WORDS
        continue
      }
      if (((words[offset] as number) & SEGMENT_MASK) !== 0) visit(at)
      at += count
      left--
    }
    return at >= this.arena.used ? -1 : at
  }

  /** Gives back some of the blocks that were freed while pinned. */
  #giveBack(): void {
    const list = this.#returning.at(-1)
    if (list === undefined) return
    // The count limits the list, in case an image is wrong about where it begins.
    for (let left = RETURNED_AT_ONCE; left > 0 && list[1] > 0; left--) {
      const [entry] = list
      const words = this.arena.chunkAt(entry)
      const at = entry & IN_CHUNK
      list[0] = words[at + OFFSET] as number
      list[1] = list[0] === NO_ENTRY ? 0 : list[1] - 1
      this.#free.give(blockWords(words, at), entry)
    }
    if (list[1] === 0) this.#returning.pop()
  }

  #equalsWide(words: Uint32Array, at: number, key: SearchKey): boolean {
    const size = keySizeAt(words, at)
    return equalKeys(words, at + KEY + WIDE_WORDS, size, key.words, 0, key.size)
  }

  /** Returns where in its chunk an entry's key begins. */
  #keyAt(entry: Entry): number {
    return keyAt(this.arena.chunkAt(entry), entry & IN_CHUNK)
  }

  #word(entry: Entry, index: number): number {
    return this.arena.chunkAt(entry)[(entry & IN_CHUNK) + index] as number
  }
}

/** Whether an entry must be wide to hold these values. */
function isWide(keySize: number, size: number, sequence: number): boolean {
  return keySize > KEY_SIZE_MASK || size > MAX_SIZE || sequence >= SEQUENCE_LIMIT
}

/** Writes an entry except for its key, whose size is already there. */
function write(
  words: Uint32Array,
  at: number,
  segment: number,
  offset: number,
  size: number,
  sequence: number,
  expiresAtMs: number,
): void {
  const high = Math.floor(sequence / WORD_RANGE)
  const keySize = (words[at + SHAPE] as number) & KEY_SIZE_MASK
  words[at] = segment
  words[at + OFFSET] = offset
  words[at + SEQUENCE] = sequence >>> 0
  if (keySize === 0) {
    const wideKeySize = (words[at + WIDE_SHAPE] as number) & WIDE_KEY_SIZE_MASK
    words[at + WIDE_SHAPE] = wideKeySize | (high << WIDE_SEQUENCE_SHIFT)
    words[at + WIDE_SIZE] = size
  } else {
    words[at + SHAPE] = keySize | (high << SEQUENCE_SHIFT) | (size << SIZE_SHIFT)
  }
  if (expiresAtMs === 0) return
  words[at] = segment | EXPIRES
  setExpiry(words, keyAt(words, at) + keyWords(keySizeAt(words, at)), expiresAtMs)
}

/** Returns the key size of the entry at `at`; 0 if there is none before the chunk's end. */
function keySizeAt(words: Uint32Array, at: number): number {
  const keySize = (words[at + SHAPE] ?? 0) & KEY_SIZE_MASK
  return keySize > 0 ? keySize : (words[at + WIDE_SHAPE] ?? 0) & WIDE_KEY_SIZE_MASK
}

/** Returns where the key of the entry at `at` begins. */
function keyAt(words: Uint32Array, at: number): number {
  const keySize = (words[at + SHAPE] as number) & KEY_SIZE_MASK
  return keySize > 0 ? at + KEY : at + KEY + WIDE_WORDS
}

/** Returns how many words the block at `at` takes; 0 if there is none before the chunk's end. */
function blockWords(words: Uint32Array, at: number): number {
  const keySize = keySizeAt(words, at)
  if (keySize === 0) return 0
  const keyEnd = keyAt(words, at) - at + keyWords(keySize)
  return (words[at] as number) >= EXPIRES ? keyEnd + EXPIRY_WORDS : keyEnd
}

function setExpiry(words: Uint32Array, at: number, expiresAtMs: number): void {
  words[at] = expiresAtMs >>> 0
  words[at + 1] = Math.floor(expiresAtMs / WORD_RANGE)
}

function isCount(value: unknown, limit: number): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= limit
}
