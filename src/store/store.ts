/**
 * The store: the public face of the engine, and its conductor.
 *
 * put:   encode -> engine (stage, keydir) -> group -> durability
 * get:   encode -> engine (keydir, locate, verify) -> decode
 * open:  lock -> recovery -> engine -> expiry, merge or follower begin
 * close: these end -> write -> sync -> seal -> checkpoint -> manifest -> unlock
 *
 * Keys and values are encoded and checked here and nowhere below; what is below knows bytes.
 */

import { checkKeys, decodeValue, encodeValue, type Key, valueSize } from '../engine/encoding.ts'
import type { Engine } from '../engine/engine.ts'
import { isUnbounded, type RangeOptions, resolveRange } from '../engine/range.ts'
import { StoreError } from '../errors.ts'
import { type VerifyReport, verifyDirectory } from '../inspection/verify.ts'
import type { HeldFiles } from '../io/held-files.ts'
import { mappingAvailable } from '../io/mapping.ts'
import { NO_ENTRY } from '../keydir/keydir.ts'
import type { MergeCallOptions, MergeReport } from '../merge/options.ts'
import {
  type KeyEncoding,
  type ResolvedOptions,
  resolveOptions,
  type StoreOptions,
  type ValueEncoding,
  type ValueInput,
} from '../options.ts'
import type { Recovered, RecoveryReport } from '../recovery/recovery.ts'
import { inLaterTurn, timers } from '../scheduling/time.ts'
import { SegmentGone } from '../segment/segment.ts'
import { Background } from './background.ts'
import { type BackupOptions, type BackupReport, backUp } from './backup.ts'
import { type BatchOperation, WriteBatch } from './batch.ts'
import { clearRange } from './clear.ts'
import { closeCleanly } from './close.ts'
import { type Environment, systemEnvironment } from './environment.ts'
import { Events, type StoreEvents } from './events.ts'
import { asStoreError, checkDirectory, holdAndRecover } from './open.ts'
import { expiresAt, type PutOptions } from './put-options.ts'
import { Snapshot } from './snapshot.ts'
import { type StoreStats, storeStats } from './stats.ts'
import { type KeyOf, RangeIterator, ViewReader } from './view-reader.ts'

/** Opens a store of text; see the form with the general options. */
export async function open<E extends KeyEncoding = 'utf8'>(
  directory: string,
  options: StoreOptions<string, E> & { readonly valueEncoding: 'utf8' },
): Promise<Store<string, E>>
/** Opens a store of JSON values; see the form with the general options. */
export async function open<V = unknown, E extends KeyEncoding = 'utf8'>(
  directory: string,
  options: StoreOptions<V, E> & { readonly valueEncoding: 'json' },
): Promise<Store<V, E>>
/**
 * Opens the store in a directory, and creates it where there is none.
 *
 * @throws TypeError, RangeError for wrong options
 * @throws {@link StoreError} FIRKIN_LOCKED, FIRKIN_LOCK_UNAVAILABLE, FIRKIN_NOT_FOUND, FIRKIN_NOT_EMPTY, FIRKIN_VERSION,
 * FIRKIN_OTHER_KIND, FIRKIN_NOT_PERMITTED, FIRKIN_READ_ONLY_FILE_SYSTEM,
 * FIRKIN_WRITE_FAILED, FIRKIN_READ_FAILED, FIRKIN_IO_FAILED
 * @throws {@link CorruptionError} for damage that is no torn tail
 */
export async function open<V = Buffer, E extends KeyEncoding = 'utf8'>(
  directory: string,
  options?: StoreOptions<V, E>,
): Promise<Store<V, E>>
export async function open<V, E extends KeyEncoding>(
  directory: string,
  options?: StoreOptions<V, E>,
): Promise<Store<V, E>> {
  return await Store.open(directory, options, systemEnvironment)
}

