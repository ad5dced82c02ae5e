/**
 * The default keydir: a B+tree off the JavaScript heap.
 *
 * Leaves (btree-leaves.ts) hold entries in key order, inner nodes (btree-inners.ts) the shortest
 * separators (separators.ts) that tell two neighbours apart. After LeanStore, a node keeps a
 * 31-bit head of each key, taken behind the prefix that its fences share: a search compares
 * heads, and looks at a key only where a head is equal. The fences of a node are not stored in it;
 * they are the nearest separators on the way to it.
 *
 * A full leaf first shares with a neighbour that has room, and splits where none has, so that
 * leaves are five sixths full under random inserts; at the right and the left edge the new key gets
 * a leaf to itself, so that ascending and descending inserts leave full leaves.
 *
 * Invariants
 * - A search remembers the place it came to, until a leaf changes; `insert`, `update` and `remove`
 *   of the same key go on from there.
 * - An inner node has at least two children, so that every leaf but a root has a neighbour under
 *   its parent.
 * - A split has all its nodes and its separator in hand before it changes any node.
 */

import assert from 'node:assert/strict'
import { NoMemory } from '../io/memory.ts'
import type { ChunkSource } from './arena.ts'
import { BTreeCursor } from './btree-cursor.ts'
import { INNER_CAPACITY, Inners } from './btree-inners.ts'
import { LEAF_CAPACITY, type Leaf, Leaves, NO_LEAF } from './btree-leaves.ts'
import { Entries } from './entries.ts'
import { type Entry, NO_ENTRY } from './entry.ts'
import type { Keydir, KeydirCursor, KeydirImage, KeyRange } from './keydir.ts'
import { SearchKey } from './search-key.ts'
import { NO_SEPARATOR, type Separator, Separators } from './separators.ts'

/** A neighbour that is less full than this takes entries from a full leaf. */
const SHARE_BELOW = LEAF_CAPACITY - 6
const LEAF_LEAST = Math.floor(LEAF_CAPACITY / 4)
const LEAF_MERGED = LEAF_CAPACITY - 8
const INNER_LEAST = Math.floor(INNER_CAPACITY / 4)
const INNER_MERGED = INNER_CAPACITY - 16

/** Levels of inner nodes; four already tell 40 million leaves apart at their least. */
const HEIGHT_LIMIT = 16

/** What each arena of the image is, in its order. */
const ENTRIES_ARENA = 0
const LEAVES_ARENA = 1
const INNERS_ARENA = 2
const SEPARATORS_ARENA = 3

/** The ordered keydir; see the top of this file. */
export class BTreeKeydir implements Keydir {
  readonly kind = 'btree'
  readonly ordered = true
  readonly entries: Entries
  /** The leaves, for the cursor. */
  readonly leaves: Leaves
  readonly #inners: Inners
  readonly #separators: Separators
  readonly #key = new SearchKey()
  readonly #boundary = new SearchKey()

  #root: number
  /** How many levels of inner nodes there are; without any the root is a leaf. */
  #height: number

  // Where the last search ended: the leaf, what it answered, and whether both still hold.
  #leaf: Leaf = NO_LEAF
  #place = 0
  #remembered = false
  // Whether the last key that was added is the last of all, and nothing has been searched for since that is not
  // behind it: then the leaf is the last one, and the next key may well go to its end too. An entry is searched for
  // before it is removed, and none is behind itself.
  #appending = false
  // The way to that leaf, a node and the place of its child on each level; only a split or a merge
  // needs it.
  readonly #wayNode = new Int32Array(HEIGHT_LIMIT)
  readonly #wayIndex = new Int32Array(HEIGHT_LIMIT)
  /** The inner nodes that a split is going to use. */
  readonly #spareInners: number[] = []

  /** Makes an empty keydir, or one around what was restored. */
  constructor(
    entries = new Entries(),
    separators = new Separators(),
    inners = new Inners(separators),
    leaves = new Leaves(entries, separators),
    root?: number,
    height = 0,
  ) {
    this.entries = entries
    this.leaves = leaves
    this.#inners = inners
    this.#separators = separators
    this.#root = root ?? leaves.create()
    this.#height = height
  }

