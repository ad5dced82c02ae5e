/**
 * The nodes of the B+tree: finds the place of a key in them, and keeps them balanced.
 *
 * Leaves (btree-leaves.ts) hold entries in key order. Inner nodes (btree-inners.ts) hold the
 * shortest separators (separators.ts) between neighbouring nodes. As in LeanStore, a node keeps a
 * 31-bit head of each key, taken after the prefix that the node's fences share. A search compares
 * heads, and reads a key only if its head is equal. A node does not store its fences: they are the
 * nearest separators on the path to it.
 *
 * A full leaf first shares its entries with a neighbour that has space, and splits only if neither
 * has. So leaves are five sixths full under random inserts. At either edge of the tree, the new key
 * gets a leaf of its own, so that ascending and descending inserts leave full leaves.
 *
 * Invariants
 * - A search remembers the place that it found until a leaf changes.
 * - A split takes all its nodes and its separator before it changes any node.
 */

import { assert } from '../errors.ts'
import { NoMemory } from '../io/memory.ts'
import type { ChunkSource } from './arena.ts'
import { Inners } from './btree-inners.ts'
import { LEAF_CAPACITY, type Leaf, Leaves, NO_LEAF } from './btree-leaves.ts'
import { HEIGHT_LIMIT, InnerLevels } from './btree-levels.ts'
import type { Entries } from './entries.ts'
import { type Entry, NO_ENTRY } from './entry.ts'
import { SearchKey } from './search-key.ts'
import { type Separator, Separators } from './separators.ts'

/** A neighbour with fewer entries than this takes some from a full leaf. */
const SHARE_BELOW = LEAF_CAPACITY - 6
const LEAF_LEAST = Math.floor(LEAF_CAPACITY / 4)
const LEAF_MERGED = LEAF_CAPACITY - 8

/** The numbers of the arenas of an image; number 0 is the entries' arena. */
const LEAVES_ARENA = 1
const INNERS_ARENA = 2
const SEPARATORS_ARENA = 3

/** The tree over a keydir's entries; see the top of this file. */
export class BTreeNodes {
  /** The key of the last search. */
  readonly key = new SearchKey()
  readonly leaves: Leaves
  readonly #entries: Entries
  readonly #separators: Separators
  readonly #levels: InnerLevels
  readonly #boundary = new SearchKey()

  // The result of the last search: the leaf, what its search returned, and whether both still hold.
  #leaf: Leaf = NO_LEAF
  #place = 0
  #remembered = false
  // Whether the last key added is the highest, and every key searched for since is above it. The
  // leaf is then the last one, and the next key is likely to go to its end too. A removal searches
  // for its entry first, which is not above itself, so it ends this state.
  #appending = false

  /** Creates a tree without entries, or one from restored parts. */
  constructor(
    entries: Entries,
    separators = new Separators(),
    inners = new Inners(separators),
    leaves = new Leaves(entries, separators),
    root?: number,
    height = 0,
  ) {
    this.#entries = entries
    this.leaves = leaves
    this.#separators = separators
    this.#levels = new InnerLevels(inners, separators, root ?? leaves.create(), height)
  }

  /**
   * Restores a tree from the meta of its keydir's image, without touching a chunk.
   *
   * @throws RangeError if `meta()` cannot have returned this
   */
  static restore(
    entries: Entries,
    image: Record<string, unknown>,
    source: ChunkSource,
  ): BTreeNodes {
    const separators = Separators.restore(image.separators, SEPARATORS_ARENA, source)
    const inners = Inners.restore(separators, image.inners, INNERS_ARENA, source)
    const leaves = Leaves.restore(entries, separators, image.leaves, LEAVES_ARENA, source)
    const { root, height } = image
    if (
      !Number.isInteger(root) ||
      !Number.isInteger(height) ||
      (height as number) < 0 ||
      (height as number) > HEIGHT_LIMIT ||
      !(height === 0 ? leaves.has(root as number) : inners.has(root as number))
    ) {
      throw new RangeError('The root of an image is not one of its nodes')
    }
    return new BTreeNodes(entries, separators, inners, leaves, root as number, height as number)
  }

  /** The bytes of memory reserved. */
  get byteSize(): number {
    return (
      this.leaves.arena.byteSize +
      this.#levels.inners.arena.byteSize +
      this.#separators.arena.byteSize
    )
  }

  /** Returns what `restore` needs besides the arenas; plain JSON. */
  meta(): Record<string, unknown> {
    const levels = this.#levels
    levels.freeSpares()
    return {
      root: levels.root,
      height: levels.height,
      leaves: this.leaves.meta(),
      inners: levels.inners.meta(),
      separators: this.#separators.meta(),
    }
  }

