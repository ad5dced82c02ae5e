/**
 * The store: the public face of the engine.
 *
 * put:   encode -> engine (stage, keydir) -> group -> durability
 * get:   encode -> engine (keydir, locate, verify) -> decode
 * open:  lock -> recovery -> engine -> background work begins
 * close: background work ends -> write -> sync -> seal -> checkpoint -> manifest -> unlock
 *
 * Keys and values are encoded and checked here; everything below works on bytes.
 */

import { join } from 'node:path'
import { checkKeys, decodeValue, encodeValue, type Key, valueSize } from '../engine/encoding.ts'
import type { Engine } from '../engine/engine.ts'
import {
  asStoreError,
  fitToFileSystem,
  type OpenEngine,
  openEngine,
} from '../engine/open-engine.ts'
import { isUnbounded, type RangeOptions, resolveRange } from '../engine/range.ts'
import { StoreError } from '../errors.ts'
import { CACHE_ORDER_NAME } from '../format/names.ts'
import type { VerifyReport } from '../inspection/verify.ts'
import { directoryPath } from '../io/directory-path.ts'
import { removeIfThere } from '../io/files.ts'
import { assertMaySync, warnIfUnsynced } from '../io/permission.ts'
import { NO_ENTRY } from '../keydir/keydir.ts'
import type { MergeCallOptions, MergeReport } from '../merge/options.ts'
import {
  type KeyEncoding,
  type ResolvedOptions,
  resolveOptions,
  type StoreOptions,
  type StoreSettings,
  type SyncPolicy,
  type ValueEncoding,
  type ValueInput,
} from '../options.ts'
import { systemLoop } from '../scheduling/event-loop.ts'
import { inLaterTurn, timers } from '../scheduling/time.ts'
import { SegmentGone } from '../segment/segment.ts'
import { Background } from './background.ts'
import { type BackupOptions, type BackupReport, backUp } from './backup.ts'
import { type BatchOperation, WriteBatch } from './batch.ts'
import { clearRange } from './clear.ts'
import { type Environment, systemEnvironment } from './environment.ts'
import { Events, type StoreEvents } from './events.ts'
import { expiresAt, type PutOptions } from './put-options.ts'
import { Snapshot } from './snapshot.ts'
import { type StoreStats, storeStats } from './stats.ts'
import { verifyOpenStore } from './verify.ts'
import { type KeyOf, RangeIterator, ViewReader } from './view-reader.ts'

/**
 * Opens the store in a directory, and creates it if there is none. Values are text.
 *
 * @throws TypeError, RangeError for wrong options
 * @throws {@link StoreError} FIRKIN_LOCKED, FIRKIN_NOT_FOUND and others; `ErrorCode` lists them
 * @throws {@link CorruptionError} for damage other than a torn tail
 */
export async function open<E extends KeyEncoding = 'utf8'>(
  directory: string | URL,
  options: StoreOptions<string, E> & { readonly valueEncoding: 'utf8' },
): Promise<Store<string, E>>
/**
 * Opens the store in a directory, and creates it if there is none. Values are stored as JSON.
 * Nothing checks that what was stored is of the type that the caller names.
 *
 * @throws TypeError, RangeError for wrong options
 * @throws {@link StoreError} FIRKIN_LOCKED, FIRKIN_NOT_FOUND and others; `ErrorCode` lists them
 * @throws {@link CorruptionError} for damage other than a torn tail
 */
export async function open<V = unknown, E extends KeyEncoding = 'utf8'>(
  directory: string | URL,
  options: StoreOptions<V, E> & { readonly valueEncoding: 'json' },
): Promise<Store<V, E>>
/**
 * Opens the store in a directory, and creates it if there is none. Values are bytes: `put` takes
 * any, and text; `get` returns buffers.
 *
 * @throws TypeError, RangeError for wrong options
 * @throws {@link StoreError} FIRKIN_LOCKED, FIRKIN_NOT_FOUND and others; `ErrorCode` lists them
 * @throws {@link CorruptionError} for damage other than a torn tail
 */
export async function open<V extends Uint8Array = Buffer>(
  directory: string | URL,
  options?: StoreOptions<V>,
): Promise<Store<V>>
/**
 * Opens the store in a directory, and creates it if there is none. Iterators return keys as
 * buffers.
 *
 * @throws TypeError, RangeError for wrong options
 * @throws {@link StoreError} FIRKIN_LOCKED, FIRKIN_NOT_FOUND and others; `ErrorCode` lists them
 * @throws {@link CorruptionError} for damage other than a torn tail
 */
