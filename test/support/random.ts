/** Random numbers that follow from a seed alone, so that they can be drawn again. */
export class Random {
  readonly seed: number
  #state: number

  constructor(seed: number) {
    this.seed = seed
    this.#state = seed >>> 0
  }

  /** Returns an integer from 0 to below `bound`. */
  below(bound: number): number {
    return Math.floor((this.#next() / 2 ** 32) * bound)
  }

  /** Returns true with the given probability. */
  chance(probability: number): boolean {
    return this.#next() < probability * 2 ** 32
  }

  /** Returns one of `choices`, which must not be empty. */
  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)] as T
  }

  /** Returns `size` random bytes. */
  bytes(size: number): Buffer {
    const bytes = Buffer.allocUnsafe(size)
    for (let at = 0; at < size; at++) bytes[at] = this.below(256)
    return bytes
  }

  /** Mulberry32: 32 bits of state are enough to choose what to test. */
  #next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = this.#state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return (mixed ^ (mixed >>> 14)) >>> 0
  }
}
