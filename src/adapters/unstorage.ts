/**
 * Firkin as a driver of unstorage.
 *
 * A value is stored behind six bytes: when it was set, in milliseconds since 1970, little-endian. `getMeta` gives
 * that as `mtime`; the rest is the item's bytes as they were handed over.
 */

import { EventEmitter } from 'node:events'
import type { Driver, TransactionOptions } from 'unstorage'
import {
  open,
  type PutOptions,
  type RangeOptions,
  type Store,
  StoreError,
  type StoreOptions,
} from '../index.ts'
import { systemClock } from '../time.ts'

/** Where a {@link firkinDriver} keeps its items: `base` or `store`. */
export interface FirkinDriverOptions {
  /** A directory. Its store is opened when the driver is first used, and closed by `dispose`. */
  readonly base?: string
  /** A store that is open already, with the encodings that stores have by default; `dispose` leaves it open. */
  readonly store?: Store
  /** How the store in `base` is opened. */
  readonly options?: Omit<StoreOptions, 'keyEncoding' | 'valueEncoding'>
  /**
   * How long an item lives that is set without `ttl`, in seconds; without, or 0, as the store's `ttlMs` says.
   * @defaultValue undefined
   */
  readonly ttl?: number
}

/** A driver for `createStorage`; `getInstance` gives its store. */
export type FirkinDriver = Driver<FirkinDriverOptions, Promise<Store>>

/** What can be set raw. */
type Bytes = string | ArrayBufferView | ArrayBuffer

type Change = 'update' | 'remove'

const HEAD_SIZE = 6

/**
 * A driver for unstorage, on a directory of its own or on a store that is open already.
 *
 * Items that are set may have `ttl`, in seconds. `setItems` sets all of them or none. Watchers hear of what this
 * driver changes; of what expires, or what others change, they do not.
 *
 * @throws TypeError where not exactly one of `base` and `store` is given
 * @example
 * const storage = createStorage({ driver: firkinDriver({ base: './data' }) })
 * await storage.setItem('users:7', { name: 'Ada' }, { ttl: 60 })
 */
export function firkinDriver(options: FirkinDriverOptions): FirkinDriver {
  const connection = new Connection(options)
  const clock = options.options?.clock ?? systemClock
  const changes = new EventEmitter<{ change: [event: Change, key: string] }>()
  const tell = (event: Change, key: string): void => void changes.emit('change', event, key)

  /** A stored value without its head; a missing one is `null`, as unstorage has it. */
  const read = async (key: string): Promise<Buffer | null> => {
    const store = await connection.store()
    return store.get(key)?.subarray(HEAD_SIZE) ?? null
  }
  const lifetime = (its: TransactionOptions | undefined): PutOptions | undefined => {
    const ttl: number | undefined = its?.ttl ?? options.ttl
    return ttl === undefined || ttl === 0 ? undefined : { ttlMs: ttl * 1000 }
  }
  const set = async (key: string, value: Bytes, its?: TransactionOptions): Promise<void> => {
    const store = await connection.store()
    await store.put(key, withHead(value, clock()), lifetime(its))
    tell('update', key)
  }

  return {
    name: 'firkin',
    flags: { ttl: true },
    options,
    getInstance: () => connection.store(),

    async hasItem(key) {
      return (await connection.store()).has(key)
    },
    async getItem(key) {
      return (await read(key))?.toString() ?? null
    },
    async getItems(items) {
      const store = await connection.store()
      const values = store.getMany(items.map(({ key }) => key))
      return items.map(({ key }, index) => ({
        key,
        value: values[index]?.toString('utf8', HEAD_SIZE) ?? null,
      }))
    },
    getItemRaw: (key) => read(key),
    async getMeta(key) {
      const store = await connection.store()
      const value = store.get(key)
      const expiresAt = store.expiresAt(key)
      if (value === undefined || expiresAt === undefined) return null
      const meta = {
        mtime: new Date(value.readUIntLE(0, HEAD_SIZE)),
        size: value.length - HEAD_SIZE,
      }
      return expiresAt === Number.POSITIVE_INFINITY
        ? meta
        : { ...meta, ttl: (expiresAt - clock()) / 1000 }
    },

    setItem: set,
    setItemRaw: set,
    async setItems(items, common) {
      const batch = (await connection.store()).batch()
      const nowMs = clock()
      for (const { key, value, options: its } of items) {
        batch.put(key, withHead(value, nowMs), lifetime({ ...common, ...its }))
      }
      await batch.commit()
      for (const { key } of items) tell('update', key)
    },
    async removeItem(key) {
      const store = await connection.store()
      if (await store.delete(key)) tell('remove', key)
    },

    async getKeys(base) {
      const store = await connection.store()
      return [...store.keys(rangeOf(base))]
    },
    async clear(base) {
      const store = await connection.store()
      const range = rangeOf(base)
      const going = changes.listenerCount('change') > 0 ? [...store.keys(range)] : []
      await store.clear(range)
      for (const key of going) tell('remove', key)
    },

    watch(callback) {
      // One of its own, so that the same callback may watch twice.
      const listener = (event: Change, key: string): void => void callback(event, key)
      changes.on('change', listener)
      return () => void changes.off('change', listener)
    },
    async dispose() {
      changes.removeAllListeners()
      await connection.close()
    },
  }
}

// biome-ignore lint/style/noDefaultExport: what takes a driver by its module's name takes the default export.
export { firkinDriver as default }

/** The store of one driver. */
class Connection {
  readonly #options: FirkinDriverOptions
  #opening: Promise<Store> | undefined
  #disposed = false

  constructor(options: FirkinDriverOptions) {
    if ((options?.base === undefined) === (options?.store === undefined)) {
      throw new TypeError('A driver needs either base, a directory, or store, an open store')
    }
    this.#options = options
  }

  /** Opens the store where that has not been done, or has failed before. */
  store(): Promise<Store> {
    const { base, store, options } = this.#options
    if (this.#disposed) {
      return Promise.reject(new StoreError('FIRKIN_CLOSED', 'The driver was disposed of'))
    }
    if (store !== undefined) return Promise.resolve(store)
    this.#opening ??= open(base as string, options).catch((error) => {
      this.#opening = undefined
      throw error
    })
    return this.#opening
  }

  /** Closes the store where it was opened here. */
  async close(): Promise<void> {
    this.#disposed = true
    // Whoever asked for a store that could not be opened knows why.
    const store = await this.#opening?.catch(() => undefined)
    await store?.close()
  }
}

/** The range of the keys below a base; of all where there is none. */
function rangeOf(base: string | undefined): RangeOptions {
  if (base === undefined || base === '') return {}
  return { prefix: base.endsWith(':') ? base : `${base}:` }
}

function withHead(value: Bytes, nowMs: number): Buffer {
  const bytes = bytesOf(value)
  const stored = Buffer.allocUnsafe(HEAD_SIZE + bytes.length)
  stored.writeUIntLE(Math.floor(nowMs), 0, HEAD_SIZE)
  stored.set(bytes, HEAD_SIZE)
  return stored
}

function bytesOf(value: Bytes): Uint8Array {
  if (typeof value === 'string') return Buffer.from(value)
  if (value instanceof ArrayBuffer) return new Uint8Array(value)
  if (ArrayBuffer.isView(value)) {
    return new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
  }
  throw new TypeError(`A raw item is text or bytes, not ${typeof value}`)
}
