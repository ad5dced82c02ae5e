/**
 * The leaves of the B+tree, each of 128 words:
 *
 *     0…     62 slots of two words, in key order: the head of a key, and its entry
 *     124    NO_HEAD, as in the slots after the last entry; it ends the search
 *     125    count of entries (15 bits); bit 15: bounded; prefix size << 16
 *     126    next leaf in key order, or 0; in a free leaf, the next free one
 *     127    previous leaf, or 0
 *
 * Invariants
 * - All keys of a leaf share their first `prefix size` bytes. A bounded leaf has a fence on either
 *   side. Its fences share the prefix too, and so does every key whose search leads here. In an
 *   unbounded leaf, the first or the last one, a search must check its key for the prefix.
 * - A head is the 31 bits of a key after the prefix. Heads sort as their keys do, so a search reads
 *   a key only if its head is equal.
 */

import { Arena, CHUNK_MASK, type ChunkSource } from './arena.ts'
import type { Entries } from './entries.ts'
import { type Entry, NO_ENTRY } from './entry.ts'
import { FreeLists } from './free-lists.ts'
import { countBelow, endOfTies, NO_HEAD } from './heads.ts'
import type { SearchKey } from './search-key.ts'
import { NO_SEPARATOR, type Separator, type Separators } from './separators.ts'

const IN_CHUNK = CHUNK_MASK

const LEAF_BITS = 7
const LEAF_WORDS = 1 << LEAF_BITS

const SLOT_WORDS = 2
const ENTRY = 1
const END = 124
const STATE = 125
const NEXT = 126
const PREVIOUS = 127

/** How many entries a leaf can hold. */
export const LEAF_CAPACITY = END / SLOT_WORDS

const COUNT_MASK = 0x7fff
const BOUNDED = 0x8000
const PREFIX_SHIFT = 16

/** A search first finds one of eight groups of slots, then one of the eight slots of that group. */
const GROUP_SLOTS = 8
const GROUP_WORDS = GROUP_SLOTS * SLOT_WORDS
const GROUP_END = (GROUP_SLOTS - 1) * SLOT_WORDS

const SIZE_CLASS = 1

/** The number of a leaf: its position divided by its words. */
export type Leaf = number

/** Stands for the leaf before the first one and after the last one. */
export const NO_LEAF = 0

/** The figures that `Leaves` needs besides its arena to be restored; plain JSON. */
interface LeavesMeta {
  readonly used: number
  readonly free: readonly (readonly number[])[]
}

/** The leaves of a B+tree: sorted arrays of entries. It knows nothing of the nodes above them. */
export class Leaves {
  readonly arena: Arena
  /** The entry that the last successful `search` found. */
  found: Entry = NO_ENTRY
  readonly #entries: Entries
  readonly #separators: Separators
  readonly #free: FreeLists

  constructor(entries: Entries, separators: Separators, arena?: Arena, free?: FreeLists) {
    this.arena = arena ?? new Arena()
    // Number 0 is not a leaf.
    if (arena === undefined) this.arena.reserve(LEAF_WORDS)
    this.#entries = entries
    this.#separators = separators
    this.#free = free ?? new FreeLists(this.arena, NEXT)
  }

  /** Restores leaves without touching a chunk; throws a RangeError if the meta is invalid. */
  static restore(
    entries: Entries,
    separators: Separators,
    meta: unknown,
    arena: number,
    source: ChunkSource,
  ): Leaves {
    const { used, free } = (meta ?? {}) as Record<string, unknown>
    const restored = Arena.restore(used, arena, source)
    if (restored.used % LEAF_WORDS !== 0) throw new RangeError('A leaf is cut short')
    return new Leaves(entries, separators, restored, FreeLists.restore(restored, NEXT, free))
  }

