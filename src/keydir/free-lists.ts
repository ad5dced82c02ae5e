import { allocateWords } from '../io/memory.ts'
import { type Arena, CHUNK_MASK } from './arena.ts'

/** The most size classes there can be: the words of an entry with the longest key, and some. */
export const CLASS_LIMIT = 16_400

/** For so many sizes there are lists from the beginning. */
const FIRST_CLASSES = 32

/**
 * The freed blocks of an arena, one linked list for each size, in words or whatever the owner
 * counts. A list runs through the blocks themselves, by the word `linkWord` of each.
 *
 * Invariant: giving a block back takes no memory. The list of its size has been there since the block was asked for,
 * or since the lists were restored.
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
   * Restores lists from what `image` answered; throws a RangeError where it could not have been
   * that.
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
   * Takes a block out of its size's list; 0 where there is none.
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

  /** Adds a block to its size's list. */
  give(sizeClass: number, block: number): void {
    const words = this.#arena.chunkAt(block)
    words[(block & CHUNK_MASK) + this.#linkWord] = this.#heads[sizeClass] as number
    this.#heads[sizeClass] = block
  }

  /** The lists that have blocks, as pairs of size and first block. */
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
