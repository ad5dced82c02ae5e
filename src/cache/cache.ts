/**
 * The cache: values, times, loads and figures, on top of a shelf of bytes.
 *
 * get:      clock -> shelf -> fresh? -> decode
 * set:      clock -> encode -> head -> shelf
 * getOrSet: get -> stale? serve it and load in the background -> a flight that all share -> set
 *
 * Invariants
 * - Code of the caller's (codecs, `toJSON`, the clock, loaders, listeners) runs before or after a step with the shelf,
 *   never in one: it may call the cache. What it may have changed is looked at again behind it.
 * - What it throws goes to whoever called, with the cache as it was; where nobody did, it is told by the event `error`.
 *   Only a step that fails puts the directory in question.
 *
 * Whatever goes wrong with the directory, the application goes on: the cache is then emptied and opened anew, and
 * until that has worked everything is a miss.
 */

import { resolve } from 'node:path'
import { decodeValue, encodeValue, type ReadBytes, valueSize } from '../engine/encoding.ts'
import { isMoved, StoreError } from '../errors.ts'
import { type Entry, NO_ENTRY } from '../keydir/keydir.ts'
import { checkNames, checkObject, type ValueEncoding } from '../options.ts'
import { Chores } from '../scheduling/chores.ts'
import { systemLoop } from '../scheduling/event-loop.ts'
import { monotonicMs, timers } from '../scheduling/time.ts'
import { Announcements, type CacheEvents } from './announcements.ts'
import { loads } from './channels.ts'
import { emptyDirectory, isDamage } from './directory.ts'
import { encodeEntry } from './entry.ts'
import { type CacheEnvironment, systemEnvironment } from './environment.ts'
import { asError, decodeFailure, describe, encodeFailure } from './failure.ts'
import { Flight, type Loader } from './flight.ts'
import { isStale, timesOf } from './freshness.ts'
import {
  type CacheOptions,
  checkMs,
  type EntryOptions,
  type LoadOptions,
  type ResolvedCacheOptions,
  resolveCacheOptions,
} from './options.ts'
import { type Departure, Shelf, TIDY_INTERVAL_MS } from './shelf.ts'
import { type CacheStats, Counts } from './stats.ts'
import { encodeTag } from './tags.ts'

export type { CacheEvents, EvictionCause } from './announcements.ts'
export type { CacheMessage, LoadContext } from './channels.ts'
export type { Loader } from './flight.ts'
export type { CacheOptions, EntryOptions, LoadOptions } from './options.ts'
export type { CachePolicy } from './order.ts'
export type { CacheStats } from './stats.ts'

/** How {@link PersistentCache.memoize} knows its calls apart. */
export interface MemoizeOptions<A extends unknown[]> extends LoadOptions {
  /** The key of a call, from its arguments. */
  readonly key: (...args: A) => string
}

/** How long it takes until a directory that could not be opened is tried again. */
const RETRY_MS = 10_000

const ENTRY_OPTION_NAMES = ['ttlMs', 'staleMs', 'tags'] as const
const LOAD_OPTION_NAMES = [...ENTRY_OPTION_NAMES, 'errorTtlMs', 'signal'] as const

/** Opens a cache of text; see the form with the general options. */
export async function openCache(
  directory: string,
  options: CacheOptions<string> & { readonly valueEncoding: 'utf8' },
): Promise<PersistentCache<string>>
/** Opens a cache of JSON values; see the form with the general options. */
export async function openCache<V = unknown>(
  directory: string,
  options: CacheOptions<V> & { readonly valueEncoding: 'json' },
): Promise<PersistentCache<V>>
/**
 * Opens the cache in a directory, and creates it where there is none.
 *
 * Where the directory is damaged, locked or not a cache's, the cache is emptied or does without a disk, and says so
 * by the event `error`, in the turn after this has resolved; with `strict` this rejects.
 *
 * @throws TypeError, RangeError for wrong options
 * @throws {@link StoreError} with `strict`: FIRKIN_CORRUPT, FIRKIN_LOCKED, FIRKIN_OTHER_KIND, FIRKIN_NOT_EMPTY,
 * FIRKIN_VERSION, FIRKIN_IO_FAILED
 */
