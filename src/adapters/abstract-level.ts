/**
 * Firkin as an `abstract-level` database.
 *
 * Level allows the empty key, Firkin does not. So a key that is empty, or begins with a zero byte, is stored with
 * one zero byte before it; all others are stored as they are. That keeps keys apart, and keeps their order.
 */

import { resolve } from 'node:path'
import {
  AbstractChainedBatch,
  type AbstractDatabaseOptions,
  AbstractIterator,
  AbstractKeyIterator,
  AbstractLevel,
  type AbstractOpenOptions,
  type AbstractPutOptions,
  AbstractSnapshot,
  AbstractValueIterator,
} from 'abstract-level'
import { MAX_KEY_SIZE, MAX_VALUE_SIZE } from '../format/record.ts'
import {
  open,
  type PutOptions,
  type RangeIterator,
  type RangeOptions,
  type Snapshot,
  type Store,
  StoreError,
  type StoreOptions,
  type WriteBatch,
} from '../index.ts'
import { checkNames, checkObject, STORE_OPTION_NAMES } from '../options.ts'
import { TimeSlice } from '../scheduling/time-slice.ts'

/** What Level hands over: text where an encoding's format is `utf8`, bytes where it is `buffer`. */
type Format = string | Buffer | Uint8Array
type LevelStore = Store<Buffer, 'buffer'>
type LevelView = Snapshot<Buffer, 'buffer'>

/** How a {@link FirkinLevel} is opened, beside Level's own options. */
export interface FirkinLevelOptions<K, V> extends AbstractDatabaseOptions<K, V> {
  /** How the store beneath is opened. */
  readonly store?: Omit<StoreOptions, LevelOptionName>
}

/** What Level has options of its own for, with the same names. */
type LevelOptionName = 'keyEncoding' | 'valueEncoding' | 'createIfMissing'

const LEVEL_OPTION_NAMES: readonly string[] = [
  'keyEncoding',
  'valueEncoding',
  'createIfMissing',
] satisfies LevelOptionName[]
const STORE_NAMES = STORE_OPTION_NAMES.filter((name) => !LEVEL_OPTION_NAMES.includes(name))

/** What may be said with any write, beside Level's own options. */
export interface FirkinWriteOptions {
  /**
   * Whether the write survives a power loss once it has resolved, whatever the store's `sync` says.
   * @defaultValue false
   */
  readonly sync?: boolean
}

/** What may be said with a put: Level's options, `sync`, and how long the entry lives. */
export interface FirkinPutOptions<K = string, V = string>
  extends AbstractPutOptions<K, V>,
    FirkinWriteOptions,
    PutOptions {}

interface ReadOptions {
  readonly keyEncoding: string
  readonly valueEncoding: string
  readonly snapshot?: LevelSnapshot
}

interface IteratorOptions extends ReadOptions {
  readonly gt?: Format
  readonly gte?: Format
  readonly lt?: Format
  readonly lte?: Format
  readonly reverse: boolean
  readonly limit: number
  readonly keys: boolean
  readonly values: boolean
}

/** `clear` with a snapshot goes in batches of about this size. */
const CLEAR_BATCH_SIZE = 128 * 1024

type LevelEntry = [key: Format, value: Format | undefined]

type Operation =
  | ({ readonly type: 'put'; readonly key: Format; readonly value: Format } & PutOptions)
  | { readonly type: 'del'; readonly key: Format }

/** What is claimed; the type of Level's manifests does not know `getSync` yet. */
const MANIFEST = {
  encodings: { buffer: true, utf8: true },
  implicitSnapshots: true,
  explicitSnapshots: true,
  has: true,
  getSync: true,
  seek: true,
  permanence: true,
  createIfMissing: true,
  errorIfExists: true,
}

/**
 * An `abstract-level` database in a directory. A put takes Firkin's `ttlMs` too, every write `sync`.
 *
 * What goes wrong has Level's codes, with the store's error as its cause: LEVEL_LOCKED, LEVEL_CORRUPTION,
 * LEVEL_IO_ERROR, LEVEL_READONLY; for a key or value that the store cannot hold LEVEL_INVALID_KEY, LEVEL_INVALID_VALUE.
 *
 * @example
 * const db = new FirkinLevel<string, User>('./users', { valueEncoding: 'json' })
 * await db.put('7', { name: 'Ada' })
 * for await (const [id, user] of db.iterator({ gte: '7' })) console.log(id, user.name)
 */
