/**
 * The leaves of the B+tree, each of 128 words:
 *
 *     0      count of entries; top bit: bounded
 *     1      prefix size
 *     2      next leaf in key order, or 0; in a free leaf, the next free one
 *     3      previous leaf, or 0
 *     4…     heads: of each key, the four bytes behind the prefix
 *     66…    entries, in key order
 *
 * Invariants
 * - All keys of a leaf share its first `prefix size` bytes. In a bounded leaf, which has a fence on either
 *   side, the fences share them too, and so does every key that a descent brings here. An unbounded leaf, the first
 *   or the last one, has to check a key for them.
 * - Heads are sorted as their keys are, so only where a head is equal need a key be looked at.
 */

import { Arena, CHUNK_MASK } from './arena.ts'
import type { Entries } from './entries.ts'
import { FreeLists } from './free-lists.ts'
import { endOfTies, firstNotBelow } from './heads.ts'
import type { ChunkSource, Entry } from './keydir.ts'
import type { SearchKey } from './search-key.ts'
import { NO_SEPARATOR, type Separator, type Separators } from './separators.ts'

const LEAF_BITS = 7
const LEAF_WORDS = 1 << LEAF_BITS

const STATE = 0
const PREFIX = 1
const NEXT = 2
const PREVIOUS = 3
const HEADS = 4

/** How many entries a leaf can hold. */
export const LEAF_CAPACITY = (LEAF_WORDS - HEADS) / 2

const ENTRIES = HEADS + LEAF_CAPACITY
const BOUNDED = 0x80000000
const COUNT_MASK = 0x7fffffff
const SIZE_CLASS = 1

/** The number of a leaf: its position divided by its words. */
export type Leaf = number

/** Stands for the leaf before the first and behind the last one. */
export const NO_LEAF = 0

/** What `Leaves` needs beside its arena to be restored; plain JSON. */
export interface LeavesMeta {
  readonly used: number
  readonly free: readonly (readonly number[])[]
}

/** The leaves of a B+tree: sorted arrays of entries. Knows nothing of the nodes above. */
export class Leaves {
  readonly arena: Arena
  readonly #entries: Entries
  readonly #separators: Separators
  readonly #free: FreeLists

  constructor(entries: Entries, separators: Separators, arena?: Arena, free?: FreeLists) {
    this.arena = arena ?? new Arena()
    // Number 0 is no leaf.
    if (arena === undefined) this.arena.reserve(LEAF_WORDS)
    this.#entries = entries
    this.#separators = separators
    this.#free = free ?? new FreeLists(this.arena, NEXT)
  }

  /** Restores leaves without touching a chunk; throws a RangeError on a meta that cannot be. */
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

