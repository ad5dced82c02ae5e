/**
 * The hash keydir: an extendible hash table off the JavaScript heap.
 *
 * A directory of 2^depth page numbers is indexed by the first bits of a hash. A page
 * (hash-pages.ts) that gets too full is split in two by one more bit. The directory doubles when a
 * page needs a bit that it does not have. So an insert never rehashes more than one page.
 *
 * With an even hash, all pages would fill up and split at about the same time, and the table would
 * be half empty just after that. So the hash is bent before its first bits are taken: the pages at
 * one end of the directory get five keys for every three at the other end, and at any time there
 * are pages of every fill. (Martin's spiral storage, 1979, bends hashes for other reasons.)
 *
 * Invariants
 * - All directory places that share a page's `depth` first bits hold that page.
 * - The directory has at most 16 places for each page, so that keys with equal hashes cannot blow
 *   it up. If it may not double, a page grows a chain.
 */

import { assert } from '../errors.ts'
import { randomBytes } from '../io/random.ts'
import { Arena, CHUNK_MASK, CHUNK_SIZE, type ChunkSource } from './arena.ts'
import { Entries } from './entries.ts'
import { type Entry, NO_ENTRY } from './entry.ts'
import { EntryIndex } from './entry-index.ts'
import { HashCursor } from './hash-cursor.ts'
import { HashPages, PAGE_CAPACITY, type Page } from './hash-pages.ts'
import { KeyHash } from './key-hash.ts'
import { type KeydirCursor, type KeydirImage, type KeyRange, RANK_BITS } from './keydir.ts'
import { SearchKey } from './search-key.ts'

const IN_CHUNK = CHUNK_MASK

/**
 * A page is split when it has this many entries. Fuller pages make probes longer; emptier ones
 * waste memory.
 */
const SPLIT_COUNT = Math.floor(PAGE_CAPACITY * 0.9)

const DEPTH_LIMIT = 26
const PLACES_PER_PAGE = 16
const CHUNK_WORDS = CHUNK_SIZE / 4

const ENTRIES_ARENA = 0
const PAGES_ARENA = 1
const DIRECTORY_ARENA = 2

/**
 * The keydir with the fastest point reads; see the top of this file. Its cursors sort when they are
 * created.
 */
export class HashKeydir extends EntryIndex {
  readonly kind = 'hash'
  readonly ordered = false
  readonly #pages: HashPages
  readonly #directory: Arena
  readonly #hash: KeyHash
  readonly #key = new SearchKey()
  /** The number of bits of the hash that index the directory; at least 1. */
  #depth: number
  /** Whether the key and its hash are those of the last search, which found nothing. */
  #missed = false

  /** Creates an empty keydir, or one from restored parts. */
  constructor(
    entries = new Entries(),
    hash = new KeyHash(randomBytes(4).readInt32LE(), randomBytes(4).readInt32LE()),
    pages = new HashPages(entries),
    directory?: Arena,
    depth = 1,
  ) {
    super(entries)
    this.#hash = hash
    this.#pages = pages
    this.#directory = directory ?? new Arena()
    this.#depth = depth
    if (directory === undefined) {
      this.#directory.reserve(2)
      const page = pages.create(0)
      this.#setPage(0, page)
      this.#setPage(1, page)
    }
  }

  /**
   * Restores a keydir from its image, without touching a chunk.
   *
   * @throws RangeError if `image()` cannot have returned this `meta`
   */
  static restore(meta: unknown, source: ChunkSource): HashKeydir {
    const image = (meta ?? {}) as Record<string, unknown>
    const entries = Entries.restore(image.entries, ENTRIES_ARENA, source)
    const pages = HashPages.restore(entries, image.pages, PAGES_ARENA, source)
    const { depth, seeds } = image
    if (!Number.isInteger(depth) || (depth as number) < 1 || (depth as number) > DEPTH_LIMIT) {
      throw new RangeError(`A directory cannot be indexed by ${String(depth)} bits`)
    }
    const [seedA, seedB] = Array.isArray(seeds) ? seeds : []
    if (!Number.isInteger(seedA) || !Number.isInteger(seedB)) {
      throw new RangeError('A hash needs two seeds')
    }
    const directory = Arena.restore(2 ** (depth as number), DIRECTORY_ARENA, source)
    return new HashKeydir(entries, new KeyHash(seedA, seedB), pages, directory, depth as number)
  }

  get byteSize(): number {
    return this.entries.byteSize + this.#pages.arena.byteSize + this.#directory.byteSize
  }

  find(key: Uint8Array, keySize: number, words?: Uint32Array): Entry {
    const own = this.#key
    if (words === undefined) own.set(key, keySize)
    else own.setWords(words, 0, keySize)
    const hash = this.#hash
    hash.compute(own.words, 0, keySize)
    const entry = this.#pages.find(this.#pageOf(hash.high), own, hash.low)
    this.#missed = entry === NO_ENTRY
    return entry
  }

