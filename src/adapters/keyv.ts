/**
 * A storage adapter for Keyv 5 and 6 over a store.
 *
 * | | Keyv 5 | Keyv 6 |
 * |---|---|---|
 * | keys | with the namespace and a colon in front | without |
 * | third argument of `set` | time to live | time of expiry |
 * | `deleteMany` | whether all were there | whether each was there |
 * | keys from `iterator` | with the namespace | without |
 *
 * Keyv 6 reads `capabilities` when it takes an adapter; no earlier Keyv does. From then on the
 * adapter fulfils the contract of Keyv 6. What lies in the store is the same for both.
 */

import { EventEmitter } from 'node:events'
import {
  open,
  type PutOptions,
  type RangeOptions,
  type Store,
  type StoreOptions,
  type StoreSettings,
  type ValueEncoding,
} from '../index.ts'
import { directoryPath, isUrl } from '../io/directory-path.ts'
import { TimeSlice } from '../scheduling/time-slice.ts'
import { CODEC, checkEncodings, checkValueEncoding } from './check-encodings.ts'

/**
 * The options with which a {@link KeyvFirkin} opens its store. Values are text unless
 * `valueEncoding` is set.
 */
export type KeyvFirkinOptions<V = string> = Omit<StoreSettings<V>, 'keyEncoding'>

/** The encodings that return what Keyv hands over: text, or an object if it does not serialize. */
const VALUE_ENCODINGS = ['utf8', 'json', CODEC]

/** An entry of `setMany`, as Keyv hands it over. */
export interface KeyvFirkinEntry<V> {
  readonly key: string
  readonly value: V
  /** The time to live, in milliseconds; the store's `ttlMs` by default. Keyv 5 passes it. */
  readonly ttl?: number | undefined
  /** The time of expiry, in milliseconds since 1970, in the place of `ttl`. Keyv 6 passes it. */
  readonly expires?: number | undefined
}

/** The properties of an adapter, as Keyv 6 asks for them. */
export interface KeyvFirkinCapabilities {
  readonly compatible: true
  readonly store: 'keyvStorage'
  /** The adapter takes times of expiry, and keeps to them. */
  readonly expires: true
  readonly methods: Readonly<Record<string, { exists: true; methodType: 'async' | 'sync' }>>
}

const METHOD_NAMES = [
  'get',
  'getMany',
  'has',
  'hasMany',
  'set',
  'setMany',
  'delete',
  'deleteMany',
  'clear',
  'disconnect',
  'iterator',
] as const satisfies (keyof KeyvFirkin)[]

const CAPABILITIES: KeyvFirkinCapabilities = {
  compatible: true,
  store: 'keyvStorage',
  expires: true,
  methods: Object.fromEntries(
    // Keyv calls a generator of promises 'sync'.
    METHOD_NAMES.map((name) => [
      name,
      { exists: true, methodType: name === 'iterator' ? 'sync' : 'async' },
    ]),
  ),
}

/**
 * A storage adapter for Keyv, over a directory of its own or over an open store.
 *
 * Keys are stored with the namespace and a colon in front. In a namespace a colon is stored as
 * `%3A` and a percent sign as `%25`, so that the keys of one namespace never begin like those of
 * another. An adapter knows one namespace, the one that was set last: give each Keyv its own
 * adapter, all of them over one open store. Keyv 5 and 6 read what the other has written, if they
 * have the same namespace: without one, that of Keyv 5 is `keyv`, and Keyv 6 has none.
 *
 * Keyv serializes values to text. If it does not (`serialize: undefined` for Keyv 5,
 * `serialization: false` for Keyv 6), set a `valueEncoding`.
 *
 * @example
 * const keyv = new Keyv({ store: new KeyvFirkin('./cache'), namespace: 'users' })
 * await keyv.set('7', { name: 'Ada' }, 60_000)
 */
export class KeyvFirkin<V = string> extends EventEmitter {
  /** Keyv 5 only iterates over an adapter whose dialect it knows by name. */
  readonly opts: { readonly dialect: 'sqlite'; readonly url: string }
  /**
   * The namespace that `clear` and `iterator` are limited to, and with Keyv 6 every method. Keyv
   * sets it.
   */
  namespace: string | undefined = undefined
  /** Whether a Keyv 6 has taken the adapter. */
  #isOfKeyv6 = false
  readonly #store: Promise<Store<V>>
  readonly #ownsStore: boolean

