/**
 * Versions: what changes have replaced, for the views that still see it.
 *
 * Each version is an entry with its key and a *mark*, the id of the view that was the newest one when the version was
 * replaced. A view sees of a key the version with the lowest mark that is not below its own id; where there is none,
 * what the keydir holds. So no version has to move when views come and go.
 *
 * The versions are the nodes of one treap, in the order of keys, and of marks within a key: a search tree that is kept
 * balanced by a number of each node that looks random, and is highest at the root. Every node knows the highest mark
 * below it, so that a search steps over whole subtrees in which a view sees nothing. In words, in an arena:
 *
 *     0  entry      1  left      2  right      3  next      4  previous
 *     5  mark (2)   7  highest mark of the subtree (2)      9  the first bytes of the key, as numbers that sort as they do (6)
 *
 * With the spare word that is what a processor fetches from memory at once; of most keys it tells all.
 *
 * Next and previous make rings of versions, each of which begins at a node without an entry: the versions whose marks
 * lie between two views that are open. When a view closes, its ring goes to the next older one, which may hold versions
 * of the same keys that make some useless. The shorter ring of the two is put into a third one, of versions to be looked
 * at, bit by bit: a version is looked at some twenty times in all, whatever closes in which order.
 *
 * Invariants
 * - Marks only go up: what is saved has the highest one.
 * - A version is useless where no open view lies between the mark of the version before it, of the same key, and its own.
 *   It is in the third ring, or such a one before it, unless it was taken out already; nobody sees it.
 * - Every operation takes a logarithmic time, also a step of a cursor. Taking out takes no memory.
 */

import { Arena, CHUNK_MASK } from '../keydir/arena.ts'
import { Entries } from '../keydir/entries.ts'
import { bigEndian, keyWords } from '../keydir/key-words.ts'
import { type Entry, NO_ENTRY } from '../keydir/keydir.ts'
import { SearchKey } from '../keydir/search-key.ts'

/** The number of a version in its {@link Versions}; {@link NO_NODE} where there is none. */
export type Node = number

export const NO_NODE = 0

// As in arena.ts: a constant of one's own is folded.
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

/** Less memory than this is not worth to be given back, in bytes. */
const LEAST_SIZE = 64 * 1024
/** Where it has so many times the memory that what is left needs, it is to be given back. */
const SPARSE = 8

/** Answers whether an open view lies above a mark, and not above another. */
export type IsSeen = (above: number, upTo: number) => boolean

/** Versions of keys, by key and mark. */
export class Versions {
  readonly entries = new Entries()
  readonly #nodes = new Arena()
  /** The key that is looked for, and its first bytes as in a node. */
  readonly #key = new SearchKey()
  readonly #head = new Uint32Array(HEAD_WORDS)
  /** The way to where it belongs, from the root down, as it was looked for last. */
  readonly #path: Node[] = []
  #pathSize = 0
  #root: Node = NO_NODE
  /** Nodes that were freed, linked by their next. */
  #free: Node = NO_NODE
  /** The ring of what is to be looked at. */
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

  /** How many there are, useless ones included. */
  get size(): number {
    return this.entries.count
  }

  /** Bytes of memory reserved. */
  get byteSize(): number {
    return this.entries.byteSize + this.#nodes.byteSize
  }

  /** Whether most of the memory was left by versions that are gone. */
  get isSparse(): boolean {
    return this.byteSize > LEAST_SIZE && this.#nodes.used > SPARSE * NODE_WORDS * (this.size + 1)
  }

  get root(): Node {
    return this.#root
  }

  /** The highest mark of all; 0 where there is no version. */
  get highestMark(): number {
    return this.#root === NO_NODE ? 0 : this.highest(this.#root)
  }

  /** Whether something is to be looked at; see {@link lookAt}. */
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

  /** The highest mark in the subtree of a node. */
  highest(node: Node): number {
    return this.#number(node, HIGHEST)
  }

  /** Makes a ring of no versions. @throws {@link StoreError} FIRKIN_NO_MEMORY */
  ring(): Node {
    const ring = this.#allocate()
    this.#setWord(ring, ENTRY, NO_ENTRY)
    this.#link(ring, ring)
    return ring
  }

  /** The version of a key that a view sees; {@link NO_NODE} where it sees what the keydir holds. */
  find(key: Uint8Array, keySize: number, viewId: number): Node {
    if (this.highestMark < viewId) return NO_NODE
    this.#seek(key, keySize)
    const node = this.#firstFrom(viewId)
    return node !== NO_NODE && this.entries.equalsSearch(this.entry(node), this.#key)
      ? node
      : NO_NODE
  }

  /**
   * Saves what a key had, for the views up to `mark`, the highest one; `find` has just not found it for that.
   *
   * @param size the record's size in bytes; 0 where the key was not there
   * @throws {@link StoreError} FIRKIN_NO_MEMORY; nothing has changed then
   */
  save(
    ring: Node,
    mark: number,
    key: Uint8Array,
    keySize: number,
    segment: number,
    offset: number,
    size: number,
    sequence: number,
    expiresAtMs: number,
  ): void {
    if (this.highestMark < mark) {
      // It was not looked for.
      this.#seek(key, keySize)
      this.#firstFrom(mark)
    }
    const node = this.#allocate()
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

  /** All there are, useless ones included, in the order of their marks. */
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

  /** Puts all that is in a ring into another one; the one it was in is gone. */
  join(from: Node, to: Node): void {
    const first = this.#word(from, NEXT)
    const last = this.#word(from, PREVIOUS)
    if (first !== from) {
      this.#link(this.#word(to, PREVIOUS), first)
      this.#link(last, to)
    }
    this.#release(from)
  }

  /** As {@link join}, with what is to be looked at. */
  doubt(ring: Node): void {
    this.join(ring, this.#doubtful)
  }

  /**
   * Looks at some of what may be useless, or may make the version behind it so, and takes out what is. Answers how many
   * were taken out: cursors have to find their places again then.
   *
   * @param ringOf the ring for a version with a mark, where it stays
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

  /** Compares the key of a node with one: negative, zero or positive. */
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

  /** The first node, in order, of the key that is looked for from a mark on, or of a key behind it. */
  #firstFrom(mark: number): Node {
    const path = this.#path
    const head = this.#head
    let best = NO_NODE
    let size = 0
    for (let node = this.#root; node !== NO_NODE; ) {
      path[size++] = node
      // What `#compareSearch` does, without a call for each word (measured).
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

  /** The next version of the same key. */
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

  /** The version before, of the same key. */
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

  /** Parts a subtree in what comes before the key that was looked for with a mark, and the rest. */
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

  /** Takes a node out of a subtree, and answers its root. */
  #without(node: Node, gone: Node): Node {
    if (node === gone) return this.#joined(this.left(gone), this.right(gone))
    const side = this.#compare(node, gone) < 0 ? RIGHT : LEFT
    this.#setWord(node, side, this.#without(this.#word(node, side), gone))
    return this.#summed(node)
  }

  /** One subtree of two, the first of which comes before the other. */
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

  /** Answers a node, with its highest mark made right. */
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

/** Of two nodes the one with the higher weight is above: a number that looks random, and differs from node to node. */
function weight(node: Node): number {
  // Each step can be undone, so that no two nodes share a weight.
  let mixed = Math.imul(node ^ (node >>> 16), 0x21f0aaad)
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97)
  return (mixed ^ (mixed >>> 15)) >>> 0
}
