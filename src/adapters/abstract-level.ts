/**
 * Firkin as an `abstract-level` database.
 *
 * Level allows the empty key, Firkin does not. So a key that is empty, or begins with a zero byte, is stored with
 * one zero byte before it; all others are stored as they are. That keeps keys apart, and keeps their order.
 */

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

/** What Level hands over: text where an encoding's format is `utf8`, bytes where it is `buffer`. */
type Format = string | Buffer
/** With `valueEncoding: 'buffer'` a store takes text as well; what it gives is bytes. */
type LevelStore = Store<Format, 'buffer'>
type LevelView = Snapshot<Format, 'buffer'>

/** How a {@link FirkinLevel} is opened, beside Level's own options. */
export interface FirkinLevelOptions<K, V> extends AbstractDatabaseOptions<K, V> {
  /** How the store beneath is opened. */
  readonly store?: Omit<StoreOptions, 'keyEncoding' | 'valueEncoding' | 'createIfMissing'>
}

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
 * @example
 * const db = new FirkinLevel<string, User>('./users', { valueEncoding: 'json' })
 * await db.put('7', { name: 'Ada' })
 * for await (const [id, user] of db.iterator({ gte: '7' })) console.log(id, user.name)
 */
export class FirkinLevel<K = string, V = string> extends AbstractLevel<Format, K, V> {
  /** The path of the store's directory. */
  readonly location: string
  #store: LevelStore | undefined

  constructor(location: string, options?: FirkinLevelOptions<K, V>) {
    super(MANIFEST, options)
    this.location = location
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
    const { store, createIfMissing, errorIfExists } = options
    const { location } = this
    if (errorIfExists === true) await refuseExisting(location)
    try {
      this.#store = await open<Format, 'buffer'>(location, {
        ...store,
        createIfMissing: createIfMissing !== false,
        keyEncoding: 'buffer',
        valueEncoding: 'buffer',
      })
    } catch (error) {
      if (!isMissing(error)) throw error
      const message = `${location} does not exist, and createIfMissing is false`
      throw new StoreError('FIRKIN_NOT_FOUND', message, { cause: error })
    }
  }

  async _close(): Promise<void> {
    const { store } = this
    this.#store = undefined
    await store.close()
  }

  async _get(key: Format, options: ReadOptions): Promise<Format | undefined> {
    return this._getSync(key, options)
  }

  _getSync(key: Format, options: ReadOptions): Format | undefined {
    return format(this.#view(options).get(storedKey(key)), options.valueEncoding)
  }

  async _getMany(keys: readonly Format[], options: ReadOptions): Promise<(Format | undefined)[]> {
    return keys.map((key) => this._getSync(key, options))
  }

  async _has(key: Format, options: ReadOptions): Promise<boolean> {
    return this.#view(options).has(storedKey(key))
  }

  async _hasMany(keys: readonly Format[], options: ReadOptions): Promise<boolean[]> {
    const view = this.#view(options)
    return keys.map((key) => view.has(storedKey(key)))
  }

  async _put(key: Format, value: Format, options: FirkinWriteOptions & PutOptions): Promise<void> {
    await this.store.put(storedKey(key), value, lifetime(options))
    await this.#settle(options)
  }

  async _del(key: Format, options: FirkinWriteOptions): Promise<void> {
    await this.store.delete(storedKey(key))
    await this.#settle(options)
  }

  async _batch(operations: readonly Operation[], options: FirkinWriteOptions): Promise<void> {
    const batch = this.store.batch()
    for (const operation of operations) {
      const key = storedKey(operation.key)
      if (operation.type === 'put') batch.put(key, operation.value, lifetime(operation))
      else batch.delete(key)
    }
    await batch.commit()
    await this.#settle(options)
  }

  _chainedBatch(): FirkinChainedBatch<K, V> {
    return new FirkinChainedBatch<K, V>(this, this.store.batch(), (options) =>
      this.#settle(options),
    )
  }

  async _clear(options: IteratorOptions): Promise<void> {
    const limit = options.limit === -1 ? Number.POSITIVE_INFINITY : options.limit
    const range = { ...rangeOf(options), limit }
    const { snapshot } = options
    if (snapshot === undefined) {
      await this.store.clear(range)
      return
    }
    const batch = this.store.batch()
    for (const key of snapshot.view.keys(range)) batch.delete(key)
    await batch.commit()
  }

  _iterator(options: IteratorOptions): AbstractIterator<FirkinLevel<K, V>, K, V> {
    return new EntryIterator(this, options)
  }

  _keys(options: IteratorOptions): AbstractKeyIterator<FirkinLevel<K, V>, K> {
    return new KeyIterator(this, options)
  }

  _values(options: IteratorOptions): AbstractValueIterator<FirkinLevel<K, V>, K, V> {
    return new ValueIterator(this, options)
  }

  _snapshot(options: object): AbstractSnapshot {
    return new LevelSnapshot(this.store.snapshot(), options)
  }

  #view({ snapshot }: ReadOptions): LevelStore | LevelView {
    return snapshot?.view ?? this.store
  }

  async #settle(options: FirkinWriteOptions): Promise<void> {
    if (options.sync === true) await this.store.sync()
  }
}