export class FirkinLevel<K = string, V = string> extends AbstractLevel<Format, K, V> {
  /** The path of the store's directory, as it was given. */
  readonly location: string
  /** The same, whatever the working directory is later. */
  readonly #directory: string
  /** Writes that closing has to wait for. */
  readonly #writing = new Set<Promise<void>>()
  #store: LevelStore | undefined

  /** @throws TypeError for wrong options */
  constructor(location: string, options?: FirkinLevelOptions<K, V>) {
    if (typeof location !== 'string' || location === '') {
      throw new TypeError(
        `A location is a path, not ${location === '' ? 'empty' : typeof location}`,
      )
    }
    checkOptions(options)
    super(MANIFEST, options)
    this.location = location
    this.#directory = resolve(location)
  }

  /**
   * The store beneath, for its figures, merges and backups; its keys are as the head of this file tells.
   *
   * @throws {@link StoreError} FIRKIN_CLOSED unless the database is open
   */
  get store(): LevelStore {
    if (this.#store === undefined) throw new StoreError('FIRKIN_CLOSED', 'Database is not open')
    return this.#store
  }

  async _open(options: FirkinLevelOptions<K, V> & AbstractOpenOptions): Promise<void> {
    checkOptions(options)
    try {
      await this.#open(options)
    } catch (error) {
      throw asLevelError(error)
    }
  }

  async _close(): Promise<void> {
    while (this.#writing.size > 0) await Promise.allSettled(this.#writing)
    const store = this.#store
    this.#store = undefined
    try {
      // None is there where closing it has failed before.
      await store?.close()
    } catch (error) {
      throw asLevelError(error)
    }
  }

  async _get(key: Format, options: ReadOptions): Promise<Format | undefined> {
    return this._getSync(key, options)
  }

  _getSync(key: Format, options: ReadOptions): Format | undefined {
    const stored = storedKey(key)
    if (stored === undefined) return undefined
    try {
      return format(this.#view(options).get(stored), options.valueEncoding)
    } catch (error) {
      throw asLevelError(error)
    }
  }

  async _getMany(keys: readonly Format[], options: ReadOptions): Promise<(Format | undefined)[]> {
    return await this.#readMany(keys, options, (view, key) =>
      key === undefined ? undefined : format(view.get(key), options.valueEncoding),
    )
  }

  async _has(key: Format, options: ReadOptions): Promise<boolean> {
    const stored = storedKey(key)
    if (stored === undefined) return false
    try {
      return this.#view(options).has(stored)
    } catch (error) {
      throw asLevelError(error)
    }
  }

  async _hasMany(keys: readonly Format[], options: ReadOptions): Promise<boolean[]> {
    return await this.#readMany(keys, options, (view, key) => key !== undefined && view.has(key))
  }

  async _put(key: Format, value: Format, options: FirkinWriteOptions & PutOptions): Promise<void> {
    const stored = storableKey(key)
    assertStorable(value)
    await this.#write(options, (store) => store.put(stored, value, lifetime(options)))
  }

  async _del(key: Format, options: FirkinWriteOptions): Promise<void> {
    const stored = storedKey(key)
    if (stored !== undefined) await this.#write(options, (store) => store.delete(stored))
  }

  async _batch(operations: readonly Operation[], options: FirkinWriteOptions): Promise<void> {
    await this.#write(options, (store) => {
      const batch = store.batch()
      for (const operation of operations) {
        if (operation.type === 'put') addPut(batch, operation.key, operation.value, operation)
        else addDelete(batch, operation.key)
      }
      return batch.commit()
    })
  }

  _chainedBatch(): FirkinChainedBatch<K, V> {
    return new FirkinChainedBatch<K, V>(this, this.store.batch(), (options, batch) =>
      this.#write(options, () => batch.commit()),
    )
  }

