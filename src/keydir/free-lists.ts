/** The lists of freed blocks in an arena. */

import { allocateWords } from '../io/memory.ts'
import { type Arena, CHUNK_MASK } from './arena.ts'

/** The upper limit of size classes: the words of an entry with the longest key, and some more. */
export const CLASS_LIMIT = 16_400

/** The number of size classes that have lists from the beginning. */
const FIRST_CLASSES = 32

/**
 * The freed blocks of an arena: one linked list for each size, in words or whatever unit the owner
 * counts in. A list runs through the blocks themselves, by the word `linkWord` of each.
 *
 * Invariant: giving a block back takes no memory. The list of its size exists since the block was
 * requested, or since the lists were restored.
 */
export class FreeLists {
  readonly #arena: Arena
  readonly #linkWord: number
  #heads = allocateWords(FIRST_CLASSES)

  constructor(arena: Arena, linkWord: number) {
    this.#arena = arena
    this.#linkWord = linkWord
  }

  /**
   * Restores lists from what `image` returned; throws a RangeError if it cannot have returned this.
   *
   * @param maxClass the largest size that a block of the arena may have
   */
  static restore(
    arena: Arena,
    linkWord: number,
    image: unknown,
    maxClass: number = FIRST_CLASSES - 1,
  ): FreeLists {
    const lists = new FreeLists(arena, linkWord)
    lists.#reach(maxClass)
    if (!Array.isArray(image) || image.length > CLASS_LIMIT) {
      throw new RangeError('Free lists are not an array')
    }
    for (const pair of image) {
      const [sizeClass, head] = Array.isArray(pair) ? pair : []
      const known = Number.isSafeInteger(sizeClass) && sizeClass > 0 && sizeClass < CLASS_LIMIT
      if (!known || !Number.isSafeInteger(head) || head <= 0 || head >= arena.used) {
        throw new RangeError('A free list is outside of its arena')
      }
      lists.#reach(sizeClass)
      lists.#heads[sizeClass] = head
    }
    return lists
  }

  /**
   * Takes a block from the list of its size; returns 0 if the list is empty.
   *
   * @throws {@link StoreError} FIRKIN_NO_MEMORY
   */
  take(sizeClass: number): number {
    const heads = this.#heads
    if (sizeClass >= heads.length) {
      this.#reach(sizeClass)
      return 0
    }
    const head = heads[sizeClass] as number
    if (head === 0) return 0
    heads[sizeClass] = this.#arena.chunkAt(head)[(head & CHUNK_MASK) + this.#linkWord] as number
    return head
  }

  /** Adds a block to the list of its size. */
  give(sizeClass: number, block: number): void {
    const words = this.#arena.chunkAt(block)
    words[(block & CHUNK_MASK) + this.#linkWord] = this.#heads[sizeClass] as number
    this.#heads[sizeClass] = block
  }

  /** Returns the lists that have blocks, as pairs of size and first block. */
  image(): number[][] {
    const pairs: number[][] = []
    this.#heads.forEach((head, sizeClass) => {
      if (head !== 0) pairs.push([sizeClass, head])
    })
    return pairs
  }

  #reach(sizeClass: number): void {
    if (sizeClass < this.#heads.length) return
    let length = this.#heads.length
    while (length <= sizeClass) length *= 2
    const heads = allocateWords(length)
    heads.set(this.#heads)
    this.#heads = heads
  }
}
