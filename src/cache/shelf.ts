/**
 * A cache's directory while it is open: entries as bytes, on top of the engine of a store.
 *
 * put:  room -> engine -> order
 * find: engine -> head -> stale tags -> order
 * open: marker -> store -> order -> trim
 * close: trim -> order's file -> store
 *
 * The store never syncs, seals and merges as the cleaner says, and keeps what it forgets for as long as the oldest
 * segment has it. So two rules hold for what a killed process leaves:
 * - An entry that was given up may be back. It is the newest of its key.
 * - A key that was removed, replaced or invalidated is not: the record that says so goes later than what it hides.
 *   A removal is therefore recorded even where the key is not there.
 */

import { removeCheckpoint } from '../checkpoint.ts'
import type { ReadBytes } from '../encoding.ts'
import type { Engine } from '../engine.ts'
import { systemLoop } from '../event-loop.ts'
import { type Page, type RecordFields, recordSize } from '../format/record.ts'
import type { Group } from '../group.ts'
import { type Entry, type KnownKeydir, NO_ENTRY } from '../keydir/keydir.ts'
import type { Labour } from '../merge/thread.ts'
import { Store } from '../store.ts'
import { monotonicMs } from '../time.ts'
import { Cleaner } from './cleaner.ts'
import { EntryHead } from './entry.ts'
import { Hints } from './hints.ts'
import { type CacheEnvironment, claimDirectory, neverSynced } from './home.ts'
import type { ResolvedCacheOptions } from './options.ts'
import { Order } from './order.ts'
import { readOrder, removeOrder, writeOrder } from './order-file.ts'
import { Room } from './room.ts'
import { invalidatedAt, isTagKey, seekTag } from './tags.ts'

/** Why an entry left unasked. */
export type Departure = 'size' | 'count' | 'invalidated' | 'expired'

/** What a shelf tells. */
export interface ShelfListener {
  /** An entry is about to leave; `shelf.keyOf` still knows its key. */
  leaving(shelf: Shelf, entry: Entry, why: Departure): void
  /** Something failed that no caller waits for. */
  failed(shelf: Shelf, error: Error): void
  /** A shortcut could not be made; nothing depends on it. */
  hindered(error: unknown): void
}

/** How many entries are looked at in one step of a sweep. */
const SWEEP_ENTRIES = 1024
/** How long one sweep may take, in milliseconds. */
const SWEEP_MS = 4
/** How many bytes are cleaned at once when nobody writes. */
const TIDY_BYTES = 1024 * 1024

const NOTHING = Buffer.alloc(0)
/** A moment that is always past: a record that has expired then hides what is older, and is not there itself. */
const LONG_AGO = 1

/** Entries as bytes, in one directory. */
export class Shelf {
  /** What is kept with the value that was found last. */
  readonly head = new EntryHead()
  readonly #store: Store
  readonly #engine: Engine
  readonly #options: ResolvedCacheOptions<unknown>
  readonly #listener: ShelfListener
  readonly #order: Order
  /** The keydir whose entries the order names. */
  #ordered: KnownKeydir
  readonly #cleaner: Cleaner
  readonly #hints: Hints
  readonly #room: Room
  /** Entries below this sequence may be unknown to the order. */
  readonly #orderedFrom: number
  #tagCount: number
  #group: Group | undefined
  #sweepPlace = 0
  #isStalled = false

