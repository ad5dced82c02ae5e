/**
 * The levels of inner nodes above the leaves of the B+tree.
 *
 * A split or a merge of leaves first finds the path to its leaf. Then it adds a child to the lowest
 * node of the path, or removes one. Searches do not record the path.
 *
 * Invariants
 * - An inner node has at least two children, so every leaf other than a root has a neighbour under
 *   the same parent.
 * - A split has all its nodes before it changes any; see {@link InnerLevels.reserve}.
 */

import { assert } from '../errors.ts'
import { type Child, INNER_CAPACITY, type Inner, type Inners } from './btree-inners.ts'
import type { SearchKey } from './search-key.ts'
import { NO_SEPARATOR, type Separator, type Separators } from './separators.ts'

const INNER_LEAST = Math.floor(INNER_CAPACITY / 4)
const INNER_MERGED = INNER_CAPACITY - 16

/** The most levels of inner nodes. Four of them, half full, already lead to 40 million leaves. */
export const HEIGHT_LIMIT = 16

/** The inner nodes of a B+tree, as levels; see the top of this file. */
export class InnerLevels {
  readonly inners: Inners
  /** The topmost node; a leaf if there are no levels. */
  root: Child
  /** The number of levels. */
  height: number
  readonly #separators: Separators
  // The path: the node on each level, from the root, and the place in it of the next one.
  readonly #nodes = new Int32Array(HEIGHT_LIMIT)
  readonly #places = new Int32Array(HEIGHT_LIMIT)
  /** Nodes taken for the next split. */
  readonly #spares: Inner[] = []

  /** Takes the levels as they are in `inners`. */
  constructor(inners: Inners, separators: Separators, root: Child, height: number) {
    this.inners = inners
    this.#separators = separators
    this.root = root
    this.height = height
  }

  /** Returns the first leaf, or the last one. */
  edgeLeaf(last: boolean): Child {
    let node = this.root
    for (let level = 0; level < this.height; level++) {
      node = this.inners.child(node, last ? this.inners.count(node) : 0)
    }
    return node
  }

  /** Finds the path to the leaf of a key. */
  findPath(key: SearchKey): void {
    let node = this.root
    for (let level = 0; level < this.height; level++) {
      const child = this.inners.descend(node, key)
      this.#nodes[level] = node
      this.#places[level] = this.inners.placeOf(node, child)
      node = child
    }
  }

  /** The parent of the leaf on the path; there must be a level. */
  get parent(): Inner {
    return this.#node(this.height - 1)
  }

  /** The place of the leaf on the path in its parent; 0 if there are no levels. */
  get place(): number {
    return this.#place(this.height - 1)
  }

  /** Returns the separator that bounds the leaf at `place` of the parent from below. */
  lowerFence(place: number): Separator {
    return this.#lowerFence(this.height - 1, place)
  }

  /** Returns the separator that bounds the leaf at `place` of the parent from above. */
  upperFence(place: number): Separator {
    return this.#upperFence(this.height - 1, place)
  }

  /** Replaces the separator after the leaf at `place` of the parent, and frees the old one. */
  replaceSeparator(place: number, separator: Separator): void {
    const old = this.inners.separator(this.parent, place)
    this.inners.replace(this.parent, place, separator)
    this.#separators.free(old)
  }

