/**
 * The cache: values, times, loads and figures, on top of a shelf of bytes.
 *
 * get:      shelf -> fresh? -> decode
 * set:      encode -> head -> shelf
 * getOrSet: get -> stale? serve it and load in the background -> a flight that all share -> set
 *
 * Whatever goes wrong with the directory, the application goes on: the cache is then emptied and opened anew, and
 * until that has worked everything is a miss.
 */

import { EventEmitter } from 'node:events'
import { resolve } from 'node:path'
import { Chores } from '../chores.ts'
import { decodeValue, encodeValue, type ReadBytes, valueSize } from '../encoding.ts'
import { StoreError } from '../errors.ts'
import { systemLoop } from '../event-loop.ts'
import { type Entry, NO_ENTRY } from '../keydir/keydir.ts'
import { checkNames, checkObject, type ValueEncoding } from '../options.ts'
import { expiresAt } from '../put-options.ts'
import { monotonicMs, timers } from '../time.ts'
import { type CacheMessage, loads, operations } from './channels.ts'
import { type EntryExtras, encodeEntry } from './entry.ts'
import { decodeFailure, encodeFailure } from './failure.ts'
import { Flight, type Loader } from './flight.ts'
import { type CacheEnvironment, emptyDirectory, systemEnvironment } from './home.ts'
import {
  type CacheOptions,
  checkMs,
  type EntryOptions,
  type LoadOptions,
  type ResolvedCacheOptions,
  resolveCacheOptions,
} from './options.ts'
import { type Departure, Shelf } from './shelf.ts'
import { type CacheStats, Counts } from './stats.ts'
import { encodeTag } from './tags.ts'

export type { CacheMessage, LoadContext } from './channels.ts'
export type { Loader } from './flight.ts'
export type { CacheOptions, EntryOptions, LoadOptions } from './options.ts'
export type { CachePolicy } from './order.ts'
export type { CacheStats } from './stats.ts'

/** Why an entry was given up. */
export type EvictionCause = Exclude<Departure, 'expired'>

/** What a cache tells, by event. */
export interface CacheEvents {
  /** An entry was given up. */
  evict: [key: string, cause: EvictionCause]
  /** An entry that had expired was forgotten; so it is without being read. */
  expire: [key: string]
  /** The directory failed. The cache goes on: emptied, or without a disk. Without a listener it is a warning. */
  error: [error: Error]
}

/** How {@link PersistentCache.memoize} knows its calls apart. */
export interface MemoizeOptions<A extends unknown[]> extends LoadOptions {
  /** The key of a call, from its arguments. */
  readonly key: (...args: A) => string
}

/** How often expired entries are looked for, in milliseconds. */
const TIDY_INTERVAL_MS = 1000
/** How long it takes until a directory that could not be opened is tried again. */
const RETRY_MS = 10_000

const ENTRY_OPTION_NAMES = ['ttlMs', 'staleMs', 'tags'] as const
const LOAD_OPTION_NAMES = [...ENTRY_OPTION_NAMES, 'errorTtlMs', 'signal'] as const

/**
 * Opens the cache in a directory, and creates it where there is none.
 *
 * Where the directory is damaged, locked or not a cache's, the cache is emptied or does without a disk, and says so
 * by the event `error`, in the turn after this has resolved; with `strict` this rejects.
 *
 * @throws TypeError, RangeError for wrong options
 * @throws {@link StoreError} with `strict`: FIRKIN_CORRUPT, FIRKIN_LOCKED, FIRKIN_EXISTS, FIRKIN_VERSION, FIRKIN_IO_FAILED
 */
export async function openCache<V = Buffer>(
  directory: string,
  options: CacheOptions<V>,
): Promise<PersistentCache<V>> {
  return await PersistentCache.open(directory, options, systemEnvironment)
}

/**
 * A cache in a directory: it survives restarts and kills, and never takes more than its budget on disk.
 *
 * Keys are strings. Reads and writes are synchronous; what was set is handed to the operating system at the end of
 * the turn. An entry is *fresh* until its `ttlMs` has passed, then *stale* for its `staleMs`, then gone.
 *
 * @example
 * const cache = await openCache<User>('./cache', { maxBytes: 512 * 2 ** 20, valueEncoding: 'json' })
 * const user = await cache.getOrSet('user:7', (signal) => load(7, signal), { ttlMs: 60_000 })
 */