/** A batch that takes its operations as they come. */
class FirkinChainedBatch<K, V> extends AbstractChainedBatch<FirkinLevel<K, V>, K, V> {
  readonly #batch: WriteBatch<Format>
  readonly #settle: (options: FirkinWriteOptions) => Promise<void>

  constructor(
    db: FirkinLevel<K, V>,
    batch: WriteBatch<Format>,
    settle: (options: FirkinWriteOptions) => Promise<void>,
  ) {
    super(db)
    this.#batch = batch
    this.#settle = settle
  }

  _put(key: Format, value: Format, options: PutOptions): void {
    this.#batch.put(storedKey(key), value, lifetime(options))
  }

  _del(key: Format): void {
    this.#batch.delete(storedKey(key))
  }

  _clear(): void {
    this.#batch.clear()
  }

  async _write(options: FirkinWriteOptions): Promise<void> {
    await this.#batch.commit()
    await this.#settle(options)
  }
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

class EntryIterator<K, V> extends AbstractIterator<FirkinLevel<K, V>, K, V> {
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

class KeyIterator<K, V> extends AbstractKeyIterator<FirkinLevel<K, V>, K> {
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

class ValueIterator<K, V> extends AbstractValueIterator<FirkinLevel<K, V>, K, V> {
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

  next(): T | undefined {
    if (this.#from !== undefined) {
      this.#items = this.#begin(this.#view, this.#from)
      this.#from = undefined
    }
    const step = this.#items?.next()
    return step === undefined || step.done === true ? undefined : step.value
  }

  nextMany(size: number): T[] {
    const items: T[] = []
    while (items.length < size) {
      const item = this.next()
      if (item === undefined) break
      items.push(item)
    }
    return items
  }

  /** Goes on from a key; to the end where the key is out of range. */
  seek(target: Format): void {
    const key = storedKey(target)
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
}

function* map<S, T>(items: RangeIterator<S>, change: (item: S) => T): Generator<T, void> {
  for (const item of items) yield change(item)
}

/** Level's range: of two bounds on one side the inclusive one counts. */
function rangeOf({ gt, gte, lt, lte, reverse }: IteratorOptions): RangeOptions {
  return {
    reverse,
    ...(gte !== undefined && { gte: storedKey(gte) }),
    ...(gt !== undefined && gte === undefined && { gt: storedKey(gt) }),
    ...(lte !== undefined && { lte: storedKey(lte) }),
    ...(lt !== undefined && lte === undefined && { lt: storedKey(lt) }),
  }
}

/** Whether a key lies before the first one that a walk in the range's direction may give. */
function isBehind(key: Format, { gt, gte, lt, lte, reverse }: RangeOptions): boolean {
  const [inclusive, exclusive] = reverse === true ? [lte, lt] : [gte, gt]
  const bound = inclusive ?? exclusive
  if (bound === undefined) return false
  const order = Buffer.compare(Buffer.from(key), Buffer.from(bound))
  return reverse === true ? order > 0 : order < 0
}

const ZERO = Buffer.alloc(1)

function storedKey(key: Format): Format {
  if (typeof key === 'string') {
    // Level's UTF-8 replaces lone surrogates; the store refuses them.
    const text = key.toWellFormed()
    return text === '' || text.charCodeAt(0) === 0 ? `\0${text}` : text
  }
  return key.length === 0 || key[0] === 0 ? Buffer.concat([ZERO, key]) : key
}

function levelKey(key: Buffer): Buffer {
  return key[0] === 0 ? key.subarray(1) : key
}

function format(value: Format, encoding: string): Format
function format(value: Format | undefined, encoding: string): Format | undefined
function format(value: Format | undefined, encoding: string): Format | undefined {
  return encoding === 'utf8' ? value?.toString() : value
}

function lifetime({ ttlMs, expiresAt }: PutOptions): PutOptions | undefined {
  if (ttlMs === undefined && expiresAt === undefined) return undefined
  return { ...(ttlMs !== undefined && { ttlMs }), ...(expiresAt !== undefined && { expiresAt }) }
}

async function refuseExisting(location: string): Promise<void> {
  try {
    const store = await open(location, { readOnly: true })
    await store.close()
  } catch (error) {
    if (isMissing(error)) return
    throw error
  }
  throw new StoreError('FIRKIN_EXISTS', `${location} exists, and errorIfExists is true`)
}

function isMissing(error: unknown): boolean {
  return error instanceof StoreError && error.code === 'FIRKIN_NOT_FOUND'
}
