/**
 * The inner nodes of the B+tree, each of 512 words:
 *
 *     0      count of separators (15 bits); bit 15: bounded; prefix size << 16
 *     1      in a free node, the next free one
 *     2…     191 places for heads, of which 159 are used: the 31 bits after the prefix
 *     193…   159 separators, in key order
 *     352…   160 children; on the lowest level they are leaves
 *
 * Invariants
 * - Child `i` holds the keys from separator `i - 1` (inclusive) to separator `i` (exclusive).
 * - A node in use has at least one separator, and so two children.
 * - Prefixes and heads are as in a leaf; see btree-leaves.ts.
 */

import { Arena, CHUNK_MASK, type ChunkSource } from './arena.ts'
import { FreeLists } from './free-lists.ts'
import { countBelow, endOfTies, NO_HEAD } from './heads.ts'
import type { SearchKey } from './search-key.ts'
import { NO_SEPARATOR, type Separator, type Separators } from './separators.ts'

const IN_CHUNK = CHUNK_MASK

const INNER_BITS = 9
const INNER_WORDS = 1 << INNER_BITS

const STATE = 0
const NEXT_FREE = 1
const HEADS = 2

/** A search finds one of three blocks, then one of eight groups in it, then one of eight heads. */
const GROUP = 8
const BLOCK = GROUP * 8
const HEAD_PLACES = BLOCK * 3 - 1

/** How many separators an inner node can hold. */
export const INNER_CAPACITY = Math.floor((INNER_WORDS - HEADS - HEAD_PLACES - 1) / 2)

const SEPARATORS = HEADS + HEAD_PLACES
const CHILDREN = SEPARATORS + INNER_CAPACITY
const COUNT_MASK = 0x7fff
const BOUNDED = 0x8000
const PREFIX_SHIFT = 16
const SIZE_CLASS = 1

/** The number of an inner node: its position divided by its words. */
export type Inner = number

/** The number of a child: an inner node, or a leaf on the lowest level. */
export type Child = number

/** The figures that `Inners` needs besides its arena to be restored; plain JSON. */
interface InnersMeta {
  readonly used: number
  readonly free: readonly (readonly number[])[]
}

/** The inner nodes of a B+tree: finds the child that holds a key. */
export class Inners {
  readonly arena: Arena
  readonly #separators: Separators
  readonly #free: FreeLists

  constructor(separators: Separators, arena?: Arena, free?: FreeLists) {
    this.arena = arena ?? new Arena()
    this.#separators = separators
    this.#free = free ?? new FreeLists(this.arena, NEXT_FREE)
  }

  /** Restores nodes without touching a chunk; throws a RangeError if the meta is invalid. */
  static restore(
    separators: Separators,
    meta: unknown,
    arena: number,
    source: ChunkSource,
  ): Inners {
    const { used, free } = (meta ?? {}) as Record<string, unknown>
    const restored = Arena.restore(used, arena, source)
    if (restored.used % INNER_WORDS !== 0) throw new RangeError('An inner node is cut short')
    return new Inners(separators, restored, FreeLists.restore(restored, NEXT_FREE, free))
  }

