/**
 * A driver for unstorage over a store.
 *
 * Six bytes precede each item's bytes in the store: the time when it was set, in milliseconds since
 * 1970, little-endian. `getMeta` returns it as `mtime`.
 */

import { EventEmitter } from 'node:events'
import { types } from 'node:util'
import type { Driver, TransactionOptions } from 'unstorage'
import { textSize } from '../engine/encoding.ts'
import {
  open,
  type PutOptions,
  type RangeOptions,
  type Store,
  StoreError,
  type StoreOptions,
} from '../index.ts'
import { directoryPath } from '../io/directory-path.ts'
import { checkNames, checkObject, STORE_OPTION_NAMES } from '../options.ts'
import { systemClock } from '../scheduling/time.ts'
import { TimeSlice } from '../scheduling/time-slice.ts'
import { CODEC, checkEncodings } from './check-encodings.ts'

/** The options of a {@link firkinDriver}: exactly one of `base` and `store`, and more. */
export interface FirkinDriverOptions {
  /**
   * A directory, by its path or its `file:` URL. Its store is opened at the first use of the driver
   * and closed by `dispose`.
   */
  readonly base?: string | URL
  /** An open store, with the default encodings or a codec of bytes. `dispose` leaves it open. */
  readonly store?: Store
  /** The options that open the store in `base`. */
  readonly options?: Omit<StoreOptions, EncodingName>
  /**
   * The time to live of an item that is set without `ttl`, in seconds. If it is missing or 0, the
   * store's `ttlMs` applies.
   * @defaultValue undefined
   */
  readonly ttl?: number
}

type EncodingName = 'keyEncoding' | 'valueEncoding'

/** A driver for `createStorage`. `getInstance` returns its store. */
export type FirkinDriver = Driver<FirkinDriverOptions, Promise<Store>>

/** A raw item, as a caller may pass it. */
type Bytes = string | ArrayBufferView | ArrayBuffer

type Change = 'update' | 'remove'
/** The emitter that tells watchers of the driver's changes. */
type Changes = EventEmitter<{ change: [event: Change, key: string] }>

const HEAD_SIZE = 6
/**
 * The latest time that a head holds, in the year 2248. The first six bytes of text that something
 * else has put read as a later time, unless the sixth is one of the first control characters.
 */
const MAX_TIME_MS = 2 ** 43 - 1

const ENCODING_NAMES: readonly string[] = ['keyEncoding', 'valueEncoding'] satisfies EncodingName[]

/**
 * Makes a driver for unstorage, over a directory of its own or over an open store.
 *
 * The option `ttl` of an item is in seconds. `setItems` sets all items or none. Watchers are told
 * of what this driver changes, not of what expires or what others change.
 *
 * @throws TypeError unless exactly one of `base` and `store` is given, and for other wrong options
 * @example
 * const storage = createStorage({ driver: firkinDriver({ base: './data' }) })
 * await storage.setItem('users:7', { name: 'Ada' }, { ttl: 60 })
 */
export function firkinDriver(options: FirkinDriverOptions): FirkinDriver {
  const connection = new Connection(options)
  const clock = options.options?.clock ?? systemClock
  const changes: Changes = new EventEmitter()
  // The methods are closures, because unstorage calls them without the driver as `this`.
  return {
    name: 'firkin',
    flags: { ttl: true },
    options,
    getInstance: () => connection.store(),
    ...reads(connection, clock),
    ...writes(connection, clock, options, changes),
    ...keyRanges(connection, changes),
    watch(callback) {
      // A listener of its own for each call, so that the same callback may watch twice.
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

type Reads = 'hasItem' | 'getItem' | 'getItems' | 'getItemRaw' | 'getMeta'

/** Returns the methods that read items. */
function reads(connection: Connection, clock: () => number): Pick<FirkinDriver, Reads> {
  /** Returns an item without its head, or `null`, as unstorage expects. */
  const read = async (key: string): Promise<Buffer | null> => {
    const store = await connection.store()
    const stored = store.get(key)
    return stored === undefined ? null : itemOf(key, stored)
  }
  return {
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
        value: textOf(key, values[index]),
      }))
    },
    getItemRaw: (key) => read(key),
    async getMeta(key) {
      const store = await connection.store()
      const value = store.get(key)
      const expiresAt = store.expiresAt(key)
      if (value === undefined || expiresAt === undefined) return null
      const meta = {
        mtime: new Date(timeOf(key, value)),
        size: value.length - HEAD_SIZE,
      }
      return expiresAt === Number.POSITIVE_INFINITY
        ? meta
        : // Whole seconds, as in HTTP, rounded down so that the item is there for all of them.
          { ...meta, ttl: Math.max(0, Math.floor((expiresAt - clock()) / 1000)) }
    },
  }
}

type Writes = 'setItem' | 'setItemRaw' | 'setItems' | 'removeItem'