export async function open<V = Buffer>(
  directory: string | URL,
  options: StoreOptions<V, 'buffer'> & { readonly keyEncoding: 'buffer' },
): Promise<Store<V, 'buffer'>>
/**
 * Opens the store in a directory, and creates it if there is none. The types of keys and values
 * follow from `keyEncoding` and `valueEncoding`: without these, keys are text and values are bytes.
 *
 * @param directory its path, or its `file:` URL
 * @throws TypeError, RangeError for another directory, or wrong options
 * @throws {@link StoreError} FIRKIN_LOCKED, FIRKIN_LOCK_UNAVAILABLE, FIRKIN_NOT_FOUND,
 * FIRKIN_NOT_EMPTY, FIRKIN_VERSION, FIRKIN_OTHER_KIND, FIRKIN_NOT_PERMITTED, FIRKIN_NOT_LOCAL,
 * FIRKIN_READ_ONLY_FILE_SYSTEM, FIRKIN_WRITE_FAILED, FIRKIN_READ_FAILED, FIRKIN_IO_FAILED
 * @throws {@link CorruptionError} for damage other than a torn tail
 */
export async function open<V = Buffer, E extends KeyEncoding = 'utf8'>(
  directory: string | URL,
  options: StoreOptions<V, E>,
): Promise<Store<V, E>>
export async function open<V, E extends KeyEncoding>(
  directory: string | URL,
  options?: StoreSettings<V, E>,
): Promise<Store<V, E>> {
  return await Store.open(directory, options, systemEnvironment)
}

/**
 * An open directory of keys and values.
 *
 * A key is a string, stored as UTF-8, or bytes: 1 to 65,535 of them. A value takes up to 1 GiB.
 * Reads are synchronous. A write is visible at once; its promise settles when the write is as
 * durable as the option `sync` promises. All writes of one turn of the event loop are written
 * together.
 *
 * @example
 * await using store = await open<User>('./users', { valueEncoding: 'json' })
 * await store.put('user:7', { name: 'Ada' })
 * store.get('user:7')?.name
 */
export class Store<V = Buffer, E extends KeyEncoding = 'utf8'> {
  /** The path of the store's directory. */
  readonly directory: string
  readonly #options: ResolvedOptions<V>
  readonly #opened: OpenEngine
  readonly #engine: Engine
  readonly #reader: ViewReader<V>
  readonly #background: Background
  readonly #events = new Events()
  /** Settles once the running backups and verifications have ended. */
  #readings: Promise<unknown> = Promise.resolve()
  /** Aborted when the store is to be closed. */
  readonly #ending = new AbortController()
  #closing: Promise<void> | undefined

  /** Does no I/O; use {@link open}. */
  private constructor(opened: OpenEngine, options: ResolvedOptions<V>, environment: Environment) {
    const { engine, recovery, directory } = opened
    this.directory = directory
    this.#options = options
    this.#opened = opened
    this.#engine = engine
    this.#background = new Background(opened, options, environment, this.#events)
    this.#reader = new ViewReader(engine, options)
    timers.setImmediate(() => {
      // The store may be closed again before merging is considered by time.
      if (!this.closed) this.#background.considerMerging()
      this.#events.emitNow('recover', recovery)
      const { checkpointFault } = recovery
      if (checkpointFault !== undefined) opened.reportError(checkpointFault)
    })
  }

  /** @internal As {@link open}, in another environment. */
  static async open<V = Buffer, E extends KeyEncoding = 'utf8'>(
    directory: string | URL,
    input: StoreSettings<V, E> | undefined,
    environment: Environment,
  ): Promise<Store<V, E>> {
    const path = directoryPath(directory)
    const given = resolveOptions(input)
    if (!given.readOnly) {
      if (promisesSyncs(given.sync)) assertMaySync()
      else warnIfUnsynced()
    }
    const { files, loop = systemLoop } = environment
    const options = fitToFileSystem(files, path, given)
    const opened = await openEngine(files, path, options, loop)
    try {
      if (options.allowCache && !options.readOnly) forgetOrder(opened)
      return new Store<V, E>(opened, options, environment)
    } catch (error) {
      opened.abandon()
      throw asStoreError(error, `Cannot open the store in ${path}`)
    }
  }

  /** Whether `close` has been called. */
  get closed(): boolean {
    return this.#closing !== undefined
  }

