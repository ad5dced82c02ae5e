/** The options of a database and of its operations. */

import type {
  AbstractBatchDelOperation,
  AbstractBatchOptions,
  AbstractBatchPutOperation,
  AbstractChainedBatchPutOptions,
  AbstractClearOptions,
  AbstractDatabaseOptions,
  AbstractDelOptions,
  AbstractPutOptions,
} from 'abstract-level'
import type { PutOptions, StoreOptions } from '../../index.ts'
import { checkNames, checkObject, STORE_OPTION_NAMES } from '../../options.ts'
import type { Format } from './formats.ts'
import type { LevelSnapshot } from './snapshot.ts'

/** The options of a {@link FirkinLevel}: Level's own, and those of the store. */
export interface FirkinLevelOptions<K, V> extends AbstractDatabaseOptions<K, V> {
  /** The options of the store under the database. */
  readonly store?: Omit<StoreOptions, LevelOptionName>
}

/** The options of a store that Level has itself, under the same names. */
type LevelOptionName = 'keyEncoding' | 'valueEncoding' | 'createIfMissing'

const LEVEL_OPTION_NAMES: readonly string[] = [
  'keyEncoding',
  'valueEncoding',
  'createIfMissing',
] satisfies LevelOptionName[]
const STORE_NAMES = STORE_OPTION_NAMES.filter((name) => !LEVEL_OPTION_NAMES.includes(name))

/** The options of any write, besides Level's own. */
export interface FirkinWriteOptions {
  /**
   * Whether the write survives a power loss once it has resolved, whatever the store's `sync` is.
   * @defaultValue false
   */
  readonly sync?: boolean
}

/** The options of a put: Level's own, `sync`, and the entry's lifetime. */
export interface FirkinPutOptions<K = string, V = string>
  extends AbstractPutOptions<K, V>,
    FirkinWriteOptions,
    PutOptions {}

/** The options of a delete: Level's own, and `sync`. */
export interface FirkinDelOptions<K = string> extends AbstractDelOptions<K>, FirkinWriteOptions {}

/** The options of a clear: Level's own, and `sync`. */
export interface FirkinClearOptions<K = string>
  extends AbstractClearOptions<K>,
    FirkinWriteOptions {}

/** The options of a batch: Level's own, `sync`, and the lifetime of the puts that set none. */
export interface FirkinBatchOptions<K = string, V = string>
  extends AbstractBatchOptions<K, V>,
    FirkinWriteOptions,
    PutOptions {}

/** An operation of a batch: Level's own, and for a put the entry's lifetime. */
export type FirkinBatchOperation<D, K, V> =
  | (AbstractBatchPutOperation<D, K, V> & PutOptions)
  | AbstractBatchDelOperation<D, K>

/** The options of a put in a chained batch: Level's own, and the entry's lifetime. */
export interface FirkinChainedPutOptions<D, K = string, V = string>
  extends AbstractChainedBatchPutOptions<D, K, V>,
    PutOptions {}

/** The options of a read, as Level hands them over. */
export interface ReadOptions {
  readonly keyEncoding: string
  readonly valueEncoding: string
  readonly snapshot?: LevelSnapshot
}

/** The options of an iterator or a clear, as Level hands them over. */
export interface IteratorOptions extends ReadOptions {
  readonly gt?: Format
  readonly gte?: Format
  readonly lt?: Format
  readonly lte?: Format
  readonly reverse: boolean
  readonly limit: number
  readonly keys: boolean
  readonly values: boolean
}

/**
 * Returns the lifetime that the options of a put set, if they set one.
 *
 * @param common the options of the batch, which Level has added to those of the put
 */
export function lifetime(
  { ttlMs, expiresAt }: PutOptions,
  common: PutOptions = {},
): PutOptions | undefined {
  if (ttlMs === undefined && expiresAt === undefined) return undefined
  if (ttlMs !== undefined && expiresAt !== undefined) {
    const isCommonTtl = ttlMs === common.ttlMs
    if (isCommonTtl !== (expiresAt === common.expiresAt)) {
      return isCommonTtl ? { expiresAt } : { ttlMs }
    }
  }
  return { ...(ttlMs !== undefined && { ttlMs }), ...(expiresAt !== undefined && { expiresAt }) }
}

/**
 * Checks the options of a database. Options of other Level databases are let through, as is usual
 * with Level, but not an option of the store in the wrong place.
 *
 * @throws TypeError
 */
export function checkOptions<K, V>(options: FirkinLevelOptions<K, V> | undefined): void {
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
