/** The cursor of the B+tree. */

import { type Leaf, NO_LEAF } from './btree-leaves.ts'
import type { BTreeNodes } from './btree-nodes.ts'
import { type Entry, NO_ENTRY } from './entry.ts'
import type { KeyRange } from './keydir.ts'
import { OrderedCursor } from './ordered-cursor.ts'

/** Walks the leaves of a B+tree. A gap is a leaf and the number of its entries before the gap. */
export class BTreeCursor extends OrderedCursor {
  readonly #tree: BTreeNodes
  #leaf: Leaf = NO_LEAF
  #index = 0
  #endLeaf: Leaf = NO_LEAF
  #endIndex = 0

  constructor(tree: BTreeNodes, range: KeyRange) {
    super(range)
    this.#tree = tree
    this.start()
  }

  protected override seek(key: Uint8Array, after: boolean): void {
    const tree = this.#tree
    tree.key.set(key, key.length)
    tree.search()
    this.#leaf = tree.leaf
    this.#index = tree.index + (after && tree.found !== NO_ENTRY ? 1 : 0)
  }

  protected override seekEdge(last: boolean): void {
    this.#leaf = this.#tree.edgeLeaf(last)
    this.#index = last ? this.#tree.leaves.count(this.#leaf) : 0
  }

  protected override markEnd(): void {
    this.#endLeaf = this.#leaf
    this.#endIndex = this.#index
  }

  protected override stepForward(): Entry {
    const leaves = this.#tree.leaves
    while (this.#leaf !== this.#endLeaf || this.#index < this.#endIndex) {
      if (this.#index < leaves.count(this.#leaf)) return leaves.entry(this.#leaf, this.#index++)
      this.#leaf = leaves.next(this.#leaf)
      this.#index = 0
      if (this.#leaf === NO_LEAF) return NO_ENTRY
    }
    return NO_ENTRY
  }

  protected override stepBackward(): Entry {
    const leaves = this.#tree.leaves
    while (this.#leaf !== this.#endLeaf || this.#index > this.#endIndex) {
      if (this.#index > 0) return leaves.entry(this.#leaf, --this.#index)
      this.#leaf = leaves.previous(this.#leaf)
      if (this.#leaf === NO_LEAF) return NO_ENTRY
      this.#index = leaves.count(this.#leaf)
    }
    return NO_ENTRY
  }
}
