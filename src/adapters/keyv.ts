/** Firkin as a storage adapter of Keyv 5. */

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

/** How a {@link KeyvFirkin} opens its store; values are text unless `valueEncoding` says otherwise. */
export type KeyvFirkinOptions<V = string> = Omit<StoreOptions<V>, 'keyEncoding'>

/** The store's encodings that give back what Keyv hands over: text, or with its serialization off an object. */
const VALUE_ENCODINGS = ['utf8', 'json', CODEC]

/** An entry for `setMany`, as Keyv hands it over. */
export interface KeyvFirkinEntry<V> {
  readonly key: string
  readonly value: V
  /** How long it lives, in milliseconds; for ever without. */
  readonly ttl?: number | undefined
}

/**
 * A storage adapter for Keyv, on a directory of its own or on a store that is open already.
 *
 * Keys are stored as Keyv gives them: it puts the namespace and a colon before each. In a namespace a colon is stored
 * as `%3A` and a percent sign as `%25`, so that no namespace begins as another does. An adapter knows one namespace,
 * the one that was set last; so give every Keyv an adapter of its own, all on one open store.
 *
 * Keyv serializes values to text. Where it is told not to (`serialize: undefined`), give a `valueEncoding`.
 *
 * @example
 * const keyv = new Keyv({ store: new KeyvFirkin('./cache'), namespace: 'users' })
 * await keyv.set('7', { name: 'Ada' }, 60_000)
 */
export class KeyvFirkin<V = string>
  extends EventEmitter
  implements Omit<KeyvStoreAdapter, 'get' | 'getMany' | 'setMany' | 'iterator' | 'on'>
{
  /** What Keyv 5 asks of an adapter: it iterates over those alone whose dialect it knows by name. */
  readonly opts: { readonly dialect: 'sqlite'; readonly url: string }
  /**
   * What `clear` and `iterator` keep to. Keyv 5 sets it; before that it is no property at all, by which Keyv 6 knows that
   * it has to keep namespaces apart itself.
   */
  declare namespace: string | undefined
  readonly #store: Promise<Store<V>>
  readonly #ownsStore: boolean

  /**
   * @param source a directory, whose store is opened now and closed by `disconnect`, or an open store
   * @throws TypeError where the store's encodings do not give back what Keyv hands over
   * @throws TypeError, RangeError for other wrong options of a directory: from the first operation, and by event
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

  async get(key: string): Promise<V | undefined> {
    return (await this.#store).get(this.#stored(key))
  }

  async getMany(keys: readonly string[]): Promise<(V | undefined)[]> {
    return (await this.#store).getMany(keys.map((key) => this.#stored(key)))
  }

  async has(key: string): Promise<boolean> {
    return (await this.#store).has(this.#stored(key))
  }

  async hasMany(keys: readonly string[]): Promise<boolean[]> {
    const store = await this.#store
    return keys.map((key) => store.has(this.#stored(key)))
  }

  /** @param ttl how long the entry lives, in milliseconds; without, as long as the store's `ttlMs` says */
  async set(key: string, value: V, ttl?: number): Promise<true> {
    const store = await this.#store
    await store.put(this.#stored(key), value, lifetime(ttl))
    return true
  }

  /** Sets all entries or none. */
  async setMany(entries: readonly KeyvFirkinEntry<V>[]): Promise<boolean[]> {
    const batch = (await this.#store).batch()
    for (const { key, value, ttl } of entries) {
      batch.put(this.#stored(key), value, lifetime(ttl))
    }
    await batch.commit()
    return entries.map(() => true)
  }

  /** Whether the key was there. */
  async delete(key: string): Promise<boolean> {
    const store = await this.#store
    return await store.delete(this.#stored(key))
  }

  /** Deletes in one step what is there; whether all was. */
  async deleteMany(keys: readonly string[]): Promise<boolean> {
    const store = await this.#store
    const present = keys.map((key) => this.#stored(key)).filter((key) => store.has(key))
    const batch = store.batch()
    for (const key of present) batch.delete(key)
    await batch.commit()
    return present.length === keys.length
  }

  /** Deletes the entries of the namespace; without one, all there are. */
  async clear(): Promise<void> {
    const store = await this.#store
    await store.clear(rangeOf(this.namespace))
  }

  /** The entries of a namespace, or all, in the order of their keys; as of the first step. */
  async *iterator(namespace = this.namespace): AsyncGenerator<[key: string, value: V], void> {
    const store = await this.#store
    const given = namespace === undefined || namespace === '' ? '' : `${namespace}:`
    // Where no namespace was set, keys were stored as they are.
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

  /** The key that is stored for one of Keyv's, which has the namespace before it. */
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
      // Keyv keeps the failure of a read to itself: the event tells it.
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

/** What the keys of a namespace begin with as they are stored, and no others; nothing where there is none. */
function prefixOf(namespace: string | undefined): string {
  if (namespace === undefined || namespace === '') return ''
  return `${namespace.replaceAll('%', '%25').replaceAll(':', '%3A')}:`
}

function lifetime(ttl: number | undefined): { ttlMs: number } | undefined {
  return ttl === undefined ? undefined : { ttlMs: Math.max(1, ttl) }
}
