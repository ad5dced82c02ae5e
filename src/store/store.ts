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

import { EventEmitter } from 'node:events'
import { checkKeys, decodeValue, encodeValue, type Key, valueSize } from '../engine/encoding.ts'
import { Engine, type EngineListener } from '../engine/engine.ts'
import { Follower } from '../engine/follower.ts'
import {
  type MergeCallOptions,
  type MergeProgress,
  type MergeReport,
  Merger,
} from '../engine/merge.ts'
import { isUnbounded, type RangeOptions, resolveRange } from '../engine/range.ts'
import { Sealer } from '../engine/sealer.ts'
import { Sweeper } from '../engine/sweeper.ts'
import { isMoved, StoreError } from '../errors.ts'
import { type VerifyReport, verifyDirectory } from '../inspection/verify.ts'
import { type Files, systemFiles } from '../io/files.ts'
import type { HeldFiles } from '../io/held-files.ts'
import { mappingAvailable } from '../io/mapping.ts'
import { NO_ENTRY } from '../keydir/keydir.ts'
import type { MergePlan } from '../merge/plan.ts'
import type { Pressure } from '../merge/pressure.ts'
import { type BackgroundWork, threadWork } from '../merge/thread.ts'
import {
  type KeyEncoding,
  type ResolvedOptions,
  resolveOptions,
  type StoreOptions,
  type ValueEncoding,
  type ValueInput,
} from '../options.ts'
import type { Recovered, RecoveryReport } from '../recovery/recovery.ts'
import { Chores } from '../scheduling/chores.ts'
import { type EventLoop, systemLoop } from '../scheduling/event-loop.ts'
import { afterThis, inLaterTurn, timers } from '../scheduling/time.ts'
import { Reserve } from '../segment/reserve.ts'
import { SegmentGone } from '../segment/segment.ts'
import { type BackupOptions, type BackupReport, backUp } from './backup.ts'
import { type BatchOperation, WriteBatch } from './batch.ts'
import { clearRange } from './clear.ts'
import { closeCleanly } from './close.ts'
import { asStoreError, checkDirectory, holdAndRecover } from './open.ts'
import { expiresAt, type PutOptions } from './put-options.ts'
import { Snapshot } from './snapshot.ts'
import { type StoreStats, segmentStats } from './stats.ts'
import { type KeyOf, RangeIterator, ViewReader } from './view-reader.ts'

/** What a store stands on beside its options; tests put others in their place. */
export interface Environment {
  readonly files: Files
  readonly backgroundWork: BackgroundWork
  /** The event loop that writes make turn. @defaultValue the one that this runs on */
  readonly loop?: EventLoop
  /**
   * Takes the engine over, for a cache: what goes, and when, is then its to say. The store neither seals nor merges,
   * makes no hints, and does not look for what has expired.
   */
  readonly adopt?: (engine: Engine) => Adopter
}

/** Who has taken the engine of a store over. */
export interface Adopter {
  /** As {@link EngineListener.stalled}. */
  stalled(): void
}

/** What a store tells, by event. */
export interface StoreEvents {
  /** What opening found; told in the turn after `open` resolved. */
  recover: [report: RecoveryReport]
  /** A new segment was begun. */
  rotate: [event: { readonly segment: number }]
  /** A merge began, goes on, or is over. */
  merge: [event: MergeEvent]
  /**
   * A store that follows its writer can do so again: an event `error` has said that it could not. It is told once, and
   * once more where the reason is another one.
   */
  resume: []
  /** Writers are slowed because merging is behind, are not any more, or there is more on disk than is meant to be. */
  pressure: [event: Pressure]
  /** Something failed that no caller waits for. Without a listener it is a warning of the process. */
  error: [error: Error]
}

/** What happens in a merge. */
export type MergeEvent =
  | { readonly phase: 'start'; readonly plan: MergePlan }
  | ({ readonly phase: 'progress' } & MergeProgress)
  | ({ readonly phase: 'end' } & MergeReport)

/** How often merging is considered, in milliseconds. */
const MERGE_LOOK_MS = 1000