  /**
   * Takes as many spare nodes as a split of the leaf on the path needs.
   *
   * @throws {@link StoreError} FIRKIN_NO_MEMORY
   */
  reserve(): void {
    let level = this.height - 1
    while (level >= 0 && this.inners.count(this.#node(level)) === INNER_CAPACITY) level--
    // Each full node is split in two. If all of them are full, they get a new root.
    const count = this.height - 1 - level + (level < 0 ? 1 : 0)
    while (this.#spares.length < count) this.#spares.push(this.inners.create())
  }

  /** Frees the spare nodes. */
  freeSpares(): void {
    for (const inner of this.#spares.splice(0)) this.inners.free(inner)
  }

  /** Adds a leaf after the one on the path, from the spare nodes that `reserve` took. */
  insertLeaf(separator: Separator, leaf: Child): void {
    this.#insertChild(this.height - 1, separator, leaf)
  }

  /** Removes the leaf after the one at `place` of the parent; frees the separator, not the leaf. */
  removeLeaf(place: number): void {
    const separator = this.inners.separator(this.parent, place)
    this.inners.remove(this.parent, place)
    this.#separators.free(separator)
    this.#refill(this.height - 1)
  }

  #node(level: number): Inner {
    return this.#nodes[level] as number
  }

  #place(level: number): number {
    return level < 0 ? 0 : (this.#places[level] as number)
  }

  /** The lower bound of child `place` of the node at `level`; level -1 is above the root. */
  #lowerFence(level: number, place: number): Separator {
    if (level < 0) return NO_SEPARATOR
    if (place > 0) return this.inners.separator(this.#node(level), place - 1)
    return this.#lowerFence(level - 1, this.#place(level - 1))
  }

  /** The upper bound of child `place` of the node at `level`; level -1 is above the root. */
  #upperFence(level: number, place: number): Separator {
    if (level < 0) return NO_SEPARATOR
    const node = this.#node(level)
    if (place < this.inners.count(node)) return this.inners.separator(node, place)
    return this.#upperFence(level - 1, this.#place(level - 1))
  }

  /** Adds a child after the one that is on the path at `level`; level -1 is above the root. */
  #insertChild(level: number, separator: Separator, child: Child): void {
    const inners = this.inners
    if (level < 0) {
      const root = this.#takeSpare()
      inners.fill(root, [separator], [this.root, child], NO_SEPARATOR, NO_SEPARATOR)
      this.root = root
      this.height++
      return
    }
    const left = this.#node(level)
    const place = this.#place(level)
    if (inners.count(left) < INNER_CAPACITY) {
      inners.insert(left, place, separator, child)
      return
    }

    const separators = inners.separatorsOf(left)
    const children = inners.childrenOf(left)
    separators.splice(place, 0, separator)
    children.splice(place + 1, 0, child)
    const lower = this.#lowerFence(level - 1, this.#place(level - 1))
    const upper = this.#upperFence(level - 1, this.#place(level - 1))
    // As with leaves, ascending and descending inserts leave full nodes.
    let middle = separators.length >>> 1
    if (place === INNER_CAPACITY && upper === NO_SEPARATOR) middle = INNER_CAPACITY - 1
    else if (place === 0 && lower === NO_SEPARATOR) middle = 1
    const right = this.#takeSpare()
    const promoted = this.#fillBoth(left, right, separators, children, middle, lower, upper)
    this.#insertChild(level - 1, promoted, right)
  }

  #takeSpare(): Inner {
    const inner = this.#spares.pop()
    assert(inner !== undefined, 'A split takes more nodes than were reserved for it')
    return inner
  }

  /** Fills two nodes; returns the separator at `middle`, which goes to neither. */
  #fillBoth(
    left: Inner,
    right: Inner,
    separators: readonly Separator[],
    children: readonly Child[],
    middle: number,
    lower: Separator,
    upper: Separator,
  ): Separator {
    const promoted = separators[middle] as number
    const inners = this.inners
    inners.fill(left, separators.slice(0, middle), children.slice(0, middle + 1), lower, promoted)
    inners.fill(right, separators.slice(middle + 1), children.slice(middle + 1), promoted, upper)
    return promoted
  }

  /** Merges or rebalances the path's node at `level` with a neighbour if it has few children. */
  #refill(level: number): void {
    const inners = this.inners
    const node = this.#node(level)
    if (level === 0) {
      if (inners.count(node) > 0) return
      this.root = inners.child(node, 0)
      this.height--
      inners.free(node)
      return
    }
    if (inners.count(node) >= INNER_LEAST) return

    const parent = this.#node(level - 1)
    const place = Math.max(this.#place(level - 1) - 1, 0)
    const left = inners.child(parent, place)
    const right = inners.child(parent, place + 1)
    const between = inners.separator(parent, place)
    const separators = [...inners.separatorsOf(left), between, ...inners.separatorsOf(right)]
    const children = [...inners.childrenOf(left), ...inners.childrenOf(right)]
    const lower = this.#lowerFence(level - 1, place)
    const upper = this.#upperFence(level - 1, place + 1)
    if (separators.length > INNER_MERGED) {
      const middle = separators.length >>> 1
      const promoted = this.#fillBoth(left, right, separators, children, middle, lower, upper)
      inners.replace(parent, place, promoted)
    } else {
      inners.fill(left, separators, children, lower, upper)
      inners.free(right)
      inners.remove(parent, place)
      this.#refill(level - 1)
    }
  }
}
