/** Reads a store as it was at one moment. */

import { checkKeys, type Key } from '../engine/encoding.ts'
import type { Engine } from '../engine/engine.ts'
import { type RangeOptions, resolveRange } from '../engine/range.ts'
import type { View } from '../engine/views.ts'
import { StoreError } from '../errors.ts'
import { NO_ENTRY } from '../keydir/keydir.ts'
import type { KeyEncoding } from '../options.ts'
import { type KeyOf, RangeIterator, type ViewReader } from './view-reader.ts'

/**
 * The store as it was when the snapshot was made, whatever is written, deleted or merged since.
 * While it is open, what it shows is kept in memory and on disk; close it once it is no longer
 * needed.
 *
 * @example
 * using snapshot = store.snapshot()
 * for (const [key, value] of snapshot.entries({ prefix: 'user:' })) console.log(key, value)
 */
export class Snapshot<V, E extends KeyEncoding = 'utf8'> {
  readonly #engine: Engine
  readonly #reader: ViewReader<V>
  readonly #view: View
  readonly #assertStoreOpen: () => void
  #closed = false

  /** @internal Made by `store.snapshot()`. */
  constructor(engine: Engine, reader: ViewReader<V>, assertStoreOpen: () => void) {
    this.#engine = engine
    this.#reader = reader
    this.#assertStoreOpen = assertStoreOpen
    this.#view = engine.openView()
  }

  /**
   * Returns the value that a key had: a copy that the caller owns.
   *
   * @throws {@link StoreError} FIRKIN_CLOSED
   */
  get(key: Key): V | undefined {
    this.#assertOpen()
    return this.#reader.get(this.#view, key)
  }

  /** Returns the values of many keys, in the order of the keys. */
  getMany(keys: Iterable<Key>): (V | undefined)[] {
    return Array.from(checkKeys(keys), (key) => this.get(key))
  }

  /** Returns whether a key was there. */
  has(key: Key): boolean {
    this.#assertOpen()
    return this.#reader.has(this.#view, key)
  }

  /** Returns an iterator over the entries of a range, in key order. */
  entries(range?: RangeOptions): RangeIterator<[KeyOf<E>, V]> {
    return this.#iterate(range, 'entry')
  }

  /** Returns an iterator over the keys of a range, in order. */
  keys(range?: RangeOptions): RangeIterator<KeyOf<E>> {
    return this.#iterate(range, 'key')
  }

  /** Returns an iterator over the values of a range, in key order. */
  values(range?: RangeOptions): RangeIterator<V> {
    return this.#iterate(range, 'value')
  }

  /** Returns how many keys a range had. Visits each key. */
  count(range?: RangeOptions): number {
    this.#assertOpen()
    const resolved = resolveRange(range)
    const cursor = this.#engine.cursor(this.#view, resolved)
    let count = 0
    while (count < resolved.limit && this.#engine.live.advance(cursor) !== NO_ENTRY) count++
    return count
  }

  /** As {@link entries} without a range; for `for … of`. */
  [Symbol.iterator](): RangeIterator<[KeyOf<E>, V]> {
    return this.entries()
  }

  /** Releases what the snapshot shows. Idempotent. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#engine.live.views.close(this.#view)
  }

  /** Closes the snapshot; for `using`. */
  [Symbol.dispose](): void {
    this.close()
  }

  #iterate<T>(range: RangeOptions | undefined, part: 'key' | 'value' | 'entry'): RangeIterator<T> {
    this.#assertOpen()
    const assertOpen = () => this.#assertOpen()
    const resolved = resolveRange(range)
    return new RangeIterator(this.#engine, this.#reader, this.#view, resolved, part, assertOpen)
  }

  #assertOpen(): void {
    this.#assertStoreOpen()
    if (this.#closed) throw new StoreError('FIRKIN_CLOSED', 'The snapshot is closed')
  }
}