  insert(
    key: Uint8Array,
    keySize: number,
    segment: number,
    offset: number,
    size: number,
    sequence: number,
    expiresAtMs: number,
  ): Entry {
    if (!this.#missed || !this.#key.holds(key, keySize)) {
      assert(this.find(key, keySize) === NO_ENTRY, 'The key to insert is there')
    }
    this.#missed = false
    const hash = this.#hash
    const { high, low } = hash
    let page = this.#pageOf(high)
    while (this.#pages.count(page) >= SPLIT_COUNT && this.#split(page, high)) {
      page = this.#pageOf(high)
    }
    this.#pages.reserve(page)
    const entry = this.entries.allocate(this.#key, segment, offset, size, sequence, expiresAtMs)
    this.#pages.insert(page, entry, low)
    return entry
  }

  rank(key: Uint8Array, keySize: number): number {
    this.#missed = false
    this.#key.set(key, keySize)
    this.#hash.compute(this.#key.words, 0, keySize)
    return bend(this.#hash.high) >>> (32 - RANK_BITS)
  }

  remove(entry: Entry): void {
    this.replace(entry, NO_ENTRY)
    this.entries.free(entry)
  }

  /**
   * Returns a cursor over the keys that are in `range` now; it does not see keys that are added
   * later. It reads all entries and sorts those in the range: O(n), and O(m log m) for m keys in
   * it.
   */
  cursor(range: KeyRange): KeydirCursor {
    return new HashCursor(this.entries, range)
  }

  image(): KeydirImage {
    return {
      meta: {
        depth: this.#depth,
        seeds: this.#hash.seeds,
        entries: this.entries.meta(),
        pages: this.#pages.meta(),
      },
      arenas: [this.entries.arena.image(), this.#pages.arena.image(), this.#directory.image()],
    }
  }

  release(): void {
    this.entries.arena.release()
    this.#pages.arena.release()
    this.#directory.release()
  }

  #pageOf(high: number): Page {
    return this.#pageAt(bend(high) >>> (32 - this.#depth))
  }

  #pageAt(place: number): Page {
    return this.#directory.chunkAt(place)[place & IN_CHUNK] as number
  }

  #setPage(place: number, page: Page): void {
    this.#directory.chunkAt(place)[place & IN_CHUNK] = page
  }

  protected override searchEntry(entry: Entry): SearchKey {
    this.#missed = false
    this.entries.readSearch(entry, this.#key)
    return this.#key
  }

  protected override replace(entry: Entry, replacement: Entry): void {
    this.#missed = false
    this.entries.hash(entry, this.#hash)
    const page = this.#pageOf(this.#hash.high)
    const known = this.#pages.replace(page, entry, this.#hash.low, replacement)
    assert(known, 'The entry is not in the keydir')
  }

  /** Splits the page of a hash; returns false if the directory would get too large for it. */
  #split(page: Page, high: number): boolean {
    const depth = this.#pages.depth(page)
    if (depth > this.#depth) throw new RangeError('A page is deeper than its directory')
    if (depth === this.#depth && !this.#double()) return false
    const shift = 31 - depth
    const fresh = this.#pages.split(page, this.#hash, (each) => ((bend(each) >>> shift) & 1) === 1)
    // The places of the page whose next bit is one: the upper half of a run.
    const count = 2 ** (this.#depth - depth - 1)
    const first = ((bend(high) >>> shift) | 1) * count
    for (let place = first; place < first + count; place++) this.#setPage(place, fresh)
    return true
  }

  /** Doubles the directory; returns false if that would make it too large. */
  #double(): boolean {
    const length = 2 ** this.#depth
    if (this.#depth === DEPTH_LIMIT || length * 2 > this.#pages.pageCount * PLACES_PER_PAGE) {
      return false
    }
    // An earlier attempt that ran out of memory has reserved a part already.
    for (let used = this.#directory.used; used < length * 2; used = this.#directory.used) {
      this.#directory.reserve(Math.min(length * 2 - used, CHUNK_WORDS))
    }
    for (let place = length - 1; place >= 0; place--) {
      const page = this.#pageAt(place)
      this.#setPage(place * 2 + 1, page)
      this.#setPage(place * 2, page)
    }
    this.#depth++
    return true
  }
}

/**
 * Bends a hash so that small results are more frequent than large ones, by 5 to 3 at the ends: a
 * part x of the range goes to (3 x + x²) / 4. Uses integers only, because every search calls it.
 */
function bend(high: number): number {
  const half = high >>> 16
  return (high >>> 1) + (high >>> 2) + (Math.imul(half, half) >>> 2)
}
