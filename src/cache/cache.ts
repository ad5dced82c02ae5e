/**
 * The cache: values, times, loads and figures, on top of a shelf of bytes.
 *
 * get:      clock -> shelf -> fresh? -> decode
 * set:      clock -> encode -> head -> shelf
 * getOrSet: get -> stale? return it and load in the background -> a load that all share -> set
 *
 * Invariants
 * - The caller's code (codecs, `toJSON`, the clock, loaders, listeners) runs before or after a step
 *   with the shelf, never within one, so it may call the cache. Whatever it may have changed is
 *   checked again after it.
 * - What it throws goes to the caller, and leaves the cache as it was. If there is no caller, it is
 *   reported by the event `error`. Only a failed step casts doubt on the directory.
 *
 * Whatever goes wrong with the directory, the application goes on; see recovering-shelf.ts.
 */

import { decodeValue, encodeValue, type ReadBytes, valueSize } from '../engine/encoding.ts'
import { StoreError } from '../errors.ts'
import { directoryPath } from '../io/directory-path.ts'
import { NO_ENTRY } from '../keydir/keydir.ts'
import { checkNames, checkObject, type ValueEncoding } from '../options.ts'
import { Announcements, type CacheEvents } from './announcements.ts'
import { encodeEntry } from './entry.ts'
import { type CacheEnvironment, systemEnvironment } from './environment.ts'
import { decodeFailure, describe } from './failure.ts'
import type { Flight, Loader } from './flight.ts'
import { isDueEarly, isStale, timesOf } from './freshness.ts'
import { Loads } from './loads.ts'
import {
  type CacheOptions,
  type CacheSettings,
  checkMs,
  type EntryOptions,
  type LoadOptions,
  type ResolvedCacheOptions,
  resolveCacheOptions,
} from './options.ts'
import { RecoveringShelf } from './recovering-shelf.ts'
import type { Shelf } from './shelf.ts'
import { type CacheStats, Counts } from './stats.ts'
import { encodeTag } from './tags.ts'

export type { CacheEvents, EvictionCause } from './announcements.ts'
export type { CacheMessage, LoadContext } from './channels.ts'
export type { Loader } from './flight.ts'
export type { CacheOptions, CacheSettings, EntryOptions, LoadOptions } from './options.ts'
export type { CachePolicy } from './order.ts'
export type { CacheStats } from './stats.ts'

/** The options of {@link PersistentCache.memoize}. */
export interface MemoizeOptions<A extends unknown[]> extends LoadOptions {
  /** Returns the key of a call, from its arguments. */
  readonly key: (...args: A) => string
}

const ENTRY_OPTION_NAMES = ['ttlMs', 'staleMs', 'tags'] as const
const LOAD_OPTION_NAMES = [...ENTRY_OPTION_NAMES, 'errorTtlMs', 'signal'] as const

/**
 * Opens the cache in a directory, and creates it if there is none. Values are text.
 * Without `strict`, the event `error` reports a directory that cannot be used.
 *
 * @throws TypeError, RangeError for invalid options
 * @throws {@link StoreError} with `strict`: FIRKIN_LOCKED, FIRKIN_CORRUPT and others
 */
export async function openCache(
  directory: string | URL,
  options: CacheOptions<string> & { readonly valueEncoding: 'utf8' },
): Promise<PersistentCache<string>>
/**
 * Opens the cache in a directory, and creates it if there is none. Values are stored as JSON.
 * Nothing checks that what was stored is of the type that the caller names.
 * Without `strict`, the event `error` reports a directory that cannot be used.
 *
 * @throws TypeError, RangeError for invalid options
 * @throws {@link StoreError} with `strict`: FIRKIN_LOCKED, FIRKIN_CORRUPT and others
 */
export async function openCache<V = unknown>(
  directory: string | URL,
  options: CacheOptions<V> & { readonly valueEncoding: 'json' },
): Promise<PersistentCache<V>>
/**
 * Opens the cache in a directory, and creates it if there is none. The type of values follows from
 * `valueEncoding`; without it they are bytes.
 *
 * If the directory is damaged, locked or not a cache's, the cache is emptied or works without a
 * disk. The event `error` reports it, in the turn of the event loop after the promise has resolved.
 * With `strict` the promise rejects instead.
 *
 * @param directory its path, or its `file:` URL
 * @throws TypeError, RangeError for another directory, or invalid options
 * @throws {@link StoreError} with `strict`: FIRKIN_CORRUPT, FIRKIN_LOCKED, FIRKIN_OTHER_KIND,
 * FIRKIN_NOT_EMPTY, FIRKIN_NOT_LOCAL, FIRKIN_VERSION, FIRKIN_IO_FAILED
 */
