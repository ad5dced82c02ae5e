/**
 * The open directory of a cache: entries as bytes, on top of the engine of a store.
 *
 * put:   budget -> engine -> order, tags
 * find:  engine -> head -> stale tags -> order
 * open:  marker -> store -> order -> trim
 * close: trim -> order's file -> store
 *
 * Invariants
 * - None of the caller's code runs in here, not even the clock: `nowMs` is what it last returned.
 * - The order holds every entry; see complete-order.ts.
 *
 * The store never syncs, and instead of merging, the cleaner deletes the oldest segments. What is
 * evicted stays on disk until its segment goes. So two rules hold after a kill:
 * - An evicted entry may be back. It is then the newest of its key.
 * - A key that was removed, replaced or invalidated is never back: the record of that is deleted
 *   later than the records it hides. So a removal is recorded even if the key is not there.
 */

import type { ReadBytes } from '../engine/encoding.ts'
import type { Engine, Present } from '../engine/engine.ts'
import type { Group } from '../engine/group.ts'
import { fitToFileSystem, type OpenEngine, openEngine } from '../engine/open-engine.ts'
import { Sweep } from '../engine/sweeper.ts'
import { type Page, type RecordFields, recordSize } from '../format/record.ts'
import { type Entry, NO_ENTRY } from '../keydir/keydir.ts'
import type { BackgroundWork } from '../merge/thread.ts'
import { resolveOptions } from '../options.ts'
import { removeCheckpoint } from '../recovery/checkpoint-file.ts'
import { type EventLoop, systemLoop } from '../scheduling/event-loop.ts'
import { timers } from '../scheduling/time.ts'
import { Budget } from './budget.ts'
import { Cleaner } from './cleaner.ts'
import { CompleteOrder } from './complete-order.ts'
import { claimDirectory } from './directory.ts'
import { EntryHead } from './entry.ts'
import { type CacheEnvironment, neverSynced } from './environment.ts'
import { Hints } from './hints.ts'
import type { ResolvedCacheOptions } from './options.ts'
import { Order } from './order.ts'
import { readOrder, removeOrder, writeOrder } from './order-file.ts'
import { isTagKey, seekTag, TAG_MEMORY_BYTES, Tags } from './tags.ts'

/** The cause of an eviction or expiry. */
export type DepartureCause = 'size' | 'count' | 'invalidated' | 'expired' | 'undecodable'

/** Hears of events on a shelf. It must not call the shelf, except for `keyOf`. */
interface ShelfListener {
  /** An entry is about to leave; `shelf.keyOf` still returns its key. */
  leaving(shelf: Shelf, entry: Entry, cause: DepartureCause): void
  /** Something failed while no caller was waiting. */
  failed(shelf: Shelf, error: Error): void
  /** A shortcut for opening could not be made or used; nothing depends on it. */
  degraded(error: unknown): void
}

/** The longest time between two sweeps or tidies of a shelf, in milliseconds. */
export const TIDY_INTERVAL_MS = 1000
/** The most bytes that are cleaned at a time when nobody writes. */
const TIDY_BYTES = 1024 * 1024

const NOTHING = Buffer.alloc(0)
/** The share of the budget that invalidated tags may take. Beyond it, they are cleaned away. */
const TAG_SHARE = 1 / 16
/** How many bytes are cleaned for each byte of a tag, once tags take their share. */
const TAG_PACE = 32
/** An expiry that has always passed: such a record hides older ones, and is not there itself. */
const LONG_AGO = 1

/** The order's file names entries by their numbers in the checkpoint. */
const CLOSING = { checkpoint: true, keepsNumbers: true } as const

/** The time that the clock last returned. */
interface Moment {
  /** Milliseconds since 1970. NaN if no entry expires, so that none has expired. */
  nowMs: number
}

/** @internal Entries as bytes, in one directory. */
export class Shelf {
  /** The head of the entry that was found last. */
  readonly head = new EntryHead()
  readonly #opened: OpenEngine
  readonly #engine: Engine
  readonly #options: ResolvedCacheOptions<unknown>
  readonly #listener: ShelfListener
  readonly #sweep: Sweep
  readonly #order: CompleteOrder
  readonly #cleaner: Cleaner
  readonly #hints: Hints
  readonly #budget: Budget
  readonly #moment: Moment
  readonly #tags: Tags
  #group: Group | undefined
  #isStalled = false

