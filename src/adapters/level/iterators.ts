/** The iterators of a database, over entries, keys and values. Each is a {@link Walk}. */

import type { AbstractLevel } from 'abstract-level'
import { type Format, format, levelKey } from './formats.ts'
import { AbstractIterator, AbstractKeyIterator, AbstractValueIterator } from './library.ts'
import type { IteratorOptions } from './options.ts'
import type { LevelStore } from './snapshot.ts'
import { map, Walk } from './walk.ts'

type LevelEntry = [key: Format, value: Format | undefined]

/** An iterator over entries; their values are `undefined` if `values` is false. */
export class EntryIterator<K, V> extends AbstractIterator<AbstractLevel<Format, K, V>, K, V> {
  readonly #walk: Walk<LevelEntry>

  constructor(db: AbstractLevel<Format, K, V>, store: LevelStore, options: IteratorOptions) {
    super(db, options as object)
    const { keyEncoding, valueEncoding } = options
    this.#walk = new Walk<LevelEntry>(store, options, (view, range) =>
      options.values
        ? map(view.entries(range), ([key, value]) => [
            format(levelKey(key), keyEncoding),
            format(value, valueEncoding),
          ])
        : map(view.keys(range), (key) => [format(levelKey(key), keyEncoding), undefined]),
    )
  }

  async _next() {
    return this.#walk.next()
  }

  async _nextv(size: number) {
    return this.#walk.nextMany(size)
  }

  _seek(target: Format): void {
    this.#walk.seek(target)
  }

  async _close(): Promise<void> {
    this.#walk.close()
  }
}

/** An iterator over keys. */
export class KeyIterator<K, V> extends AbstractKeyIterator<AbstractLevel<Format, K, V>, K> {
  readonly #walk: Walk<Format>

  constructor(db: AbstractLevel<Format, K, V>, store: LevelStore, options: IteratorOptions) {
    super(db, options as object)
    const { keyEncoding } = options
    this.#walk = new Walk(store, options, (view, range) =>
      map(view.keys(range), (key) => format(levelKey(key), keyEncoding)),
    )
  }

  async _next() {
    return this.#walk.next()
  }

  async _nextv(size: number) {
    return this.#walk.nextMany(size)
  }

  _seek(target: Format): void {
    this.#walk.seek(target)
  }

  async _close(): Promise<void> {
    this.#walk.close()
  }
}

/** An iterator over values. */
export class ValueIterator<K, V> extends AbstractValueIterator<AbstractLevel<Format, K, V>, K, V> {
  readonly #walk: Walk<Format>

  constructor(db: AbstractLevel<Format, K, V>, store: LevelStore, options: IteratorOptions) {
    super(db, options as object)
    const { valueEncoding } = options
    this.#walk = new Walk(store, options, (view, range) =>
      map(view.values(range), (value) => format(value, valueEncoding)),
    )
  }

  async _next() {
    return this.#walk.next()
  }

  async _nextv(size: number) {
    return this.#walk.nextMany(size)
  }

  _seek(target: Format): void {
    this.#walk.seek(target)
  }

  async _close(): Promise<void> {
    this.#walk.close()
  }
}
