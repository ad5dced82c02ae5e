/** A storage adapter for Keyv 5 over a store. */

import { EventEmitter } from 'node:events'
import type { KeyvStoreAdapter } from 'keyv'
import {
  open,
  type RangeOptions,
  type Store,
  type StoreOptions,
  type ValueEncoding,
} from '../index.ts'
import { TimeSlice } from '../scheduling/time-slice.ts'
import { CODEC, checkEncodings, checkValueEncoding } from './check-encodings.ts'

/**
 * The options with which a {@link KeyvFirkin} opens its store. Values are text unless
 * `valueEncoding` is set.
 */
export type KeyvFirkinOptions<V = string> = Omit<StoreOptions<V>, 'keyEncoding'>

/** The encodings that return what Keyv hands over: text, or an object if it does not serialize. */
const VALUE_ENCODINGS = ['utf8', 'json', CODEC]

/** An entry of `setMany`, as Keyv hands it over. */
export interface KeyvFirkinEntry<V> {
  readonly key: string
  readonly value: V
  /** The time to live, in milliseconds; the store's `ttlMs` by default. */
  readonly ttl?: number | undefined
}

/**
 * A storage adapter for Keyv, over a directory of its own or over an open store.
 *
 * Keys are stored as Keyv passes them, with the namespace and a colon in front. In a namespace a
 * colon is stored as `%3A` and a percent sign as `%25`, so that the keys of one namespace never
 * begin like those of another. An adapter knows one namespace, the one that was set last: give each
 * Keyv its own adapter, all of them over one open store.
 *
 * Keyv serializes values to text. If it does not (`serialize: undefined`), set a `valueEncoding`.
 *
 * @example
 * const keyv = new Keyv({ store: new KeyvFirkin('./cache'), namespace: 'users' })
 * await keyv.set('7', { name: 'Ada' }, 60_000)
 */