  /** Returns what `restore` needs besides the arena. */
  meta(): LeavesMeta {
    return { used: this.arena.used, free: this.#free.image() }
  }

  /** Creates an empty, unbounded leaf. */
  create(): Leaf {
    const position = this.#free.take(SIZE_CLASS) || this.arena.reserve(LEAF_WORDS)
    const at = position & IN_CHUNK
    const words = this.arena.chunkAt(position)
    for (let slot = at; slot <= at + END; slot += SLOT_WORDS) words[slot] = NO_HEAD
    words.fill(0, at + STATE, at + LEAF_WORDS)
    return position >>> LEAF_BITS
  }

  /** Removes a leaf from the chain and frees it. */
  free(leaf: Leaf): void {
    const previous = this.previous(leaf)
    const next = this.next(leaf)
    if (previous !== NO_LEAF) this.#set(previous, NEXT, next)
    if (next !== NO_LEAF) this.#set(next, PREVIOUS, previous)
    this.#free.give(SIZE_CLASS, (leaf << LEAF_BITS) >>> 0)
  }

  /** Inserts `fresh` into the chain, just after `leaf`. */
  chain(leaf: Leaf, fresh: Leaf): void {
    const next = this.next(leaf)
    this.#set(fresh, PREVIOUS, leaf)
    this.#set(fresh, NEXT, next)
    this.#set(leaf, NEXT, fresh)
    if (next !== NO_LEAF) this.#set(next, PREVIOUS, fresh)
  }

  /** Whether a leaf with this number can exist. */
  has(leaf: number): boolean {
    return leaf > 0 && leaf < this.arena.used / LEAF_WORDS
  }

  /** Returns how many entries a leaf has. */
  count(leaf: Leaf): number {
    return this.#get(leaf, STATE) & COUNT_MASK
  }

  /** Returns the next leaf in key order. */
  next(leaf: Leaf): Leaf {
    return this.#get(leaf, NEXT)
  }

  /** Returns the previous leaf in key order. */
  previous(leaf: Leaf): Leaf {
    return this.#get(leaf, PREVIOUS)
  }

  /** Returns the entry at a place of a leaf. */
  entry(leaf: Leaf, index: number): Entry {
    return this.#get(leaf, index * SLOT_WORDS + ENTRY)
  }

  /** Replaces the entry at a place by another one of the same key. */
  setEntry(leaf: Leaf, index: number, entry: Entry): void {
    this.#set(leaf, index * SLOT_WORDS + ENTRY, entry)
  }

  /**
   * Returns `index * 2`, where `index` is the number of keys in the leaf that are below `key`; plus
   * 1 if the next key equals `key`.
   */
  search(leaf: Leaf, key: SearchKey): number {
    const words = this.arena.chunkAt(leaf << LEAF_BITS)
    const at = (leaf << LEAF_BITS) & IN_CHUNK
    const state = words[at + STATE] as number
    if ((state & BOUNDED) === 0 && state >>> PREFIX_SHIFT > 0) {
      const outside = this.#searchOutside(leaf, key)
      if (outside >= 0) return outside
    }
    const head = key.head(state >>> PREFIX_SHIFT)
    let slot = at + GROUP_WORDS * countBelow(words, at + GROUP_END, GROUP_WORDS, head)
    slot += SLOT_WORDS * countBelow(words, slot, SLOT_WORDS, head)
    // Slots have two words, so this is the index times two.
    const place = slot - at
    if (words[slot] !== head || place >= (state & COUNT_MASK) << 1) return place
    const entry = words[slot + ENTRY] as number
    if (!this.#entries.equalsSearch(entry, key)) return this.#searchTies(leaf, place >>> 1, key)
    this.found = entry
    return place | 1
  }

  /**
   * Returns what `search` returns if `key` is above all keys of a leaf that is not empty; 0 if it
   * is not.
   */
  placeAfterLast(leaf: Leaf, key: SearchKey): number {
    const words = this.arena.chunkAt(leaf << LEAF_BITS)
    const at = (leaf << LEAF_BITS) & IN_CHUNK
    const place = ((words[at + STATE] as number) & COUNT_MASK) << 1
    const last = words[at + place - SLOT_WORDS + ENTRY] as number
    return this.#entries.compareSearch(last, key, 0) < 0 ? place : 0
  }

  /** Adds `entry`, whose key is `key`, at a place of a leaf that is not full. */
  insert(leaf: Leaf, index: number, key: SearchKey, entry: Entry): void {
    const words = this.arena.chunkAt(leaf << LEAF_BITS)
    const at = (leaf << LEAF_BITS) & IN_CHUNK
    const unbounded = ((words[at + STATE] as number) & BOUNDED) === 0
    if (unbounded) this.#admit(leaf, key)
    const state = words[at + STATE] as number
    const count = state & COUNT_MASK
    const slot = at + index * SLOT_WORDS
    for (let i = at + count * SLOT_WORDS + 1; i > slot + 1; i--) words[i] = words[i - 2] as number
    words[slot] = key.head(state >>> PREFIX_SHIFT)
    words[slot + ENTRY] = entry
    words[at + STATE] = state + 1
    // Done only now and then: the keys that made the prefix short may be gone.
    if (unbounded && (count & (count + 1)) === 0) this.#settle(leaf)
  }

  /** Removes the entry at a place from a leaf. */
  remove(leaf: Leaf, index: number): void {
    const words = this.arena.chunkAt(leaf << LEAF_BITS)
    const at = (leaf << LEAF_BITS) & IN_CHUNK
    const state = words[at + STATE] as number
    const last = at + ((state & COUNT_MASK) - 1) * SLOT_WORDS
    for (let i = at + index * SLOT_WORDS; i < last; i++) words[i] = words[i + 2] as number
    words[last] = NO_HEAD
    words[at + STATE] = state - 1
  }

  /**
   * Moves entries between two neighbours until the left one has `leftCount`. Fits the prefixes to
   * the leaves' new fences: `lower`, `middle` between the two, and `upper`.
   */
  distribute(
    left: Leaf,
    right: Leaf,
    leftCount: number,
    lower: Separator,
    middle: Separator,
    upper: Separator,
  ): void {
    this.#shorten(left, lower, middle)
    this.#shorten(right, middle, upper)
    const moved = leftCount - this.count(left)
    if (moved < 0) {
      this.#shift(right, 0, -moved)
      this.#copy(left, leftCount, right, 0, -moved)
    } else {
      this.#copy(right, 0, left, leftCount - moved, moved)
      this.#shift(right, moved, -moved)
    }
    this.#setCount(left, leftCount)
    this.#setCount(right, this.count(right) - moved)
    this.#lengthen(left, lower, middle)
    this.#lengthen(right, middle, upper)
  }

  /**
   * Moves all entries of `right` to the end of `left`, whose fences are then `lower` and `upper`.
   */
  merge(left: Leaf, right: Leaf, lower: Separator, upper: Separator): void {
    const leftCount = this.count(left)
    const rightCount = this.count(right)
    this.#shorten(left, lower, upper)
    this.#copy(right, 0, left, leftCount, rightCount)
    this.#setCount(left, leftCount + rightCount)
    this.#lengthen(left, lower, upper)
  }

  /**
   * Returns the result of a search for a key that lacks the prefix of an unbounded leaf; -1 if it
   * has it.
   */
  #searchOutside(leaf: Leaf, key: SearchKey): number {
    const state = this.#get(leaf, STATE)
    const first = this.entry(leaf, 0)
    if (this.#entries.sharedWithSearch(first, key) >= state >>> PREFIX_SHIFT) return -1
    return this.#entries.compareSearch(first, key, 0) > 0 ? 0 : (state & COUNT_MASK) << 1
  }

  /** Finishes a search among the entries from `index` on that have the head of the key. */
  #searchTies(leaf: Leaf, index: number, key: SearchKey): number {
    const words = this.arena.chunkAt(leaf << LEAF_BITS)
    const at = (leaf << LEAF_BITS) & IN_CHUNK
    const state = words[at + STATE] as number
    const from = (state >>> PREFIX_SHIFT) >>> 2
    let low = index
    let high = endOfTies(words, at, SLOT_WORDS, index, state & COUNT_MASK)
    while (low < high) {
      const middle = (low + high) >>> 1
      const entry = words[at + middle * SLOT_WORDS + ENTRY] as number
      const order = this.#entries.compareSearch(entry, key, from)
      if (order === 0) {
        this.found = entry
        return (middle << 1) | 1
      }
      if (order < 0) low = middle + 1
      else high = middle
    }
    return low << 1
  }

  /**
   * Shortens a prefix to what a leaf's new fences share, and with them all entries to be moved into
   * it.
   */
  #shorten(leaf: Leaf, lower: Separator, upper: Separator): void {
    const bounded = lower !== NO_SEPARATOR && upper !== NO_SEPARATOR
    const prefix = bounded ? this.#separators.sharedSize(lower, upper) : 0
    const state = this.#get(leaf, STATE)
    this.#set(leaf, STATE, bounded ? state | BOUNDED : state & ~BOUNDED)
    if (prefix < this.#prefix(leaf)) this.#setPrefix(leaf, prefix)
  }

  /** Lengthens a prefix if that tells keys apart better. */
  #lengthen(leaf: Leaf, lower: Separator, upper: Separator): void {
    if ((this.#get(leaf, STATE) & BOUNDED) === 0) {
      this.#settle(leaf)
      return
    }
    const shared = this.#separators.sharedSize(lower, upper)
    const gain = shared - this.#prefix(leaf)
    // New heads cost a read of every key, so a single byte more has to be worth it.
    if (gain > 1 || (gain === 1 && this.#hasTies(leaf))) this.#setPrefix(leaf, shared)
  }

  /** Gives an unbounded leaf the prefix that its keys share. */
  #settle(leaf: Leaf): void {
    const last = this.count(leaf) - 1
    const shared =
      last < 0 ? 0 : this.#entries.sharedSize(this.entry(leaf, 0), this.entry(leaf, last))
    if (shared !== this.#prefix(leaf)) this.#setPrefix(leaf, shared)
  }

  /** Shortens the prefix of an unbounded leaf to what a new key shares of it. */
  #admit(leaf: Leaf, key: SearchKey): void {
    const prefix = this.#prefix(leaf)
    if (prefix === 0) return
    const shared =
      this.count(leaf) === 0 ? 0 : this.#entries.sharedWithSearch(this.entry(leaf, 0), key)
    if (shared < prefix) this.#setPrefix(leaf, shared)
  }

  #prefix(leaf: Leaf): number {
    return this.#get(leaf, STATE) >>> PREFIX_SHIFT
  }

  #setPrefix(leaf: Leaf, prefix: number): void {
    const words = this.arena.chunkAt(leaf << LEAF_BITS)
    const at = (leaf << LEAF_BITS) & IN_CHUNK
    const state = words[at + STATE] as number
    words[at + STATE] = (state & (COUNT_MASK | BOUNDED)) | (prefix << PREFIX_SHIFT)
    const end = at + (state & COUNT_MASK) * SLOT_WORDS
    for (let slot = at; slot < end; slot += SLOT_WORDS) {
      words[slot] = this.#entries.headOf(words[slot + ENTRY] as number, prefix)
    }
  }

