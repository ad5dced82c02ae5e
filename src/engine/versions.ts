/**
 * Versions are what changes have replaced, kept for the views that still see it.
 *
 * Each version is an entry with its key and a *mark*: the id of the view that was the newest one
 * when the version was replaced. Of a key's versions a view sees the one with the lowest mark that
 * is not below the view's own id. If there is none, it sees what the keydir holds. So no version
 * has to move when views open and close.
 *
 * The versions are the nodes of one treap, in the order of keys, and of marks within a key. A treap
 * is a search tree kept balanced by the weight of each node: a number that looks random, and is
 * higher the nearer a node is to the root. Every node knows the highest mark in its subtree, so
 * that a search skips whole subtrees in which a view sees nothing. A node in an arena, in words:
 *
 *     0  entry      1  left      2  right      3  next      4  previous
 *     5  mark (2)   7  highest mark of the subtree (2)
 *     9  the first bytes of the key, as numbers that sort as they do (6)
 *
 * With a spare word that is what a processor fetches from memory at once. For most keys nothing
 * else is needed to compare them.
 *
 * Next and previous link rings of versions. Each ring begins at a node without an entry, and holds
 * the versions whose marks lie between two open views. When a view closes, its ring goes to the
 * next older view, which may hold versions of the same keys that make some useless. The shorter of
 * the two rings is moved to a third one, of versions to be looked at bit by bit. A version is
 * looked at some twenty times in all, in whatever order views close.
 *
 * Invariants
 * - Marks only go up: a version that is saved has the highest one.
 * - A version is useless if no open view lies between the mark of the version before it, of the
 *   same key, and its own. No view sees it. Until it is taken out, it or the version before it is
 *   in the third ring.
 * - Every operation, including a step of a cursor, takes logarithmic time. Taking out takes no
 *   memory.
 */

import { Arena, CHUNK_MASK } from '../keydir/arena.ts'
import { Entries, type Location } from '../keydir/entries.ts'
import { bigEndian, keyWords } from '../keydir/key-words.ts'
import { type Entry, NO_ENTRY } from '../keydir/keydir.ts'
import { SearchKey } from '../keydir/search-key.ts'

/** The number of a version in its {@link Versions}; {@link NO_NODE} for none. */
export type Node = number

/** Stands for no version. */
export const NO_NODE = 0

// As in arena.ts: a module's own constant is folded.
const IN_CHUNK = CHUNK_MASK
const WORD_RANGE = 2 ** 32

const ENTRY = 0
const LEFT = 1
const RIGHT = 2
const NEXT = 3
const PREVIOUS = 4
const MARK = 5
const HIGHEST = 7
const HEAD = 9
const HEAD_WORDS = 6
const NODE_WORDS = 16

/** Less memory than this is not worth giving back, in bytes. */
const LEAST_SIZE = 64 * 1024
/**
 * If it has this many times the memory that the remaining versions need, the memory is given back.
 */
const SPARSE = 8

/** Returns whether an open view has an id above `above`, and not above `upTo`. */
type IsSeen = (above: number, upTo: number) => boolean

/** Versions of keys, by key and mark. */
export class Versions {
  readonly entries = new Entries()
  readonly #nodes = new Arena()
  /** The key that is looked for, and its first bytes as in a node. */
  readonly #key = new SearchKey()
  readonly #head = new Uint32Array(HEAD_WORDS)
  /** The path from the root to the place that was looked for last. */
  readonly #path: Node[] = []
  #pathSize = 0
  #root: Node = NO_NODE
  /** Freed nodes, linked by their `NEXT`. */
  #free: Node = NO_NODE
  /** The ring of versions to be looked at. */
  readonly #doubtful: Node
  /** The two halves of what was split last. */
  #low: Node = NO_NODE
  #high: Node = NO_NODE

  /** @throws {@link StoreError} FIRKIN_NO_MEMORY */
  constructor() {
    // So that no node has number 0.
    this.#nodes.reserve(NODE_WORDS)
    this.#doubtful = this.ring()
  }

  /** The number of versions, useless ones included. */
  get size(): number {
    return this.entries.count
  }

  /** The memory reserved, in bytes. */
  get byteSize(): number {
    return this.entries.byteSize + this.#nodes.byteSize
  }

  /** Whether most of the memory was left by versions that are gone. */
  get isSparse(): boolean {
    return this.byteSize > LEAST_SIZE && this.#nodes.used > SPARSE * NODE_WORDS * (this.size + 1)
  }