export class PersistentCache<V> {
  /** The path of the cache's directory. */
  readonly directory: string
  readonly #options: ResolvedCacheOptions<V>
  readonly #environment: CacheEnvironment
  readonly #events = new EventEmitter<CacheEvents>()
  readonly #counts = new Counts()
  readonly #flights = new Map<string, Flight<V>>()
  readonly #chores: Chores
  /** Missing while the directory cannot be used. */
  #shelf: Shelf | undefined
  #mending: Promise<void> | undefined
  #retryAtMs = 0
  /** With `strict`: what has gone wrong. */
  #broken: Error | undefined
  #closing: Promise<void> | undefined

  /** Does no I/O; use {@link openCache}. */
  private constructor(
    directory: string,
    options: ResolvedCacheOptions<V>,
    environment: CacheEnvironment,
  ) {
    this.directory = directory
    this.#options = options
    this.#environment = environment
    this.#chores = new Chores(environment.loop ?? systemLoop, (error) => this.#tell(error))
    this.#chores.every(TIDY_INTERVAL_MS, () => this.#tidy())
  }

  /** @internal As {@link openCache}, in another environment. */
  static async open<V = Buffer>(
    directory: string,
    input: CacheOptions<V>,
    environment: CacheEnvironment,
  ): Promise<PersistentCache<V>> {
    if (typeof directory !== 'string' || directory === '') {
      throw new TypeError(`A directory is a path, not ${String(directory)}`)
    }
    const options = resolveCacheOptions(input)
    const cache = new PersistentCache<V>(resolve(directory), options, environment)
    try {
      cache.#shelf = await cache.#openShelf()
    } catch (error) {
      if (options.strict || isCallersMistake(error)) {
        cache.#chores.stop()
        throw error
      }
      await cache.#mend(isDamage(error))
      timers.setImmediate(() => cache.#tell(error))
    }
    return cache
  }

  /** @internal As {@link get}, but gives what `decode` makes of the value's bytes where they lie. */
  static readInPlace<T>(
    cache: PersistentCache<Buffer>,
    key: string,
    decode: (read: ReadBytes, start: number) => T,
  ): T | undefined {
    return cache.#read(key, true, ({ found, head }) => decode(found, head.valueAt))
  }

  /** Whether `close` has been called. */
  get closed(): boolean {
    return this.#closing !== undefined
  }

  /** How values are stored and given back: the option `valueEncoding`. */
  get valueEncoding(): ValueEncoding<V> {
    return this.#options.valueEncoding
  }

  /** The value of a key while it is fresh; otherwise `undefined`. A copy that the caller owns. */
  get(key: string): V | undefined {
    return this.#read(key, true, this.#decodeFound)
  }

  /** As {@link get}, but neither counted nor a use. */
  peek(key: string): V | undefined {
    return this.#read(key, false, this.#decodeFound)
  }

  /** Whether a key is there and fresh; neither counted nor a use. */
  has(key: string): boolean {
    return this.#with(false, (shelf) => {
      const entry = shelf.find(key)
      return entry !== NO_ENTRY && !shelf.head.isFailure && !this.#isStale(shelf)
    })
  }

  /**
   * Sets the value of a key. False where it was refused: it is larger than `maxEntryBytes`, or the directory cannot
   * be used. What the key had before is gone in any case.
   *
   * @throws TypeError, RangeError for a key, value or option that is none
   */
  set(key: string, value: V, options: EntryOptions = {}): boolean {
    checkOptions(options, ENTRY_OPTION_NAMES, 'set option')
    this.#catchUp()
    this.#overtake(key)
    return this.#set(key, value, options, 0)
  }

  /** Removes a key; whether it was there. */
  delete(key: string): boolean {
    this.#catchUp()
    this.#overtake(key)
    this.#counts.deletes++
    const was = this.#with(false, (shelf) => shelf.remove(key))
    this.#publish('delete', key, was ? 'removed' : 'absent')
    return was
  }

  /** Removes every entry. */
  clear(): void {
    for (const key of this.#flights.keys()) this.#overtake(key)
    this.#with(undefined, (shelf) => shelf.clear())
    this.#publish('clear', undefined, 'cleared')
  }

  /** Invalidates every entry that has one of these tags, however many they are, in constant time. */
  invalidateTags(...tags: string[]): void {
    const encoded = tags.map(encodeTag)
    for (const [key, flight] of this.#flights) {
      if (flight.tags.some((tag) => tags.includes(tag))) this.#overtake(key)
    }
    this.#with(undefined, (shelf) => {
      for (const tag of encoded) shelf.invalidate(tag)
    })
    for (const tag of tags) this.#publish('invalidate', tag, 'invalidated')
  }

  /**
   * The value of a key, loaded where it is not there.
   *
   * All who ask for a key meanwhile share one load. A stale value is given at once, while a new one is loaded in the
   * background. An error of the loader is thrown, and with `errorTtlMs` thrown again for so long without a load. What
   * is loaded is not kept where its key or one of its tags was set, deleted or invalidated since the load began.
   *
   * @throws whatever the loader throws; the reason of `signal` where that fires first
   */
  async getOrSet(key: string, load: Loader<V>, options: LoadOptions = {}): Promise<V> {
    checkOptions(options, LOAD_OPTION_NAMES, 'load option')
    if (typeof load !== 'function') throw new TypeError('A loader must be a function')
    const found = this.#look(key)
    if (found !== undefined) {
      if (found.refresh && !this.#flights.has(key)) this.#load(key, load, options).detach()
      if (found.failure !== undefined) throw found.failure
      return found.value
    }
    options.signal?.throwIfAborted()
    const running = this.#flights.get(key)
    // One that was aborted may take a while to end; its result is nobody's.
    const shared = running?.aborted === true ? undefined : running
    if (shared !== undefined) this.#counts.loads.shared++
    return await (shared ?? this.#load(key, load, options)).wait(options.signal)
  }

  /** A function that remembers what `call` answered to the same arguments; see {@link getOrSet}. */
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

  /** The cache's figures; takes a time in the number of segments. */
  stats(): CacheStats {
    const { evictions, loads: loaded, ...counts } = this.#counts
    const bytes = this.#shelf?.bytes ?? { live: 0, disk: 0 }
    return {
      entries: this.#shelf?.count ?? 0,
      bytes: { ...bytes, limit: this.#options.maxBytes },
      ...counts,
      evictions: { ...evictions },
      loads: { ...loaded },
    }
  }

  /** Calls `listener` at each event. */
  on<N extends keyof CacheEvents>(name: N, listener: (...args: CacheEvents[N]) => void): this {
    this.#events.on(name, listener as never)
    return this
  }

  /** Calls `listener` at the next event. */
  once<N extends keyof CacheEvents>(name: N, listener: (...args: CacheEvents[N]) => void): this {
    this.#events.once(name, listener as never)
    return this
  }

  /** Calls `listener` no more. */
  off<N extends keyof CacheEvents>(name: N, listener: (...args: CacheEvents[N]) => void): this {
    this.#events.off(name, listener as never)
    return this
  }

  /**
   * Writes what is staged, the keydir's image and the order, and gives the directory up. Idempotent. From then on
   * everything is a miss.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #read<T>(key: string, counted: boolean, decode: (shelf: Shelf) => T): T | undefined {
    const value = this.#with(undefined, (shelf) => {
      const entry = shelf.find(key)
      if (entry === NO_ENTRY || shelf.head.isFailure || this.#isStale(shelf)) return undefined
      if (counted) shelf.use(entry)
      return decode(shelf)
    })
    if (!counted) return value
    if (value === undefined) this.#counts.misses++
    else this.#counts.hits++
    this.#publish('get', key, value === undefined ? 'miss' : 'hit')
    return value
  }

  /** What `getOrSet` finds of a key; `undefined` where it has to load. */
  #look(key: string) {
    const found = this.#with(undefined, (shelf) => {
      const entry = shelf.find(key)
      if (entry === NO_ENTRY) return undefined
      shelf.use(entry)
      if (shelf.head.isFailure) {
        const { page, valueEnd } = shelf.found
        const failure = decodeFailure(page.bytes.toString('utf8', shelf.head.valueAt, valueEnd))
        return { failure, value: undefined as V, stale: false, refresh: false }
      }
      const stale = this.#isStale(shelf)
      const refresh = stale || this.#isDueEarly(shelf, entry)
      return { failure: undefined, value: this.#decode(shelf), stale, refresh }
    })
    if (found === undefined) this.#counts.misses++
    else if (found.stale) this.#counts.staleHits++
    else this.#counts.hits++
    this.#publish('get', key, found === undefined ? 'miss' : found.stale ? 'stale' : 'hit')
    return found
  }

  #isStale(shelf: Shelf): boolean {
    const { staleAtMs } = shelf.head
    return staleAtMs !== 0 && staleAtMs <= this.#options.clock()
  }

  /** Whether to load anew before the entry turns stale: the likelier, the nearer that is. */
  #isDueEarly(shelf: Shelf, entry: Entry): boolean {
    const { earlyRefresh, clock } = this.#options
    const { loadMs, staleAtMs } = shelf.head
    if (earlyRefresh === 0 || loadMs === 0) return false
    const endsAtMs = staleAtMs !== 0 ? staleAtMs : shelf.expiresAtOf(entry)
    if (endsAtMs === 0) return false
    return clock() - loadMs * earlyRefresh * Math.log(Math.random()) >= endsAtMs
  }

  readonly #decodeFound = (shelf: Shelf): V => this.#decode(shelf)

  #decode(shelf: Shelf): V {
    return decodeValue(this.#options.valueEncoding, shelf.found, shelf.head.valueAt)
  }

  #set(key: string, value: V, options: EntryOptions, loadMs: number): boolean {
    const encoded = encodeValue(this.#options.valueEncoding, value)
    valueSize(encoded)
    const { ttlMs = this.#options.ttlMs, staleMs = this.#options.staleMs, tags = [] } = options
    const { staleAtMs, expiresAtMs } = this.#times(ttlMs, staleMs)
    const extras = { staleAtMs, tags: tags.map(encodeTag), loadMs, isFailure: false }
    const done = this.#put(key, encoded, extras, expiresAtMs)
    if (done) this.#counts.sets++
    else this.#counts.refused++
    this.#publish('set', key, done ? 'set' : 'refused')
    return done
  }

  #put(
    key: string,
    encoded: Uint8Array | string,
    extras: EntryExtras,
    expiresAtMs: number,
  ): boolean {
    const stored = encodeEntry(encoded, extras)
    const size = valueSize(stored)
    return this.#with(false, (shelf) => shelf.put(key, stored, size, expiresAtMs))
  }

  /** When something turns stale and when it expires; 0 is never, or for staleness not before it expires. */
  #times(ttlMs: number, staleMs: number) {
    if (ttlMs === 0) return { staleAtMs: 0, expiresAtMs: 0 }
    const { clock } = this.#options
    const freshUntilMs = expiresAt({ ttlMs }, 0, clock)
    if (freshUntilMs === 0 || staleMs === 0) return { staleAtMs: 0, expiresAtMs: freshUntilMs }
    return { staleAtMs: freshUntilMs, expiresAtMs: expiresAt({ ttlMs: ttlMs + staleMs }, 0, clock) }
  }

  #load(key: string, load: Loader<V>, options: LoadOptions): Flight<V> {
    const counts = this.#counts.loads
    const beganAt = monotonicMs()
    counts.started++
    counts.running++
    const flight: Flight<V> = new Flight(options.tags ?? [], async (signal) => {
      const context = { cache: this.directory, key }
      try {
        const value = await loads.tracePromise(async () => await load(signal), context)
        if (flight.mayKeep && value !== undefined && this.#shelf !== undefined) {
          this.#set(key, value, options, monotonicMs() - beganAt)
          await this.#shelf?.pass()
        }
        return value
      } catch (error) {
        if (flight.aborted) counts.aborted++
        else {
          counts.failed++
          if (flight.mayKeep) this.#keepFailure(key, error, options)
        }
        throw error
      } finally {
        const tookMs = monotonicMs() - beganAt
        counts.running--
        counts.totalMs += tookMs
        counts.longestMs = Math.max(counts.longestMs, tookMs)
        if (this.#flights.get(key) === flight) this.#flights.delete(key)
      }
    })
    this.#flights.set(key, flight)
    return flight
  }

  #keepFailure(key: string, error: unknown, options: LoadOptions): void {
    const { errorTtlMs = this.#options.errorTtlMs, tags = [] } = options
    if (errorTtlMs === 0) return
    // What is stale is better than an error.
    if (this.#with(false, (shelf) => shelf.find(key) !== NO_ENTRY)) return
    const { expiresAtMs } = this.#times(errorTtlMs, 0)
    const extras = { staleAtMs: 0, tags: tags.map(encodeTag), loadMs: 0, isFailure: true }
    this.#put(key, encodeFailure(error), extras, expiresAtMs)
  }

  /** Keeps a load that is under way from overwriting what happens to its key now; who asks next gets another. */
  #overtake(key: string): void {
    const flight = this.#flights.get(key)
    if (flight === undefined) return
    flight.overtaken = true
    this.#flights.delete(key)
  }

  /** Does what is due by time where no timer can, before anything of a write is done. */
  #catchUp(): void {
    if (this.#shelf?.takeStall() === true) this.#chores.catchUp()
  }

  /** Does something with the shelf; where that cannot be used, answers `otherwise`. */
  #with<T>(otherwise: T, use: (shelf: Shelf) => T): T {
    if (this.#broken !== undefined) throw this.#broken
    const shelf = this.#shelf
    if (shelf === undefined) return otherwise
    try {
      return use(shelf)
    } catch (error) {
      if (isCallersMistake(error)) throw error
      this.#fail(shelf, error)
      if (this.#options.strict) throw error
      return otherwise
    }
  }

  async #openShelf(): Promise<Shelf> {
    // Safety: the shelf knows bytes; the value encoding it has is only for the marker.
    const options = this.#options as ResolvedCacheOptions<unknown>
    return await Shelf.open(this.directory, options, this.#environment, {
      leaving: (shelf, entry, why) => this.#leaving(shelf, entry, why),
      failed: (shelf, error) => this.#fail(shelf, error),
      hindered: (error) => this.#tell(error),
    })
  }

  #leaving(shelf: Shelf, entry: Entry, why: Departure): void {
    this.#counts.evictions[why]++
    const name = why === 'expired' ? 'expire' : 'evict'
    const isHeard = this.#events.listenerCount(name) > 0
    if (!(isHeard || operations.hasSubscribers)) return
    const key = shelf.keyOf(entry)
    this.#publish('evict', key, why)
    if (why === 'expired') this.#events.emit('expire', key)
    else this.#events.emit('evict', key, why)
  }

  /** Goes on without the directory, and tries to empty it and open it anew. */
  #fail(shelf: Shelf, error: unknown): void {
    if (this.#shelf !== shelf) {
      // What fails while it is closed is told; what fails again after it has failed is not.
      if (this.#closing !== undefined) this.#tell(error)
      return
    }
    this.#shelf = undefined
    if (this.#options.strict) this.#broken = asError(error)
    this.#tell(error)
    this.#mending = (async () => {
      await shelf.abandon()
      if (!this.#options.strict) await this.#mend(true)
      this.#mending = undefined
    })()
  }

  /** Opens the directory again, emptied where that is needed; where it cannot be, does without it for a while. */
  async #mend(mustEmpty: boolean): Promise<void> {
    try {
      if (mustEmpty) emptyDirectory(this.#environment, this.directory)
      this.#shelf = await this.#openShelf()
      if (mustEmpty) this.#counts.emptied++
    } catch (error) {
      if (!mustEmpty && isDamage(error)) {
        this.#tell(error)
        await this.#mend(true)
      } else {
        // Why it cannot be used has been told.
        this.#retryAtMs = monotonicMs() + RETRY_MS
      }
    }
  }

  #tidy(): void {
    if (this.#shelf !== undefined) {
      this.#with(undefined, (shelf) => shelf.tidy())
    } else if (
      !this.#options.strict &&
      this.#mending === undefined &&
      monotonicMs() >= this.#retryAtMs
    ) {
      this.#mending = this.#mend(false).finally(() => {
        this.#mending = undefined
      })
    }
  }

  async #close(): Promise<void> {
    this.#chores.stop()
    const open = this.#shelf
    this.#shelf = undefined
    await this.#mending
    const mended = this.#shelf
    this.#shelf = undefined
    try {
      await (open ?? mended)?.close()
    } catch (error) {
      if (this.#options.strict) throw error
      this.#tell(error)
    }
  }

  #publish(operation: CacheMessage['operation'], key: string | undefined, outcome: string): void {
    if (!operations.hasSubscribers) return
    const message: CacheMessage = { cache: this.directory, operation, key, outcome }
    operations.publish(message)
  }

  #tell(error: unknown): void {
    const told = asError(error)
    if (this.#events.listenerCount('error') > 0) this.#events.emit('error', told)
    else process.emitWarning(told)
  }
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

function isCallersMistake(error: unknown): boolean {
  return error instanceof TypeError || error instanceof RangeError
}

/** What stands in the way of using a directory that is no other's; emptying it may help. */
function isDamage(error: unknown): boolean {
  return !(
    error instanceof StoreError &&
    ['FIRKIN_LOCKED', 'FIRKIN_LOCK_UNAVAILABLE', 'FIRKIN_EXISTS'].includes(error.code)
  )
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new StoreError('FIRKIN_IO_FAILED', String(error))
}
