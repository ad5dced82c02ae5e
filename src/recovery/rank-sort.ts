/** Sorts records by their ranks. */

import { allocateWords } from '../io/memory.ts'

const DIGIT_BITS = 8
const DIGIT_COUNT = 1 << DIGIT_BITS
const DIGIT_MASK = DIGIT_COUNT - 1

/**
 * Sorts pairs of a rank and a number by their ranks. Pairs of the same rank keep their order.
 *
 * It is a radix sort: digit by digit, beginning with the lowest, it moves all pairs to places that
 * it finds by counting. It keeps its memory from one sort to the next, until `release`.
 */
export class RankSort {
  /** Ranks and numbers in turns. Filled in by the caller after `begin`, and sorted by `sort`. */
  pairs = new Uint32Array(0)
  #spare = new Uint32Array(0)
  readonly #places = new Uint32Array(DIGIT_COUNT)

  /** Makes space for `count` pairs. */
  begin(count: number): void {
    if (count * 2 <= this.pairs.length) return
    const pairs = allocateWords(count * 2)
    this.#spare = allocateWords(count * 2)
    this.pairs = pairs
  }

  /** Gives the memory back. */
  release(): void {
    this.pairs = new Uint32Array(0)
    this.#spare = new Uint32Array(0)
  }

  /**
   * Sorts the first `count` pairs by the lowest `bits` bits of their ranks; the others are equal.
   */
  sort(count: number, bits: number): void {
    const places = this.#places
    for (let shift = 0; shift < bits; shift += DIGIT_BITS) {
      this.#findPlaces(count, shift)
      const source = this.pairs
      const target = this.#spare
      for (let at = 0; at < count * 2; at += 2) {
        const rank = source[at] as number
        const digit = (rank >>> shift) & DIGIT_MASK
        const place = places[digit] as number
        places[digit] = place + 2
        target[place] = rank
        target[place + 1] = source[at + 1] as number
      }
      this.pairs = target
      this.#spare = source
    }
  }

  /** Finds where the pairs of each digit will begin once they are sorted by it. */
  #findPlaces(count: number, shift: number): void {
    const { pairs } = this
    const places = this.#places.fill(0)
    for (let at = 0; at < count * 2; at += 2) {
      const digit = ((pairs[at] as number) >>> shift) & DIGIT_MASK
      places[digit] = (places[digit] as number) + 2
    }
    let sum = 0
    for (let digit = 0; digit < DIGIT_COUNT; digit++) {
      const found = places[digit] as number
      places[digit] = sum
      sum += found
    }
  }
}