  /** The root of the tree; {@link NO_NODE} if there is no version. */
  get root(): Node {
    return this.#root
  }

  /** The highest mark of all; 0 if there is no version. */
  get highestMark(): number {
    return this.#root === NO_NODE ? 0 : this.highest(this.#root)
  }

  /** Whether there are versions to be looked at; see {@link lookAt}. */
  get hasDoubts(): boolean {
    return this.#word(this.#doubtful, NEXT) !== this.#doubtful
  }

  entry(node: Node): Entry {
    return this.#word(node, ENTRY)
  }

  left(node: Node): Node {
    return this.#word(node, LEFT)
  }

  right(node: Node): Node {
    return this.#word(node, RIGHT)
  }

  mark(node: Node): number {
    return this.#number(node, MARK)
  }

  /** Returns the highest mark in the subtree of a node. */
  highest(node: Node): number {
    return this.#number(node, HIGHEST)
  }

  /** Makes a ring without versions. @throws {@link StoreError} FIRKIN_NO_MEMORY */
  ring(): Node {
    const ring = this.#allocate()
    this.#setWord(ring, ENTRY, NO_ENTRY)
    this.#link(ring, ring)
    return ring
  }

  /**
   * Returns the version of a key that a view sees; {@link NO_NODE} if it sees what the keydir
   * holds.
   */
  find(key: Uint8Array, keySize: number, viewId: number): Node {
    if (this.highestMark < viewId) return NO_NODE
    this.#seek(key, keySize)
    const node = this.#firstFrom(viewId)
    return node !== NO_NODE && this.entries.equalsSearch(this.entry(node), this.#key)
      ? node
      : NO_NODE
  }

  /**
   * Saves what a key had, for the views up to `mark`, the highest one. The last call of `find` must
   * have been for this key and `mark`, and have found nothing.
   *
   * @param location where its record lies; the size is 0 if the key was not there
   * @throws {@link StoreError} FIRKIN_NO_MEMORY; nothing has changed then
   */
  save(
    ring: Node,
    mark: number,
    key: Uint8Array,
    keySize: number,
    location: Readonly<Location>,
    expiresAtMs: number,
  ): void {
    if (this.highestMark < mark) {
      // `find` did not search for it.
      this.#seek(key, keySize)
      this.#firstFrom(mark)
    }
    const node = this.#allocate()
    const { segment, offset, size, sequence } = location
    try {
      const entry = this.entries.allocate(this.#key, segment, offset, size, sequence, expiresAtMs)
      this.#setWord(node, ENTRY, entry)
    } catch (error) {
      this.#release(node)
      throw error
    }
    for (let i = 0; i < HEAD_WORDS; i++) this.#setWord(node, HEAD + i, this.#head[i] as number)
    this.#setNumber(node, MARK, mark)
    this.#insert(node, mark)
    this.#putInto(ring, node)
  }

  /** Returns all versions, useless ones included, in the order of their marks. */
  byMark(): Node[] {
    const nodes: Node[] = []
    const left = [this.#root]
    for (let node = left.pop(); node !== undefined; node = left.pop()) {
      if (node === NO_NODE) continue
      nodes.push(node)
      left.push(this.left(node), this.right(node))
    }
    return nodes.sort((a, b) => this.mark(a) - this.mark(b))
  }

  /** Moves all versions of a ring to another one, and releases the ring. */
  join(from: Node, to: Node): void {
    const first = this.#word(from, NEXT)
    const last = this.#word(from, PREVIOUS)
    if (first !== from) {
      this.#link(this.#word(to, PREVIOUS), first)
      this.#link(last, to)
    }
    this.#release(from)
  }

  /** As {@link join}, to the ring of versions to be looked at. */
  doubt(ring: Node): void {
    this.join(ring, this.#doubtful)
  }

  /**
   * Looks at up to `count` versions that may be useless, or may make the version after them
   * useless, and takes out those that are. Returns how many were taken out: if any were, cursors
   * have to find their places again.
   *
   * @param ringOf returns the ring for a version that stays, by its mark
   */
  lookAt(count: number, isSeen: IsSeen, ringOf: (mark: number) => Node): number {
    let removed = 0
    for (let left = count; left > 0 && this.hasDoubts; left--) {
      const node = this.#word(this.#doubtful, NEXT)
      const mark = this.mark(node)
      const behind = this.#after(node)
      if (behind !== NO_NODE && !isSeen(mark, this.mark(behind))) {
        this.#remove(behind)
        removed++
      }
      const before = this.#before(node)
      if (isSeen(before === NO_NODE ? 0 : this.mark(before), mark)) {
        this.#takeOut(node)
        this.#putInto(ringOf(mark), node)
      } else {
        this.#remove(node)
        removed++
      }
    }
    return removed
  }

  /** Compares the key of a node with a key: negative, zero or positive. */
  compareKey(node: Node, key: Uint8Array, keySize: number): number {
    return this.entries.compareKey(this.entry(node), key, keySize)
  }

  /** Whether two nodes have the same key. */
  isSameKey(left: Node, right: Node): boolean {
    return this.#compareKeys(left, right) === 0
  }

  #seek(key: Uint8Array, keySize: number): void {
    this.#key.set(key, keySize)
    const { words } = this.#key
    const count = keyWords(keySize)
    for (let i = 0; i < HEAD_WORDS; i++) {
      this.#head[i] = i < count ? bigEndian(words[i] as number) : 0
    }
  }

  /**
   * Returns the first node, in order, that has the key that is looked for and at least `mark`, or a
   * later key.
   */
  #firstFrom(mark: number): Node {
    const path = this.#path
    const head = this.#head
    let best = NO_NODE
    let size = 0
    for (let node = this.#root; node !== NO_NODE; ) {
      path[size++] = node
      // Does what `#compareSearch` does, without a call for each word (measured).
      const words = this.#nodes.chunkAt(node)
      const at = node & IN_CHUNK
      let i = 0
      while (i < HEAD_WORDS && words[at + HEAD + i] === head[i]) i++
      const isBelow =
        i < HEAD_WORDS
          ? (words[at + HEAD + i] as number) < (head[i] as number)
          : this.#compareSearch(node, mark) < 0
      if (!isBelow) best = node
      node = words[at + (isBelow ? RIGHT : LEFT)] as number
    }
    this.#pathSize = size
    return best
  }

  #compareSearch(node: Node, mark: number): number {
    const words = this.#nodes.chunkAt(node)
    const at = node & IN_CHUNK
    const head = this.#head
    for (let i = 0; i < HEAD_WORDS; i++) {
      const difference = (words[at + HEAD + i] as number) - (head[i] as number)
      if (difference !== 0) return difference
    }
    const order = this.entries.compareSearch(words[at + ENTRY] as number, this.#key, 0)
    return order === 0 ? this.mark(node) - mark : order
  }

  #compare(left: Node, right: Node): number {
    const order = this.#compareKeys(left, right)
    return order === 0 ? this.mark(left) - this.mark(right) : order
  }

  #compareKeys(left: Node, right: Node): number {
    const leftWords = this.#nodes.chunkAt(left)
    const rightWords = this.#nodes.chunkAt(right)
    const leftAt = (left & IN_CHUNK) + HEAD
    const rightAt = (right & IN_CHUNK) + HEAD
    for (let i = 0; i < HEAD_WORDS; i++) {
      const difference = (leftWords[leftAt + i] as number) - (rightWords[rightAt + i] as number)
      if (difference !== 0) return difference
    }
    return this.entries.compare(this.entry(left), this.entry(right))
  }