  /** Returns the chunks of each arena, in the order of their numbers. */
  images(): Uint8Array[][] {
    return [
      this.leaves.arena.image(),
      this.#levels.inners.arena.image(),
      this.#separators.arena.image(),
    ]
  }

  /** Gives its memory back; the tree must not be used any more. */
  release(): void {
    this.leaves.arena.release()
    this.#levels.inners.arena.release()
    this.#separators.arena.release()
  }

  /** The leaf that the last search came to. */
  get leaf(): Leaf {
    return this.#leaf
  }

  /** The index in that leaf of the first key that is not below the one searched for. */
  get index(): number {
    return this.#place >>> 1
  }

  /** The entry that the last search found, or {@link NO_ENTRY}. */
  get found(): Entry {
    return (this.#place & 1) === 1 ? this.leaves.found : NO_ENTRY
  }

  /** Returns the first leaf, or the last one. */
  edgeLeaf(last: boolean): Leaf {
    return this.#levels.edgeLeaf(last)
  }

  /** Whether the last search was for this key, and its place still holds. */
  remembers(key: Uint8Array, keySize: number): boolean {
    return this.#remembered && this.key.holds(key, keySize)
  }

  /** Searches for the key in `key`, and remembers its place. */
  search(): void {
    const key = this.key
    if (this.#appending && this.#searchAfterLast()) return
    const { inners, root, height } = this.#levels
    let node = root
    for (let level = height; level > 0; level--) {
      node = inners.descend(node, key)
    }
    this.#place = this.leaves.search(node, key)
    this.#leaf = node
    this.#remembered = true
  }

  /** Searches for the key of an entry of the tree, unless its place is remembered. */
  searchEntry(entry: Entry): void {
    if (this.#remembered && this.#isAt(entry)) return
    this.#entries.readSearch(entry, this.key)
    this.search()
    assert(this.#isAt(entry), 'The entry is not in the keydir')
  }

  /**
   * Inserts an entry at the remembered place, that of its key.
   *
   * @throws {@link StoreError} FIRKIN_NO_MEMORY; the entry is then freed, and the tree is unchanged
   */
  insert(entry: Entry): void {
    const { index } = this
    const count = this.leaves.count(this.#leaf)
    if (count < LEAF_CAPACITY) {
      this.#remembered = false
      this.leaves.insert(this.#leaf, index, this.key, entry)
      if (!this.#appending) {
        this.#appending = index === count && this.leaves.next(this.#leaf) === NO_LEAF
      }
    } else {
      this.#appending = false
      this.#insertIntoFull(entry)
    }
  }

  /** Replaces the entry at the remembered place by another one of the same key. */
  replace(entry: Entry): void {
    this.leaves.setEntry(this.#leaf, this.index, entry)
  }

  /** Removes the entry at the remembered place. */
  remove(): void {
    this.#remembered = false
    const leaf = this.#leaf
    this.leaves.remove(leaf, this.index)
    if (this.#levels.height > 0 && this.leaves.count(leaf) < LEAF_LEAST) this.#refillLeaf()
  }

  /** Returns whether the key belongs after the highest one; if so, that place is remembered. */
  #searchAfterLast(): boolean {
    const place = this.leaves.placeAfterLast(this.#leaf, this.key)
    this.#appending = place > 0
    if (place > 0) {
      this.#place = place
      this.#remembered = true
    }
    return place > 0
  }

  #isAt(entry: Entry): boolean {
    return (this.#place & 1) === 1 && this.leaves.entry(this.#leaf, this.index) === entry
  }

  /** Inserts at the remembered place of a full leaf; frees the entry if there is no memory. */
  #insertIntoFull(entry: Entry): void {
    this.#remembered = false
    this.#levels.findPath(this.key)
    const leaf = this.#leaf
    const atEnd = this.index === LEAF_CAPACITY && this.leaves.next(leaf) === NO_LEAF
    const atStart = this.index === 0 && this.leaves.previous(leaf) === NO_LEAF
    try {
      if (!atEnd && !atStart && this.#levels.height > 0 && this.#shareWithNeighbour(entry)) return
      this.#splitLeaf(entry, atEnd ? LEAF_CAPACITY : atStart ? 0 : LEAF_CAPACITY >>> 1)
    } catch (error) {
      if (error instanceof NoMemory) this.#entries.free(entry)
      throw error
    }
  }

  /**
   * Moves entries of a full leaf to a neighbour under the same parent, and inserts; returns false
   * if neither neighbour has space.
   */
  #shareWithNeighbour(entry: Entry): boolean {
    const { inners, parent, place } = this.#levels
    const leaves = this.leaves
    const before = place > 0 ? leaves.count(inners.child(parent, place - 1)) : LEAF_CAPACITY
    const after =
      place < inners.count(parent) ? leaves.count(inners.child(parent, place + 1)) : LEAF_CAPACITY
    if (Math.min(before, after) >= SHARE_BELOW) return false
    const left = before <= after ? place - 1 : place
    this.#rebalance(left)
    const middle = inners.separator(parent, left)
    const intoRight = this.#separators.compareSearch(middle, this.key, 0) <= 0
    this.#insertInto(inners.child(parent, intoRight ? left + 1 : left), entry)
    return true
  }

  /** Gives the leaves at places `left` and `left + 1` of the parent equally many entries. */
  #rebalance(left: number): void {
    const levels = this.#levels
    const leaves = this.leaves
    const leftLeaf = levels.inners.child(levels.parent, left)
    const rightLeaf = levels.inners.child(levels.parent, left + 1)
    const leftCount = leaves.count(leftLeaf)
    const half = (leftCount + leaves.count(rightLeaf)) >>> 1
    const entryAt = (place: number) =>
      place < leftCount ? leaves.entry(leftLeaf, place) : leaves.entry(rightLeaf, place - leftCount)
    const middle = this.#addSeparator(entryAt(half - 1), entryAt(half))
    const lower = levels.lowerFence(left)
    const upper = levels.upperFence(left + 1)
    leaves.distribute(leftLeaf, rightLeaf, half, lower, middle, upper)
    levels.replaceSeparator(left, middle)
  }

  /**
   * Splits the full leaf on the path, so that the left half keeps `leftCount` entries, and inserts.
   */
  #splitLeaf(entry: Entry, leftCount: number): void {
    const levels = this.#levels
    const leaves = this.leaves
    const left = this.#leaf
    const before = leftCount === 0 ? entry : leaves.entry(left, leftCount - 1)
    const after = leftCount === LEAF_CAPACITY ? entry : leaves.entry(left, leftCount)
    levels.reserve()
    const middle = this.#addSeparator(before, after)
    const right = this.#createLeaf(middle)
    leaves.chain(left, right)
    const lower = levels.lowerFence(levels.place)
    const upper = levels.upperFence(levels.place)
    leaves.distribute(left, right, leftCount, lower, middle, upper)
    const intoRight = this.#separators.compareSearch(middle, this.key, 0) <= 0
    this.#insertInto(intoRight ? right : left, entry)
    levels.insertLeaf(middle, right)
  }

  /** Creates a leaf; frees the separator that was added before it if there is no memory. */
  #createLeaf(middle: Separator): Leaf {
    try {
      return this.leaves.create()
    } catch (error) {
      if (error instanceof NoMemory) this.#separators.free(middle)
      throw error
    }
  }

  #insertInto(leaf: Leaf, entry: Entry): void {
    this.leaves.insert(leaf, this.leaves.search(leaf, this.key) >>> 1, this.key, entry)
  }

  /** Adds the shortest separator between the keys of two neighbouring entries. */
  #addSeparator(before: Entry, after: Entry): Separator {
    this.#entries.readSearch(after, this.#boundary)
    return this.#separators.add(this.#boundary, this.#entries.sharedSize(before, after) + 1)
  }

  /** Merges or rebalances the leaf of the key, which has few entries left, with a neighbour. */
  #refillLeaf(): void {
    const levels = this.#levels
    levels.findPath(this.key)
    const left = Math.max(levels.place - 1, 0)
    const leftLeaf = levels.inners.child(levels.parent, left)
    const rightLeaf = levels.inners.child(levels.parent, left + 1)
    const count = this.leaves.count(leftLeaf) + this.leaves.count(rightLeaf)
    if (count > LEAF_MERGED && this.#tryRebalance(left)) return
    // Without memory to rebalance the two, they stay as they are if they do not fit one leaf.
    if (count > LEAF_CAPACITY) return
    this.leaves.merge(leftLeaf, rightLeaf, levels.lowerFence(left), levels.upperFence(left + 1))
    this.leaves.free(rightLeaf)
    levels.removeLeaf(left)
  }

  /** Rebalances two leaves if there is memory for it; returns whether there was. */
  #tryRebalance(left: number): boolean {
    try {
      this.#rebalance(left)
      return true
    } catch (error) {
      if (error instanceof NoMemory) return false
      throw error
    }
  }
}
