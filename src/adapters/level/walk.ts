/** Walks over ranges, in time slices. */

import type { RangeIterator, RangeOptions } from '../../index.ts'
import { TimeSlice } from '../../scheduling/time-slice.ts'
import { asLevelError } from './errors.ts'
import { type Format, storedBound } from './formats.ts'
import type { IteratorOptions } from './options.ts'
import { isBehind, rangeOf } from './range.ts'
import type { LevelStore, LevelView } from './snapshot.ts'

/** A walk over a range of one view, which can seek. */
export class Walk<T> {
  readonly #view: LevelView
  readonly #ownsView: boolean
  readonly #range: RangeOptions
  readonly #begin: (view: LevelView, range: RangeOptions) => Iterator<T>
  readonly #slice = new TimeSlice()
  /** The range to begin with at the next step; `undefined` once begun, or at the end. */
  #from: RangeOptions | undefined
  #items: Iterator<T> | undefined

  constructor(
    store: LevelStore,
    options: IteratorOptions,
    begin: (view: LevelView, range: RangeOptions) => Iterator<T>,
  ) {
    this.#ownsView = options.snapshot === undefined
    this.#view = options.snapshot?.view ?? store.snapshot()
    this.#range = rangeOf(options)
    this.#from = this.#range
    this.#begin = begin
  }

  /** Returns the next item, or `undefined` at the end. */
  async next(): Promise<T | undefined> {
    // A caller that awaits one item after another only waits for promises: no timer would run.
    if (this.#slice.isOver()) await this.#slice.next()
    return this.#step()
  }

  /** Returns up to `size` items. */
  async nextMany(size: number): Promise<T[]> {
    const items: T[] = []
    while (items.length < size) {
      const item = this.#step()
      if (item === undefined) break
      items.push(item)
      if (this.#slice.isOver()) await this.#slice.next()
    }
    return items
  }

  /** Continues from a key; goes to the end if the key is out of range. */
  seek(target: Format): void {
    const key = storedBound(target)
    const range = this.#range
    const from = { ...range, [range.reverse === true ? 'lte' : 'gte']: key }
    this.#items?.return?.()
    this.#items = undefined
    this.#from = isBehind(key, range) ? undefined : from
  }

  /** Ends the walk, and closes the view unless it is a snapshot of the caller's. */
  close(): void {
    this.#items?.return?.()
    if (this.#ownsView) this.#view.close()
  }

  #step(): T | undefined {
    try {
      if (this.#from !== undefined) {
        this.#items = this.#begin(this.#view, this.#from)
        this.#from = undefined
      }
      const step = this.#items?.next()
      return step === undefined || step.done === true ? undefined : step.value
    } catch (error) {
      throw asLevelError(error)
    }
  }
}

/** Yields each item of an iterator, changed. */
export function* map<S, T>(items: RangeIterator<S>, change: (item: S) => T): Generator<T, void> {
  for (const item of items) yield change(item)
}
