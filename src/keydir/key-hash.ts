/** The hash of keys. */

const MULTIPLIER_A = 0x9e3779b1
const MULTIPLIER_B = 0x85ebca77
const MULTIPLIER_C = 0xc2b2ae3d

/**
 * Hashes keys by words to 64 bits, held in two small integers so that nothing is allocated.
 *
 * Two lanes take in each word, one of them with its halves exchanged. Changes that cancel out in
 * one lane whatever the seed, such as flips of two highest bits, depend on the seed in the other
 * one.
 */
export class KeyHash {
  readonly #seedA: number
  readonly #seedB: number
  /** The 32 bits that choose a page, signed. */
  high = 0
  /** The 32 bits that choose a place in a page, signed. */
  low = 0

  /** Creates a hash from any two 32-bit numbers, on which it depends. */
  constructor(seedA: number, seedB: number) {
    this.#seedA = seedA | 0
    this.#seedB = seedB | 0
  }

  /** The two seeds, as the constructor takes them. */
  get seeds(): [number, number] {
    return [this.#seedA, this.#seedB]
  }

  /** Hashes the key of `size` bytes whose padded words begin at `at`; see `high` and `low`. */
  compute(words: Uint32Array, at: number, size: number): void {
    let a = this.#seedA ^ size
    let b = this.#seedB
    const end = at + ((size + 3) >>> 2)
    for (let i = at; i < end; i++) {
      const word = words[i] as number
      a = Math.imul(a ^ word, MULTIPLIER_A)
      a ^= a >>> 15
      b = Math.imul(b ^ ((word << 16) | (word >>> 16)), MULTIPLIER_B)
      b ^= b >>> 13
    }
    let high = (a + ((b << 15) | (b >>> 17))) | 0
    high = Math.imul(high ^ (high >>> 16), MULTIPLIER_B)
    high = Math.imul(high ^ (high >>> 13), MULTIPLIER_C)
    high ^= high >>> 16
    let low = Math.imul(b ^ high, MULTIPLIER_A)
    low ^= low >>> 15
    this.high = high
    this.low = low
  }
}
