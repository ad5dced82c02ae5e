/** The cursor of the hash keydir. */

import { allocateWords } from '../io/memory.ts'
import type { Entries } from './entries.ts'
import { type Entry, NO_ENTRY } from './entry.ts'
import type { KeydirCursor, KeyRange } from './keydir.ts'
import { sortEntries } from './sort-entries.ts'

const WALK_LIMIT = 1 << 30

/**
 * Walks the entries that were in a range when the cursor was created and are still live, in key
 * order.
 */
export class HashCursor implements KeydirCursor {
  readonly #entries: Entries
  readonly #sorted: Uint32Array
  readonly #step: number
  #index: number

  constructor(entries: Entries, range: KeyRange) {
    this.#entries = entries
    this.#sorted = collect(entries, range)
    sortEntries(entries, this.#sorted)
    this.#step = range.reverse ? -1 : 1
    this.#index = range.reverse ? this.#sorted.length - 1 : 0
  }

  next(): Entry {
    for (;;) {
      const entry = this.#sorted[this.#index]
      if (entry === undefined) return NO_ENTRY
      this.#index += this.#step
      if (this.#entries.isLive(entry)) return entry
    }
  }

  seekBeyond(key: Uint8Array, keySize: number): void {
    const sorted = this.#sorted
    let low = 0
    let high = sorted.length
    // Forward, this finds the first entry above the key; backward, the first one that is not below
    // it.
    const above = this.#step > 0 ? 0 : -1
    while (low < high) {
      const middle = (low + high) >>> 1
      const order = Math.sign(this.#entries.compareKey(sorted[middle] as number, key, keySize))
      if (order <= above) low = middle + 1
      else high = middle
    }
    this.#index = this.#step > 0 ? low : low - 1
  }
}

/** Returns the live entries of a range, in no order. */
function collect(entries: Entries, range: KeyRange): Uint32Array {
  const { lower, lowerInclusive, upper, upperInclusive } = range
  const found = allocateWords(entries.count)
  let count = 0
  entries.walk(0, WALK_LIMIT, (entry) => {
    if (lower !== undefined) {
      const order = entries.compareKey(entry, lower, lower.length)
      if (order < 0 || (order === 0 && !lowerInclusive)) return
    }
    if (upper !== undefined) {
      const order = entries.compareKey(entry, upper, upper.length)
      if (order > 0 || (order === 0 && !upperInclusive)) return
    }
    found[count++] = entry
  })
  return count < found.length ? found.slice(0, count) : found
}