  #hasTies(leaf: Leaf): boolean {
    const words = this.arena.chunkAt(leaf << LEAF_BITS)
    const at = (leaf << LEAF_BITS) & IN_CHUNK
    const end = at + this.count(leaf) * SLOT_WORDS
    for (let slot = at + SLOT_WORDS; slot < end; slot += SLOT_WORDS) {
      if (words[slot] === words[slot - SLOT_WORDS]) return true
    }
    return false
  }

  /** Moves the entries of a leaf from place `from` on by `distance` places. */
  #shift(leaf: Leaf, from: number, distance: number): void {
    const words = this.arena.chunkAt(leaf << LEAF_BITS)
    const at = (leaf << LEAF_BITS) & IN_CHUNK
    const start = at + from * SLOT_WORDS
    words.copyWithin(start + distance * SLOT_WORDS, start, at + this.count(leaf) * SLOT_WORDS)
  }

  /**
   * Copies entries from one leaf into another, with their heads if both leaves have the same
   * prefix.
   */
  #copy(source: Leaf, from: number, target: Leaf, to: number, count: number): void {
    const sourceWords = this.arena.chunkAt(source << LEAF_BITS)
    const targetWords = this.arena.chunkAt(target << LEAF_BITS)
    let slot = ((source << LEAF_BITS) & IN_CHUNK) + from * SLOT_WORDS
    let targetSlot = ((target << LEAF_BITS) & IN_CHUNK) + to * SLOT_WORDS
    const prefix = this.#prefix(target)
    const samePrefix = prefix === this.#prefix(source)
    for (let left = count; left > 0; left--) {
      const entry = sourceWords[slot + ENTRY] as number
      targetWords[targetSlot + ENTRY] = entry
      targetWords[targetSlot] = samePrefix
        ? (sourceWords[slot] as number)
        : this.#entries.headOf(entry, prefix)
      slot += SLOT_WORDS
      targetSlot += SLOT_WORDS
    }
  }

  #setCount(leaf: Leaf, count: number): void {
    const words = this.arena.chunkAt(leaf << LEAF_BITS)
    const at = (leaf << LEAF_BITS) & IN_CHUNK
    const state = words[at + STATE] as number
    const end = at + (state & COUNT_MASK) * SLOT_WORDS
    for (let slot = at + count * SLOT_WORDS; slot < end; slot += SLOT_WORDS) words[slot] = NO_HEAD
    words[at + STATE] = (state & ~COUNT_MASK) | count
  }

  #get(leaf: Leaf, index: number): number {
    return this.arena.chunkAt(leaf << LEAF_BITS)[((leaf << LEAF_BITS) & IN_CHUNK) + index] as number
  }

  #set(leaf: Leaf, index: number, value: number): void {
    this.arena.chunkAt(leaf << LEAF_BITS)[((leaf << LEAF_BITS) & IN_CHUNK) + index] = value
  }
}
