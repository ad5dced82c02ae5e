/**
 * Makes keys, values and the order of their use, all from seeds, so that every contender and every
 * run gets the same.
 *
 * A key is known by its index. `keyAt(index)` makes a new string at each call, as a program would:
 * a flat string that no engine has seen before, of 16 hexadecimal digits that depend on the index
 * bijectively. Its cost, some 40 ns, is part of every figure; the bench `get` prints it separately.
 */

const DIGITS = Uint8Array.from('0123456789abcdef', (digit) => digit.charCodeAt(0))
const SECOND_HALF = 0x9e3779b9

/** Maps 32-bit integers to 32-bit integers, one to one, so that the results look random. */
export function scramble(index: number): number {
  let hash = index
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

/** Makes the key of an index below 2^32: 16 hexadecimal digits, a new flat string at each call. */
export function keyAt(index: number): string {
  const a = scramble(index)
  const b = scramble(index ^ SECOND_HALF)
  return String.fromCharCode(
    DIGITS[a >>> 28] as number,
    DIGITS[(a >>> 24) & 15] as number,
    DIGITS[(a >>> 20) & 15] as number,
    DIGITS[(a >>> 16) & 15] as number,
    DIGITS[(a >>> 12) & 15] as number,
    DIGITS[(a >>> 8) & 15] as number,
    DIGITS[(a >>> 4) & 15] as number,
    DIGITS[a & 15] as number,
    DIGITS[b >>> 28] as number,
    DIGITS[(b >>> 24) & 15] as number,
    DIGITS[(b >>> 20) & 15] as number,
    DIGITS[(b >>> 16) & 15] as number,
    DIGITS[(b >>> 12) & 15] as number,
    DIGITS[(b >>> 8) & 15] as number,
    DIGITS[(b >>> 4) & 15] as number,
    DIGITS[b & 15] as number,
  )
}

/** Returns the next of a sequence of pseudo-random numbers. */
export type Random = () => number

/** Makes a generator of uniform numbers in [0, 1) from a seed (mulberry32). */
export function random(seed: number): Random {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}

/** Draws `count` indexes evenly from [low, high). */
export function uniformOrder(count: number, low: number, high: number, seed: number): Uint32Array {
  const next = random(seed)
  return Uint32Array.from({ length: count }, () => low + Math.floor(next() * (high - low)))
}

/** Lists `count` indexes from `low` on, in ascending order. Their keys are not in order. */
export function ascendingOrder(low: number, count: number): Uint32Array {
  return Uint32Array.from({ length: count }, (_, index) => low + index)
}

const POOL_SIZE = 1024

/** Values of one size: a thousand different ones, of random bytes, which cannot be compressed. */
export class Values {
  readonly size: number
  readonly #pool: readonly Buffer[]
  #nextAt = 0

  constructor(size: number, seed = 7) {
    this.size = size
    const next = random(seed)
    const count = Math.max(
      1,
      Math.min(POOL_SIZE, Math.floor((64 * 1024 * 1024) / Math.max(size, 1))),
    )
    const words = new Uint32Array(Math.ceil(size / 4) + count)
    for (let index = 0; index < words.length; index++) words[index] = next() * 4294967296
    const bytes = Buffer.from(words.buffer)
    this.#pool = Array.from({ length: count }, (_, index) =>
      Buffer.from(bytes.subarray(index * 4, index * 4 + size)),
    )
  }

  /** Returns the value of an index. */
  at(index: number): Buffer {
    return this.#pool[index % this.#pool.length] as Buffer
  }

  /** Returns another value each time: a store may not write a value that it has, as SQLite does. */
  next(): Buffer {
    return this.at(this.#nextAt++)
  }
}

const TEXT_SIZE = 1000
const TEXTS = Array.from({ length: 256 }, (_, index) =>
  keyAt(index)
    .repeat(Math.ceil(TEXT_SIZE / 16))
    .slice(0, TEXT_SIZE),
)

/** Returns the text of an index: 1,000 characters, as in a cache of rendered pages. */
export function textAt(index: number): string {
  return TEXTS[index % TEXTS.length] as string
}

/** Uses a value that was read, so that the compiler cannot leave the read out. */
export function touch(value: Uint8Array): number {
  return (value[0] as number) + (value[value.length - 1] as number)
}

const ZIPFIAN_CONSTANT = 0.99

/**
 * Makes a generator of indexes below `count` by a zipfian law with constant 0.99: few of them are
 * chosen most of the time. The method is that of Gray and others, "Quickly generating
 * billion-record synthetic databases" (1994), as the Yahoo Cloud Serving Benchmark uses it. The
 * favourites are spread over all indexes.
 */
export function zipfian(next: Random, count: number): Random {
  const rank = zipfianRank(next, count)
  return () => scramble(rank()) % count
}

/**
 * Like {@link zipfian}, but the favourites are the indexes just below `count()`, which may grow.
 */
export function latest(next: Random, count: () => number): Random {
  const rank = zipfianRank(next, count())
  return () => {
    const newest = count() - 1
    return Math.max(0, newest - rank())
  }
}

function zipfianRank(next: Random, count: number): Random {
  let zeta = 0
  for (let rank = 1; rank <= count; rank++) zeta += 1 / rank ** ZIPFIAN_CONSTANT
  const zetaOfTwo = 1 + 0.5 ** ZIPFIAN_CONSTANT
  const alpha = 1 / (1 - ZIPFIAN_CONSTANT)
  const eta = (1 - (2 / count) ** (1 - ZIPFIAN_CONSTANT)) / (1 - zetaOfTwo / zeta)
  return () => {
    const share = next()
    const scaled = share * zeta
    if (scaled < 1) return 0
    if (scaled < zetaOfTwo) return 1
    return Math.min(count - 1, Math.floor(count * (eta * share - eta + 1) ** alpha))
  }
}
