/** The `bplustree` keydir: the tree of the `sorted-btree` package over the shared entries. */

import sortedBTree from 'sorted-btree'
import { assert } from '../errors.ts'
import { type Entry, NO_ENTRY } from './entry.ts'
import { EntryIndex } from './entry-index.ts'
import { compareBytes } from './key-words.ts'
import type { KeydirCursor, KeyRange } from './keydir.ts'
import { SearchKey } from './search-key.ts'

// The package is CommonJS with its own `default` export: Node does not unwrap it, other loaders do.
type BTreeClass = typeof sortedBTree.default
const BTree: BTreeClass =
  'default' in sortedBTree ? sortedBTree.default : (sortedBTree as unknown as BTreeClass)

/**
 * Estimates of what a key costs on the JavaScript heap: the header of a string, and a slot of a
 * leaf that is two thirds full.
 */
const STRING_HEADER_SIZE = 16
const SLOT_SIZE = 24

/**
 * A keydir in the tree of the `sorted-btree` package, from keys as strings to entries.
 *
 * A string has one character for each byte, so strings sort as unsigned bytes do. Keys and nodes
 * lie on the JavaScript heap, and each key lies in its entry again: this kind is for comparison,
 * and for users who trust the package more. It has no image, and its `byteSize` is an estimate.
 */
export class BPlusTreeKeydir extends EntryIndex {
  readonly kind = 'bplustree'
  readonly ordered = true
  readonly #tree = new BTree<string, Entry>(undefined, compareStrings)
  readonly #key = new SearchKey()
  #stringSize = 0

  get byteSize(): number {
    return this.entries.byteSize + this.#stringSize + this.#tree.size * SLOT_SIZE
  }

  find(key: Uint8Array, keySize: number): Entry {
    return this.#tree.get(latin1(key, keySize)) ?? NO_ENTRY
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
    this.#key.set(key, keySize)
    const entry = this.entries.allocate(this.#key, segment, offset, size, sequence, expiresAtMs)
    const added = this.#tree.set(latin1(key, keySize), entry)
    assert(added, 'The key to insert is there')
    this.#stringSize += STRING_HEADER_SIZE + keySize
    return entry
  }

  remove(entry: Entry): void {
    const view = this.entries.keyView(entry)
    const removed = this.#tree.delete(latin1(view, view.length))
    assert(removed, 'The entry is not in the keydir')
    this.#stringSize -= STRING_HEADER_SIZE + view.length
    this.entries.free(entry)
  }

  cursor(range: KeyRange): KeydirCursor {
    return new BPlusTreeCursor(this.#tree, range)
  }

  image(): undefined {
    return undefined
  }

  release(): void {
    this.entries.arena.release()
  }

  protected override searchEntry(entry: Entry): SearchKey {
    this.entries.readSearch(entry, this.#key)
    return this.#key
  }

  protected override replace(entry: Entry, moved: Entry): void {
    const view = this.entries.keyView(entry)
    this.#tree.set(latin1(view, view.length), moved)
  }
}

/** Steps an iterator of the tree until it passes the far bound of the range. */
class BPlusTreeCursor implements KeydirCursor {
  readonly #tree: InstanceType<typeof BTree<string, Entry>>
  readonly #range: KeyRange
  readonly #far: string | undefined
  readonly #farInclusive: boolean
  readonly #pair: (string | Entry)[] = []
  #iterator: Iterator<unknown> | undefined
  /** A key that the iterator may begin with but that the cursor must not return. */
  #skipped: string | undefined

  constructor(tree: InstanceType<typeof BTree<string, Entry>>, range: KeyRange) {
    const { lower, lowerInclusive, upper, upperInclusive, reverse } = range
    this.#tree = tree
    this.#range = range
    const far = reverse ? lower : upper
    this.#far = far && latin1(far, far.length)
    this.#farInclusive = reverse ? lowerInclusive : upperInclusive
    const near = reverse ? upper : lower
    if (near === undefined) this.#seek(undefined, true)
    else this.#seek(latin1(near, near.length), reverse ? upperInclusive : lowerInclusive)
  }

  next(): Entry {
    while (this.#iterator !== undefined && this.#iterator.next().done !== true) {
      const key = this.#pair[0] as string
      if (key === this.#skipped) continue
      if (this.#isPast(key)) break
      return this.#pair[1] as Entry
    }
    this.#iterator = undefined
    return NO_ENTRY
  }

  seekBeyond(key: Uint8Array, keySize: number): void {
    const { lower, lowerInclusive, upper, upperInclusive, reverse } = this.#range
    const target = key.subarray(0, keySize)
    const near = reverse ? upper : lower
    if (near !== undefined && compareBytes(target, near) * (reverse ? -1 : 1) < 0) {
      this.#seek(latin1(near, near.length), reverse ? upperInclusive : lowerInclusive)
    } else {
      this.#seek(latin1(target, target.length), false)
    }
  }

  #seek(key: string | undefined, inclusive: boolean): void {
    this.#skipped = inclusive ? undefined : key
    this.#iterator = this.#range.reverse
      ? this.#tree.entriesReversed(key, this.#pair)
      : this.#tree.entries(key, this.#pair)
  }

  #isPast(key: string): boolean {
    const far = this.#far
    if (far === undefined) return false
    if (key === far) return !this.#farInclusive
    return this.#range.reverse ? key < far : key > far
  }
}

function compareStrings(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

/** Returns the first `size` bytes of a key, each as one character. */
function latin1(key: Uint8Array, size: number): string {
  return Buffer.prototype.latin1Slice.call(key, 0, size)
}