export async function openCache<V = Buffer>(
  directory: string | URL,
  options: CacheOptions<V>,
): Promise<PersistentCache<V>>
export async function openCache<V>(
  directory: string | URL,
  options: CacheSettings<V>,
): Promise<PersistentCache<V>> {
  return await PersistentCache.open(directory, options, systemEnvironment)
}

/**
 * A cache in a directory. It survives restarts and kills, and never exceeds its budget on disk.
 *
 * Keys are strings. Reads and writes are synchronous. Writes reach the operating system at the end
 * of the turn of the event loop. An entry is *fresh* until its `ttlMs` has passed, then *stale* for
 * its `staleMs`, then gone.
 *
 * @example
 * const maxBytes = 512 * 2 ** 20
 * const cache = await openCache<User>('./cache', { maxBytes, valueEncoding: 'json' })
 * const user = await cache.getOrSet('user:7', (signal) => load(7, signal), { ttlMs: 60_000 })
 */
export class PersistentCache<V> {
  /** The path of the cache's directory. */
  readonly directory: string
  readonly #options: ResolvedCacheOptions<V>
  readonly #announcements: Announcements
  readonly #counts = new Counts()
  readonly #shelf: RecoveringShelf
  readonly #loads: Loads<V>

  /** Does no I/O; use {@link openCache}. */
  private constructor(
    directory: string,
    options: ResolvedCacheOptions<V>,
    environment: CacheEnvironment,
  ) {
    this.directory = directory
    this.#options = options
    this.#announcements = new Announcements(directory)
    this.#shelf = new RecoveringShelf(
      directory,
      // Safety: a shelf holds bytes, and uses the value encoding only for the marker.
      options as ResolvedCacheOptions<unknown>,
      environment,
      this.#announcements,
      this.#counts,
    )
    this.#loads = new Loads(
      directory,
      options,
      this.#shelf,
      this.#announcements,
      this.#counts.loads,
      (key, value, loadOptions, loadMs, flight) => {
        this.#set(key, value, loadOptions, loadMs, flight)
      },
    )
  }

  /** @internal Like {@link openCache}, in another environment. */
  static async open<V = Buffer>(
    directory: string | URL,
    input: CacheSettings<V>,
    environment: CacheEnvironment,
  ): Promise<PersistentCache<V>> {
    const path = directoryPath(directory)
    const options = resolveCacheOptions(input)
    const nowMs = options.clock()
    const cache = new PersistentCache<V>(path, options, environment)
    await cache.#shelf.open(nowMs)
    return cache
  }

  /** @internal Like {@link get}, but `decode` reads the value's bytes in place. */
  static readInPlace<T>(
    cache: PersistentCache<Buffer>,
    key: string,
    decode: (read: ReadBytes, start: number) => T,
  ): T | undefined {
    return cache.#read(key, true, decode)
  }

  /** Whether `close` has been called. */
  get closed(): boolean {
    return this.#shelf.closed
  }

  /** How values are stored and returned: the option `valueEncoding`. */
  get valueEncoding(): ValueEncoding<V> {
    return this.#options.valueEncoding
  }

  /** Returns the value of a key if it is fresh; otherwise `undefined`. The caller owns the copy. */
  get(key: string): V | undefined {
    return this.#read(key, true, this.#decodeValue)
  }

  /** Like {@link get}, but it counts as neither a read nor a use. */
  peek(key: string): V | undefined {
    return this.#read(key, false, this.#decodeValue)
  }

  /** Whether a key has a fresh value. It counts as neither a read nor a use. */
  has(key: string): boolean {
    const nowMs = this.#shelf.now()
    return this.#shelf.step(false, nowMs, key, (shelf) => {
      const entry = shelf.find()
      return entry !== NO_ENTRY && !shelf.head.isFailure && !isStale(shelf, nowMs)
    })
  }

  /**
   * Sets the value of a key. Returns false if it was refused: the entry is larger than
   * `maxEntryBytes`, or the directory cannot be used. The previous value is gone in any case.
   *
   * @throws TypeError, RangeError for an invalid key, value or option
   */
  set(key: string, value: V, options: EntryOptions = {}): boolean {
    checkOptions(options, ENTRY_OPTION_NAMES, 'set option')
    this.#shelf.catchUp()
    return this.#set(key, value, options, 0, undefined)
  }

  /** Removes a key. Returns whether it was there. */
  delete(key: string): boolean {
    this.#shelf.catchUp()
    const nowMs = this.#shelf.now()
    this.#loads.overtake(key)
    this.#counts.deletes++
    const was = this.#shelf.step(false, nowMs, key, (shelf) => shelf.remove(key))
    this.#announcements.operation('delete', key, was ? 'removed' : 'absent')
    return was
  }

  /** Removes every entry. */
  clear(): void {
    this.#loads.overtakeAll()
    this.#shelf.step(undefined, Number.NaN, undefined, (shelf) => shelf.clear())
    this.#announcements.operation('clear', undefined, 'cleared')
  }

  /** Invalidates every entry with one of these tags, in constant time for each tag. */
  invalidateTags(...tags: string[]): void {
    const encoded = tags.map(encodeTag)
    const nowMs = this.#shelf.now()
    this.#loads.overtakeTagged(tags)
    this.#shelf.step(undefined, nowMs, undefined, (shelf) => {
      for (const tag of encoded) shelf.invalidate(tag)
    })
    for (const tag of tags) this.#announcements.operation('invalidate', tag, 'invalidated')
  }

  /**
   * Returns the value of a key, and loads it if it is not there.
   *
   * Concurrent callers for a key share one load. A stale value is returned at once, and a new one
   * is loaded in the background. An error of the loader is thrown; with `errorTtlMs` it is thrown
   * again for that long, without another load. The result is not kept if its key was set or
   * deleted, or one of its tags was invalidated, since the load began.
   *
   * @throws whatever the loader throws, or the reason of `signal` if that fires first
   */
  async getOrSet(key: string, load: Loader<V>, options: LoadOptions = {}): Promise<V> {
    checkOptions(options, LOAD_OPTION_NAMES, 'load option')
    if (typeof load !== 'function') throw new TypeError('A loader must be a function')
    const found = this.#lookUp(key)
    if (found !== undefined) {
      if (found.refresh) this.#loads.refresh(key, load, options)
      if (found.failure !== undefined) throw found.failure
      return found.value
    }
    options.signal?.throwIfAborted()
    return await this.#loads.join(key, load, options).wait(options.signal)
  }

  /** Returns a function that caches what `call` returns for the same key; see {@link getOrSet}. */
  memoize<A extends unknown[]>(
    call: (...args: A) => V | Promise<V>,
    options: MemoizeOptions<A>,
  ): (...args: A) => Promise<V> {
    checkObject(options, 'Memoize options')
    const { key, ...rest } = options
    if (typeof key !== 'function') throw new TypeError('Option key must be a function')
    checkOptions(rest, LOAD_OPTION_NAMES, 'memoize option')
    return (...args) => this.getOrSet(key(...args), () => call(...args), rest)
  }

  /** Returns the cache's figures. The time for that is proportional to the number of segments. */
  stats(): CacheStats {
    const { evictions, loads: loaded, ...counts } = this.#counts
    const shelf = this.#shelf.current
    const bytes = shelf?.bytes ?? { live: 0, disk: 0 }
    return {
      entries: shelf?.count ?? 0,
      bytes: { ...bytes, limit: this.#options.maxBytes },
      tags: shelf?.tagCount ?? 0,
      ...counts,
      evictions: { ...evictions },
      loads: { ...loaded },
    }
  }

  /** Calls `listener` for each event. */
  on<N extends keyof CacheEvents>(name: N, listener: (...args: CacheEvents[N]) => void): this {
    this.#announcements.on(name, listener)
    return this
  }

  /** Calls `listener` for the next event. */
  once<N extends keyof CacheEvents>(name: N, listener: (...args: CacheEvents[N]) => void): this {
    this.#announcements.once(name, listener)
    return this
  }

  /** Removes a listener. */
  off<N extends keyof CacheEvents>(name: N, listener: (...args: CacheEvents[N]) => void): this {
    this.#announcements.off(name, listener)
    return this
  }

  /**
   * Writes what is staged, the keydir's image and the order, and releases the directory. Further
   * calls return the same promise. From the first call on, everything is a miss.
   */
  close(): Promise<void> {
    return this.#shelf.close()
  }

  /** Closes the cache; for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #read<T>(
    key: string,
    counted: boolean,
    decode: (read: ReadBytes, start: number) => T,
  ): T | undefined {
    const shelf = this.#shelf.findFresh(key, counted, this.#shelf.now())
    const value = shelf === undefined ? undefined : this.#decode(shelf, key, decode)
    if (!counted) return value
    if (value === undefined) this.#counts.misses++
    else this.#counts.hits++
    this.#announcements.operation('get', key, value === undefined ? 'miss' : 'hit')
    return value
  }

  /** Looks a key up for `getOrSet`; returns `undefined` if it has to be loaded. */
  #lookUp(key: string) {
    const nowMs = this.#shelf.now()
    const place = this.#shelf.step<Found | undefined>(undefined, nowMs, key, (shelf) => {
      const entry = shelf.find()
      if (entry === NO_ENTRY) return undefined
      shelf.use(entry)
      const { isFailure } = shelf.head
      const stale = isStale(shelf, nowMs)
      const refresh = stale || isDueEarly(shelf, entry, nowMs, this.#options.earlyRefresh)
      return { shelf, isFailure, stale, refresh }
    })
    const found = place && this.#decodeFound(place, key)
    if (found === undefined) this.#counts.misses++
    else if (found.stale) this.#counts.staleHits++
    else this.#counts.hits++
    const outcome = found === undefined ? 'miss' : found.stale ? 'stale' : 'hit'
    this.#announcements.operation('get', key, outcome)
    return found
  }

  /** Decodes a value, or the error of a failed load; returns `undefined` if that fails. */
  #decodeFound({ shelf, isFailure, stale, refresh }: Found, key: string) {
    if (isFailure) {
      const failure = this.#decode(shelf, key, readFailure)
      return failure && { value: undefined as V, failure, stale, refresh }
    }
    const decoded = this.#decode(shelf, key, (read, start) => [this.#decodeValue(read, start)])
    return decoded && { value: decoded[0] as V, failure: undefined, stale, refresh }
  }

  readonly #decodeValue = (read: ReadBytes, start: number): V =>
    decodeValue(this.#options.valueEncoding, read, start)

  /**
   * Decodes what the previous step found. If that fails, returns `undefined`, and evicts the entry
   * unless the decoder has written to the cache.
   */
  #decode<T>(
    shelf: Shelf,
    key: string,
    decode: (read: ReadBytes, start: number) => T,
  ): T | undefined {
    const { nextSequence } = shelf
    try {
      return decode(shelf.found, shelf.head.valueAt)
    } catch (cause) {
      const why = `The value of ${JSON.stringify(key)} cannot be decoded: ${describe(cause)}`
      this.#announcements.error(new StoreError('FIRKIN_DECODE_FAILED', why, { cause }))
      if (this.#shelf.current !== shelf || shelf.nextSequence !== nextSequence) return undefined
      this.#shelf.step(undefined, Number.NaN, key, () => shelf.discard())
      return undefined
    }
  }

  /**
   * Encodes a value, and keeps it.
   *
   * @param flight the load that returned the value; it may be overtaken while the value is encoded
   */
  #set(
    key: string,
    value: V,
    options: EntryOptions,
    loadMs: number,
    flight: Flight<V> | undefined,
  ): boolean {
    const { ttlMs = this.#options.ttlMs, staleMs = this.#options.staleMs, tags = [] } = options
    const nowMs = ttlMs === 0 ? this.#shelf.now() : this.#options.clock()
    const { staleAtMs, expiresAtMs } = timesOf(ttlMs, staleMs, nowMs)
    const extras = { staleAtMs, tags: tags.map(encodeTag), loadMs, isFailure: false }
    const encoded = encodeValue(this.#options.valueEncoding, value)
    valueSize(encoded)
    const stored = encodeEntry(encoded, extras)
    const size = valueSize(stored)
    if (flight === undefined) this.#loads.overtake(key)
    else if (!flight.mayKeep) return false
    const done = this.#shelf.step(false, nowMs, key, (shelf) =>
      shelf.put(key, stored, size, expiresAtMs, extras.tags),
    )
    if (done) this.#counts.sets++
    else this.#counts.refused++
    this.#announcements.operation('set', key, done ? 'set' : 'refused')
    return done
  }
}

/** An entry that `getOrSet` found, not decoded yet. */
interface Found {
  readonly shelf: Shelf
  readonly isFailure: boolean
  readonly stale: boolean
  readonly refresh: boolean
}

/** Decodes the error of a failed load. */
function readFailure({ page, valueEnd }: ReadBytes, start: number): Error {
  return decodeFailure(page.bytes.toString('utf8', start, valueEnd))
}

function checkOptions(options: LoadOptions, known: readonly string[], what: string): void {
  checkObject(options, 'Options')
  checkNames(options, known, what)
  const { ttlMs, staleMs, errorTtlMs, tags } = options
  if (ttlMs !== undefined) checkMs(ttlMs, 'ttlMs')
  if (staleMs !== undefined) checkMs(staleMs, 'staleMs')
  if (errorTtlMs !== undefined) checkMs(errorTtlMs, 'errorTtlMs')
  if (tags !== undefined && !Array.isArray(tags))
    throw new TypeError('Option tags must be an array')
}