  /** Returns what `restore` needs besides the arena. */
  meta(): InnersMeta {
    return { used: this.arena.used, free: this.#free.image() }
  }

  /** Creates a node without children; `fill` adds them. */
  create(): Inner {
    // Position 0 ends a free list, so the first node is never used.
    if (this.arena.used === 0) this.arena.reserve(INNER_WORDS)
    const position = this.#free.take(SIZE_CLASS) || this.arena.reserve(INNER_WORDS)
    return position >>> INNER_BITS
  }

  /** Frees a node, but neither its separators nor its children. */
  free(inner: Inner): void {
    this.#free.give(SIZE_CLASS, (inner << INNER_BITS) >>> 0)
  }

  /** Whether a node with this number can exist. */
  has(inner: number): boolean {
    return inner > 0 && inner < this.arena.used / INNER_WORDS
  }

  /** Returns how many separators a node has; it has one more child. */
  count(inner: Inner): number {
    return this.#get(inner, STATE) & COUNT_MASK
  }

  /** Returns the separator at a place of a node. */
  separator(inner: Inner, index: number): Separator {
    return this.#get(inner, SEPARATORS + index)
  }

  /** Returns the child at a place of a node. */
  child(inner: Inner, index: number): Child {
    return this.#get(inner, CHILDREN + index)
  }

  /**
   * Returns the child that holds `key`. Its place is the number of separators that are not above
   * the key.
   */
  descend(inner: Inner, key: SearchKey): Child {
    const words = this.arena.chunkAt(inner << INNER_BITS)
    const at = (inner << INNER_BITS) & IN_CHUNK
    const state = words[at] as number
    if ((state & BOUNDED) === 0 && state >>> PREFIX_SHIFT > 0) {
      const outside = this.#searchOutside(inner, key)
      if (outside >= 0) return words[at + CHILDREN + outside] as number
    }
    const head = key.head(state >>> PREFIX_SHIFT)
    const heads = at + HEADS
    const block =
      (((words[heads + BLOCK - 1] as number) - head) >>> 31) +
      (((words[heads + 2 * BLOCK - 1] as number) - head) >>> 31)
    let place = heads + block * BLOCK
    place += GROUP * countBelow(words, place + GROUP - 1, GROUP, head)
    place += countBelow(words, place, 1, head)
    if (words[place] === head) place = heads + this.#searchTies(inner, place - heads, key)
    return words[place + CHILDREN - HEADS] as number
  }

  /** Returns the place of a child. */
  placeOf(inner: Inner, child: Child): number {
    const words = this.arena.chunkAt(inner << INNER_BITS)
    const children = ((inner << INNER_BITS) & IN_CHUNK) + CHILDREN
    return words.indexOf(child, children) - children
  }

  /** Adds a separator at a place of a node that is not full, and a child just after it. */
  insert(inner: Inner, index: number, separator: Separator, child: Child): void {
    const words = this.arena.chunkAt(inner << INNER_BITS)
    const at = (inner << INNER_BITS) & IN_CHUNK
    const unbounded = ((words[at] as number) & BOUNDED) === 0
    if (unbounded) this.#admit(inner, separator)
    const state = words[at] as number
    const count = state & COUNT_MASK
    for (let i = count; i > index; i--) {
      words[at + HEADS + i] = words[at + HEADS + i - 1] as number
      words[at + SEPARATORS + i] = words[at + SEPARATORS + i - 1] as number
      words[at + CHILDREN + i + 1] = words[at + CHILDREN + i] as number
    }
    words[at + HEADS + index] = this.#separators.headOf(separator, state >>> PREFIX_SHIFT)
    words[at + SEPARATORS + index] = separator
    words[at + CHILDREN + index + 1] = child
    words[at] = state + 1
    // Done only now and then: the separators that made the prefix short may be gone.
    if (unbounded && (count & (count + 1)) === 0) this.#settle(inner)
  }

  /** Replaces the separator at a place of a node; does not free the old one. */
  replace(inner: Inner, index: number, separator: Separator): void {
    if ((this.#get(inner, STATE) & BOUNDED) === 0) this.#admit(inner, separator)
    const head = this.#separators.headOf(separator, this.#get(inner, STATE) >>> PREFIX_SHIFT)
    this.#set(inner, HEADS + index, head)
    this.#set(inner, SEPARATORS + index, separator)
  }

  /** Removes a separator and the child after it from a node; frees neither. */
  remove(inner: Inner, index: number): void {
    const words = this.arena.chunkAt(inner << INNER_BITS)
    const at = (inner << INNER_BITS) & IN_CHUNK
    const last = this.count(inner) - 1
    for (let i = index; i < last; i++) {
      words[at + HEADS + i] = words[at + HEADS + i + 1] as number
      words[at + SEPARATORS + i] = words[at + SEPARATORS + i + 1] as number
      words[at + CHILDREN + i + 1] = words[at + CHILDREN + i + 2] as number
    }
    words[at + HEADS + last] = NO_HEAD
    words[at] = (words[at] as number) - 1
  }

  /** Returns a copy of a node's separators. */
  separatorsOf(inner: Inner): Separator[] {
    const words = this.arena.chunkAt(inner << INNER_BITS)
    const at = ((inner << INNER_BITS) & IN_CHUNK) + SEPARATORS
    return Array.from(words.subarray(at, at + this.count(inner)))
  }

  /** Returns a copy of a node's children. */
  childrenOf(inner: Inner): Child[] {
    const words = this.arena.chunkAt(inner << INNER_BITS)
    const at = ((inner << INNER_BITS) & IN_CHUNK) + CHILDREN
    return Array.from(words.subarray(at, at + this.count(inner) + 1))
  }

  /** Sets all separators and children of a node, whose fences are `lower` and `upper`. */
  fill(
    inner: Inner,
    separators: readonly Separator[],
    children: readonly Child[],
    lower: Separator,
    upper: Separator,
  ): void {
    const words = this.arena.chunkAt(inner << INNER_BITS)
    const at = (inner << INNER_BITS) & IN_CHUNK
    const bounded = lower !== NO_SEPARATOR && upper !== NO_SEPARATOR
    words[at] = separators.length + (bounded ? BOUNDED : 0)
    words.fill(NO_HEAD, at + HEADS, at + SEPARATORS)
    words.set(separators, at + SEPARATORS)
    words.set(children, at + CHILDREN)
    if (bounded) this.#setPrefix(inner, this.#separators.sharedSize(lower, upper))
    else this.#settle(inner)
  }

  /**
   * Returns the place of the child for a key that lacks the prefix of an unbounded node; -1 if it
   * has it.
   */
  #searchOutside(inner: Inner, key: SearchKey): number {
    const state = this.#get(inner, STATE)
    const first = this.separator(inner, 0)
    if (this.#separators.sharedWithSearch(first, key) >= state >>> PREFIX_SHIFT) return -1
    return this.#separators.compareSearch(first, key, 0) > 0 ? 0 : state & COUNT_MASK
  }

  /** Finishes a search among the separators from `index` on that have the head of the key. */
  #searchTies(inner: Inner, index: number, key: SearchKey): number {
    const words = this.arena.chunkAt(inner << INNER_BITS)
    const at = (inner << INNER_BITS) & IN_CHUNK
    const state = words[at] as number
    const count = state & COUNT_MASK
    if (index >= count) return count
    let low = index
    let high = endOfTies(words, at + HEADS, 1, index, count)
    const from = (state >>> PREFIX_SHIFT) >>> 2
    while (low < high) {
      const middle = (low + high) >>> 1
      const separator = words[at + SEPARATORS + middle] as number
      if (this.#separators.compareSearch(separator, key, from) <= 0) low = middle + 1
      else high = middle
    }
    return low
  }

  /** Gives an unbounded node the prefix that its separators share. */
  #settle(inner: Inner): void {
    const first = this.separator(inner, 0)
    const last = this.separator(inner, this.count(inner) - 1)
    this.#setPrefix(inner, this.#separators.sharedSize(first, last))
  }

  /** Shortens the prefix of an unbounded node to what a new separator shares of it. */
  #admit(inner: Inner, separator: Separator): void {
    const shared = this.#separators.sharedSize(this.separator(inner, 0), separator)
    if (shared < this.#get(inner, STATE) >>> PREFIX_SHIFT) this.#setPrefix(inner, shared)
  }

  #setPrefix(inner: Inner, prefix: number): void {
    const words = this.arena.chunkAt(inner << INNER_BITS)
    const at = (inner << INNER_BITS) & IN_CHUNK
    const state = words[at] as number
    const count = state & COUNT_MASK
    words[at] = (state & (COUNT_MASK | BOUNDED)) | (prefix << PREFIX_SHIFT)
    for (let i = 0; i < count; i++) {
      words[at + HEADS + i] = this.#separators.headOf(words[at + SEPARATORS + i] as number, prefix)
    }
  }

  #get(inner: Inner, index: number): number {
    return this.arena.chunkAt(inner << INNER_BITS)[
      ((inner << INNER_BITS) & IN_CHUNK) + index
    ] as number
  }

  #set(inner: Inner, index: number, value: number): void {
    this.arena.chunkAt(inner << INNER_BITS)[((inner << INNER_BITS) & IN_CHUNK) + index] = value
  }
}
