/** The part that all cursors over ordered keydirs share. */

import { type Entry, NO_ENTRY } from './entry.ts'
import { compareBytes } from './key-words.ts'
import type { KeydirCursor, KeyRange } from './keydir.ts'

/**
 * A cursor over an index that is kept in key order. The index has gaps: before, between and after
 * its entries. A cursor seeks the gaps where its range begins and ends once, and then steps from
 * one to the other without reading keys. Each kind defines what a gap is.
 */
export abstract class OrderedCursor implements KeydirCursor {
  readonly #range: KeyRange
  /** Whether no key can be in the range; its end may then come before its start. */
  readonly #empty: boolean
  #ended = false

  constructor(range: KeyRange) {
    const { lower, lowerInclusive, upper, upperInclusive } = range
    const order = lower === undefined || upper === undefined ? -1 : compareBytes(lower, upper)
    this.#range = range
    this.#empty = order > 0 || (order === 0 && !(lowerInclusive && upperInclusive))
  }

  next(): Entry {
    if (this.#ended) return NO_ENTRY
    const entry = this.#range.reverse ? this.stepBackward() : this.stepForward()
    this.#ended = entry === NO_ENTRY
    return entry
  }

  seekBeyond(key: Uint8Array, keySize: number): void {
    const { lower, upper, reverse } = this.#range
    const target = key.subarray(0, keySize)
    // Past the far bound nothing is left; before the near one the range has its start.
    const far = reverse ? lower : upper
    const near = reverse ? upper : lower
    const direction = reverse ? -1 : 1
    const isPast = far !== undefined && compareBytes(target, far) * direction >= 0
    this.#ended = this.#empty || isPast
    if (this.#ended) return
    this.#seekEnd()
    if (near !== undefined && compareBytes(target, near) * direction < 0) this.#seekStart()
    else this.seek(target, !reverse)
  }

  /**
   * Moves to the gap before the first key that is not below `key`, or after that key if it equals
   * `key` and `after` is set.
   */
  protected abstract seek(key: Uint8Array, after: boolean): void

  /** Moves to the gap before the first entry, or to the one after the last. */
  protected abstract seekEdge(last: boolean): void

  /** Makes the current gap the one where the range ends. */
  protected abstract markEnd(): void

  /** Moves to the next gap, and returns the entry passed; {@link NO_ENTRY} from the last gap. */
  protected abstract stepForward(): Entry

  /**
   * Moves to the previous gap, and returns the entry passed; {@link NO_ENTRY} from the first gap.
   */
  protected abstract stepBackward(): Entry

  /** Seeks the gaps of the range; the constructor of a kind's cursor calls it last. */
  protected start(): void {
    this.#ended = this.#empty
    if (this.#ended) return
    this.#seekEnd()
    this.#seekStart()
  }

  #seekStart(): void {
    if (this.#range.reverse) this.#seekUpper()
    else this.#seekLower()
  }

  #seekEnd(): void {
    if (this.#range.reverse) this.#seekLower()
    else this.#seekUpper()
    this.markEnd()
  }

  #seekLower(): void {
    const { lower, lowerInclusive } = this.#range
    if (lower === undefined) this.seekEdge(false)
    else this.seek(lower, !lowerInclusive)
  }

  #seekUpper(): void {
    const { upper, upperInclusive } = this.#range
    if (upper === undefined) this.seekEdge(true)
    else this.seek(upper, upperInclusive)
  }
}
