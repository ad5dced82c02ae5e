import { type Entry, NO_ENTRY } from './entry.ts'
import { compareBytes } from './key-words.ts'
import type { KeydirCursor, KeyRange } from './keydir.ts'

/**
 * A cursor over an index that is kept in key order. The index has gaps: before, between and behind
 * its entries. A cursor seeks the gaps where its range begins and ends once, and then steps from
 * the one to the other without looking at keys. What a gap is, the kind knows.
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
    // Beyond the far bound nothing is left; before the near one the range has its start.
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
   * Stands in the gap before the first key that is not below `key`, or behind that key if it is
   * `key`.
   */
  protected abstract seek(key: Uint8Array, behind: boolean): void

  /** Stands in the gap before the first entry, or in the one behind the last. */
  protected abstract seekEdge(last: boolean): void

  /** Makes the gap that it stands in the one where the range ends. */
  protected abstract markEnd(): void

  /**
   * Goes to the next gap, and answers the entry between; {@link NO_ENTRY} if it stands in the last
   * one.
   */
  protected abstract stepForward(): Entry

  /** Goes to the previous gap, and answers the entry between. */
  protected abstract stepBackward(): Entry

  /** Seeks the range's gaps; the constructor of a kind's cursor ends with it. */
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
