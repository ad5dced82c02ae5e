/**
 * The pages of the hash keydir, each of 1,024 words: a header and 63 buckets of 16 words.
 *
 *     header   0   count of entries in this page
 *              1   depth: how many bits of the hash all keys of the page share
 *              2   the next page of an overflow chain, or 0; in a free page, the next free one
 *     bucket   0…  twelve tags of one byte, 0 if the slot is free
 *              3   overflows: how many entries passed this full bucket on their way to another
 *              4…  twelve entries
 *
 * An entry lies in the first bucket, counted cyclically from its home bucket, that had a free slot.
 * A search goes past a bucket only if it has overflows, and a removal takes back the overflows of
 * its entry. So there are no tombstones. A bucket takes 64 bytes, about one line of the processor's
 * cache.
 *
 * Invariants
 * - Tags are 1 to 255, from bits of the hash that choose neither page nor bucket.
 * - In a page that has a next one, each bucket has one extra overflow, so that a search continues
 *   to the end of the page and goes on to the next.
 */

import { Arena, CHUNK_MASK, type ChunkSource } from './arena.ts'
import type { Entries } from './entries.ts'
import { type Entry, NO_ENTRY } from './entry.ts'
import { FreeLists } from './free-lists.ts'
import type { KeyHash } from './key-hash.ts'
import type { SearchKey } from './search-key.ts'

const IN_CHUNK = CHUNK_MASK

const PAGE_BITS = 10
const PAGE_WORDS = 1 << PAGE_BITS

const COUNT = 0
const DEPTH = 1
const NEXT = 2
const BUCKETS = 16

const BUCKET_BITS = 4
const BUCKET_COUNT = (PAGE_WORDS - BUCKETS) >>> BUCKET_BITS
const BUCKET_SLOTS = 12
const OVERFLOWS = 3
const SLOTS = 4

/** The number of entries that a page can hold. */
export const PAGE_CAPACITY = BUCKET_COUNT * BUCKET_SLOTS

const SIZE_CLASS = 1
const LOW_BITS = 0x01010101
const HIGH_BITS = 0x80808080

/** The number of a page: its position divided by its words. */
export type Page = number

/** Stands for the page after the last one of a chain. */
const NO_PAGE = 0

/** The figures that `HashPages` needs besides its arena to be restored; plain JSON. */
interface HashPagesMeta {
  readonly used: number
  readonly free: readonly (readonly number[])[]
}

/** The pages of an extendible hash table: small open-addressing tables of entries. */
export class HashPages {
  readonly arena: Arena
  readonly #entries: Entries
  readonly #free: FreeLists

  constructor(entries: Entries, arena?: Arena, free?: FreeLists) {
    this.arena = arena ?? new Arena()
    this.#entries = entries
    this.#free = free ?? new FreeLists(this.arena, NEXT)
  }

  /** Restores pages without touching a chunk; throws a RangeError if the meta is invalid. */
  static restore(entries: Entries, meta: unknown, arena: number, source: ChunkSource): HashPages {
    const { used, free } = (meta ?? {}) as Record<string, unknown>
    const restored = Arena.restore(used, arena, source)
    if (restored.used % PAGE_WORDS !== 0) throw new RangeError('A page is cut short')
    return new HashPages(entries, restored, FreeLists.restore(restored, NEXT, free))
  }