  async _clear(options: IteratorOptions): Promise<void> {
    const limit = options.limit === -1 ? Number.POSITIVE_INFINITY : options.limit
    const range = { ...rangeOf(options), limit }
    const { snapshot } = options
    await this.#write({}, (store) =>
      snapshot === undefined ? store.clear(range) : clearAsOf(snapshot.view, store, range),
    )
  }

  _iterator(options: IteratorOptions): AbstractIterator<AbstractLevel<Format, K, V>, K, V> {
    return new EntryIterator(this, options)
  }

  _keys(options: IteratorOptions): AbstractKeyIterator<AbstractLevel<Format, K, V>, K> {
    return new KeyIterator(this, options)
  }

  _values(options: IteratorOptions): AbstractValueIterator<AbstractLevel<Format, K, V>, K, V> {
    return new ValueIterator(this, options)
  }

  _snapshot(options: object): AbstractSnapshot {
    return new LevelSnapshot(this.store.snapshot(), options)
  }

  async #open(options: FirkinLevelOptions<K, V> & AbstractOpenOptions): Promise<void> {
    const { store, createIfMissing, errorIfExists } = options
    const directory = this.#directory
    if (errorIfExists === true) await refuseExisting(directory)
    try {
      this.#store = await open<Buffer, 'buffer'>(directory, {
        ...store,
        createIfMissing: createIfMissing !== false,
        keyEncoding: 'buffer',
        valueEncoding: 'buffer',
      })
    } catch (error) {
      if (!isMissing(error)) throw error
      const message = `${directory} does not exist, and createIfMissing is false`
      throw new StoreError('FIRKIN_NOT_FOUND', message, { cause: error })
    }
  }

  #view({ snapshot }: ReadOptions): LevelStore | LevelView {
    return snapshot?.view ?? this.store
  }

  /** Reads many keys, all as of now, in slices of time. */
  async #readMany<T>(
    keys: readonly Format[],
    { snapshot }: ReadOptions,
    read: (view: LevelView, key: Format | undefined) => T,
  ): Promise<T[]> {
    const slice = new TimeSlice()
    try {
      const view = snapshot?.view ?? this.store.snapshot()
      try {
        const items: T[] = []
        for (const key of keys) {
          items.push(read(view, storedKey(key)))
          if (slice.isOver()) await slice.next()
        }
        return items
      } finally {
        if (snapshot === undefined) view.close()
      }
    } catch (error) {
      throw asLevelError(error)
    }
  }

  /** Writes, durably where `sync` asks for it; closing waits for it. */
  async #write(
    { sync }: FirkinWriteOptions,
    write: (store: LevelStore) => Promise<unknown>,
  ): Promise<void> {
    const writing = this.#writeTo(this.#store, sync === true, write)
    this.#writing.add(writing)
    try {
      await writing
    } catch (error) {
      throw asLevelError(error)
    } finally {
      this.#writing.delete(writing)
    }
  }

  async #writeTo(
    store: LevelStore | undefined,
    sync: boolean,
    write: (store: LevelStore) => Promise<unknown>,
  ): Promise<void> {
    if (store === undefined) throw new StoreError('FIRKIN_CLOSED', 'Database is not open')
    await write(store)
    if (sync) await store.sync()
  }
}

/** A batch that takes its operations as they come. */
class FirkinChainedBatch<K, V> extends AbstractChainedBatch<AbstractLevel<Format, K, V>, K, V> {
  readonly #batch: WriteBatch<Buffer>
  readonly #commit: Commit

  constructor(db: FirkinLevel<K, V>, batch: WriteBatch<Buffer>, commit: Commit) {
    super(db)
    this.#batch = batch
    this.#commit = commit
  }