  /**
   * Restores a keydir from its image, without touching a chunk.
   *
   * @throws RangeError where `meta` could not have come from `image()`
   */
  static restore(meta: unknown, source: ChunkSource): BTreeKeydir {
    const image = (meta ?? {}) as Record<string, unknown>
    const entries = Entries.restore(image.entries, ENTRIES_ARENA, source)
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
    return new BTreeKeydir(entries, separators, inners, leaves, root as number, height as number)
  }

  get size(): number {
    return this.entries.count
  }

  get byteSize(): number {
    return (
      this.entries.byteSize +
      this.leaves.arena.byteSize +
      this.#inners.arena.byteSize +
      this.#separators.arena.byteSize
    )
  }

  find(key: Uint8Array, keySize: number, words?: Uint32Array): Entry {
    if (words === undefined) this.#key.set(key, keySize)
    else this.#key.setWords(words, 0, keySize)
    this.#search()
    return (this.#place & 1) === 1 ? this.leaves.found : NO_ENTRY
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
    if (!this.#remembered || !this.#key.holds(key, keySize)) {
      this.#key.set(key, keySize)
      this.#search()
    }
    assert((this.#place & 1) === 0, 'The key to insert is there')
    const entry = this.entries.allocate(this.#key, segment, offset, size, sequence, expiresAtMs)
    const { index } = this
    const count = this.leaves.count(this.#leaf)
    if (count < LEAF_CAPACITY) {
      this.#remembered = false
      this.leaves.insert(this.#leaf, index, this.#key, entry)
      if (!this.#appending) {
        this.#appending = index === count && this.leaves.next(this.#leaf) === NO_LEAF
      }
    } else {
      this.#appending = false
      this.#insertIntoFull(entry)
    }
    return entry
  }

  update(
    entry: Entry,
    segment: number,
    offset: number,
    size: number,
    sequence: number,
    expiresAtMs: number,
  ): Entry {
    if (this.entries.fits(entry, size, sequence, expiresAtMs)) {
      this.entries.set(entry, segment, offset, size, sequence, expiresAtMs)
      return entry
    }
    this.#searchEntry(entry)
    const moved = this.entries.allocate(this.#key, segment, offset, size, sequence, expiresAtMs)
    this.leaves.setEntry(this.#leaf, this.index, moved)
    this.entries.free(entry)
    return moved
  }

  remove(entry: Entry): void {
    this.#searchEntry(entry)
    this.#remembered = false
    const leaf = this.#leaf
    this.leaves.remove(leaf, this.index)
    this.entries.free(entry)
    if (this.#height > 0 && this.leaves.count(leaf) < LEAF_LEAST) this.#refillLeaf()
  }

  cursor(range: KeyRange): KeydirCursor {
    return new BTreeCursor(this, range)
  }

  image(): KeydirImage {
    for (const inner of this.#spareInners.splice(0)) this.#inners.free(inner)
    return {
      meta: {
        root: this.#root,
        height: this.#height,
        entries: this.entries.meta(),
        leaves: this.leaves.meta(),
        inners: this.#inners.meta(),
        separators: this.#separators.meta(),
      },
      arenas: [
        this.entries.arena.image(),
        this.leaves.arena.image(),
        this.#inners.arena.image(),
        this.#separators.arena.image(),
      ],
    }
  }

  release(): void {
    this.entries.arena.release()
    this.leaves.arena.release()
    this.#inners.arena.release()
    this.#separators.arena.release()
  }

  /**
   * Descends for `key`; `leaf` and `index` then are the place of the first key that is not below
   * it.
   */
  seek(key: Uint8Array, keySize: number): boolean {
    this.#key.set(key, keySize)
    this.#search()
    return (this.#place & 1) === 1
  }

  /** Where the last `seek` ended. */
  get leaf(): Leaf {
    return this.#leaf
  }

  /** Where in the leaf the last `seek` ended. */
  get index(): number {
    return this.#place >>> 1
  }

  /** The first leaf, or the last one. */
  edgeLeaf(last: boolean): Leaf {
    let node = this.#root
    for (let level = 0; level < this.#height; level++) {
      node = this.#inners.child(node, last ? this.#inners.count(node) : 0)
    }
    return node
  }

  /** Finds the place of the searched key, and remembers it. */
  #search(): void {
    const key = this.#key
    if (this.#appending && this.#searchBehind()) return
    const inners = this.#inners
    let node = this.#root
    for (let level = this.#height; level > 0; level--) {
      node = inners.descend(node, key)
    }
    this.#place = this.leaves.search(node, key)
    this.#leaf = node
    this.#remembered = true
  }

  /** Looks behind the last key of all, while keys are appended; answers whether the searched one goes there. */
  #searchBehind(): boolean {
    const place = this.leaves.placeBehind(this.#leaf, this.#key)
    this.#appending = place > 0
    if (place > 0) {
      this.#place = place
      this.#remembered = true
    }
    return place > 0
  }

  /** Finds the place of an entry that is there. */
  #searchEntry(entry: Entry): void {
    if (this.#remembered && this.#isAt(entry)) return
    this.entries.readSearch(entry, this.#key)
    this.#search()
    assert(this.#isAt(entry), 'The entry is not in the keydir')
  }

  #isAt(entry: Entry): boolean {
    return (this.#place & 1) === 1 && this.leaves.entry(this.#leaf, this.index) === entry
  }

  /** Descends to the remembered leaf once more, and notes the way. */
  #findWay(): void {
    let node = this.#root
    for (let level = 0; level < this.#height; level++) {
      const child = this.#inners.descend(node, this.#key)
      this.#wayNode[level] = node
      this.#wayIndex[level] = this.#inners.placeOf(node, child)
      node = child
    }
  }

  #node(level: number): number {
    return this.#wayNode[level] as number
  }

  #childPlace(level: number): number {
    return this.#wayIndex[level] as number
  }

  /** The separator before child `index` of the node at `level`; it bounds the child from below. */
  #lowerFence(level: number, index: number): Separator {
    if (index > 0) return this.#inners.separator(this.#node(level), index - 1)
    return level === 0 ? NO_SEPARATOR : this.#lowerFence(level - 1, this.#childPlace(level - 1))
  }

  /** The separator behind child `index` of the node at `level`; it bounds the child from above. */
  #upperFence(level: number, index: number): Separator {
    const node = this.#node(level)
    if (index < this.#inners.count(node)) return this.#inners.separator(node, index)
    return level === 0 ? NO_SEPARATOR : this.#upperFence(level - 1, this.#childPlace(level - 1))
  }

  /** Inserts at the remembered place, whose leaf has no room; where it throws, the entry is free again. */
  #insertIntoFull(entry: Entry): void {
    this.#remembered = false
    this.#findWay()
    const leaf = this.#leaf
    const atEnd = this.index === LEAF_CAPACITY && this.leaves.next(leaf) === NO_LEAF
    const atStart = this.index === 0 && this.leaves.previous(leaf) === NO_LEAF
    try {
      if (!atEnd && !atStart && this.#height > 0 && this.#share(entry)) return
      this.#splitLeaf(entry, atEnd ? LEAF_CAPACITY : atStart ? 0 : LEAF_CAPACITY >>> 1)
    } catch (error) {
      if (error instanceof NoMemory) this.entries.free(entry)
      throw error
    }
  }

  /**
   * Evens a full leaf out with a neighbour under the same parent; answers false if none has room.
   */
  #share(entry: Entry): boolean {
    const level = this.#height - 1
    const parent = this.#node(level)
    const place = this.#childPlace(level)
    const leaves = this.leaves
    const before = place > 0 ? leaves.count(this.#inners.child(parent, place - 1)) : LEAF_CAPACITY
    const behind =
      place < this.#inners.count(parent)
        ? leaves.count(this.#inners.child(parent, place + 1))
        : LEAF_CAPACITY
    if (Math.min(before, behind) >= SHARE_BELOW) return false
    const left = before <= behind ? place - 1 : place
    this.#even(left)
    const middle = this.#inners.separator(parent, left)
    const intoRight = this.#separators.compareSearch(middle, this.#key, 0) <= 0
    this.#insertInto(this.#inners.child(parent, intoRight ? left + 1 : left), entry)
    return true
  }

  /** Evens out the leaves at places `left` and `left + 1` of the lowest inner node on the way. */
  #even(left: number): void {
    const level = this.#height - 1
    const parent = this.#node(level)
    const leaves = this.leaves
    const leftLeaf = this.#inners.child(parent, left)
    const rightLeaf = this.#inners.child(parent, left + 1)
    const leftCount = leaves.count(leftLeaf)
    const half = (leftCount + leaves.count(rightLeaf)) >>> 1
    const entryAt = (place: number) =>
      place < leftCount ? leaves.entry(leftLeaf, place) : leaves.entry(rightLeaf, place - leftCount)
    const middle = this.#separate(entryAt(half - 1), entryAt(half))
    const lower = this.#lowerFence(level, left)
    const upper = this.#upperFence(level, left + 1)
    leaves.distribute(leftLeaf, rightLeaf, half, lower, middle, upper)
    const old = this.#inners.separator(parent, left)
    this.#inners.replace(parent, left, middle)
    this.#separators.free(old)
  }

  /**
   * Splits the full leaf on the way, so that the left half keeps `leftCount` entries, and inserts.
   */
  #splitLeaf(entry: Entry, leftCount: number): void {
    const leaves = this.leaves
    const left = this.#leaf
    const before = leftCount === 0 ? entry : leaves.entry(left, leftCount - 1)
    const behind = leftCount === LEAF_CAPACITY ? entry : leaves.entry(left, leftCount)
    this.#takeInners()
    const middle = this.#separate(before, behind)
    const right = this.#takeLeaf(middle)
    leaves.chain(left, right)
    const level = this.#height - 1
    const lower = level < 0 ? NO_SEPARATOR : this.#lowerFence(level, this.#childPlace(level))
    const upper = level < 0 ? NO_SEPARATOR : this.#upperFence(level, this.#childPlace(level))
    leaves.distribute(left, right, leftCount, lower, middle, upper)
    const intoRight = this.#separators.compareSearch(middle, this.#key, 0) <= 0
    this.#insertInto(intoRight ? right : left, entry)
    this.#insertChild(level, middle, right)
  }

  /** Has as many inner nodes at hand as a split of the leaf on the way takes. */
  #takeInners(): void {
    let level = this.#height - 1
    while (level >= 0 && this.#inners.count(this.#node(level)) === INNER_CAPACITY) level--
    // A full node is split in two; above the topmost one comes another root.
    const count = this.#height - 1 - level + (level < 0 ? 1 : 0)
    while (this.#spareInners.length < count) this.#spareInners.push(this.#inners.create())
  }

  /** Makes a leaf; where there is no memory for it, frees the separator that was made before it. */
  #takeLeaf(middle: Separator): Leaf {
    try {
      return this.leaves.create()
    } catch (error) {
      if (error instanceof NoMemory) this.#separators.free(middle)
      throw error
    }
  }

  #spareInner(): number {
    const inner = this.#spareInners.pop()
    assert(inner !== undefined, 'A split takes more nodes than were made for it')
    return inner
  }

  #insertInto(leaf: Leaf, entry: Entry): void {
    this.leaves.insert(leaf, this.leaves.search(leaf, this.#key) >>> 1, this.#key, entry)
  }

  /** The shortest separator between the keys of two neighbouring entries. */
  #separate(before: Entry, behind: Entry): Separator {
    this.entries.readSearch(behind, this.#boundary)
    return this.#separators.add(this.#boundary, this.entries.sharedSize(before, behind) + 1)
  }

  /** Adds a child behind the one that the way takes at `level`; -1 is above the root. */
  #insertChild(level: number, separator: Separator, child: number): void {
    const inners = this.#inners
    if (level < 0) {
      const root = this.#spareInner()
      inners.fill(root, [separator], [this.#root, child], NO_SEPARATOR, NO_SEPARATOR)
      this.#root = root
      this.#height++
      return
    }
    const left = this.#node(level)
    const place = this.#childPlace(level)
    if (inners.count(left) < INNER_CAPACITY) {
      inners.insert(left, place, separator, child)
      return
    }

    const separators = inners.separatorsOf(left)
    const children = inners.childrenOf(left)
    separators.splice(place, 0, separator)
    children.splice(place + 1, 0, child)
    const lower =
      level === 0 ? NO_SEPARATOR : this.#lowerFence(level - 1, this.#childPlace(level - 1))
    const upper =
      level === 0 ? NO_SEPARATOR : this.#upperFence(level - 1, this.#childPlace(level - 1))
    // As with leaves, ascending and descending inserts leave full nodes.
    let middle = separators.length >>> 1
    if (place === INNER_CAPACITY && upper === NO_SEPARATOR) middle = INNER_CAPACITY - 1
    else if (place === 0 && lower === NO_SEPARATOR) middle = 1
    const right = this.#spareInner()
    const promoted = this.#fillTwo(left, right, separators, children, middle, lower, upper)
    this.#insertChild(level - 1, promoted, right)
  }

  /** Fills two nodes; the separator at `middle` goes to neither and is answered. */
  #fillTwo(
    left: number,
    right: number,
    separators: readonly Separator[],
    children: readonly number[],
    middle: number,
    lower: Separator,
    upper: Separator,
  ): Separator {
    const promoted = separators[middle] as number
    const inners = this.#inners
    inners.fill(left, separators.slice(0, middle), children.slice(0, middle + 1), lower, promoted)
    inners.fill(right, separators.slice(middle + 1), children.slice(middle + 1), promoted, upper)
    return promoted
  }

  /**
   * Merges the leaf on the way, which has few entries left, with a neighbour, or evens the two out.
   */
  #refillLeaf(): void {
    this.#findWay()
    const level = this.#height - 1
    const parent = this.#node(level)
    const left = Math.max(this.#childPlace(level) - 1, 0)
    const leftLeaf = this.#inners.child(parent, left)
    const rightLeaf = this.#inners.child(parent, left + 1)
    const count = this.leaves.count(leftLeaf) + this.leaves.count(rightLeaf)
    if (count > LEAF_MERGED && this.#mayEven(left)) return
    // Then there was no memory to even the two out: one of them stays as empty as it is, if need be.
    if (count > LEAF_CAPACITY) return
    const lower = this.#lowerFence(level, left)
    const upper = this.#upperFence(level, left + 1)
    this.leaves.merge(leftLeaf, rightLeaf, lower, upper)
    this.leaves.free(rightLeaf)
    const between = this.#inners.separator(parent, left)
    this.#inners.remove(parent, left)
    this.#separators.free(between)
    this.#refillInner(level)
  }

  /** Evens two leaves out as `#even` does, if there is the memory for it. */
  #mayEven(left: number): boolean {
    try {
      this.#even(left)
      return true
    } catch (error) {
      if (error instanceof NoMemory) return false
      throw error
    }
  }

  /** Does to the node at `level` of the way what `#refillLeaf` does to a leaf, if it needs it. */
  #refillInner(level: number): void {
    const inners = this.#inners
    const node = this.#node(level)
    if (level === 0) {
      if (inners.count(node) > 0) return
      this.#root = inners.child(node, 0)
      this.#height--
      inners.free(node)
      return
    }
    if (inners.count(node) >= INNER_LEAST) return

    const parent = this.#node(level - 1)
    const place = Math.max(this.#childPlace(level - 1) - 1, 0)
    const left = inners.child(parent, place)
    const right = inners.child(parent, place + 1)
    const between = inners.separator(parent, place)
    const separators = [...inners.separatorsOf(left), between, ...inners.separatorsOf(right)]
    const children = [...inners.childrenOf(left), ...inners.childrenOf(right)]
    const lower = this.#lowerFence(level - 1, place)
    const upper = this.#upperFence(level - 1, place + 1)
    if (separators.length > INNER_MERGED) {
      const middle = separators.length >>> 1
      const promoted = this.#fillTwo(left, right, separators, children, middle, lower, upper)
      inners.replace(parent, place, promoted)
    } else {
      inners.fill(left, separators, children, lower, upper)
      inners.free(right)
      inners.remove(parent, place)
      this.#refillInner(level - 1)
    }
  }
}