  /** Returns what `restore` needs besides the arena. */
  meta(): HashPagesMeta {
    return { used: this.arena.used, free: this.#free.image() }
  }

  /** The number of pages, free ones included. */
  get pageCount(): number {
    return this.arena.used / PAGE_WORDS
  }

  /** Creates an empty page. Only the very first one has number 0, so number 0 is in no chain. */
  create(depth: number): Page {
    const position = this.#free.take(SIZE_CLASS) || this.arena.reserve(PAGE_WORDS)
    this.#clear(position >>> PAGE_BITS, depth)
    return position >>> PAGE_BITS
  }

  /** Returns how many bits of the hash the keys of a page share. */
  depth(page: Page): number {
    return this.#get(page, DEPTH)
  }

  /** Returns how many entries a page has, without those of its chain. */
  count(page: Page): number {
    return this.#get(page, COUNT)
  }

  /**
   * Returns the entry of the key, whose hash is `low`, in a page or its chain, or {@link NO_ENTRY}.
   */
  find(page: Page, key: SearchKey, low: number): Entry {
    const words = this.arena.chunkAt(page << PAGE_BITS)
    const bucket = homeBucket(low)
    const at = ((page << PAGE_BITS) & IN_CHUNK) + BUCKETS + (bucket << BUCKET_BITS)
    // All twelve tags form one number, so that no branch depends on which slot of the bucket
    // matches. Such a branch would be mispredicted and keep the processor from starting the next
    // search (measured, bench/keydir.js).
    let matches = matchingSlots(words, at, tagPattern(low))
    while (matches !== 0) {
      const entry = words[at + SLOTS + firstSlot(matches)] as number
      // A match can be false: tags may be equal, and a tag above a true match may only appear to
      // match.
      if (entry !== NO_ENTRY && this.#entries.equalsSearch(entry, key)) return entry
      matches &= matches - 1
    }
    return words[at + OVERFLOWS] === 0 ? NO_ENTRY : this.#findPastHome(page, bucket, key, low)
  }

  /**
   * Reserves space for an entry in a page or its chain, so that `insert` takes no memory.
   *
   * @throws {@link StoreError} FIRKIN_NO_MEMORY
   */
  reserve(page: Page): void {
    for (let each = page; this.count(each) === PAGE_CAPACITY; ) each = this.#nextOrNew(each)
  }

  /** Adds an entry to a page, or to its chain if the page is full; see {@link reserve}. */
  insert(page: Page, entry: Entry, low: number): void {
    if (this.count(page) === PAGE_CAPACITY) {
      this.insert(this.#nextOrNew(page), entry, low)
      return
    }
    const words = this.arena.chunkAt(page << PAGE_BITS)
    const base = ((page << PAGE_BITS) & IN_CHUNK) + BUCKETS
    for (let bucket = homeBucket(low); ; bucket = following(bucket)) {
      const at = base + (bucket << BUCKET_BITS)
      const vacant = matchingSlots(words, at, 0)
      if (vacant !== 0) {
        const slot = firstSlot(vacant)
        const tags = at + (slot >>> 2)
        words[tags] = (words[tags] as number) | (tagOf(low) << ((slot & 3) * 8))
        words[at + SLOTS + slot] = entry
        this.#set(page, COUNT, this.count(page) + 1)
        return
      }
      words[at + OVERFLOWS] = (words[at + OVERFLOWS] as number) + 1
    }
  }

  /**
   * Replaces an entry by another one of the same key; {@link NO_ENTRY} removes it. Returns whether
   * the entry was there.
   */
  replace(page: Page, entry: Entry, low: number, replacement: Entry): boolean {
    const words = this.arena.chunkAt(page << PAGE_BITS)
    const base = ((page << PAGE_BITS) & IN_CHUNK) + BUCKETS
    const home = homeBucket(low)
    let bucket = home
    for (let probes = 0; probes < BUCKET_COUNT; probes++) {
      const at = base + (bucket << BUCKET_BITS)
      for (let slot = 0; slot < BUCKET_SLOTS; slot++) {
        if (words[at + SLOTS + slot] !== entry) continue
        words[at + SLOTS + slot] = replacement
        if (replacement === NO_ENTRY) {
          const tags = at + (slot >>> 2)
          words[tags] = (words[tags] as number) & ~(0xff << ((slot & 3) * 8))
          this.#set(page, COUNT, this.count(page) - 1)
          this.#takeBack(words, base, home, bucket)
        }
        return true
      }
      if (words[at + OVERFLOWS] === 0) return false
      bucket = following(bucket)
    }
    const next = this.#get(page, NEXT)
    return next !== NO_PAGE && this.replace(next, entry, low, replacement)
  }

  /**
   * Splits a page, with its chain, by the next bit of the hash: entries for which `upper` returns
   * true go to a new page, which is returned. `hash` is left with the hash of some entry.
   *
   * Only the new page takes memory: what does not fit the two goes into pages that the chain
   * already had.
   *
   * @throws {@link StoreError} FIRKIN_NO_MEMORY; the page is unchanged then
   */
  split(page: Page, hash: KeyHash, upper: (high: number) => boolean): Page {
    const depth = this.depth(page) + 1
    const fresh = this.create(depth)
    const entries = this.#takeAll(page)
    this.#clear(page, depth)
    for (const entry of entries) {
      this.#entries.hash(entry, hash)
      this.insert(upper(hash.high) ? fresh : page, entry, hash.low)
    }
    return fresh
  }

  /** Continues a search past the key's home bucket, which has overflows. */
  #findPastHome(page: Page, home: number, key: SearchKey, low: number): Entry {
    const words = this.arena.chunkAt(page << PAGE_BITS)
    const base = ((page << PAGE_BITS) & IN_CHUNK) + BUCKETS
    const pattern = tagPattern(low)
    for (let bucket = following(home); bucket !== home; bucket = following(bucket)) {
      const at = base + (bucket << BUCKET_BITS)
      let matches = matchingSlots(words, at, pattern)
      while (matches !== 0) {
        const entry = words[at + SLOTS + firstSlot(matches)] as number
        if (entry !== NO_ENTRY && this.#entries.equalsSearch(entry, key)) return entry
        matches &= matches - 1
      }
      if (words[at + OVERFLOWS] === 0) return NO_ENTRY
    }
    const next = this.#get(page, NEXT)
    return next === NO_PAGE ? NO_ENTRY : this.find(next, key, low)
  }

  /**
   * Returns the entries of a page and its chain; frees the pages of the chain, but not the page
   * itself.
   */
  #takeAll(page: Page): Entry[] {
    const entries: Entry[] = []
    for (let each = page; ; ) {
      const words = this.arena.chunkAt(each << PAGE_BITS)
      const base = ((each << PAGE_BITS) & IN_CHUNK) + BUCKETS
      for (let bucket = 0; bucket < BUCKET_COUNT; bucket++) {
        const slots = base + (bucket << BUCKET_BITS) + SLOTS
        for (let slot = 0; slot < BUCKET_SLOTS; slot++) {
          const entry = words[slots + slot] as number
          if (entry !== NO_ENTRY) entries.push(entry)
        }
      }
      const next = this.#get(each, NEXT)
      if (each !== page) this.#free.give(SIZE_CLASS, (each << PAGE_BITS) >>> 0)
      if (next === NO_PAGE) return entries
      each = next
    }
  }

  /** Takes back the overflows of an entry that lay in `bucket` and had its home in `home`. */
  #takeBack(words: Uint32Array, base: number, home: number, bucket: number): void {
    for (let each = home; each !== bucket; each = following(each)) {
      const overflows = base + (each << BUCKET_BITS) + OVERFLOWS
      words[overflows] = (words[overflows] as number) - 1
    }
  }

  /** Returns the next page of a full page's chain; creates it if there is none. */
  #nextOrNew(page: Page): Page {
    const next = this.#get(page, NEXT)
    if (next !== NO_PAGE) return next
    const fresh = this.create(this.depth(page))
    this.#set(page, NEXT, fresh)
    const words = this.arena.chunkAt(page << PAGE_BITS)
    const base = ((page << PAGE_BITS) & IN_CHUNK) + BUCKETS
    for (let bucket = 0; bucket < BUCKET_COUNT; bucket++) {
      const overflows = base + (bucket << BUCKET_BITS) + OVERFLOWS
      words[overflows] = (words[overflows] as number) + 1
    }
    return fresh
  }