/** Returns the methods that change items. */
function writes(
  connection: Connection,
  clock: () => number,
  options: FirkinDriverOptions,
  changes: Changes,
): Pick<FirkinDriver, Writes> {
  const lifetime = (its: TransactionOptions | undefined): PutOptions | undefined => {
    const ttl: number | undefined = its?.ttl ?? options.ttl
    return ttl === undefined || ttl === 0 ? undefined : { ttlMs: ttl * 1000 }
  }
  const set = async (key: string, value: Bytes, its?: TransactionOptions): Promise<void> => {
    const store = await connection.store()
    await store.put(key, withHead(value, clock()), lifetime(its))
    changes.emit('change', 'update', key)
  }
  return {
    setItem: set,
    setItemRaw: set,
    async setItems(items, common) {
      const batch = (await connection.store()).batch()
      const nowMs = clock()
      for (const { key, value, options: its } of items) {
        batch.put(key, withHead(value, nowMs), lifetime({ ...common, ...its }))
      }
      await batch.commit()
      for (const { key } of items) changes.emit('change', 'update', key)
    },
    async removeItem(key) {
      const store = await connection.store()
      if (await store.delete(key)) changes.emit('change', 'remove', key)
    },
  }
}

/** Returns the methods that list or clear the keys below a base. */
function keyRanges(
  connection: Connection,
  changes: Changes,
): Pick<FirkinDriver, 'getKeys' | 'clear'> {
  return {
    async getKeys(base) {
      const store = await connection.store()
      const slice = new TimeSlice()
      const keys: string[] = []
      for (const key of store.keys(rangeOf(base))) {
        keys.push(key)
        if (slice.isOver()) await slice.next()
      }
      return keys
    },
    async clear(base) {
      const store = await connection.store()
      const range = rangeOf(base)
      const going = changes.listenerCount('change') > 0 ? [...store.keys(range)] : []
      await store.clear(range)
      for (const key of going) changes.emit('change', 'remove', key)
    },
  }
}

// biome-ignore lint/style/noDefaultExport: a driver loaded by name is a default export.
export { firkinDriver as default }

/** A driver's connection to its store. */
class Connection {
  readonly #open: () => Promise<Store>
  readonly #ownsStore: boolean
  #opening: Promise<Store> | undefined
  #disposed = false

  constructor(input: FirkinDriverOptions) {
    checkOptions(input)
    const { base, store, options } = input
    this.#ownsStore = store === undefined
    if (store !== undefined) {
      checkEncodings('firkinDriver', 'store', store, ['buffer', CODEC])
      this.#open = () => Promise.resolve(store)
    } else {
      // Resolved now, because the working directory may have changed when the store is opened.
      const directory = directoryPath(base as string | URL)
      this.#open = () => open(directory, options)
    }
  }

  /** Returns the open store. Opens it at the first call, or again if opening has failed. */
  store(): Promise<Store> {
    if (this.#disposed) {
      return Promise.reject(new StoreError('FIRKIN_CLOSED', 'The driver was disposed of'))
    }
    this.#opening ??= this.#open().catch((error) => {
      this.#opening = undefined
      throw error
    })
    return this.#opening
  }

  /** Closes the store if the driver opened it. */
  async close(): Promise<void> {
    this.#disposed = true
    if (!this.#ownsStore) return
    // A failure to open was reported to whoever asked for the store.
    const store = await this.#opening?.catch(() => undefined)
    await store?.close()
  }
}

/** Returns the range of the keys below a base, or of all keys if there is none. */
function rangeOf(base: string | undefined): RangeOptions {
  if (base === undefined || base === '') return {}
  return { prefix: base.endsWith(':') ? base : `${base}:` }
}

/** @throws TypeError */
function checkOptions(input: FirkinDriverOptions): void {
  if ((input?.base === undefined) === (input?.store === undefined)) {
    throw new TypeError('A driver needs either base, a directory, or store, an open store')
  }
  const { options = {} } = input
  for (const name of Object.keys(input)) {
    if (!STORE_OPTION_NAMES.includes(name)) continue
    throw new TypeError(`Option ${name} is one of the store: { options: { ${name} } }`)
  }
  checkObject(options, 'Option options')
  checkNames(
    options,
    STORE_OPTION_NAMES.filter((name) => !ENCODING_NAMES.includes(name)),
    'option',
  )
}

/** Returns an item with its head, as it is stored. */
function withHead(value: Bytes, nowMs: number): Buffer {
  const item = typeof value === 'string' ? value : bytesOf(value)
  const size = typeof item === 'string' ? textSize(item) : item.length
  const stored = Buffer.allocUnsafe(HEAD_SIZE + size)
  stored.writeUIntLE(Math.min(Math.floor(nowMs), MAX_TIME_MS), 0, HEAD_SIZE)
  if (typeof item === 'string') stored.write(item, HEAD_SIZE, 'utf8')
  else stored.set(item, HEAD_SIZE)
  return stored
}

/** Returns when an item was set. @throws TypeError if the value is not a driver's item */
function timeOf(key: string, stored: Buffer): number {
  const timeMs = stored.length < HEAD_SIZE ? Number.NaN : stored.readUIntLE(0, HEAD_SIZE)
  if (timeMs <= MAX_TIME_MS) return timeMs
  throw new TypeError(
    `What is stored under ${key} is not a driver's item: it does not begin with a time`,
  )
}

function itemOf(key: string, stored: Buffer): Buffer {
  timeOf(key, stored)
  return stored.subarray(HEAD_SIZE)
}

function textOf(key: string, stored: Buffer | undefined): string | null {
  return stored === undefined ? null : itemOf(key, stored).toString()
}

function bytesOf(value: Exclude<Bytes, string>): Uint8Array {
  if (types.isArrayBuffer(value)) return new Uint8Array(value)
  if (ArrayBuffer.isView(value)) {
    return new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
  }
  throw new TypeError(`A raw item is text or bytes, not ${typeof value}`)
}