  _put(key: Format, value: Format, options: PutOptions): void {
    addPut(this.#batch, key, value, options)
  }

  _del(key: Format): void {
    addDelete(this.#batch, key)
  }

  _clear(): void {
    this.#batch.clear()
  }

  async _write(options: FirkinWriteOptions): Promise<void> {
    await this.#commit(options, this.#batch)
  }
}

type Commit = (options: FirkinWriteOptions, batch: WriteBatch<Buffer>) => Promise<void>

function addPut(batch: WriteBatch<Buffer>, key: Format, value: Format, options: PutOptions): void {
  const stored = storableKey(key)
  assertStorable(value)
  batch.put(stored, value, lifetime(options))
}

function addDelete(batch: WriteBatch<Buffer>, key: Format): void {
  const stored = storedKey(key)
  if (stored !== undefined) batch.delete(stored)
}

/** An explicit snapshot. */
class LevelSnapshot extends AbstractSnapshot {
  readonly view: LevelView

  constructor(view: LevelView, options: object) {
    // Safety: the constructor takes the options of `snapshot()`, though it is typed without.
    super(...([options] as unknown as []))
    this.view = view
  }

  async _close(): Promise<void> {
    this.view.close()
  }
}

class EntryIterator<K, V> extends AbstractIterator<AbstractLevel<Format, K, V>, K, V> {
  readonly #walk: Walk<LevelEntry>

  constructor(db: FirkinLevel<K, V>, options: IteratorOptions) {
    super(db, options as object)
    const { keyEncoding, valueEncoding } = options
    this.#walk = new Walk<LevelEntry>(db.store, options, (view, range) =>
      options.values
        ? map(view.entries(range), ([key, value]) => [
            format(levelKey(key), keyEncoding),
            format(value, valueEncoding),
          ])
        : map(view.keys(range), (key) => [format(levelKey(key), keyEncoding), undefined]),
    )
  }

  async _next() {
    return this.#walk.next()
  }

  async _nextv(size: number) {
    return this.#walk.nextMany(size)
  }

  _seek(target: Format): void {
    this.#walk.seek(target)
  }

  async _close(): Promise<void> {
    this.#walk.close()
  }
}

class KeyIterator<K, V> extends AbstractKeyIterator<AbstractLevel<Format, K, V>, K> {
  readonly #walk: Walk<Format>

  constructor(db: FirkinLevel<K, V>, options: IteratorOptions) {
    super(db, options as object)
    const { keyEncoding } = options
    this.#walk = new Walk(db.store, options, (view, range) =>
      map(view.keys(range), (key) => format(levelKey(key), keyEncoding)),
    )
  }

  async _next() {
    return this.#walk.next()
  }

  async _nextv(size: number) {
    return this.#walk.nextMany(size)
  }

  _seek(target: Format): void {
    this.#walk.seek(target)
  }

  async _close(): Promise<void> {
    this.#walk.close()
  }
}

class ValueIterator<K, V> extends AbstractValueIterator<AbstractLevel<Format, K, V>, K, V> {
  readonly #walk: Walk<Format>

  constructor(db: FirkinLevel<K, V>, options: IteratorOptions) {
    super(db, options as object)
    const { valueEncoding } = options
    this.#walk = new Walk(db.store, options, (view, range) =>
      map(view.values(range), (value) => format(value, valueEncoding)),
    )
  }

  async _next() {
    return this.#walk.next()
  }

  async _nextv(size: number) {
    return this.#walk.nextMany(size)
  }

  _seek(target: Format): void {
    this.#walk.seek(target)
  }

  async _close(): Promise<void> {
    this.#walk.close()
  }
}

/** A walk through a range of one snapshot, that can be sent elsewhere. */
class Walk<T> {
  readonly #view: LevelView
  readonly #ownsView: boolean
  readonly #range: RangeOptions
  readonly #begin: (view: LevelView, range: RangeOptions) => Iterator<T>
  readonly #slice = new TimeSlice()
  /** Where to begin; once begun, or at the end, there is nowhere. */
  #from: RangeOptions | undefined
  #items: Iterator<T> | undefined

  constructor(
    store: LevelStore,
    options: IteratorOptions,
    begin: (view: LevelView, range: RangeOptions) => Iterator<T>,
  ) {
    this.#ownsView = options.snapshot === undefined
    this.#view = options.snapshot?.view ?? store.snapshot()
    this.#range = rangeOf(options)
    this.#from = this.#range
    this.#begin = begin
  }

