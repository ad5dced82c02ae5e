/** Firkin as a storage adapter of Keyv 5. */

import { EventEmitter } from 'node:events'
import type { KeyvStoreAdapter } from 'keyv'
import { open, type RangeOptions, type Store, type StoreOptions } from '../index.ts'

/** How a {@link KeyvFirkin} opens its store; values are text unless `valueEncoding` says otherwise. */
export type KeyvFirkinOptions<V = string> = Omit<StoreOptions<V>, 'keyEncoding'>

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
 * Keys are stored as Keyv gives them: it puts the namespace and a colon before each. An adapter knows one
 * namespace, the one that was set last; so give every Keyv an adapter of its own, all on one open store.
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
  /** What `clear` and `iterator` keep to; Keyv sets it. */
  namespace: string | undefined
  readonly #store: Promise<Store<V>>
  readonly #ownsStore: boolean

  /**
   * @param source a directory, whose store is opened now and closed by `disconnect`, or an open store
   * @throws TypeError, RangeError for wrong options: from the first operation, and by event
   */
  constructor(source: string | Store<V>, options?: KeyvFirkinOptions<V>) {
    super()
    this.#ownsStore = typeof source === 'string'
    this.opts = { dialect: 'sqlite', url: typeof source === 'string' ? source : source.directory }
    this.#store = typeof source === 'string' ? this.#open(source, options) : Promise.resolve(source)
  }

  async get(key: string): Promise<V | undefined> {
    return (await this.#store).get(key)
  }

  async getMany(keys: readonly string[]): Promise<(V | undefined)[]> {
    return (await this.#store).getMany(keys)
  }

  async has(key: string): Promise<boolean> {
    return (await this.#store).has(key)
  }

  async hasMany(keys: readonly string[]): Promise<boolean[]> {
    const store = await this.#store
    return keys.map((key) => store.has(key))
  }

  /** @param ttl how long the entry lives, in milliseconds; without, as long as the store's `ttlMs` says */
  async set(key: string, value: V, ttl?: number): Promise<true> {
    const store = await this.#store
    await store.put(key, value, lifetime(ttl))
    return true
  }

  /** Sets all entries or none. */
  async setMany(entries: readonly KeyvFirkinEntry<V>[]): Promise<boolean[]> {
    const batch = (await this.#store).batch()
    for (const { key, value, ttl } of entries) batch.put(key, value, lifetime(ttl))
    await batch.commit()
    return entries.map(() => true)
  }

  /** Whether the key was there. */
  async delete(key: string): Promise<boolean> {
    const store = await this.#store
    return await store.delete(key)
  }

  /** Deletes in one step what is there; whether all was. */
  async deleteMany(keys: readonly string[]): Promise<boolean> {
    const store = await this.#store
    const present = keys.filter((key) => store.has(key))
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
    yield* store.entries(rangeOf(namespace))
  }

  /** Closes the store, if the adapter opened it. */
  async disconnect(): Promise<void> {
    if (this.#ownsStore) await (await this.#store).close()
  }

  #open(directory: string, options: KeyvFirkinOptions<V> | undefined): Promise<Store<V>> {
    // Safety: without a valueEncoding V is the default, text.
    const encoded = { valueEncoding: 'utf8', ...options } as StoreOptions<V>
    const opening = open<V>(directory, encoded)
    opening.then(
      (store) => store.on('error', (error) => this.#tell(error)),
      // Keyv keeps the failure of a read to itself: the event tells it.
      (error) => this.#tell(error),
    )
    return opening
  }

  #tell(error: Error): void {
    if (this.listenerCount('error') > 0) this.emit('error', error)
    else process.emitWarning(error)
  }
}

function rangeOf(namespace: string | undefined): RangeOptions {
  return namespace === undefined || namespace === '' ? {} : { prefix: `${namespace}:` }
}

function lifetime(ttl: number | undefined): { ttlMs: number } | undefined {
  return ttl === undefined ? undefined : { ttlMs: Math.max(1, ttl) }
}