/**
 * An open directory of keys and values.
 *
 * Keys are strings, stored as UTF-8, or bytes, 1 to 65,535 of them; values up to 1 GiB. Reading is synchronous.
 * A write is visible at once; its promise settles when it is as durable as the option `sync` promises. Writes
 * of one turn of the event loop are written together.
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
  readonly #engine: Engine
  readonly #reader: ViewReader<V>
  readonly #recovery: RecoveryReport
  readonly #held: HeldFiles
  readonly #background: Background
  readonly #events = new Events()
  /** The backups and verifications that are under way. */
  #readings: Promise<unknown> = Promise.resolve()
  /** Fires when the store is to be closed. */
  readonly #ending = new AbortController()
  #closing: Promise<void> | undefined

  /** Does no I/O; use {@link open}. */
  private constructor(
    directory: string,
    options: ResolvedOptions<V>,
    recovered: Recovered,
    held: HeldFiles,
    environment: Environment,
  ) {
    const { report } = recovered
    this.directory = directory
    this.#options = options
    this.#recovery = report
    this.#held = held
    this.#background = new Background(directory, options, recovered, environment, this.#events)
    const { engine } = this.#background
    this.#engine = engine
    held.onLoss = (error) => engine.durability.poison(error)
    this.#reader = new ViewReader(engine, options)
    timers.setImmediate(() => {
      // A store may be open for less than the time until the first look.
      if (!this.closed) this.#background.considerMerging()
      this.#events.emitNow('recover', report)
      const { checkpointFault } = report
      if (checkpointFault !== undefined) this.#background.reportError(checkpointFault)
    })
  }

  /** @internal As {@link open}, on another environment. */
  static async open<V = Buffer, E extends KeyEncoding = 'utf8'>(
    directory: string,
    input: StoreOptions<V, E> | undefined,
    environment: Environment,
  ): Promise<Store<V, E>> {
    const path = checkDirectory(directory)
    const options = resolveOptions(input)
    const { held, recovered } = await inLaterTurn(
      holdAndRecover(environment.files, path, options, environment.adopt !== undefined),
    )
    try {
      return new Store<V, E>(path, options, recovered, held, environment)
    } catch (error) {
      recovered.segments.close()
      held.release()
      throw asStoreError(error, `Cannot open the store in ${path}`)
    }
  }

  /** Whether `close` has been called. */
  get closed(): boolean {
    return this.#closing !== undefined
  }

  /** How iterators give keys: the option `keyEncoding`. */
  get keyEncoding(): KeyEncoding {
    return this.#options.keyEncoding
  }

  /** How values are stored and given back: the option `valueEncoding`. */
  get valueEncoding(): ValueEncoding<V> {
    return this.#options.valueEncoding
  }

  /**
   * The value of a key, or `undefined` where it is not there. A copy that the caller owns. A large value holds the event
   * loop for some 0.5 ms a mebibyte.
   *
   * @throws {@link CorruptionError} where the record does not match its checksum
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

  /** Gets what the writer has moved since this store has looked. */
  #getAgain(key: Key, error: unknown): V | undefined {
    const { follower } = this.#background
    if (!(error instanceof SegmentGone) || follower?.catchUpNow() !== true) throw error
    return this.get(key)
  }

  /** The values of many keys, in their order; see {@link get}. */
  getMany(keys: Iterable<Key>): (V | undefined)[] {
    return Array.from(checkKeys(keys), (key) => this.get(key))
  }

  /** Whether a key is there; no file is read. */
  has(key: Key): boolean {
    this.#assertOpen()
    const nowMs = this.#engine.moment()
    this.#engine.key.encode(key)
    return this.#engine.lookup(nowMs) !== NO_ENTRY
  }

  /**
   * When a key expires, in milliseconds since 1970; `Infinity` where it never does, and `undefined` where it is
   * not there. No file is read.
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
   * Puts a value under a key. Visible at once; the promise settles when the value is as durable as `sync`
   * promises. The value's bytes are copied before this returns, some 0.1 ms a mebibyte; what is larger than a mebibyte
   * is checked and written in steps afterwards, between which the event loop turns. A call that returns only once it is
   * written, as `putSync` or `snapshot` does, and a second large value, write it to the end.
   *
   * @throws TypeError, RangeError at once; whatever else is in the way rejects
   * @throws {@link StoreError} FIRKIN_CLOSED, FIRKIN_READ_ONLY, FIRKIN_WRITE_FAILED, FIRKIN_POISONED
   */
  put(key: Key, value: ValueInput<V>, options?: PutOptions): Promise<void> {
    try {
      return this.#put(key, value, options).promise
    } catch (error) {
      return refused(error)
    }
  }

  /**
   * As {@link put}; on return as durable as `sync` promises, and at least with the operating system. It holds the event
   * loop for some 0.5 ms a mebibyte, and for the sync.
   */
  putSync(key: Key, value: ValueInput<V>, options?: PutOptions): void {
    this.#engine.commits.settleNow(this.#put(key, value, options))
  }

  /** Removes a key; whether it was there. Settles as {@link put} does. */
  delete(key: Key): Promise<boolean> {
    try {
      const group = this.#delete(key)
      if (group === undefined) return this.#engine.durability.pace.pass(false)
      return group.promise.then(() => true)
    } catch (error) {
      return refused(error)
    }
  }

  /** As {@link delete}; on return as durable as `sync` promises. */
  deleteSync(key: Key): boolean {
    const group = this.#delete(key)
    if (group === undefined) return false
    this.#engine.commits.settleNow(group)
    return true
  }

  /** A batch to be filled and committed, or one that is filled from a list and still to be committed. */
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

  /** The entries of a range in key order, as of now whatever is written meanwhile. */
  entries(range?: RangeOptions): RangeIterator<[KeyOf<E>, V]> {
    return this.#iterate(range, 'entry')
  }

  /** The keys of a range, in order; no file is read. */
  keys(range?: RangeOptions): RangeIterator<KeyOf<E>> {
    return this.#iterate(range, 'key')
  }

  /** The values of a range, in key order. */
  values(range?: RangeOptions): RangeIterator<V> {
    return this.#iterate(range, 'value')
  }

  [Symbol.iterator](): RangeIterator<[KeyOf<E>, V]> {
    return this.entries()
  }

  /** How many keys a range has; at once for all keys of a store without expiry, otherwise it looks at each. */
  count(range?: RangeOptions): number {
    this.#assertOpen()
    const resolved = resolveRange(range)
    if (isUnbounded(resolved) && !this.#engine.live.mayExpire()) {
      return Math.min(this.#engine.keydir.size, resolved.limit)
    }
    using snapshot = this.snapshot()
    return snapshot.count(range)
  }

  /** The store as of now; to be closed when it is done with. */
  snapshot(): Snapshot<V, E> {
    this.#assertOpen()
    return new Snapshot<V, E>(this.#engine, this.#reader, () => this.#assertOpen())
  }

  /**
   * Removes the keys of a range, all of them without one; resolves to how many. The keys are those of the
   * moment of the call: what is put meanwhile stays. They go in batches, so that a crash may leave the later ones.
   */
  async clear(range?: RangeOptions): Promise<number> {
    this.#assertWritable()
    const home = {
      engine: this.#engine,
      batch: () => this.batch(),
      assertOpen: () => this.#assertOpen(),
    }
    return await clearRange(home, resolveRange(range))
  }

  /**
   * Merges all that has anything to give back, the active segment included; resolves when the space is free. A segment
   * that cannot be read whole stays: the event `error` tells why, and the report names it.
   *
   * @throws {@link StoreError} FIRKIN_MERGE_RUNNING, FIRKIN_MERGE_FAILED, FIRKIN_READ_ONLY
   */
  async merge(options?: MergeCallOptions): Promise<MergeReport> {
    this.#assertOpen()
    const { merger } = this.#background
    if (merger === undefined) throw readOnlyError()
    return await inLaterTurn(merger.merge(options))
  }

  /** Resolves once all that was written before survives a power loss. */
  async sync(): Promise<void> {
    this.#assertWritable()
    await this.#engine.commits.written()
    await this.#engine.durability.sync()
  }

  /** The store's figures; takes a time in the number of segments. */
  stats(): StoreStats {
    this.#assertOpen()
    return {
      ...storeStats(this.#background),
      mapping: mappingAvailable && this.#options.mapping,
      recovery: this.#recovery,
    }
  }

  /** Reads every byte of every file, and says what is wrong. */
  async verify(): Promise<VerifyReport> {
    this.#assertOpen()
    const engine = this.#engine
    if (!this.#options.readOnly) engine.commits.flush()
    // What a merge retires meanwhile stays until all is read.
    const view = engine.openView()
    try {
      const { files, directory } = engine.segments.context
      // What is read by name must be what is open.
      files.assertThere()
      const { signal } = this.#ending
      const { sealer } = this.#background
      const isHintDue = (id: number): boolean => sealer?.isHintDue(id) ?? false
      const verified = verifyDirectory(files, directory, { live: true, isHintDue, signal })
      return await this.#reading(verified)
    } finally {
      engine.live.views.close(view)
    }
  }

  /**
   * Copies the store, as of now, into a directory that is empty or does not exist, while writes go on: by the
   * writer, or by a read-only store beside it. Segments that do not change any more are linked where the file
   * system allows it.
   *
   * @throws {@link StoreError} FIRKIN_EXISTS, FIRKIN_WRITE_FAILED
   */
  async backup(directory: string, options: BackupOptions = {}): Promise<BackupReport> {
    this.#assertOpen()
    const { signal } = this.#ending
    const target = checkDirectory(directory)
    return await inLaterTurn(this.#reading(backUp(this.#engine, target, options, signal)))
  }

  /** Of a read-only store: sees what its writer has written; resolves to whether anything was new. */
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

  /** Calls `listener` no more. */
  off<N extends keyof StoreEvents>(name: N, listener: (...args: StoreEvents[N]) => void): this {
    this.#events.off(name, listener)
    return this
  }

  /**
   * Ends merging, writes and syncs what is staged, writes a checkpoint, and gives up the lock. Idempotent: each
   * call gets the same promise. Where only what spares the next open time could not be written, for want of room say,
   * the event `error` tells. Where it rejects, what had settled may not be durable; the store is closed all the same.
   */
  close(): Promise<void> {
    this.#closing ??= inLaterTurn(this.#close())
    return this.#closing
  }

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
    // Getters, clock and codec are the caller's: from here on nothing of the caller's runs until the record stands.
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
    const engine = this.#engine
    const { chores, follower, merger, sealer } = this.#background
    chores.stop()
    engine.segments.reserve.stop()
    engine.segments.nextFile.close()
    this.#ending.abort(closedError())
    await this.#readings
    await follower?.stop()
    engine.live.views.closeAll()
    await merger?.stop()
    await sealer?.end()
    try {
      if (!this.#options.readOnly) {
        await closeCleanly(engine, {
          checkpoint: this.#options.checkpoint,
          recovery: this.#recovery,
          wasDamaged: this.#background.isCheckpointDamaged,
          sealer,
          failed: (message, cause) => this.#background.reportError(asStoreError(cause, message)),
        })
      }
    } catch (error) {
      throw asStoreError(error, 'The store cannot be closed in good order')
    } finally {
      // Nothing goes on with the files once the lock is given up.
      await engine.durability.stop()
      await sealer?.settle()
      await engine.segments.settle()
      await engine.retirement.settle()
      engine.close()
      this.#held.release()
    }
  }

  /** Answers `reading`, which `close` ends and waits for. */
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

/** What an asynchronous method answers: a caller's mistake is thrown at once, the state of the world rejects. */
function refused(error: unknown): Promise<never> {
  if (error instanceof StoreError) return Promise.reject(error)
  throw error
}

function closedError(): StoreError {
  return new StoreError('FIRKIN_CLOSED', 'The store is closed')
}

function readOnlyError(): StoreError {
  return new StoreError('FIRKIN_READ_ONLY', 'The store was opened with readOnly')
}