export async function openCache<V = Buffer>(
  directory: string,
  options: CacheOptions<V>,
): Promise<PersistentCache<V>>
export async function openCache<V>(
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
  readonly #announcements: Announcements
  readonly #counts = new Counts()
  readonly #flights = new Map<string, Flight<V>>()
  readonly #chores: Chores
  /** Missing while the directory cannot be used. */
  #shelf: Shelf | undefined
  #mending: Promise<void> | undefined
  #retryAtMs = 0
  /** Whether what is in the directory may be wrong, so that it is emptied before it is used again. */
  #mustEmpty = false
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
    this.#announcements = new Announcements(directory)
    const loop = environment.loop ?? systemLoop
    this.#chores = new Chores(loop, (error) => this.#announcements.error(error))
    this.#chores.atLeastEvery(TIDY_INTERVAL_MS, () => this.#sweep())
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
    const nowMs = options.clock()
    const cache = new PersistentCache<V>(resolve(directory), options, environment)
    try {
      cache.#shelf = await cache.#openShelf(nowMs)
    } catch (error) {
      if (options.strict || isCallersMistake(error)) {
        cache.#chores.stop()
        throw error
      }
      cache.#mustEmpty = isDamage(error)
      await cache.#mend()
      timers.setImmediate(() => cache.#announcements.error(error))
    }
    return cache
  }

  /** @internal As {@link get}, but gives what `decode` makes of the value's bytes where they lie. */
  static readInPlace<T>(
    cache: PersistentCache<Buffer>,
    key: string,
    decode: (read: ReadBytes, start: number) => T,
  ): T | undefined {
    return cache.#read(key, true, decode)
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
    return this.#read(key, true, this.#decodeValue)
  }

  /** As {@link get}, but neither counted nor a use. */
  peek(key: string): V | undefined {
    return this.#read(key, false, this.#decodeValue)
  }

  /** Whether a key is there and fresh; neither counted nor a use. */
  has(key: string): boolean {
    const nowMs = this.#now()
    return this.#step(false, nowMs, key, (shelf) => {
      const entry = shelf.find()
      return entry !== NO_ENTRY && !shelf.head.isFailure && !isStale(shelf, nowMs)
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
    return this.#set(key, value, options, 0, undefined)
  }

  /** Removes a key; whether it was there. */
  delete(key: string): boolean {
    this.#catchUp()
    const nowMs = this.#now()
    this.#overtake(key)
    this.#counts.deletes++
    const was = this.#step(false, nowMs, key, (shelf) => shelf.remove(key))
    this.#announcements.operation('delete', key, was ? 'removed' : 'absent')
    return was
  }

  /** Removes every entry. */
  clear(): void {
    for (const key of this.#flights.keys()) this.#overtake(key)
    this.#step(undefined, Number.NaN, undefined, (shelf) => shelf.clear())
    this.#announcements.operation('clear', undefined, 'cleared')
  }

  /** Invalidates every entry that has one of these tags, however many they are, in constant time. */
  invalidateTags(...tags: string[]): void {
    const encoded = tags.map(encodeTag)
    const nowMs = this.#now()
    for (const [key, flight] of this.#flights) {
      if (flight.tags.some((tag) => tags.includes(tag))) this.#overtake(key)
    }
    this.#step(undefined, nowMs, undefined, (shelf) => {
      for (const tag of encoded) shelf.invalidate(tag)
    })
    for (const tag of tags) this.#announcements.operation('invalidate', tag, 'invalidated')
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
      tags: this.#shelf?.tagCount ?? 0,
      ...counts,
      evictions: { ...evictions },
      loads: { ...loaded },
    }
  }

  /** Calls `listener` at each event. */
  on<N extends keyof CacheEvents>(name: N, listener: (...args: CacheEvents[N]) => void): this {
    this.#announcements.on(name, listener)
    return this
  }

  /** Calls `listener` at the next event. */
  once<N extends keyof CacheEvents>(name: N, listener: (...args: CacheEvents[N]) => void): this {
    this.#announcements.once(name, listener)
    return this
  }

  /** Calls `listener` no more. */
  off<N extends keyof CacheEvents>(name: N, listener: (...args: CacheEvents[N]) => void): this {
    this.#announcements.off(name, listener)
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

  #read<T>(
    key: string,
    counted: boolean,
    decode: (read: ReadBytes, start: number) => T,
  ): T | undefined {
    const shelf = this.#find(key, counted, this.#now())
    const value = shelf === undefined ? undefined : this.#decode(shelf, key, decode)
    if (!counted) return value
    if (value === undefined) this.#counts.misses++
    else this.#counts.hits++
    this.#announcements.operation('get', key, value === undefined ? 'miss' : 'hit')
    return value
  }

  /** Finds a value that is fresh: a step as by `#step`, but without a closure, which costs. */
  #find(key: string, isUse: boolean, nowMs: number): Shelf | undefined {
    const shelf = this.#shelf
    if (shelf === undefined) return this.#without(undefined)
    shelf.nowMs = nowMs
    shelf.seek(key)
    try {
      const entry = shelf.find()
      if (entry === NO_ENTRY || shelf.head.isFailure || isStale(shelf, nowMs)) return undefined
      if (isUse) shelf.use(entry)
      return shelf
    } catch (error) {
      return this.#stepFailed(shelf, error, undefined)
    }
  }

  /** What `getOrSet` finds of a key; `undefined` where it has to load. */
  #look(key: string) {
    const nowMs = this.#now()
    const place = this.#step<Place | undefined>(undefined, nowMs, key, (shelf) => {
      const entry = shelf.find()
      if (entry === NO_ENTRY) return undefined
      shelf.use(entry)
      const { isFailure } = shelf.head
      const stale = isStale(shelf, nowMs)
      const refresh = stale || this.#isDueEarly(shelf, entry, nowMs)
      return { shelf, isFailure, stale, refresh }
    })
    const found = place && this.#decodePlace(place, key)
    if (found === undefined) this.#counts.misses++
    else if (found.stale) this.#counts.staleHits++
    else this.#counts.hits++
    const outcome = found === undefined ? 'miss' : found.stale ? 'stale' : 'hit'
    this.#announcements.operation('get', key, outcome)
    return found
  }

  /** What was found at a place: a value, or the error of a load that has failed; `undefined` where it cannot be decoded. */
  #decodePlace({ shelf, isFailure, stale, refresh }: Place, key: string) {
    if (isFailure) {
      const failure = this.#decode(shelf, key, readFailure)
      return failure && { value: undefined as V, failure, stale, refresh }
    }
    const decoded = this.#decode(shelf, key, (read, start) => [this.#decodeValue(read, start)])
    return decoded && { value: decoded[0] as V, failure: undefined, stale, refresh }
  }

  /** Whether to load anew before the entry turns stale: the likelier, the nearer that is. */
  #isDueEarly(shelf: Shelf, entry: Entry, nowMs: number): boolean {
    const { earlyRefresh } = this.#options
    const { loadMs, staleAtMs, isFailure } = shelf.head
    if (earlyRefresh === 0 || loadMs === 0 || isFailure) return false
    const endsAtMs = staleAtMs !== 0 ? staleAtMs : shelf.expiresAtOf(entry)
    if (endsAtMs === 0) return false
    return nowMs - loadMs * earlyRefresh * Math.log(Math.random()) >= endsAtMs
  }

  readonly #decodeValue = (read: ReadBytes, start: number): V =>
    decodeValue(this.#options.valueEncoding, read, start)

  /**
   * Decodes what the step before has found. What cannot be decoded is not there: `undefined`, and it is given up,
   * unless the decoder has written anything.
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
      if (this.#shelf !== shelf || shelf.nextSequence !== nextSequence) return undefined
      this.#step(undefined, Number.NaN, key, () => shelf.discard())
      return undefined
    }
  }

  /**
   * Encodes a value, and keeps it.
   *
   * @param flight the load that the value comes from: it may be overtaken while the value is encoded
   */
  #set(
    key: string,
    value: V,
    options: EntryOptions,
    loadMs: number,
    flight: Flight<V> | undefined,
  ): boolean {
    const { ttlMs = this.#options.ttlMs, staleMs = this.#options.staleMs, tags = [] } = options
    const nowMs = ttlMs === 0 ? this.#now() : this.#options.clock()
    const { staleAtMs, expiresAtMs } = timesOf(ttlMs, staleMs, nowMs)
    const extras = { staleAtMs, tags: tags.map(encodeTag), loadMs, isFailure: false }
    const encoded = encodeValue(this.#options.valueEncoding, value)
    valueSize(encoded)
    const stored = encodeEntry(encoded, extras)
    const size = valueSize(stored)
    if (flight === undefined) this.#overtake(key)
    else if (!flight.mayKeep) return false
    const done = this.#step(false, nowMs, key, (shelf) =>
      shelf.put(key, stored, size, expiresAtMs, extras.tags),
    )
    if (done) this.#counts.sets++
    else this.#counts.refused++
    this.#announcements.operation('set', key, done ? 'set' : 'refused')
    return done
  }

  #load(key: string, load: Loader<V>, options: LoadOptions): Flight<V> {
    const counts = this.#counts.loads
    const beganAt = monotonicMs()
    counts.started++
    counts.running++
    const its = { ...options, tags: [...(options.tags ?? [])] }
    const flight = new Flight<V>(its.tags)
    this.#flights.set(key, flight)
    flight.begin(async (signal) => {
      try {
        const value = await this.#call(key, load, its, flight, signal)
        if (value !== undefined && this.#shelf !== undefined && flight.mayKeep) {
          this.#keep(key, value, its, monotonicMs() - beganAt, flight)
          await this.#shelf?.pass()
        }
        return value
      } finally {
        const tookMs = monotonicMs() - beganAt
        counts.running--
        counts.totalMs += tookMs
        counts.longestMs = Math.max(counts.longestMs, tookMs)
        if (this.#flights.get(key) === flight) this.#flights.delete(key)
      }
    })
    return flight
  }

  async #call(
    key: string,
    load: Loader<V>,
    options: LoadOptions,
    flight: Flight<V>,
    signal: AbortSignal,
  ): Promise<V> {
    const counts = this.#counts.loads
    try {
      const context = { cache: this.directory, key }
      return await loads.tracePromise(async () => await load(signal), context)
    } catch (error) {
      if (flight.aborted) {
        counts.aborted++
      } else {
        counts.failed++
        this.#keepFailure(key, error, options, flight)
      }
      throw error
    }
  }

  /** Keeps what was loaded. */
  #keep(key: string, value: V, options: LoadOptions, loadMs: number, flight: Flight<V>): void {
    try {
      this.#set(key, value, options, loadMs, flight)
    } catch (error) {
      // Nobody waits for what is loaded in the background.
      if (flight.detached) this.#announcements.error(error)
      throw error
    }
  }

  /** Keeps the error of a load; it is thrown in any case, and what is wrong with keeping it is told. */
  #keepFailure(key: string, error: unknown, options: LoadOptions, flight: Flight<V>): void {
    const { errorTtlMs = this.#options.errorTtlMs, tags = [] } = options
    if (errorTtlMs === 0) return
    try {
      const nowMs = this.#options.clock()
      const { expiresAtMs } = timesOf(errorTtlMs, 0, nowMs)
      const extras = { staleAtMs: 0, tags: tags.map(encodeTag), loadMs: 0, isFailure: true }
      const stored = encodeEntry(encodeFailure(error), extras)
      if (!flight.mayKeep) return
      this.#step(undefined, nowMs, key, (shelf) => {
        // What is stale is better than an error.
        if (shelf.find() !== NO_ENTRY) return
        shelf.put(key, stored, valueSize(stored), expiresAtMs, extras.tags)
      })
    } catch (thrown) {
      if (thrown !== this.#broken) this.#announcements.error(thrown)
    }
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

  /**
   * The moment, where anything expires; NaN where nothing does, so that time costs nothing. Whatever the clock does to
   * the cache has been done when this answers.
   */
  #now(): number {
    return this.#shelf?.mayExpire === true ? this.#options.clock() : Number.NaN
  }

  /**
   * Makes one step with the shelf, in which no code of the caller's runs; where there is no shelf, or it fails,
   * answers `otherwise`.
   *
   * @param nowMs from `#now`, or the clock
   * @param key what `use` looks for
   * @throws TypeError, RangeError for a key that is none, before anything has changed
   */
  #step<T>(otherwise: T, nowMs: number, key: string | undefined, use: (shelf: Shelf) => T): T {
    const shelf = this.#shelf
    if (shelf === undefined) return this.#without(otherwise)
    shelf.nowMs = nowMs
    if (key !== undefined) shelf.seek(key)
    try {
      return use(shelf)
    } catch (error) {
      return this.#stepFailed(shelf, error, otherwise)
    }
  }

  /** Without a shelf nothing is there; with `strict`, what has gone wrong is thrown. */
  #without<T>(otherwise: T): T {
    if (this.#broken !== undefined) throw this.#broken
    return otherwise
  }

  #stepFailed<T>(shelf: Shelf, error: unknown, otherwise: T): T {
    this.#fail(shelf, error)
    if (this.#options.strict) throw error
    return otherwise
  }

  async #openShelf(nowMs: number): Promise<Shelf> {
    // Safety: the shelf knows bytes; the value encoding it has is only for the marker.
    const options = this.#options as ResolvedCacheOptions<unknown>
    const listener = {
      leaving: (shelf: Shelf, entry: Entry, why: Departure) => {
        this.#counts.evictions[why]++
        if (this.#announcements.hearsOf(why)) this.#announcements.left(shelf.keyOf(entry), why)
      },
      failed: (shelf: Shelf, error: Error) => this.#fail(shelf, error),
      hindered: (error: unknown) => this.#announcements.error(error),
    }
    return await Shelf.open(this.directory, options, this.#environment, listener, nowMs)
  }

  /** Goes on without the directory, and tries to empty it and open it anew. */
  #fail(shelf: Shelf, error: unknown): void {
    if (this.#shelf !== shelf) {
      // What fails while it is closed is told; what fails again after it has failed is not.
      if (this.#closing !== undefined) this.#announcements.error(error)
      return
    }
    this.#shelf = undefined
    if (this.#options.strict) this.#broken = asError(error)
    this.#announcements.error(error)
    // In the place of a directory that was moved there may be another cache's.
    this.#mustEmpty = !isMoved(error)
    this.#mending = (async () => {
      await shelf.abandon()
      if (!this.#options.strict) await this.#mend()
      this.#mending = undefined
    })()
  }

  /** Opens the directory again, emptied where that is needed; where it cannot be, does without it for a while. */
  async #mend(): Promise<void> {
    try {
      const nowMs = this.#unasked(this.#options.clock)
      if (nowMs === undefined || this.#closing !== undefined) return
      if (this.#mustEmpty) emptyDirectory(this.#environment, this.directory)
      this.#shelf = await this.#openShelf(nowMs)
      if (this.#mustEmpty) this.#counts.emptied++
      this.#mustEmpty = false
    } catch (error) {
      // Why it cannot be used has been told.
      if (this.#mustEmpty || !isDamage(error)) return
      this.#announcements.error(error)
      this.#mustEmpty = true
      await this.#mend()
    } finally {
      this.#retryAtMs = monotonicMs() + RETRY_MS
    }
  }

  #sweep(): number {
    if (this.#shelf === undefined) return TIDY_INTERVAL_MS
    const nowMs = this.#unasked(() => this.#now())
    const shelf = this.#shelf
    if (nowMs === undefined || shelf === undefined) return TIDY_INTERVAL_MS
    shelf.nowMs = nowMs
    try {
      return shelf.sweep()
    } catch (error) {
      this.#fail(shelf, error)
      return TIDY_INTERVAL_MS
    }
  }

  /** Comes after a sweep, at the same moment. */
  #tidy(): void {
    const shelf = this.#shelf
    if (shelf !== undefined) {
      try {
        shelf.tidy()
      } catch (error) {
        this.#fail(shelf, error)
      }
    } else if (
      !this.#options.strict &&
      this.#mending === undefined &&
      monotonicMs() >= this.#retryAtMs
    ) {
      this.#mending = this.#mend().finally(() => {
        this.#mending = undefined
      })
    }
  }

  /** Asks a clock where no caller waits for what it throws: that is told, and `undefined` answered. */
  #unasked(clock: () => number): number | undefined {
    try {
      return clock()
    } catch (error) {
      this.#announcements.error(error)
      return undefined
    }
  }

  async #close(): Promise<void> {
    this.#chores.stop()
    const open = this.#shelf
    this.#shelf = undefined
    await this.#mending
    const shelf = open ?? this.#shelf
    this.#shelf = undefined
    if (shelf === undefined) return
    // Without a clock what has expired since the last step is kept.
    const nowMs = this.#unasked(this.#options.clock)
    if (nowMs !== undefined) shelf.nowMs = nowMs
    try {
      await shelf.close()
    } catch (error) {
      if (this.#options.strict) throw error
      this.#announcements.error(error)
    }
  }
}

/** Where `getOrSet` found something, and what is to be done about it. */
interface Place {
  readonly shelf: Shelf
  readonly isFailure: boolean
  readonly stale: boolean
  readonly refresh: boolean
}

/** Decodes the error of a load that has failed. */
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

function isCallersMistake(error: unknown): boolean {
  return error instanceof TypeError || error instanceof RangeError
}