  /** What `restore` needs beside the arena. */
  meta(): LeavesMeta {
    return { used: this.arena.used, free: this.#free.image() }
  }

  /** Makes an empty, unbounded leaf. */
  create(): Leaf {
    const position = this.#free.take(SIZE_CLASS) || this.arena.reserve(LEAF_WORDS)
    this.arena.chunkAt(position).fill(0, position & CHUNK_MASK, (position & CHUNK_MASK) + HEADS)
    return position >>> LEAF_BITS
  }

  /** Takes a leaf out of the chain and frees it. */
  free(leaf: Leaf): void {
    const previous = this.previous(leaf)
    const next = this.next(leaf)
    if (previous !== NO_LEAF) this.#set(previous, NEXT, next)
    if (next !== NO_LEAF) this.#set(next, PREVIOUS, previous)
    this.#free.give(SIZE_CLASS, (leaf << LEAF_BITS) >>> 0)
  }

  /** Puts `fresh` into the chain, just behind `leaf`. */
  chain(leaf: Leaf, fresh: Leaf): void {
    const next = this.next(leaf)
    this.#set(fresh, PREVIOUS, leaf)
    this.#set(fresh, NEXT, next)
    this.#set(leaf, NEXT, fresh)
    if (next !== NO_LEAF) this.#set(next, PREVIOUS, fresh)
  }

  /** Whether there can be such a leaf. */
  has(leaf: number): boolean {
    return leaf > 0 && leaf < this.arena.used / LEAF_WORDS
  }

  /** How many entries a leaf has. */
  count(leaf: Leaf): number {
    return this.#get(leaf, STATE) & COUNT_MASK
  }

  /** The leaf behind, in key order. */
  next(leaf: Leaf): Leaf {
    return this.#get(leaf, NEXT)
  }

  /** The leaf before, in key order. */
  previous(leaf: Leaf): Leaf {
    return this.#get(leaf, PREVIOUS)
  }

  /** The entry at a place of a leaf. */
  entry(leaf: Leaf, index: number): Entry {
    return this.#get(leaf, ENTRIES + index)
  }

  /** Replaces the entry at a place by another of the same key. */
  setEntry(leaf: Leaf, index: number, entry: Entry): void {
    this.#set(leaf, ENTRIES + index, entry)
  }

  /** Answers `index * 2`, where `index` is how many keys of the leaf are below `key`; plus 1 if the next one is `key`. */
  search(leaf: Leaf, key: SearchKey): number {
    const words = this.arena.chunkAt(leaf << LEAF_BITS)
    const at = (leaf << LEAF_BITS) & CHUNK_MASK
    const state = words[at] as number
    const count = state & COUNT_MASK
    const prefix = words[at + PREFIX] as number
    if (state < BOUNDED && prefix > 0) {
      const first = words[at + ENTRIES] as number
      if (this.#entries.sharedWithSearch(first, key) < prefix) {
        return this.#entries.compareSearch(first, key, 0) > 0 ? 0 : count << 1
      }
    }
    const head = key.head(prefix)
    const heads = at + HEADS
    const index = firstNotBelow(words, heads, count, head)
    if (index === count || words[heads + index] !== head) return index << 1

    const from = prefix >>> 2
    let low = index
    let high = index + 1
    if (high < count && words[heads + high] === head) {
      high = endOfTies(words, heads, index, count, head)
    }
    while (low < high) {
      const middle = (low + high) >>> 1
      const order = this.#entries.compareSearch(words[at + ENTRIES + middle] as number, key, from)
      if (order === 0) return (middle << 1) | 1
      if (order < 0) low = middle + 1
      else high = middle
    }
    return low << 1
  }

  /** Adds `entry`, whose key is `key`, at a place of a leaf that has room. */
  insert(leaf: Leaf, index: number, key: SearchKey, entry: Entry): void {
    const words = this.arena.chunkAt(leaf << LEAF_BITS)
    const at = (leaf << LEAF_BITS) & CHUNK_MASK
    const state = words[at] as number
    const count = state & COUNT_MASK
    if (state < BOUNDED) this.#admit(leaf, key)
    const heads = at + HEADS
    const entries = at + ENTRIES
    for (let i = count; i > index; i--) {
      words[heads + i] = words[heads + i - 1] as number
      words[entries + i] = words[entries + i - 1] as number
    }
    words[heads + index] = key.head(words[at + PREFIX] as number)
    words[entries + index] = entry
    words[at] = state + 1
    // A prefix may have become longer than what the first keys of a leaf had in common with others.
    if (state < BOUNDED && (count & (count + 1)) === 0) this.#settle(leaf)
  }

  /** Takes the entry at a place out of a leaf. */
  remove(leaf: Leaf, index: number): void {
    const words = this.arena.chunkAt(leaf << LEAF_BITS)
    const at = (leaf << LEAF_BITS) & CHUNK_MASK
    const last = this.count(leaf) - 1
    const heads = at + HEADS
    const entries = at + ENTRIES
    for (let i = index; i < last; i++) {
      words[heads + i] = words[heads + i + 1] as number
      words[entries + i] = words[entries + i + 1] as number
    }
    words[at] = (words[at] as number) - 1
  }

  /**
   * Moves entries between two neighbours, until the left one has `leftCount`, and makes the prefixes fit
   * the leaves' new fences: `lower`, `middle` between the two, `upper`.
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

  /** Moves all entries of `right` behind those of `left`, whose fences are then `lower` and `upper`. */
  merge(left: Leaf, right: Leaf, lower: Separator, upper: Separator): void {
    const leftCount = this.count(left)
    const rightCount = this.count(right)
    this.#shorten(left, lower, upper)
    this.#copy(right, 0, left, leftCount, rightCount)
    this.#setCount(left, leftCount + rightCount)
    this.#setCount(right, 0)
    this.#lengthen(left, lower, upper)
  }

  /** Makes the prefix of a leaf that has one short enough for its new fences, and for what is moved in. */
  #shorten(leaf: Leaf, lower: Separator, upper: Separator): void {
    const bounded = lower !== NO_SEPARATOR && upper !== NO_SEPARATOR
    const prefix = bounded ? this.#separators.sharedSize(lower, upper) : 0
    this.#set(leaf, STATE, this.count(leaf) + (bounded ? BOUNDED : 0))
    if (prefix < this.#get(leaf, PREFIX)) this.#setPrefix(leaf, prefix)
  }

  /** Makes a prefix longer where that tells keys better apart. */
  #lengthen(leaf: Leaf, lower: Separator, upper: Separator): void {
    if (this.#get(leaf, STATE) < BOUNDED) {
      this.#settle(leaf)
      return
    }
    const shared = this.#separators.sharedSize(lower, upper)
    const gain = shared - this.#get(leaf, PREFIX)
    // New heads cost a look at every key, so one byte more has to be worth it.
    if (gain > 1 || (gain === 1 && this.#hasTies(leaf))) this.#setPrefix(leaf, shared)
  }

  /** Gives an unbounded leaf the prefix that its keys share. */
  #settle(leaf: Leaf): void {
    const count = this.count(leaf)
    const shared =
      count === 0 ? 0 : this.#entries.sharedSize(this.entry(leaf, 0), this.entry(leaf, count - 1))
    if (shared !== this.#get(leaf, PREFIX)) this.#setPrefix(leaf, shared)
  }

  /** Shortens the prefix of an unbounded leaf to what a new key has of it. */
  #admit(leaf: Leaf, key: SearchKey): void {
    const prefix = this.#get(leaf, PREFIX)
    if (prefix === 0) return
    const shared =
      this.count(leaf) === 0 ? 0 : this.#entries.sharedWithSearch(this.entry(leaf, 0), key)
    if (shared < prefix) this.#setPrefix(leaf, shared)
  }

  #setPrefix(leaf: Leaf, prefix: number): void {
    this.#set(leaf, PREFIX, prefix)
    const words = this.arena.chunkAt(leaf << LEAF_BITS)
    const at = (leaf << LEAF_BITS) & CHUNK_MASK
    const count = this.count(leaf)
    for (let i = 0; i < count; i++) {
      words[at + HEADS + i] = this.#entries.headOf(words[at + ENTRIES + i] as number, prefix)
    }
  }