  private constructor(
    store: Store,
    engine: Engine,
    options: ResolvedCacheOptions<unknown>,
    listener: ShelfListener,
    labour: Labour,
  ) {
    this.#store = store
    this.#engine = engine
    this.#ordered = engine.keydir
    this.#options = options
    this.#listener = listener
    const { recovery } = store.stats()
    const known = readOrder(engine, recovery, options.policy)
    this.#order = known?.order ?? new Order(options.policy)
    this.#tagCount = known?.tagCount ?? 0
    this.#orderedFrom = known === undefined && recovery.source !== 'new' ? engine.nextSequence : 0
    this.#hints = new Hints(engine, labour, (error) => listener.hindered(error))
    this.#cleaner = new Cleaner(engine, {
      keeps: (entry, fields, page) => this.#keeps(entry, fields, page),
      moved: (size) => this.#room.grow(size),
      deleted: (segment) => {
        this.#hints.forget(segment)
        this.#room.shrink(segment.usage.size)
      },
    })
    this.#room = new Room({
      engine,
      order: this.#order,
      cleaner: this.#cleaner,
      hints: this.#hints,
      maxBytes: options.maxBytes,
      segmentBytes: options.segmentBytes,
      giveUp: () => this.#giveUpNext('size'),
    })
    // A damaged checkpoint that opening did without has cost nothing.
    store.on('error', (error) =>
      error === recovery.checkpointFault ? listener.hindered(error) : listener.failed(this, error),
    )
  }

  /**
   * Opens the cache in a directory, and creates it where there is none.
   *
   * @throws {@link StoreError} as {@link open}, and FIRKIN_EXISTS for the directory of a store that is no cache's
   */
  static async open(
    directory: string,
    options: ResolvedCacheOptions<unknown>,
    { files, lock, labour, loop = systemLoop }: CacheEnvironment,
    listener: ShelfListener,
  ): Promise<Shelf> {
    claimDirectory(files, directory, options.valueEncoding)
    const taken: Engine[] = []
    let shelf: Shelf | undefined
    const store = await Store.open(
      directory,
      {
        keydir: 'hash',
        sync: 'never',
        maxSegmentBytes: options.segmentBytes,
        clock: options.clock,
        lock,
        mapping: options.mapping,
        merge: { automatic: false },
      },
      {
        files: neverSynced(files),
        labour,
        loop,
        adopt(engine) {
          taken.push(engine)
          return {
            stalled() {
              if (shelf !== undefined) shelf.#isStalled = true
            },
          }
        },
      },
    )
    const [engine] = taken
    if (engine === undefined) throw new Error('The store has kept its engine')
    try {
      shelf = new Shelf(store, engine, options, listener, labour)
      shelf.#room.force(0)
      return shelf
    } catch (error) {
      await store.close().catch(() => undefined)
      throw error
    }
  }

  /** How many entries there are; those that have expired count until they are swept. */
  get count(): number {
    return Math.max(0, this.#engine.keydir.size - this.#tagCount)
  }

  /** Bytes of live entries, and of all files but the order's, the manifest and the checkpoint. */
  get bytes(): { readonly live: number; readonly disk: number } {
    let live = 0
    for (const { usage } of this.#engine.segments.all) live += usage.liveBytes
    return { live, disk: this.#engine.segments.byteSize }
  }

  /** What was found last; its value begins at `head.valueAt`. */
  get found(): ReadBytes {
    return this.#engine
  }

  /**
   * Finds an entry and reads its head; {@link NO_ENTRY} where it is not there, has expired or was invalidated.
   *
   * @throws TypeError, RangeError for a key that is none
   * @throws {@link CorruptionError}
   */
  find(key: string): Entry {
    const engine = this.#engine
    const nowMs = engine.moment()
    engine.key.encode(key)
    const entry = engine.lookup(nowMs)
    if (entry === NO_ENTRY) return NO_ENTRY
    engine.read(engine.keydir, entry)
    const { head } = this
    head.read(engine.page, engine.valueAt)
    if (head.tags.length > 0 && this.#isInvalid(entry, head.tags)) {
      this.#giveUp(entry, 'invalidated')
      return NO_ENTRY
    }
    return entry
  }

  /** When the entry that was found expires, in milliseconds since 1970; 0 where it never does. */
  expiresAtOf(entry: Entry): number {
    return this.#engine.keydir.entries.expiresAtOf(entry)
  }

  /** The key of an entry. */
  keyOf(entry: Entry): string {
    const view = this.#engine.keydir.entries.keyView(entry)
    return Buffer.from(view.buffer, view.byteOffset, view.length).toString('utf8')
  }

  /** Whether the event loop was found not to turn since this was asked last. */
  takeStall(): boolean {
    this.#engine.attend()
    const isStalled = this.#isStalled
    this.#isStalled = false
    return isStalled
  }

  /** Settles at once, or after a turn of the event loop where writes have kept it waiting. */
  pass(): Promise<void> {
    return this.#engine.durability.pace.pass(undefined)
  }

  /** Takes note that an entry was used. */
  use(entry: Entry): void {
    this.#order.use(entry)
  }

  /**
   * Puts an entry: its head and value as they are stored. False where it is too large; the key is then not there.
   *
   * @param size the bytes of `stored`
   * @throws TypeError, RangeError for a key that is none
   * @throws {@link StoreError} FIRKIN_WRITE_FAILED
   */
  put(key: string, stored: Uint8Array | string, size: number, expiresAtMs: number): boolean {
    const engine = this.#engine
    engine.key.encode(key)
    const total = recordSize(engine.key.size, size, expiresAtMs !== 0)
    if (total > this.#options.maxEntryBytes || !this.#room.reserve(total)) {
      this.remove(key)
      return false
    }
    if (this.#options.maxEntries !== Number.POSITIVE_INFINITY) this.#makeCountFor(key)
    engine.key.encode(key)
    this.#watch(engine.put(stored, size, expiresAtMs))
    this.#order.use(engine.find())
    return true
  }

  /** Removes a key; whether it was there. */
  remove(key: string): boolean {
    const engine = this.#engine
    engine.key.encode(key)
    this.#reserve(recordSize(engine.key.size, 0, true))
    const nowMs = engine.moment()
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
    engine.expire(hiding)
    return false
  }

  /** Invalidates every entry with a tag that is there now, in constant time. */
  invalidate(tag: Uint8Array): void {
    const engine = this.#engine
    seekTag(engine, tag)
    this.#reserve(recordSize(engine.key.size, 0, false))
    seekTag(engine, tag)
    const before = engine.keydir.size
    this.#watch(engine.put(NOTHING, 0, 0))
    this.#tagCount += engine.keydir.size - before
  }

  /** Removes everything at once. */
  clear(): void {
    const engine = this.#engine
    engine.rotate()
    this.#cleaner.deleteAll()
    engine.rebuild()
    this.#forgetOrder()
    this.#tagCount = 0
    this.#room.force(0)
  }

  /** Forgets what has expired, and gives back the room of what is dead; a bounded piece of it. */
  tidy(): void {
    const engine = this.#engine
    const endsAt = monotonicMs() + SWEEP_MS
    const nowMs = engine.options.clock()
    while (engine.keydir.entries.expiringCount > 0 && monotonicMs() < endsAt) {
      const next = engine.walk(this.#sweepPlace, SWEEP_ENTRIES, (entry) => {
        const expiresAtMs = engine.keydir.entries.expiresAtOf(entry)
        if (expiresAtMs !== 0 && expiresAtMs <= nowMs) this.#giveUp(entry, 'expired')
      })
      this.#sweepPlace = Math.max(next, 0)
      if (next === -1) break
    }
    this.#room.tidy(TIDY_BYTES)
    this.#room.giveHints()
  }

  /** Leaves the directory within its budget, and so that opening it takes constant time. */
  async close(): Promise<void> {
    const engine = this.#engine
    try {
      await this.#hints.settle()
      removeOrder(engine.segments.home)
      removeCheckpoint(engine.segments)
      if (!this.#room.force(0)) this.clear()
      engine.commits.flush()
      writeOrder(engine, this.#order, this.#tagCount)
    } finally {
      await this.#store.close()
    }
  }

  /** Closes the files, whatever becomes of the contents. */
  async abandon(): Promise<void> {
    await this.#hints.settle()
    await this.#store.close().catch(() => undefined)
  }

  /** Finds room for a record that must be written. */
  #reserve(size: number): void {
    // Where there is no room even for that, there is nothing left that it would hide.
    if (!this.#room.reserve(size)) this.clear()
  }

  #isInvalid(entry: Entry, tags: readonly Uint8Array[]): boolean {
    const engine = this.#engine
    const sequence = engine.keydir.entries.sequenceOf(entry)
    return tags.some((tag) => invalidatedAt(engine, tag) >= sequence)
  }

  /** Whether the record of a live entry, which is the log's oldest, goes on; see {@link Cleaner}. */
  #keeps(entry: Entry, fields: RecordFields, page: Page): boolean {
    const engine = this.#engine
    const { keydir } = engine
    if (isTagKey(keydir.entries.keyView(entry))) {
      // Nothing that is left is so old.
      engine.expire(entry)
      this.#tagCount = Math.max(0, this.#tagCount - 1)
      return false
    }
    const why = this.#reasonToLeave(entry, fields, page)
    if (why !== undefined) this.#giveUp(entry, why)
    else if (!this.#order.knows(entry)) this.#order.use(entry)
    return why === undefined
  }

  #reasonToLeave(entry: Entry, fields: RecordFields, page: Page): Departure | undefined {
    const { expiresAtMs, size, valueAt } = fields
    if (expiresAtMs !== 0 && expiresAtMs <= this.#options.clock()) return 'expired'
    this.head.read(page, valueAt)
    if (this.head.tags.length > 0 && this.#isInvalid(entry, this.head.tags)) return 'invalidated'
    if (!this.#room.mayMove(size)) return 'size'
    return this.#room.isTight && !this.#order.knows(entry) ? 'size' : undefined
  }

  #makeCountFor(key: string): void {
    const engine = this.#engine
    if (this.count < this.#options.maxEntries) return
    engine.key.encode(key)
    if (engine.find() !== NO_ENTRY) return
    while (this.count >= this.#options.maxEntries && this.#giveUpNext('count') > 0);
  }

  /** Gives up the entry that is next in the policy's order; answers its bytes, 0 where none is known. */
  #giveUpNext(why: Departure): number {
    const engine = this.#engine
    // What the order does not know is older than all that it knows; the cleaner meets it first.
    if (this.#orderedFrom > 0 && this.#cleaner.oldestSequence < this.#orderedFrom) return 0
    for (;;) {
      const entry = this.#order.next()
      if (entry === NO_ENTRY) return 0
      const isLive = engine.isLive(entry)
      if (engine.keydir !== this.#ordered) return this.#forgetOrder()
      const { entries } = engine.keydir
      if (!isLive || isTagKey(entries.keyView(entry))) continue
      const size = entries.sizeOf(entry)
      this.#giveUp(entry, why)
      return size
    }
  }

  /** Forgets an order that names the entries of a keydir which was loaded anew since. */
  #forgetOrder(): 0 {
    this.#ordered = this.#engine.keydir
    this.#order.clear()
    return 0
  }

  #giveUp(entry: Entry, why: Departure): void {
    this.#listener.leaving(this, entry, why)
    this.#order.forget(entry)
    this.#engine.expire(entry)
  }

  /** Hears of a group that cannot be written. */
  #watch(group: Group): void {
    if (group === this.#group) return
    this.#group = group
    group.promise.catch((error: Error) => this.#listener.failed(this, error))
  }
}
