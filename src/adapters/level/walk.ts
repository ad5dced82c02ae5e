/** Walks through ranges, in slices of time. */

import type { RangeIterator, RangeOptions } from '../../index.ts'
import { TimeSlice } from '../../scheduling/time-slice.ts'
import { asLevelError } from './errors.ts'
import { type Format, storedBound } from './formats.ts'
import type { IteratorOptions } from './options.ts'
import { isBehind, rangeOf } from './range.ts'
import type { LevelStore, LevelView } from './snapshot.ts'

/** A walk through a range of one snapshot, that can be sent elsewhere. */
export class Walk<T> {
  readonly #view: LevelView
  readonly #ownsView: boolean
  readonly #range: RangeOptions
  readonly #begin: (view: LevelView, range: RangeOptions) => Iterator<T>
  readonly #slice = new TimeSlice()
  /** Where to begin; once begun, or at the end, there is nowhere. */
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

  async next(): Promise<T | undefined> {
    // Whoever asks for one after the other only ever waits for promises, which lets no timer and no socket have a turn.
    if (this.#slice.isOver()) await this.#slice.next()
    return this.#step()
  }

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

  /** Goes on from a key; to the end where the key is out of range. */
  seek(target: Format): void {
    const key = storedBound(target)
    const range = this.#range
    const from = { ...range, [range.reverse === true ? 'lte' : 'gte']: key }
    this.#items?.return?.()
    this.#items = undefined
    this.#from = isBehind(key, range) ? undefined : from
  }

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

export function* map<S, T>(items: RangeIterator<S>, change: (item: S) => T): Generator<T, void> {
  for (const item of items) yield change(item)
}