  async next(): Promise<T | undefined> {
    // Whoever asks for one after the other only ever waits for promises, which lets no timer and no socket have a turn.
    if (this.#slice.isOver()) await this.#slice.next()
    return this.#step()
  }

  async nextMany(size: number): Promise<T[]> {
    const items: T[] = []
    while (items.length < size) {
      const item = this.#step()
      if (item === undefined) break
      items.push(item)
      if (this.#slice.isOver()) await this.#slice.next()
    }
    return items
  }

  /** Goes on from a key; to the end where the key is out of range. */
  seek(target: Format): void {
    const key = storedBound(target)
    const range = this.#range
    const from = { ...range, [range.reverse === true ? 'lte' : 'gte']: key }
    this.#items?.return?.()
    this.#items = undefined
    this.#from = isBehind(key, range) ? undefined : from
  }

  close(): void {
    this.#items?.return?.()
    if (this.#ownsView) this.#view.close()
  }

  #step(): T | undefined {
    try {
      if (this.#from !== undefined) {
        this.#items = this.#begin(this.#view, this.#from)
        this.#from = undefined
      }
      const step = this.#items?.next()
      return step === undefined || step.done === true ? undefined : step.value
    } catch (error) {
      throw asLevelError(error)
    }
  }
}

function* map<S, T>(items: RangeIterator<S>, change: (item: S) => T): Generator<T, void> {
  for (const item of items) yield change(item)
}

/** Deletes the keys that a range of a view has, in batches and in slices of time. */
async function clearAsOf(view: LevelView, store: LevelStore, range: RangeOptions): Promise<void> {
  const slice = new TimeSlice()
  let batch = store.batch()
  for (const key of view.keys(range)) {
    batch.delete(key)
    const isOver = slice.isOver()
    if (batch.byteSize < CLEAR_BATCH_SIZE && !isOver) continue
    await batch.commit()
    if (isOver) await slice.next()
    batch = store.batch()
  }
  await batch.commit()
}

/** Level's range: of two bounds on one side the inclusive one counts. */
function rangeOf({ gt, gte, lt, lte, reverse }: IteratorOptions): RangeOptions {
  return {
    reverse,
    ...(gte !== undefined && { gte: storedBound(gte) }),
    ...(gt !== undefined && gte === undefined && { gt: storedBound(gt) }),
    ...(lte !== undefined && { lte: storedBound(lte) }),
    ...(lt !== undefined && lte === undefined && { lt: storedBound(lt) }),
  }
}

/** Whether a key lies before the first one that a walk in the range's direction may give. */
function isBehind(key: Format, { gt, gte, lt, lte, reverse }: RangeOptions): boolean {
  const [inclusive, exclusive] = reverse === true ? [lte, lt] : [gte, gt]
  const bound = inclusive ?? exclusive
  if (bound === undefined) return false
  const order = Buffer.compare(Buffer.from(key), Buffer.from(bound))
  if (order === 0) return inclusive === undefined
  return reverse === true ? order > 0 : order < 0
}

const ZERO = Buffer.alloc(1)
/** A character takes at most so many bytes as UTF-8. */
const MAX_CHARACTER_SIZE = 3

/** A bound of a range, as the store has it: of any size, and with lone surrogates replaced, as Level's UTF-8 has it. */
function storedBound(bound: Format): Format {
  return withoutEmpty(typeof bound === 'string' ? bound.toWellFormed() : bound)
}

/** A key as the store has it; `undefined` where the store holds no such key, for it could not. */
function storedKey(key: Format): Format | undefined {
  const stored = withoutEmpty(key)
  return sizeIn(stored, MAX_KEY_SIZE) <= MAX_KEY_SIZE && isWellFormed(stored) ? stored : undefined
}

/** A key as the store has it. @throws {@link LevelError} LEVEL_INVALID_KEY where the store cannot hold it */
function storableKey(key: Format): Format {
  const stored = storedKey(key)
  if (stored !== undefined) return stored
  const size = sizeIn(withoutEmpty(key), 0)
  throw new LevelError(
    'LEVEL_INVALID_KEY',
    size > MAX_KEY_SIZE
      ? `Key is ${size} bytes; the limit is ${MAX_KEY_SIZE}`
      : 'The key has a lone surrogate',
  )
}

/** @throws {@link LevelError} LEVEL_INVALID_VALUE where the store cannot hold the value as it is */
function assertStorable(value: Format): void {
  const size = sizeIn(value, MAX_VALUE_SIZE)
  if (size > MAX_VALUE_SIZE) {
    const message = `Value is ${size} bytes; the limit is ${MAX_VALUE_SIZE}`
    throw new LevelError('LEVEL_INVALID_VALUE', message)
  }
  if (!isWellFormed(value)) {
    throw new LevelError('LEVEL_INVALID_VALUE', 'The value has a lone surrogate')
  }
}

/** The empty key, and keys that begin with a zero byte, with one more. */
function withoutEmpty(key: Format): Format {
  if (typeof key === 'string') return key === '' || key.charCodeAt(0) === 0 ? `\0${key}` : key
  return key.length === 0 || key[0] === 0 ? Buffer.concat([ZERO, key]) : key
}

/** A size in bytes; where it is certainly within `limit`, only something that is too. */
function sizeIn(value: Format, limit: number): number {
  if (typeof value !== 'string' || value.length * MAX_CHARACTER_SIZE <= limit) return value.length
  return Buffer.byteLength(value)
}

function isWellFormed(value: Format): boolean {
  return typeof value !== 'string' || value.isWellFormed()
}

function levelKey(key: Buffer): Buffer {
  return key[0] === 0 ? key.subarray(1) : key
}

function format(value: Buffer, encoding: string): Format
function format(value: Buffer | undefined, encoding: string): Format | undefined
function format(value: Buffer | undefined, encoding: string): Format | undefined {
  return encoding === 'utf8' ? value?.toString() : value
}

function lifetime({ ttlMs, expiresAt }: PutOptions): PutOptions | undefined {
  if (ttlMs === undefined && expiresAt === undefined) return undefined
  return { ...(ttlMs !== undefined && { ttlMs }), ...(expiresAt !== undefined && { expiresAt }) }
}

/**
 * Options of other databases of Level are let through, as Level has it. One of the store's in the wrong place is not.
 *
 * @throws TypeError
 */
function checkOptions<K, V>(options: FirkinLevelOptions<K, V> | undefined): void {
  for (const name of Object.keys(options ?? {})) {
    if (!STORE_NAMES.includes(name)) continue
    throw new TypeError(`Option ${name} is one of the store: { store: { ${name} } }`)
  }
  const store = options?.store
  if (store === undefined) return
  checkObject(store, 'Option store')
  for (const name of Object.keys(store)) {
    if (!LEVEL_OPTION_NAMES.includes(name)) continue
    throw new TypeError(`Option ${name} belongs to the database, not to the store`)
  }
  checkNames(store, STORE_NAMES, 'option')
}

async function refuseExisting(directory: string): Promise<void> {
  try {
    const store = await open(directory, { readOnly: true })
    await store.close()
  } catch (error) {
    if (isMissing(error)) return
    throw error
  }
  throw new StoreError('FIRKIN_EXISTS', `${directory} exists, and errorIfExists is true`)
}

function isMissing(error: unknown): boolean {
  return error instanceof StoreError && error.code === 'FIRKIN_NOT_FOUND'
}

/** What is wrong, in Level's words. */
class LevelError extends Error {
  /** One of those that abstract-level documents. */
  readonly code: string

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'LevelError'
    this.code = code
  }
}

/** The codes that Level has for a store's; `undefined` is none, and whatever is not listed is an I/O error to it. */
const LEVEL_CODES: Readonly<Record<string, string | undefined>> = {
  FIRKIN_CLOSED: 'LEVEL_DATABASE_NOT_OPEN',
  FIRKIN_CORRUPT: 'LEVEL_CORRUPTION',
  FIRKIN_LOCKED: 'LEVEL_LOCKED',
  FIRKIN_READ_ONLY: 'LEVEL_READONLY',
  FIRKIN_NOT_FOUND: undefined,
  FIRKIN_EXISTS: undefined,
  FIRKIN_OTHER_KIND: undefined,
  FIRKIN_VERSION: undefined,
}

/** An error of the store with the code that Level has for it; any other error as it is. */
function asLevelError(error: unknown): unknown {
  if (!(error instanceof StoreError)) return error
  const code = error.code in LEVEL_CODES ? LEVEL_CODES[error.code] : 'LEVEL_IO_ERROR'
  return code === undefined ? error : new LevelError(code, error.message, { cause: error })
}
