/**
 * Ranks of keys: numbers that sort as the keys do, as far as so few bits can tell them apart.
 *
 * The first bytes of keys are of little use if all keys begin alike, or are digits. So a sample
 * shows which bytes occur at each place in the keys. They are numbered in their order, with the end
 * of a key before all others. These numbers are the digits of the rank, each to the base of how
 * many symbols occur at its place. So a place at which all keys agree takes no bits, and six places
 * of hexadecimal digits take 24 bits. A byte that is not in the sample gets the number of the next
 * one that is.
 */

import { RANK_BITS } from './keydir.ts'

/** The number of bytes of a key that count, at most. */
const PLACE_LIMIT = 256
/** The possible values of a place: the end of the key, or one of 256 bytes. */
const SYMBOL_COUNT = 257
const END_OF_KEY = 0
const RANK_RANGE = 2 ** RANK_BITS

/** Is called with the key of `size` bytes at `from`. */
export type KeyVisitor = (bytes: Uint8Array, from: number, size: number) => void

/** Ranks the keys of one batch. */
export class KeyRanks {
  /** The places in the keys that count. */
  readonly #places: Uint32Array
  /** For each of those places, what each symbol adds to the rank. */
  readonly #shares: Uint32Array

  private constructor(places: readonly number[], shares: readonly number[]) {
    this.#places = Uint32Array.from(places)
    this.#shares = Uint32Array.from(shares)
  }

  /**
   * Creates ranks for keys that are like those of a sample.
   *
   * @param showSample shows all keys of the sample to a visitor; called once for each place
   */
  static ofSample(showSample: (visit: KeyVisitor) => void): KeyRanks {
    const places: number[] = []
    const shares: number[] = []
    let range = RANK_RANGE
    for (let place = 0; place < PLACE_LIMIT && range >= 2; place++) {
      const known = new Uint8Array(SYMBOL_COUNT)
      showSample((bytes, from, size) => {
        known[symbolAt(bytes, from, size, place)] = 1
      })
      const symbolCount = known.reduce((sum, each) => sum + each, 0)
      if (symbolCount === 1 && known[END_OF_KEY] === 1) break
      if (symbolCount === 1) continue
      // If fewer numbers are left than there are symbols, some symbols share one.
      const unit = Math.max(1, Math.floor(range / symbolCount))
      let below = 0
      for (let symbol = 0; symbol < SYMBOL_COUNT; symbol++) {
        const number = Math.min(below, symbolCount - 1)
        shares.push(Math.floor((number * range) / symbolCount / unit) * unit)
        below += known[symbol] as number
      }
      places.push(place)
      range = unit
    }
    return new KeyRanks(places, shares)
  }

  /** Returns the rank of the key of `size` bytes at `from`. */
  rank(bytes: Uint8Array, from: number, size: number): number {
    const places = this.#places
    const shares = this.#shares
    const count = places.length
    let rank = 0
    for (let index = 0; index < count; index++) {
      const symbol = symbolAt(bytes, from, size, places[index] as number)
      rank += shares[index * SYMBOL_COUNT + symbol] as number
    }
    return rank
  }
}

function symbolAt(bytes: Uint8Array, from: number, size: number, place: number): number {
  return place < size ? (bytes[from + place] as number) + 1 : END_OF_KEY
}