const systemEnvironment: Environment = { files: systemFiles, backgroundWork: threadWork }

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
  readonly #sealer: Sealer | undefined
  readonly #merger: Merger | undefined
  readonly #sweeper: Sweeper | undefined
  readonly #follower: Follower | undefined
  readonly #chores: Chores
  readonly #adopter: Adopter | undefined
  readonly #events = new EventEmitter<StoreEvents>()
  readonly #mergeTotals = { count: 0, bytesRead: 0, bytesGained: 0 }
  /** Whether the checkpoint has turned out to be damaged. */
  #wasDamaged = false
  /** Whether it was told that the directory is not the one that was opened. */
  #isMovedTold = false
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
    { backgroundWork, loop = systemLoop, adopt }: Environment,
  ) {
    this.directory = directory
    this.#options = options
    this.#held = held
    this.#recovery = recovered.report
    this.#chores = new Chores(loop, (error) => this.#reportError(error))
    const { segments } = recovered
    if (!options.readOnly && adopt === undefined) {
      segments.reserve = new Reserve(segments.context, options.reserveBytes)
      segments.closeWith(segments.reserve)
      segments.reserve.begin()
    }
    this.#engine = new Engine(recovered, options, loop, {
      synced: () => this.#sealer?.sealLater(),
      rotated: (segment) => {
        this.#merger?.weigh()
        this.#emit('rotate', { segment })
      },
      stalled: (byteCount) => {
        this.#chores.catchUp()
        this.#merger?.work(byteCount)
        this.#adopter?.stalled()
      },
      failed: (error) => this.#reportError(error),
      reloaded: (why) => {
        this.#wasDamaged = true
        this.#reportError(why)
      },
    })
    held.onLoss = (error) => this.#engine.durability.poison(error)
    this.#reader = new ViewReader(this.#engine, options)
    if (options.readOnly) {
      this.#follower = new Follower(this.#engine, options, options.followMs, {
        failed: (error) => this.#reportError(asStoreError(error, this.#cannotSee())),
        resumed: () => this.#emit('resume'),
      })
    } else if (adopt !== undefined) {
      this.#adopter = adopt(this.#engine)
    } else {
      this.#sweeper = new Sweeper(this.#engine, this.#chores, loop, options.expiryIntervalMs)
      const sealer = new Sealer(recovered.segments, backgroundWork, {
        sealed: () => {
          this.#engine.durability.sealed()
          this.#considerMerging()
        },
        failed: (message, cause) => {
          this.#engine.durability.sealed()
          this.#reportError(asStoreError(cause, message))
        },
      })
      const merger = new Merger(this.#engine, options, sealer, backgroundWork, {
        started: (plan) => this.#emit('merge', { phase: 'start', plan }),
        progressed: (progress) => this.#emit('merge', { phase: 'progress', ...progress }),
        finished: (report) => this.#mergeFinished(report),
        failed: (error) => this.#reportError(error),
        pressed: (pressure) => this.#emit('pressure', pressure),
      })
      this.#sealer = sealer
      this.#engine.durability.isSealing = true
      this.#merger = merger
      sealer.backfill(recovered.report.unhinted)
      this.#chores.every(MERGE_LOOK_MS, () => this.#considerMerging())
    }
    const { checkpointFault } = recovered.report
    this.#wasDamaged = checkpointFault !== undefined
    timers.setImmediate(() => {
      // A store may be open for less than the time until the first look.
      if (!this.closed) this.#considerMerging()
      this.#events.emit('recover', recovered.report)
      if (checkpointFault !== undefined) this.#reportError(checkpointFault)
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
    if (!(error instanceof SegmentGone) || this.#follower?.catchUpNow() !== true) throw error
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
    if (isUnbounded(resolved) && !this.#engine.mayExpire()) {
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
    if (this.#merger === undefined) throw readOnlyError()
    return await inLaterTurn(this.#merger.merge(options))
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
    const engine = this.#engine
    const { segments, keydir } = engine
    const { active } = segments
    const each = segments.all.map((segment) => segmentStats(segment, segment === active))
    const total = (figure: 'bytes' | 'liveBytes' | 'deadBytes' | 'tombstoneBytes'): number =>
      each.reduce((sum, segment) => sum + segment[figure], 0)
    const uncounted = this.#merger?.uncountedDeadBytes ?? 0
    return {
      keys: keydir.size,
      keydir: { kind: keydir.kind, bytes: keydir.byteSize },
      bytes: total('bytes'),
      liveBytes: total('liveBytes') - uncounted,
      deadBytes: total('deadBytes') + uncounted,
      tombstoneBytes: total('tombstoneBytes'),
      segments: each,
      nextSequence: engine.nextSequence,
      openViews: engine.views.openCount,
      expiredKeys: this.#sweeper?.expiredCount ?? 0,
      merge: {
        running: this.#merger?.running ?? false,
        ...this.#mergeTotals,
        leftOut: this.#merger?.leftOut ?? [],
        lastError: this.#merger?.lastError,
        restMs: this.#merger?.restMs ?? 0,
      },
      pressure: this.#merger?.pressure,
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
      const isHintDue = (id: number): boolean => this.#sealer?.isHintDue(id) ?? false
      const verified = verifyDirectory(files, directory, { live: true, isHintDue, signal })
      return await this.#reading(verified)
    } finally {
      engine.views.close(view)
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
    if (this.#follower === undefined) {
      throw new TypeError('Only a store that was opened with readOnly can be refreshed')
    }
    try {
      return await inLaterTurn(this.#follower.refresh())
    } catch (error) {
      throw asStoreError(error, this.#cannotSee())
    }
  }

  /** Calls `listener` at each event. */
  on<N extends keyof StoreEvents>(name: N, listener: (...args: StoreEvents[N]) => void): this {
    this.#events.on(name, listener as never)
    return this
  }

  /** Calls `listener` at the next event. */
  once<N extends keyof StoreEvents>(name: N, listener: (...args: StoreEvents[N]) => void): this {
    this.#events.once(name, listener as never)
    return this
  }

  /** Calls `listener` no more. */
  off<N extends keyof StoreEvents>(name: N, listener: (...args: StoreEvents[N]) => void): this {
    this.#events.off(name, listener as never)
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
    this.#chores.stop()
    engine.segments.reserve.stop()
    engine.segments.nextFile.close()
    this.#ending.abort(closedError())
    await this.#readings
    await this.#follower?.stop()
    engine.views.closeAll()
    await this.#merger?.stop()
    await this.#sealer?.end()
    try {
      if (!this.#options.readOnly) {
        await closeCleanly(engine, {
          checkpoint: this.#options.checkpoint,
          recovery: this.#recovery,
          wasDamaged: this.#wasDamaged,
          sealer: this.#sealer,
          failed: (message, cause) => this.#reportError(asStoreError(cause, message)),
        })
      }
    } catch (error) {
      throw asStoreError(error, 'The store cannot be closed in good order')
    } finally {
      // Nothing goes on with the files once the lock is given up.
      await engine.durability.stop()
      await this.#sealer?.settle()
      await engine.segments.settle()
      await engine.settle()
      engine.close()
      this.#held.release()
    }
  }

  /** Answers `reading`, which `close` ends and waits for. */
  #reading<T>(reading: Promise<T>): Promise<T> {
    this.#readings = Promise.allSettled([this.#readings, reading])
    return reading
  }

  #considerMerging(): void {
    this.#merger?.consider()
    this.#merger?.weigh()
  }

  #mergeFinished(report: MergeReport): void {
    this.#mergeTotals.count++
    this.#mergeTotals.bytesRead += report.bytesRead
    this.#mergeTotals.bytesGained += report.bytesGained
    this.#emit('merge', { phase: 'end', ...report })
  }

  /** Tells an event once what is under way is done, so that a listener may call any method. */
  #emit<N extends keyof StoreEvents>(name: N, ...args: StoreEvents[N]): void {
    afterThis(() => this.#events.emit(name, ...(args as never)))
  }

  #cannotSee(): string {
    return `Cannot see what was written to ${this.directory}`
  }

  #reportError(error: unknown): void {
    const told = asStoreError(error, 'Work in the background failed')
    if (isMoved(told)) {
      // Whatever goes on in the background meets it, on other threads too.
      if (this.#isMovedTold) return
      this.#isMovedTold = true
      this.#engine.durability.poison(told)
    }
    if (this.#events.listenerCount('error') > 0) this.#emit('error', told)
    else process.emitWarning(told)
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