  private constructor(
    opened: OpenEngine,
    options: ResolvedCacheOptions<unknown>,
    listener: ShelfListener,
    backgroundWork: BackgroundWork,
    loop: EventLoop,
    moment: Moment,
  ) {
    const { engine, recovery } = opened
    // What follows may load another one, whose entries have other numbers.
    const { keydir } = engine
    this.#moment = moment
    this.#opened = opened
    this.#engine = engine
    this.#options = options
    this.#listener = listener
    this.#sweep = new Sweep(engine, loop, TIDY_INTERVAL_MS, (entry, present) =>
      this.#evict(entry, 'expired', present),
    )
    const known = readOrder(engine, recovery, options.policy)
    this.#hints = new Hints(engine, backgroundWork, (error) => listener.degraded(error))
    this.#cleaner = new Cleaner(engine, {
      keeps: (entry, fields, page) => this.#keeps(entry, fields, page),
      moved: (size) => {
        this.#budget.grow(size)
        this.#tags.note(this.head.tags, engine.nextSequence - 1)
      },
      deleted: (segment) => {
        this.#hints.forget(segment)
        this.#budget.shrink(segment.usage.size)
      },
    })
    const oldestSequence = (): number => this.#cleaner.oldestSequence
    const indexedFrom = recovery.source === 'new' ? 0 : engine.nextSequence
    this.#tags = new Tags(engine, indexedFrom, oldestSequence)
    const order = known?.order ?? new Order(options.policy)
    this.#order = new CompleteOrder(engine, order, keydir, this.#tags, oldestSequence)
    if (known === undefined) this.#order.rebuild()
    else this.#tags.restore(known.tagCount, known.tagBytes)
    this.#budget = new Budget({
      engine,
      order: this.#order,
      cleaner: this.#cleaner,
      hints: this.#hints,
      maxBytes: options.maxBytes,
      segmentBytes: options.segmentBytes,
      tags: this.#tags,
      evictNext: () => this.#evictNext('size'),
    })
    opened.serve({
      stalled: () => {
        this.#isStalled = true
      },
      failed: (error) => listener.failed(this, error),
    })
    // A damaged checkpoint that opening did without has cost no entry.
    const { checkpointFault } = recovery
    if (checkpointFault !== undefined) timers.setImmediate(() => listener.degraded(checkpointFault))
  }

  /**
   * Opens the cache in a directory, and creates it if there is none. Evicts what exceeds its
   * limits.
   *
   * @param nowMs the current time of the cache's clock
   * @throws {@link StoreError} like opening a store, and FIRKIN_OTHER_KIND if the directory holds a
   * store that is not a cache
   */
  static async open(
    directory: string,
    options: ResolvedCacheOptions<unknown>,
    { files, lock, backgroundWork, loop = systemLoop }: CacheEnvironment,
    listener: ShelfListener,
    nowMs: number,
  ): Promise<Shelf> {
    const moment: Moment = { nowMs }
    const given = resolveOptions({
      keydir: 'hash',
      sync: 'never',
      maxSegmentBytes: options.segmentBytes,
      clock: () => moment.nowMs,
      lock,
      // claimDirectory has checked that; it knows the cache's own files.
      allowNonEmpty: true,
      allowCache: true,
      localOnly: options.localOnly,
      mapping: options.mapping,
    })
    const storeOptions = fitToFileSystem(files, directory, given)
    claimDirectory(files, directory, options)
    const opened = await openEngine(neverSynced(files), directory, storeOptions, loop)
    try {
      const shelf = new Shelf(opened, options, listener, backgroundWork, loop, moment)
      shelf.#evictWhile((count) => count > options.maxEntries)
      shelf.#budget.force(0)
      return shelf
    } catch (error) {
      await opened.close(CLOSING).catch(() => undefined)
      throw error
    }
  }

  /** Whether any entry expires. If so, set `nowMs` before the next operation. */
  get mayExpire(): boolean {
    return this.#engine.live.mayExpire()
  }

  /** The time by which entries expire. */
  set nowMs(nowMs: number) {
    this.#moment.nowMs = nowMs
  }

  /** How many tags have a record of when they were invalidated. */
  get tagCount(): number {
    return this.#tags.count
  }

  /** Rises with each record written: while it does not change, no entry does. */
  get nextSequence(): number {
    return this.#engine.nextSequence
  }

  /** The number of entries. Expired ones count until they are swept. */
  get count(): number {
    return Math.max(0, this.#engine.keydir.size - this.#tags.count)
  }

  /** The bytes of live entries, and of the segments on disk. */
  get bytes(): { readonly live: number; readonly disk: number } {
    let live = 0
    for (const { usage } of this.#engine.segments.all) live += usage.liveBytes
    live -= this.#tags.byteSize
    return { live, disk: this.#engine.segments.byteSize }
  }

  /** The bytes of the entry that was found last. Its value begins at `head.valueAt`. */
  get found(): ReadBytes {
    return this.#engine
  }

  /** Chooses the key for `find` and `discard`. @throws TypeError, RangeError for an invalid key */
  seek(key: string): void {
    this.#engine.key.encode(key)
  }

  /**
   * Finds the entry of the chosen key, and reads its head. Returns {@link NO_ENTRY} if the key is
   * not there, has expired or was invalidated.
   *
   * @throws {@link CorruptionError}
   */
  find(): Entry {
    const engine = this.#engine
    const entry = engine.lookup(this.#moment.nowMs)
    if (entry === NO_ENTRY) return NO_ENTRY
    engine.read(engine.keydir, entry)
    const { head } = this
    head.read(engine.page, engine.valueAt)
    if (head.tags.length > 0 && this.#tags.isInvalid(entry, head.tags)) {
      this.#evict(entry, 'invalidated')
      return NO_ENTRY
    }
    return entry
  }

  /** Evicts the entry of the chosen key, because its value cannot be decoded. */
  discard(): void {
    const entry = this.#engine.lookup(this.#moment.nowMs)
    if (entry !== NO_ENTRY) this.#evict(entry, 'undecodable')
  }

  /** Returns when an entry expires, in milliseconds since 1970; 0 if never. */
  expiresAtOf(entry: Entry): number {
    return this.#engine.keydir.entries.expiresAtOf(entry)
  }

  /** Returns the key of an entry. */
  keyOf(entry: Entry): string {
    const view = this.#engine.keydir.entries.keyView(entry)
    return Buffer.from(view.buffer, view.byteOffset, view.length).toString('utf8')
  }

  /** Whether the event loop was found stalled since the last call. */
  takeStall(): boolean {
    this.#engine.attend()
    const isStalled = this.#isStalled
    this.#isStalled = false
    return isStalled
  }

  /** Settles at once, or after a turn of the event loop if writes have blocked it. */
  pass(): Promise<void> {
    return this.#engine.durability.pace.pass(undefined)
  }

  /** Notes that an entry was used. */
  use(entry: Entry): void {
    this.#order.use(entry)
  }

  /**
   * Puts an entry. Returns false if it is too large; the key is then not there.
   *
   * @param stored the head and the value
   * @param size the bytes of `stored`
   * @param tags the tags in the head
   * @throws {@link StoreError} FIRKIN_WRITE_FAILED
   */
  put(
    key: string,
    stored: Uint8Array | string,
    size: number,
    expiresAtMs: number,
    tags: readonly Uint8Array[],
  ): boolean {
    const engine = this.#engine
    engine.key.encode(key)
    const total = recordSize(engine.key.size, size, expiresAtMs !== 0)
    if (total > this.#options.maxEntryBytes || !this.#budget.reserve(total)) {
      this.remove(key)
      return false
    }
    if (this.#options.maxEntries !== Number.POSITIVE_INFINITY) this.#makeWayFor(key)
    engine.key.encode(key)
    const before = engine.keydir.size
    this.#watch(engine.put(stored, size, expiresAtMs))
    const entry = engine.find()
    // If the order knows the number of a new entry, it knows it from a former one.
    if (engine.keydir.size > before) this.#order.forget(entry)
    this.#order.use(entry)
    if (tags.length > 0) this.#tags.note(tags, engine.keydir.entries.sequenceOf(entry))
    return true
  }

  /** Removes a key. Returns whether it was there. */
  remove(key: string): boolean {
    const engine = this.#engine
    engine.key.encode(key)
    this.#reserve(recordSize(engine.key.size, 0, true))
    const { nowMs } = this.#moment
    engine.key.encode(key)
    const entry = engine.lookup(nowMs)
    if (entry !== NO_ENTRY) {
      this.#order.forget(entry)
      const group = engine.remove(nowMs)
      if (group !== undefined) this.#watch(group)
      return true
    }
    this.#watch(engine.put(NOTHING, 0, LONG_AGO))
    const hiding = engine.find()
    this.#order.forget(hiding)
    engine.forget(hiding)
    return false
  }

  /**
   * Invalidates every current entry with a tag, in constant time. Writes nothing if no record of
   * the log can have the tag: not even that of an evicted entry, which a kill would bring back.
   */
  invalidate(tag: Uint8Array): void {
    const engine = this.#engine
    if (!this.#tags.mayBeInUse(tag)) return
    seekTag(engine, tag)
    const size = recordSize(engine.key.size, 0, false)
    this.#reserve(size)
    seekTag(engine, tag)
    const before = engine.keydir.size
    this.#watch(engine.put(NOTHING, 0, 0))
    if (engine.keydir.size === before) return
    this.#tags.add(size)
    if (this.#tags.totalBytes < this.#options.maxBytes * TAG_SHARE) return
    this.#budget.clean(TAG_PACE * (size + TAG_MEMORY_BYTES))
  }

  /** Removes everything at once. */
  clear(): void {
    const engine = this.#engine
    engine.rotate()
    this.#cleaner.deleteAll()
    engine.live.rebuild()
    this.#order.clear()
    this.#tags.clear()
    this.#budget.force(0)
  }

  /** Forgets some expired entries; see `Sweep.slice`. */
  sweep(): number {
    return this.#sweep.slice(this.#engine.present())
  }

  /** Frees some of the dead space, and makes hints. */
  tidy(): void {
    this.#budget.tidy(TIDY_BYTES)
    this.#budget.makeHints()
  }

  /** Closes the cache within its budget, and so that opening it again takes constant time. */
  async close(): Promise<void> {
    const engine = this.#engine
    try {
      await this.#hints.settle()
      removeOrder(engine.segments.context)
      removeCheckpoint(engine.segments)
      if (!this.#budget.force(0)) this.clear()
      engine.commits.flush()
      // Only now is it known whether all of the order can be read.
      this.#order.load()
      const order = this.#order.complete()
      writeOrder(engine, { order, tagCount: this.#tags.count, tagBytes: this.#tags.byteSize })
    } finally {
      await this.#opened.close(CLOSING)
    }
  }

  /** Closes the files, without regard to their contents. */
  async abandon(): Promise<void> {
    await this.#hints.settle()
    await this.#opened.close(CLOSING).catch(() => undefined)
  }

  /** Makes space for a record that must be written. */
  #reserve(size: number): void {
    // If there is no space even for that, the cache is cleared: nothing is left to hide.
    if (!this.#budget.reserve(size)) this.clear()
  }

  /** Whether to write a live entry of the oldest segment again; see {@link Cleaner}. */
  #keeps(entry: Entry, fields: RecordFields, page: Page): boolean {
    const engine = this.#engine
    const { keydir } = engine
    if (isTagKey(keydir.entries.keyView(entry))) {
      // No record older than this one is left.
      engine.forget(entry)
      this.#tags.drop(fields.size)
      return false
    }
    const cause = this.#causeToLeave(entry, fields, page)
    if (cause !== undefined) this.#evict(entry, cause)
    return cause === undefined
  }

  #causeToLeave(entry: Entry, fields: RecordFields, page: Page): DepartureCause | undefined {
    const { expiresAtMs, size, valueAt } = fields
    if (expiresAtMs !== 0 && expiresAtMs <= this.#moment.nowMs) return 'expired'
    const { head } = this
    head.read(page, valueAt)
    if (head.tags.length > 0 && this.#tags.isInvalid(entry, head.tags)) return 'invalidated'
    return this.#budget.mayMove(size) ? undefined : 'size'
  }

  #makeWayFor(key: string): void {
    const engine = this.#engine
    if (this.count < this.#options.maxEntries) return
    engine.key.encode(key)
    if (engine.find() !== NO_ENTRY) return
    this.#evictWhile((count) => count >= this.#options.maxEntries)
  }

  #evictWhile(isTooMany: (count: number) => boolean): void {
    while (isTooMany(this.count) && this.#evictNext('count') > 0);
  }

  /** Evicts the next entry in the policy's order. Returns its bytes, or 0 if there is none. */
  #evictNext(cause: DepartureCause): number {
    const entry = this.#order.next()
    if (entry === NO_ENTRY) return 0
    const size = this.#engine.keydir.entries.sizeOf(entry)
    this.#evict(entry, cause)
    return size
  }

  /** @param at the time by which an expired entry had expired */
  #evict(entry: Entry, cause: DepartureCause, at?: Present): void {
    this.#listener.leaving(this, entry, cause)
    this.#order.forget(entry)
    this.#engine.forget(entry, at)
  }

  /** Reports if a group cannot be written. */
  #watch(group: Group): void {
    if (group === this.#group) return
    this.#group = group
    group.promise.catch((error: Error) => this.#listener.failed(this, error))
  }
}
