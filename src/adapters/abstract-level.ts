/** An `abstract-level` database over a store. */

import type {
  AbstractLevel as AbstractDatabase,
  AbstractDatabaseHooks,
  AbstractIterator,
  AbstractKeyIterator,
  AbstractOpenOptions,
  AbstractSnapshot,
  AbstractValueIterator,
} from 'abstract-level'
import { open, type PutOptions, StoreError } from '../index.ts'
import { directoryPath } from '../io/directory-path.ts'
import { TimeSlice } from '../scheduling/time-slice.ts'
import { addDelete, addPut, FirkinChainedBatch, type Operation } from './level/batch.ts'
import { asLevelError } from './level/errors.ts'
import { assertStorable, type Format, format, storableKey, storedKey } from './level/formats.ts'
import { EntryIterator, KeyIterator, ValueIterator } from './level/iterators.ts'
import { AbstractLevel } from './level/library.ts'
import {
  checkOptions,
  type FirkinBatchOperation,
  type FirkinBatchOptions,
  type FirkinClearOptions,
  type FirkinDelOptions,
  type FirkinLevelOptions,
  type FirkinPutOptions,
  type FirkinWriteOptions,
  type IteratorOptions,
  lifetime,
  type ReadOptions,
} from './level/options.ts'
import { rangeOf } from './level/range.ts'
import { clearAsOf, LevelSnapshot, type LevelStore, type LevelView } from './level/snapshot.ts'

export type { FirkinChainedBatch } from './level/batch.ts'
export type {
  FirkinBatchOperation,
  FirkinBatchOptions,
  FirkinChainedPutOptions,
  FirkinClearOptions,
  FirkinDelOptions,
  FirkinLevelOptions,
  FirkinPutOptions,
  FirkinWriteOptions,
} from './level/options.ts'

/** The features that the database claims. The type of Level's manifests lacks `getSync`. */
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
 * An `abstract-level` database in a directory. Puts also take `ttlMs` and `expiresAt`; every write
 * takes `sync`.
 *
 * Errors have Level's codes, with the store's error as their cause: LEVEL_LOCKED, LEVEL_CORRUPTION,
 * LEVEL_IO_ERROR, LEVEL_READONLY. A key or value that the store cannot hold is LEVEL_INVALID_KEY or
 * LEVEL_INVALID_VALUE.
 *
 * @example
 * const db = new FirkinLevel<string, User>('./users', { valueEncoding: 'json' })
 * await db.put('7', { name: 'Ada' })
 * for await (const [id, user] of db.iterator({ gte: '7' })) console.log(id, user.name)
 */
export class FirkinLevel<K = string, V = string> extends AbstractLevel<Format, K, V> {
  /** The path of the store's directory: as the caller gave it, or that of the URL. */
  readonly location: string
  /** Functions that Level calls at certain moments. */
  // With the type of the database itself, as Level has it, compilers disagree on whether a database
  // is an AbstractLevel.
  // biome-ignore lint/suspicious/noExplicitAny: no other type is as assignable in both directions.
  declare hooks: AbstractDatabaseHooks<any>
  /** The path made absolute: the working directory may change before the store opens. */
  readonly #directory: string
  /** Writes under way, which closing waits for. */
  readonly #writing = new Set<Promise<void>>()
  #store: LevelStore | undefined

  /**
   * @param location a directory, by its path or its `file:` URL
   * @throws TypeError for another location, or wrong options
   */
  constructor(location: string | URL, options?: FirkinLevelOptions<K, V>) {
    const directory = directoryPath(location)
    checkOptions(options)
    super(MANIFEST, options)
    this.location = typeof location === 'string' ? location : directory
    this.#directory = directory
  }