  #clear(page: Page, depth: number): void {
    const words = this.arena.chunkAt(page << PAGE_BITS)
    const at = (page << PAGE_BITS) & IN_CHUNK
    words.fill(0, at, at + PAGE_WORDS)
    words[at + DEPTH] = depth
  }

  #get(page: Page, index: number): number {
    return this.arena.chunkAt(page << PAGE_BITS)[((page << PAGE_BITS) & IN_CHUNK) + index] as number
  }

  #set(page: Page, index: number, value: number): void {
    this.arena.chunkAt(page << PAGE_BITS)[((page << PAGE_BITS) & IN_CHUNK) + index] = value
  }
}

function tagOf(low: number): number {
  const tag = low & 0xff
  return tag === 0 ? 1 : tag
}

/** Returns the tag of a hash, in all four bytes of a word. */
function tagPattern(low: number): number {
  return Math.imul(tagOf(low), LOW_BITS)
}

/** Returns the bucket after another, cyclically. */
function following(bucket: number): number {
  return bucket + 1 === BUCKET_COUNT ? 0 : bucket + 1
}

/** Returns the bucket where a search begins. */
function homeBucket(low: number): number {
  return ((low >>> 16) * BUCKET_COUNT) >>> 16
}

/**
 * Returns the slots of a bucket whose tag is the one repeated in `pattern`, as bits: slot `4 * i +
 * j` is bit `8 * j + i`. The first of the slots that share an `i` is right; those above it may be
 * marked in error.
 */
function matchingSlots(words: Uint32Array, at: number, pattern: number): number {
  return (
    (zeroBytes((words[at] as number) ^ pattern) >>> 7) |
    (zeroBytes((words[at + 1] as number) ^ pattern) >>> 6) |
    (zeroBytes((words[at + 2] as number) ^ pattern) >>> 5)
  )
}

/** Returns the first of the slots that `matchingSlots` returned. */
function firstSlot(slots: number): number {
  const bit = 31 - Math.clz32(slots & -slots)
  return (bit & 7) * 4 + (bit >>> 3)
}

/**
 * Returns the high bit of each zero byte of `word`; bytes above the lowest zero byte may be marked
 * too.
 */
function zeroBytes(word: number): number {
  return (word - LOW_BITS) & ~word & HIGH_BITS
}