export class KeyvFirkin<V = string>
  extends EventEmitter
  implements Omit<KeyvStoreAdapter, 'get' | 'getMany' | 'setMany' | 'iterator' | 'on'>
{
  /** Keyv 5 only iterates over an adapter whose dialect it knows by name. */
  readonly opts: { readonly dialect: 'sqlite'; readonly url: string }
  /**
   * The namespace that `clear` and `iterator` are limited to. Keyv 5 sets it. Until then the
   * property does not exist, from which Keyv 6 concludes that it must separate namespaces itself.
   */
  declare namespace: string | undefined
  readonly #store: Promise<Store<V>>
  readonly #ownsStore: boolean

  /**
   * Takes an open store, or a directory whose store it opens now and `disconnect` closes.
   *
   * @throws TypeError if the store's encodings do not return what Keyv hands over. Other wrong
   * options of a directory reject the first operation, and are reported by the event `error`
   */
  constructor(source: string | Store<V>, options?: KeyvFirkinOptions<V>) {
    super()
    if (typeof source === 'string') {
      const encoding = options?.valueEncoding ?? 'utf8'
      checkValueEncoding('KeyvFirkin', 'store', encoding as ValueEncoding<V>, VALUE_ENCODINGS)
    } else {
      checkEncodings('KeyvFirkin', 'store', source, VALUE_ENCODINGS)
      if (options !== undefined)
        throw new TypeError('KeyvFirkin takes options for a directory only')
    }
    this.#ownsStore = typeof source === 'string'
    this.opts = { dialect: 'sqlite', url: typeof source === 'string' ? source : source.directory }
    this.#store = typeof source === 'string' ? this.#open(source, options) : Promise.resolve(source)
  }

  /** Returns a value, or `undefined`. */
  async get(key: string): Promise<V | undefined> {
    return (await this.#store).get(this.#stored(key))
  }

  /** Returns the values of many keys, in their order. */
  async getMany(keys: readonly string[]): Promise<(V | undefined)[]> {
    return (await this.#store).getMany(keys.map((key) => this.#stored(key)))
  }

  /** Returns whether a key is there. */
  async has(key: string): Promise<boolean> {
    return (await this.#store).has(this.#stored(key))
  }

  /** Returns for each key whether it is there. */
  async hasMany(keys: readonly string[]): Promise<boolean[]> {
    const store = await this.#store
    return keys.map((key) => store.has(this.#stored(key)))
  }

  /** Sets a value. Its `ttl` is in milliseconds; the store's `ttlMs` is the default. */
  async set(key: string, value: V, ttl?: number): Promise<true> {
    const store = await this.#store
    await store.put(this.#stored(key), value, lifetime(ttl))
    return true
  }

  /** Sets all entries, or none if it fails. */
  async setMany(entries: readonly KeyvFirkinEntry<V>[]): Promise<boolean[]> {
    const batch = (await this.#store).batch()
    for (const { key, value, ttl } of entries) {
      batch.put(this.#stored(key), value, lifetime(ttl))
    }
    await batch.commit()
    return entries.map(() => true)
  }

  /** Deletes a key. Returns whether it was there. */
  async delete(key: string): Promise<boolean> {
    const store = await this.#store
    return await store.delete(this.#stored(key))
  }

  /** Deletes many keys in one atomic batch. Returns whether all of them were there. */
  async deleteMany(keys: readonly string[]): Promise<boolean> {
    const store = await this.#store
    const present = keys.map((key) => this.#stored(key)).filter((key) => store.has(key))
    const batch = store.batch()
    for (const key of present) batch.delete(key)
    await batch.commit()
    return present.length === keys.length
  }

  /** Deletes the entries of the namespace, or all entries if there is none. */
  async clear(): Promise<void> {
    const store = await this.#store
    await store.clear(rangeOf(this.namespace))
  }

  /**
   * Yields the entries of a namespace in the order of their keys, or all entries if there is none.
   * It sees the store as of its first step.
   */
  async *iterator(namespace = this.namespace): AsyncGenerator<[key: string, value: V], void> {
    const store = await this.#store
    const given = namespace === undefined || namespace === '' ? '' : `${namespace}:`
    // If no namespace was set, keys were stored unchanged.
    const prefix = this.namespace === undefined ? given : prefixOf(namespace)
    const slice = new TimeSlice()
    for (const [key, value] of store.entries(prefix === '' ? {} : { prefix })) {
      yield [prefix === given ? key : `${given}${key.slice(prefix.length)}`, value]
      if (slice.isOver()) await slice.next()
    }
  }

  /** Closes the store, if the adapter opened it. */
  async disconnect(): Promise<void> {
    if (this.#ownsStore) await (await this.#store).close()
  }

  /** Returns the stored form of a key of Keyv's, which has the namespace in front. */
  #stored(key: string): string {
    const { namespace } = this
    if (namespace === undefined || !key.startsWith(`${namespace}:`)) return key
    return `${prefixOf(namespace)}${key.slice(namespace.length + 1)}`
  }

  #open(directory: string, options: KeyvFirkinOptions<V> | undefined): Promise<Store<V>> {
    // Safety: without a valueEncoding V is the default, text.
    const encoded = { valueEncoding: 'utf8', ...options } as StoreOptions<V>
    const opening = open<V>(directory, encoded)
    opening.then(
      (store) => store.on('error', (error) => this.#reportError(error)),
      // Keyv hides the failure of a read, so the event reports it.
      (error) => this.#reportError(error),
    )
    return opening
  }

  #reportError(error: Error): void {
    if (this.listenerCount('error') > 0) this.emit('error', error)
    else process.emitWarning(error)
  }
}

function rangeOf(namespace: string | undefined): RangeOptions {
  const prefix = prefixOf(namespace)
  return prefix === '' ? {} : { prefix }
}

/** Returns what the stored keys of a namespace, and no others, begin with; '' if there is none. */
function prefixOf(namespace: string | undefined): string {
  if (namespace === undefined || namespace === '') return ''
  return `${namespace.replaceAll('%', '%25').replaceAll(':', '%3A')}:`
}

function lifetime(ttl: number | undefined): { ttlMs: number } | undefined {
  return ttl === undefined ? undefined : { ttlMs: Math.max(1, ttl) }
}