  /**
   * Takes an open store, or a directory, by its path or its `file:` URL, whose store it opens now
   * and `disconnect` closes.
   *
   * @throws TypeError for another directory, or if the store's encodings do not return what Keyv
   * hands over. Other wrong options of a directory reject the first operation, and are reported by
   * the event `error`
   */
  constructor(source: string | URL | Store<V>, options?: KeyvFirkinOptions<V>) {
    super()
    const isDirectory = typeof source === 'string' || isUrl(source)
    if (isDirectory) {
      const encoding = options?.valueEncoding ?? 'utf8'
      checkValueEncoding('KeyvFirkin', 'store', encoding as ValueEncoding<V>, VALUE_ENCODINGS)
    } else {
      checkEncodings('KeyvFirkin', 'store', source, VALUE_ENCODINGS)
      if (options !== undefined)
        throw new TypeError('KeyvFirkin takes options for a directory only')
    }
    const directory = isDirectory ? directoryPath(source) : source.directory
    this.#ownsStore = isDirectory
    this.opts = { dialect: 'sqlite', url: typeof source === 'string' ? source : directory }
    this.#store = isDirectory ? this.#open(directory, options) : Promise.resolve(source)
  }

  /** The properties that Keyv 6 asks for. Reading them makes it an adapter for Keyv 6. */
  get capabilities(): KeyvFirkinCapabilities {
    this.#isOfKeyv6 = true
    return CAPABILITIES
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

  /**
   * Sets a value.
   *
   * @param ttl the time to live, in milliseconds; with Keyv 6 the time of expiry, in milliseconds
   * since 1970. Without it the store's `ttlMs` applies
   */
  async set(key: string, value: V, ttl?: number): Promise<true> {
    const store = await this.#store
    const lifetime = this.#isOfKeyv6 ? lifetimeUntil(ttl) : lifetimeOf(ttl)
    await store.put(this.#stored(key), value, lifetime)
    return true
  }

  /** Sets all entries, or none if it fails. */
  async setMany(entries: readonly KeyvFirkinEntry<V>[]): Promise<boolean[]> {
    const batch = (await this.#store).batch()
    for (const { key, value, ttl, expires } of entries) {
      batch.put(this.#stored(key), value, lifetimeUntil(expires) ?? lifetimeOf(ttl))
    }
    await batch.commit()
    return entries.map(() => true)
  }

  /** Deletes a key. Returns whether it was there. */
  async delete(key: string): Promise<boolean> {
    const store = await this.#store
    return await store.delete(this.#stored(key))
  }

  /**
   * Deletes many keys in one atomic batch. Returns whether all of them were there; with Keyv 6,
   * whether each was.
   */
  async deleteMany(keys: readonly string[]): Promise<boolean | boolean[]> {
    const store = await this.#store
    const stored = keys.map((key) => this.#stored(key))
    const wereThere = stored.map((key) => store.has(key))
    const batch = store.batch()
    for (const [index, key] of stored.entries()) if (wereThere[index]) batch.delete(key)
    await batch.commit()
    return this.#isOfKeyv6 ? wereThere : !wereThere.includes(false)
  }

  /** Deletes the entries of the namespace, or all entries if there is none. */
  async clear(): Promise<void> {
    const store = await this.#store
    await store.clear(rangeOf(this.namespace))
  }

  /**
   * Yields the entries of a namespace in the order of their keys, or all entries if there is none.
   * Keys have the namespace in front, with Keyv 6 they do not. It sees the store as of its first
   * step.
   */
  async *iterator(namespace = this.namespace): AsyncGenerator<[key: string, value: V], void> {
    const store = await this.#store
    const isShown = !this.#isOfKeyv6 && namespace !== undefined && namespace !== ''
    const given = isShown ? `${namespace}:` : ''
    // If no namespace was set, Keyv 5 has stored keys unchanged.
    const isUnchanged = isShown && this.namespace === undefined
    const prefix = isUnchanged ? given : prefixOf(namespace)
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

  /** Returns the stored form of a key of Keyv's, which has the namespace in front up to Keyv 5. */
  #stored(key: string): string {
    const { namespace } = this
    if (this.#isOfKeyv6) return prefixOf(namespace) + key
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

function lifetimeOf(ttlMs: number | undefined): PutOptions | undefined {
  return ttlMs === undefined ? undefined : { ttlMs: Math.max(1, ttlMs) }
}

function lifetimeUntil(expiresAt: number | undefined): PutOptions | undefined {
  return expiresAt === undefined ? undefined : { expiresAt }
}