  /** The option `keyEncoding`: how iterators return keys. */
  get keyEncoding(): KeyEncoding {
    return this.#options.keyEncoding
  }

  /** The option `valueEncoding`: how values are stored and returned. */
  get valueEncoding(): ValueEncoding<V> {
    return this.#options.valueEncoding
  }

  /**
   * Returns the value of a key, or `undefined` if the key is not there. The value is a copy that
   * the caller owns. A large one holds the event loop for about 0.5 ms per mebibyte.
   *
   * @throws {@link CorruptionError} if the record does not match its checksum
   * @throws {@link StoreError} FIRKIN_CLOSED, FIRKIN_READ_FAILED
   */
  get(key: Key): V | undefined {
    if (this.#closing !== undefined) throw closedError()
    const engine = this.#engine
    const nowMs = engine.moment()
    engine.key.encode(key)
    const entry = engine.lookup(nowMs)
    if (entry === NO_ENTRY) return undefined
    try {
      engine.read(engine.keydir, entry)
    } catch (error) {
      return this.#getAgain(key, error)
    }
    return decodeValue(this.#options.valueEncoding, engine, engine.valueAt)
  }

  /** Catches up, and gets a value that the writer has moved since this store looked. */
  #getAgain(key: Key, error: unknown): V | undefined {
    const { follower } = this.#background
    if (!(error instanceof SegmentGone) || follower?.catchUpNow() !== true) throw error
    return this.get(key)
  }

  /** Returns the values of many keys, in the order of the keys; see {@link get}. */
  getMany(keys: Iterable<Key>): (V | undefined)[] {
    return Array.from(checkKeys(keys), (key) => this.get(key))
  }

  /** Returns whether a key is there. Reads no file. */
  has(key: Key): boolean {
    this.#assertOpen()
    const nowMs = this.#engine.moment()
    this.#engine.key.encode(key)
    return this.#engine.lookup(nowMs) !== NO_ENTRY
  }

  /**
   * Returns when a key expires, in milliseconds since 1970: `Infinity` if it never does, and
   * `undefined` if it is not there. Reads no file.
   */
  expiresAt(key: Key): number | undefined {
    this.#assertOpen()
    const engine = this.#engine
    const nowMs = engine.moment()
    engine.key.encode(key)
    const entry = engine.lookup(nowMs)
    if (entry === NO_ENTRY) return undefined
    const expiresAtMs = engine.keydir.entries.expiresAtOf(entry)
    return expiresAtMs === 0 ? Number.POSITIVE_INFINITY : expiresAtMs
  }

  /**
   * Stores a value under a key. It is visible at once; the promise settles when the value is as
   * durable as `sync` promises. The bytes are copied before this returns, which takes about 0.1 ms
   * per mebibyte. A value above one mebibyte is checked and written in steps afterwards, between
   * which the event loop turns. Calls that must wait for that write, such as `putSync` and
   * `snapshot`, finish it first; so does a second large value.
   *
   * @throws TypeError, RangeError at once; any other failure rejects the promise
   * @throws {@link StoreError} FIRKIN_CLOSED, FIRKIN_READ_ONLY, FIRKIN_WRITE_FAILED,
   * FIRKIN_POISONED
   */
  put(key: Key, value: ValueInput<V>, options?: PutOptions): Promise<void> {
    try {
      return this.#put(key, value, options).promise
    } catch (error) {
      return refused(error)
    }
  }

  /**
   * As {@link put}. On return the value is as durable as `sync` promises, and at least with the
   * operating system. Holds the event loop for about 0.5 ms per mebibyte, and for the sync.
   */
  putSync(key: Key, value: ValueInput<V>, options?: PutOptions): void {
    this.#engine.commits.settleNow(this.#put(key, value, options))
  }

  /** Removes a key; resolves to whether it was there. Settles as {@link put} does. */
  delete(key: Key): Promise<boolean> {
    try {
      const group = this.#delete(key)
      if (group === undefined) return this.#engine.durability.pace.pass(false)
      return group.promise.then(() => true)
    } catch (error) {
      return refused(error)
    }
  }

  /** As {@link delete}. On return the delete is as durable as `sync` promises. */
  deleteSync(key: Key): boolean {
    const group = this.#delete(key)
    if (group === undefined) return false
    this.#engine.commits.settleNow(group)
    return true
  }

  /** Returns a batch, empty or filled with `operations`; the caller commits it. */
  batch(operations?: Iterable<BatchOperation<V>>): WriteBatch<V> {
    this.#assertOpen()
    const { valueEncoding, ttlMs } = this.#options
    const batch = new WriteBatch<V>({
      engine: this.#engine,
      valueEncoding,
      ttlMs,
      assertOpen: () => this.#assertOpen(),
    })
    if (operations === undefined) return batch
    if (operations === null || typeof operations[Symbol.iterator] !== 'function') {
      throw new TypeError('The operations of a batch must be an iterable')
    }
    for (const operation of operations) batch.add(operation)
    return batch
  }

  /** Returns an iterator over the entries of a range, in key order, as they are at the call. */
  entries(range?: RangeOptions): RangeIterator<[KeyOf<E>, V]> {
    return this.#iterate(range, 'entry')
  }

  /** Returns an iterator over the keys of a range, in order. Reads no file. */
  keys(range?: RangeOptions): RangeIterator<KeyOf<E>> {
    return this.#iterate(range, 'key')
  }

  /** Returns an iterator over the values of a range, in key order. */
  values(range?: RangeOptions): RangeIterator<V> {
    return this.#iterate(range, 'value')
  }

  /** As {@link entries} without a range; for `for … of`. */
  [Symbol.iterator](): RangeIterator<[KeyOf<E>, V]> {
    return this.entries()
  }

  /**
   * Returns how many keys a range has. Takes constant time for all keys of a store in which nothing
   * expires; otherwise visits each key.
   */
  count(range?: RangeOptions): number {
    this.#assertOpen()
    const resolved = resolveRange(range)
    if (isUnbounded(resolved) && !this.#engine.live.mayExpire()) {
      return Math.min(this.#engine.keydir.size, resolved.limit)
    }
    // Not by `using`: a context of `node:vm` on Node 20 does not have its symbols.
    const snapshot = this.snapshot()
    try {
      return snapshot.count(range)
    } finally {
      snapshot.close()
    }
  }

  /** Returns the store as it is at the call. Close the snapshot once it is no longer needed. */
  snapshot(): Snapshot<V, E> {
    this.#assertOpen()
    return new Snapshot<V, E>(this.#engine, this.#reader, () => this.#assertOpen())
  }

  /**
   * Removes the keys of a range, or all keys; resolves to how many. Removes the keys that are there
   * at the call: what is put meanwhile stays. They are deleted in batches, so after a crash the
   * later ones may still be there.
   */
  async clear(range?: RangeOptions): Promise<number> {
    this.#assertWritable()
    const store = {
      engine: this.#engine,
      batch: () => this.batch(),
      assertOpen: () => this.#assertOpen(),
    }
    return await clearRange(store, resolveRange(range))
  }

  /**
   * Merges every segment that holds dead bytes, the active one included; resolves when the space is
   * free. A segment that cannot be read whole stays as it is: the event `error` says why, and the
   * report names it.
   *
   * @throws {@link StoreError} FIRKIN_MERGE_RUNNING, FIRKIN_MERGE_FAILED, FIRKIN_READ_ONLY
   */
  async merge(options?: MergeCallOptions): Promise<MergeReport> {
    this.#assertOpen()
    const { merger } = this.#background
    if (merger === undefined) throw readOnlyError()
    return await inLaterTurn(merger.merge(options))
  }

  /** Resolves once everything written before the call survives a power loss. */
  async sync(): Promise<void> {
    this.#assertWritable()
    assertMaySync()
    await this.#engine.commits.written()
    await this.#engine.durability.sync()
  }

  /** Returns the store's figures. Takes time in proportion to the number of segments. */
  stats(): StoreStats {
    this.#assertOpen()
    return storeStats(this.#opened, this.#background, this.#options.mapping)
  }

  /** Reads every byte of every file, and reports what is wrong. */
  async verify(): Promise<VerifyReport> {
    this.#assertOpen()
    return await this.#reading(
      verifyOpenStore(this.#engine, this.#background.sealer, this.#ending.signal),
    )
  }

  /**
   * Copies the store, as it is at the call, into a directory that is empty or does not exist, while
   * writes go on. Works in the writer, and in a read-only store beside it. Segments that no longer
   * change are hard-linked if the file system allows it.
   *
   * @param directory its path, or its `file:` URL
   * @throws {@link StoreError} FIRKIN_EXISTS, FIRKIN_WRITE_FAILED
   */
  async backup(directory: string | URL, options: BackupOptions = {}): Promise<BackupReport> {
    this.#assertOpen()
    assertMaySync()
    const { signal } = this.#ending
    const target = directoryPath(directory)
    return await inLaterTurn(this.#reading(backUp(this.#engine, target, options, signal)))
  }

  /**
   * In a read-only store: catches up with what the writer has written; resolves to whether anything
   * was new.
   */
  async refresh(): Promise<boolean> {
    this.#assertOpen()
    const { follower } = this.#background
    if (follower === undefined) {
      throw new TypeError('Only a store that was opened with readOnly can be refreshed')
    }
    try {
      return await inLaterTurn(follower.refresh())
    } catch (error) {
      throw this.#background.followError(error)
    }
  }

  /** Calls `listener` at each event. */
  on<N extends keyof StoreEvents>(name: N, listener: (...args: StoreEvents[N]) => void): this {
    this.#events.on(name, listener)
    return this
  }

  /** Calls `listener` at the next event. */
  once<N extends keyof StoreEvents>(name: N, listener: (...args: StoreEvents[N]) => void): this {
    this.#events.once(name, listener)
    return this
  }

  /** Stops calling `listener`. */
  off<N extends keyof StoreEvents>(name: N, listener: (...args: StoreEvents[N]) => void): this {
    this.#events.off(name, listener)
    return this
  }

  /**
   * Ends merging, writes and syncs what is staged, writes a checkpoint, and releases the lock.
   * Idempotent: each call returns the same promise. If only something that makes the next open
   * faster cannot be written, for want of space say, the event `error` reports it. If the promise
   * rejects, writes that had settled may not be durable; the store is closed all the same.
   */
  close(): Promise<void> {
    this.#closing ??= inLaterTurn(this.#close())
    return this.#closing
  }

  /** Closes the store; for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #put(key: Key, value: ValueInput<V>, options: PutOptions | undefined) {
    this.#assertOpen()
    const engine = this.#engine
    engine.attend()
    const { valueEncoding, ttlMs, clock } = this.#options
    const expiresAtMs = expiresAt(options, ttlMs, clock)
    const encoded = encodeValue(valueEncoding, value)
    // The caller's getters, clock and codec have run, and may have closed the store. No code of the
    // caller's runs from here until the record stands.
    this.#assertOpen()
    const size = valueSize(encoded)
    engine.key.encode(key)
    return engine.put(encoded, size, expiresAtMs)
  }

  #delete(key: Key) {
    this.#assertOpen()
    const engine = this.#engine
    engine.attend()
    const nowMs = engine.moment()
    this.#assertOpen()
    engine.key.encode(key)
    return engine.remove(nowMs)
  }

  #iterate<T>(range: RangeOptions | undefined, part: 'key' | 'value' | 'entry'): RangeIterator<T> {
    this.#assertOpen()
    const resolved = resolveRange(range)
    const assertOpen = () => this.#assertOpen()
    return new RangeIterator(this.#engine, this.#reader, undefined, resolved, part, assertOpen)
  }

  async #close(): Promise<void> {
    const background = this.#background
    background.stopTimers()
    this.#ending.abort(closedError())
    await this.#readings
    await background.end()
    const { checkpoint } = this.#options
    await this.#opened.close({ checkpoint, sealer: background.sealer })
  }

  /** Returns `reading`, after noting that `close` has to wait for it. */
  #reading<T>(reading: Promise<T>): Promise<T> {
    this.#readings = Promise.allSettled([this.#readings, reading])
    return reading
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw closedError()
  }

  #assertWritable(): void {
    this.#assertOpen()
    if (this.#options.readOnly) throw readOnlyError()
  }
}

/** Returns a promise that rejects with a `StoreError`; a caller's mistake is thrown at once. */
function refused(error: unknown): Promise<never> {
  if (error instanceof StoreError) return Promise.reject(error)
  throw error
}

/**
 * Removes the file by which a cache numbers its entries: a store that writes there numbers them
 * differently, and adds others.
 */
function forgetOrder({ engine }: OpenEngine): void {
  const { files, directory } = engine.segments.context
  removeIfThere(files, join(directory, CACHE_ORDER_NAME))
}

/** Whether writes are ever synced for the sake of a promise. */
function promisesSyncs({ everyWrites, everyBytes, everyMs }: SyncPolicy): boolean {
  return Math.min(everyWrites, everyBytes, everyMs) < Number.POSITIVE_INFINITY
}

function closedError(): StoreError {
  return new StoreError('FIRKIN_CLOSED', 'The store is closed')
}

function readOnlyError(): StoreError {
  return new StoreError('FIRKIN_READ_ONLY', 'The store was opened with readOnly')
}
