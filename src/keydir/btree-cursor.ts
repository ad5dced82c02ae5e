import type { BTreeKeydir } from './btree.ts'
import { type Leaf, NO_LEAF } from './btree-leaves.ts'
import { compareBytes } from './key-words.ts'
import { type Entry, type KeydirCursor, type KeyRange, NO_ENTRY } from './keydir.ts'

/** Walks the leaves of a B+tree from one place to another; both are sought once, by the range's bounds. */
export class BTreeCursor implements KeydirCursor {
  readonly #tree: BTreeKeydir
  readonly #range: KeyRange
  #leaf: Leaf = NO_LEAF
  #index = 0
  #endLeaf: Leaf = NO_LEAF
  #endIndex = 0
  #ended = false

  constructor(tree: BTreeKeydir, range: KeyRange) {
    this.#tree = tree
    this.#range = range
    const { lower, upper } = range
    if (lower !== undefined && upper !== undefined && compareBytes(lower, upper) > 0) {
      this.#ended = true
      return
    }
    this.#seekEnd()
    this.#seekStart()
  }

  next(): Entry {
    if (this.#ended) return NO_ENTRY
    const entry = this.#range.reverse ? this.#previousEntry() : this.#nextEntry()
    this.#ended = entry === NO_ENTRY
    return entry
  }

  seekBeyond(key: Uint8Array, keySize: number): void {
    const { lower, upper, reverse } = this.#range
    const target = key.subarray(0, keySize)
    // Beyond the far bound nothing is left; before the near one the range has its start.
    const far = reverse ? lower : upper
    const near = reverse ? upper : lower
    const direction = reverse ? -1 : 1
    this.#ended = far !== undefined && compareBytes(target, far) * direction >= 0
    if (this.#ended) return
    this.#seekEnd()
    if (near !== undefined && compareBytes(target, near) * direction < 0) this.#seekStart()
    else this.#seekBound(target, !reverse)
  }

  #nextEntry(): Entry {
    const leaves = this.#tree.leaves
    while (this.#leaf !== this.#endLeaf || this.#index < this.#endIndex) {
      if (this.#index < leaves.count(this.#leaf)) return leaves.entry(this.#leaf, this.#index++)
      this.#leaf = leaves.next(this.#leaf)
      this.#index = 0
      if (this.#leaf === NO_LEAF) return NO_ENTRY
    }
    return NO_ENTRY
  }

  #previousEntry(): Entry {
    const leaves = this.#tree.leaves
    while (this.#leaf !== this.#endLeaf || this.#index > this.#endIndex) {
      if (this.#index > 0) return leaves.entry(this.#leaf, --this.#index)
      this.#leaf = leaves.previous(this.#leaf)
      if (this.#leaf === NO_LEAF) return NO_ENTRY
      this.#index = leaves.count(this.#leaf)
    }
    return NO_ENTRY
  }

  #seekStart(): void {
    const { lower, lowerInclusive, upper, upperInclusive, reverse } = this.#range
    if (reverse) this.#seekUpper(upper, upperInclusive)
    else this.#seekLower(lower, lowerInclusive)
  }

  #seekEnd(): void {
    const { lower, lowerInclusive, upper, upperInclusive, reverse } = this.#range
    if (reverse) this.#seekLower(lower, lowerInclusive)
    else this.#seekUpper(upper, upperInclusive)
    this.#endLeaf = this.#leaf
    this.#endIndex = this.#index
  }

  #seekLower(bound: Uint8Array | undefined, inclusive: boolean): void {
    if (bound === undefined) {
      this.#leaf = this.#tree.edgeLeaf(false)
      this.#index = 0
    } else {
      this.#seekBound(bound, !inclusive)
    }
  }

  #seekUpper(bound: Uint8Array | undefined, inclusive: boolean): void {
    if (bound === undefined) {
      this.#leaf = this.#tree.edgeLeaf(true)
      this.#index = this.#tree.leaves.count(this.#leaf)
    } else {
      this.#seekBound(bound, inclusive)
    }
  }

  /** Stands before the first key that is not below `bound`, or behind that key where it is `bound`. */
  #seekBound(bound: Uint8Array, behind: boolean): void {
    const found = this.#tree.seek(bound, bound.length)
    this.#leaf = this.#tree.leaf
    this.#index = this.#tree.index + (found && behind ? 1 : 0)
  }
}