  /** Returns the next version of the same key. */
  #after(node: Node): Node {
    let best = NO_NODE
    for (let each = this.#root; each !== NO_NODE; ) {
      if (this.#compare(each, node) <= 0) each = this.right(each)
      else {
        best = each
        each = this.left(each)
      }
    }
    return best !== NO_NODE && this.isSameKey(best, node) ? best : NO_NODE
  }

  /** Returns the previous version of the same key. */
  #before(node: Node): Node {
    let best = NO_NODE
    for (let each = this.#root; each !== NO_NODE; ) {
      if (this.#compare(each, node) >= 0) each = this.left(each)
      else {
        best = each
        each = this.right(each)
      }
    }
    return best !== NO_NODE && this.isSameKey(best, node) ? best : NO_NODE
  }

  /** Adds a node of the key that was looked for. */
  #insert(added: Node, mark: number): void {
    const own = weight(added)
    const path = this.#path
    let place = 0
    for (; place < this.#pathSize; place++) {
      const above = path[place] as Node
      if (weight(above) < own) break
      this.#setNumber(above, HIGHEST, mark)
    }
    this.#split(place < this.#pathSize ? (path[place] as Node) : NO_NODE, mark)
    this.#setWord(added, LEFT, this.#low)
    this.#setWord(added, RIGHT, this.#high)
    this.#setNumber(added, HIGHEST, mark)
    if (place === 0) this.#root = added
    else {
      const parent = path[place - 1] as Node
      this.#setWord(parent, this.#compareSearch(parent, mark) < 0 ? RIGHT : LEFT, added)
    }
  }

  /**
   * Splits a subtree into what comes before the key that was looked for with `mark`, and the rest.
   */
  #split(node: Node, mark: number): void {
    if (node === NO_NODE) {
      this.#low = NO_NODE
      this.#high = NO_NODE
    } else if (this.#compareSearch(node, mark) < 0) {
      this.#split(this.right(node), mark)
      this.#setWord(node, RIGHT, this.#low)
      this.#low = this.#summed(node)
    } else {
      this.#split(this.left(node), mark)
      this.#setWord(node, LEFT, this.#high)
      this.#high = this.#summed(node)
    }
  }

  #remove(node: Node): void {
    this.#root = this.#without(this.#root, node)
    this.#takeOut(node)
    this.entries.free(this.entry(node))
    this.#release(node)
  }

  /** Takes a node out of a subtree, and returns the subtree's root. */
  #without(node: Node, gone: Node): Node {
    if (node === gone) return this.#joined(this.left(gone), this.right(gone))
    const side = this.#compare(node, gone) < 0 ? RIGHT : LEFT
    this.#setWord(node, side, this.#without(this.#word(node, side), gone))
    return this.#summed(node)
  }

  /** Joins two subtrees, the first of which comes before the other. */
  #joined(low: Node, high: Node): Node {
    if (low === NO_NODE) return high
    if (high === NO_NODE) return low
    if (weight(low) > weight(high)) {
      this.#setWord(low, RIGHT, this.#joined(this.right(low), high))
      return this.#summed(low)
    }
    this.#setWord(high, LEFT, this.#joined(low, this.left(high)))
    return this.#summed(high)
  }

  /** Returns a node after updating its highest mark. */
  #summed(node: Node): Node {
    const left = this.left(node)
    const right = this.right(node)
    let highest = this.mark(node)
    if (left !== NO_NODE) highest = Math.max(highest, this.highest(left))
    if (right !== NO_NODE) highest = Math.max(highest, this.highest(right))
    this.#setNumber(node, HIGHEST, highest)
    return node
  }

  #putInto(ring: Node, node: Node): void {
    this.#link(this.#word(ring, PREVIOUS), node)
    this.#link(node, ring)
  }

  #takeOut(node: Node): void {
    this.#link(this.#word(node, PREVIOUS), this.#word(node, NEXT))
  }

  #link(node: Node, next: Node): void {
    this.#setWord(node, NEXT, next)
    this.#setWord(next, PREVIOUS, node)
  }

  #allocate(): Node {
    const node = this.#free
    if (node === NO_NODE) return this.#nodes.reserve(NODE_WORDS)
    this.#free = this.#word(node, NEXT)
    return node
  }

  #release(node: Node): void {
    this.#setWord(node, NEXT, this.#free)
    this.#free = node
  }

  #word(node: Node, word: number): number {
    return this.#nodes.chunkAt(node)[(node & IN_CHUNK) + word] as number
  }

  #setWord(node: Node, word: number, value: number): void {
    this.#nodes.chunkAt(node)[(node & IN_CHUNK) + word] = value
  }

  #number(node: Node, word: number): number {
    const words = this.#nodes.chunkAt(node)
    const at = (node & IN_CHUNK) + word
    return (words[at + 1] as number) * WORD_RANGE + (words[at] as number)
  }

  #setNumber(node: Node, word: number, value: number): void {
    const words = this.#nodes.chunkAt(node)
    const at = (node & IN_CHUNK) + word
    words[at] = value >>> 0
    words[at + 1] = Math.floor(value / WORD_RANGE)
  }
}

/**
 * Returns a node's weight: a number that looks random, and differs from node to node. Of two nodes
 * the heavier one is above.
 */
function weight(node: Node): number {
  // Each step can be undone, so that no two nodes have the same weight.
  let mixed = Math.imul(node ^ (node >>> 16), 0x21f0aaad)
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97)
  return (mixed ^ (mixed >>> 15)) >>> 0
}