  #hasTies(leaf: Leaf): boolean {
    const words = this.arena.chunkAt(leaf << LEAF_BITS)
    const heads = ((leaf << LEAF_BITS) & CHUNK_MASK) + HEADS
    const count = this.count(leaf)
    for (let i = 1; i < count; i++) {
      if (words[heads + i] === words[heads + i - 1]) return true
    }
    return false
  }

  /** Moves the entries of a leaf from place `from` on by `distance` places. */
  #shift(leaf: Leaf, from: number, distance: number): void {
    const words = this.arena.chunkAt(leaf << LEAF_BITS)
    const at = (leaf << LEAF_BITS) & CHUNK_MASK
    const count = this.count(leaf)
    for (const array of [at + HEADS, at + ENTRIES]) {
      words.copyWithin(array + from + distance, array + from, array + count)
    }
  }

  /** Copies entries from one leaf into another; their heads too where both have one prefix. */
  #copy(source: Leaf, from: number, target: Leaf, to: number, count: number): void {
    const sourceWords = this.arena.chunkAt(source << LEAF_BITS)
    const targetWords = this.arena.chunkAt(target << LEAF_BITS)
    const sourceAt = ((source << LEAF_BITS) & CHUNK_MASK) + from
    const targetAt = ((target << LEAF_BITS) & CHUNK_MASK) + to
    const prefix = this.#get(target, PREFIX)
    const samePrefix = prefix === this.#get(source, PREFIX)
    for (let i = 0; i < count; i++) {
      const entry = sourceWords[sourceAt + ENTRIES + i] as number
      targetWords[targetAt + ENTRIES + i] = entry
      targetWords[targetAt + HEADS + i] = samePrefix
        ? (sourceWords[sourceAt + HEADS + i] as number)
        : this.#entries.headOf(entry, prefix)
    }
  }

  #setCount(leaf: Leaf, count: number): void {
    const bounded = this.#get(leaf, STATE) >= BOUNDED
    this.#set(leaf, STATE, count + (bounded ? BOUNDED : 0))
  }

  #get(leaf: Leaf, index: number): number {
    return this.arena.chunkAt(leaf << LEAF_BITS)[
      ((leaf << LEAF_BITS) & CHUNK_MASK) + index
    ] as number
  }

  #set(leaf: Leaf, index: number, value: number): void {
    this.arena.chunkAt(leaf << LEAF_BITS)[((leaf << LEAF_BITS) & CHUNK_MASK) + index] = value
  }
}
