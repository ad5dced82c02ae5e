/** Walks the versions that a view sees, for `view-cursor.ts`. */

import { type Entry, type KeydirCursor, type KeyRange, NO_ENTRY } from '../keydir/keydir.ts'
import { NO_NODE, type Node, type Versions } from './versions.ts'

/**
 * Walks the versions of a range that a view sees, in key order; see {@link KeydirCursor}. It is
 * valid until a version is saved or taken out; call `seekBeyond` after that.
 */
export class VersionCursor implements KeydirCursor {
  readonly #versions: Versions
  readonly #viewId: number
  readonly #range: KeyRange
  /**
   * A stack of the nodes that come next, the first of them on top. The subtree beyond a node comes
   * before the node below it.
   */
  #path: Node[] = []
  /** The node that was returned last. */
  #last: Node = NO_NODE

  constructor(versions: Versions, viewId: number, range: KeyRange) {
    this.#versions = versions
    this.#viewId = viewId
    this.#range = range
    this.#seekStart()
  }

  next(): Entry {
    const versions = this.#versions
    const { lower, upper, reverse } = this.#range
    for (;;) {
      let node = this.#step()
      if (node === NO_NODE) return NO_ENTRY
      if (this.#last !== NO_NODE && versions.isSameKey(node, this.#last)) {
        // Search beyond the key instead of stepping: it may have as many versions as there are
        // views.
        const key = versions.entries.keyView(versions.entry(node))
        this.#seek(key, key.length, true)
        continue
      }
      if (reverse) {
        const key = versions.entries.keyView(versions.entry(node))
        node = versions.find(key, key.length, this.#viewId)
      }
      const far = reverse ? lower : upper
      if (far !== undefined && this.#isPast(node, far)) {
        this.#path = []
        return NO_ENTRY
      }
      this.#last = node
      return versions.entry(node)
    }
  }

  seekBeyond(key: Uint8Array, keySize: number): void {
    const { lower, upper, reverse } = this.#range
    const near = reverse ? upper : lower
    const direction = reverse ? -1 : 1
    const target = key.subarray(0, keySize)
    this.#last = NO_NODE
    if (near !== undefined && Buffer.compare(target, near) * direction < 0) this.#seekStart()
    else this.#seek(key, keySize, true)
  }

  #seekStart(): void {
    const { lower, lowerInclusive, upper, upperInclusive, reverse } = this.#range
    const near = reverse ? upper : lower
    const isInclusive = reverse ? upperInclusive : lowerInclusive
    this.#path = []
    if (near === undefined) this.#push(this.#versions.root)
    else this.#seek(near, near.length, !isInclusive)
  }

  /** Whether a node is beyond the far end of the range. */
  #isPast(node: Node, far: Uint8Array): boolean {
    const { lowerInclusive, upperInclusive, reverse } = this.#range
    const order = this.#versions.compareKey(node, far, far.length)
    if (order === 0) return !(reverse ? lowerInclusive : upperInclusive)
    return reverse ? order < 0 : order > 0
  }

  /** Returns the next node that the view sees, in the cursor's direction. */
  #step(): Node {
    for (;;) {
      const node = this.#path.pop()
      if (node === undefined) return NO_NODE
      this.#push(this.#beyond(node))
      if (this.#versions.mark(node) >= this.#viewId) return node
    }
  }

  /** Moves before the first node, in the cursor's direction, that is at a key or beyond it. */
  #seek(key: Uint8Array, keySize: number, isBeyond: boolean): void {
    const versions = this.#versions
    this.#path = []
    for (let node = versions.root; this.#mayHold(node); ) {
      const order = versions.compareKey(node, key, keySize)
      const isAhead = this.#range.reverse ? order < 0 : order > 0
      if (isAhead || (order === 0 && !isBeyond)) {
        this.#path.push(node)
        node = this.#short(node)
      } else {
        node = this.#beyond(node)
      }
    }
  }

  /** Pushes the nodes of a subtree that come first. */
  #push(root: Node): void {
    for (let node = root; this.#mayHold(node); node = this.#short(node)) this.#path.push(node)
  }

  /** Whether the view sees anything in a subtree. */
  #mayHold(node: Node): boolean {
    return node !== NO_NODE && this.#versions.highest(node) >= this.#viewId
  }

  /** Returns the subtree beyond a node in the cursor's direction. */
  #beyond(node: Node): Node {
    return this.#range.reverse ? this.#versions.left(node) : this.#versions.right(node)
  }

  /** Returns the subtree short of a node in the cursor's direction. */
  #short(node: Node): Node {
    return this.#range.reverse ? this.#versions.right(node) : this.#versions.left(node)
  }
}