  /**
   * The store under the database, for its figures, merges and backups. Its keys are as `formats.ts`
   * stores them.
   *
   * @throws {@link StoreError} FIRKIN_CLOSED unless the database is open
   */
  get store(): LevelStore {
    if (this.#store === undefined) throw new StoreError('FIRKIN_CLOSED', 'Database is not open')
    return this.#store
  }

  /** Stores a value under a key. */
  override put(key: K, value: V): Promise<void>
  /**
   * Stores a value under a key with encodings of its own, with a lifetime, or with `sync`: then it
   * survives a power loss once the promise has resolved.
   */
  override put<L = K, W = V>(key: L, value: W, options: FirkinPutOptions<L, W>): Promise<void>
  override put(key: K, value: V, options?: FirkinPutOptions<K, V>): Promise<void> {
    return options === undefined ? super.put(key, value) : super.put(key, value, options)
  }

  /** Deletes a key, which need not be there. */
  override del(key: K): Promise<void>
  /**
   * Deletes a key with an encoding of its own, or with `sync`: then the delete survives a power
   * loss once the promise has resolved.
   */
  override del<L = K>(key: L, options: FirkinDelOptions<L>): Promise<void>
  override del(key: K, options?: FirkinDelOptions<K>): Promise<void> {
    return options === undefined ? super.del(key) : super.del(key, options)
  }

  /** Makes the changes of a list, all or none. */
  override batch(operations: FirkinBatchOperation<this, K, V>[]): Promise<void>
  /**
   * Makes the changes of a list, all or none, with encodings or a lifetime for the operations that
   * have none of their own, or with `sync`: then they survive a power loss once the promise has
   * resolved.
   */
  override batch<L = K, W = V>(
    operations: FirkinBatchOperation<this, L, W>[],
    options: FirkinBatchOptions<L, W>,
  ): Promise<void>
  /** Returns a batch that collects changes, and makes them all or none when it is written. */
  override batch(): FirkinChainedBatch<this, K, V>
  override batch(
    ...list: [] | [FirkinBatchOperation<this, K, V>[], FirkinBatchOptions<K, V>?]
  ): Promise<void> | FirkinChainedBatch<this, K, V> {
    // Safety: `_chainedBatch` has made it.
    if (list.length === 0) return super.batch() as FirkinChainedBatch<this, K, V>
    const [operations, options] = list
    return options === undefined ? super.batch(operations) : super.batch(operations, options)
  }

  /** Deletes all keys. */
  override clear(): Promise<void>
  /**
   * Deletes the keys of a range, or those that a snapshot shows. With `sync` that survives a power
   * loss once the promise has resolved.
   */
  override clear<L = K>(options: FirkinClearOptions<L>): Promise<void>
  override clear(options?: FirkinClearOptions<K>): Promise<void> {
    return options === undefined ? super.clear() : super.clear(options)
  }

  /** @internal */
  async _open(options: FirkinLevelOptions<K, V> & AbstractOpenOptions): Promise<void> {
    checkOptions(options)
    try {
      await this.#open(options)
    } catch (error) {
      throw asLevelError(error)
    }
  }

  /** @internal */
  async _close(): Promise<void> {
    while (this.#writing.size > 0) await Promise.allSettled(this.#writing)
    const store = this.#store
    this.#store = undefined
    try {
      // There is none if an earlier close failed.
      await store?.close()
    } catch (error) {
      throw asLevelError(error)
    }
  }

  /** @internal */
  async _get(key: Format, options: ReadOptions): Promise<Format | undefined> {
    return this._getSync(key, options)
  }

  /** @internal */
  _getSync(key: Format, options: ReadOptions): Format | undefined {
    const stored = storedKey(key)
    if (stored === undefined) return undefined
    try {
      return format(this.#view(options).get(stored), options.valueEncoding)
    } catch (error) {
      throw asLevelError(error)
    }
  }

  /** @internal */
  async _getMany(keys: readonly Format[], options: ReadOptions): Promise<(Format | undefined)[]> {
    return await this.#readMany(keys, options, (view, key) =>
      key === undefined ? undefined : format(view.get(key), options.valueEncoding),
    )
  }

  /** @internal */
  async _has(key: Format, options: ReadOptions): Promise<boolean> {
    const stored = storedKey(key)
    if (stored === undefined) return false
    try {
      return this.#view(options).has(stored)
    } catch (error) {
      throw asLevelError(error)
    }
  }

  /** @internal */
  async _hasMany(keys: readonly Format[], options: ReadOptions): Promise<boolean[]> {
    return await this.#readMany(keys, options, (view, key) => key !== undefined && view.has(key))
  }

  /** @internal */
  async _put(key: Format, value: Format, options: FirkinWriteOptions & PutOptions): Promise<void> {
    const stored = storableKey(key)
    assertStorable(value)
    await this.#write(options, (store) => store.put(stored, value, lifetime(options)))
  }

  /** @internal */
  async _del(key: Format, options: FirkinWriteOptions): Promise<void> {
    const stored = storedKey(key)
    if (stored !== undefined) await this.#write(options, (store) => store.delete(stored))
  }

  /** @internal */
  async _batch(
    operations: readonly Operation[],
    options: FirkinWriteOptions & PutOptions,
  ): Promise<void> {
    await this.#write(options, (store) => {
      const batch = store.batch()
      for (const operation of operations) {
        const { type, key } = operation
        if (type === 'put') addPut(batch, key, operation.value, lifetime(operation, options))
        else addDelete(batch, key)
      }
      return batch.commit()
    })
  }

  /** @internal */
  _chainedBatch(): FirkinChainedBatch<this, K, V> {
    return new FirkinChainedBatch<this, K, V>(this, this.store.batch(), (options, batch) =>
      this.#write(options, () => batch.commit()),
    )
  }

  /** @internal */
  async _clear(options: IteratorOptions & FirkinWriteOptions): Promise<void> {
    const limit = options.limit === -1 ? Number.POSITIVE_INFINITY : options.limit
    const range = { ...rangeOf(options), limit }
    const { snapshot } = options
    await this.#write(options, (store) =>
      snapshot === undefined ? store.clear(range) : clearAsOf(snapshot.view, store, range),
    )
  }

  /** @internal */
  _iterator(options: IteratorOptions): AbstractIterator<AbstractDatabase<Format, K, V>, K, V> {
    return new EntryIterator(this, this.store, options)
  }

  /** @internal */
  _keys(options: IteratorOptions): AbstractKeyIterator<AbstractDatabase<Format, K, V>, K> {
    return new KeyIterator(this, this.store, options)
  }

  /** @internal */
  _values(options: IteratorOptions): AbstractValueIterator<AbstractDatabase<Format, K, V>, K, V> {
    return new ValueIterator(this, this.store, options)
  }

  /** @internal */
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

  /** Reads many keys, all from one view, in time slices. */
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

  /** Runs a write, and syncs after it if `sync` is set. Closing waits for both. */
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
