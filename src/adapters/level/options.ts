/** The options of a database, and of what is done with it. */

import type { AbstractDatabaseOptions, AbstractPutOptions } from 'abstract-level'
import type { PutOptions, StoreOptions } from '../../index.ts'
import { checkNames, checkObject, STORE_OPTION_NAMES } from '../../options.ts'
import type { Format } from './formats.ts'
import type { LevelSnapshot } from './snapshot.ts'

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

export interface ReadOptions {
  readonly keyEncoding: string
  readonly valueEncoding: string
  readonly snapshot?: LevelSnapshot
}

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

export function lifetime({ ttlMs, expiresAt }: PutOptions): PutOptions | undefined {
  if (ttlMs === undefined && expiresAt === undefined) return undefined
  return { ...(ttlMs !== undefined && { ttlMs }), ...(expiresAt !== undefined && { expiresAt }) }
}

/**
 * Options of other databases of Level are let through, as Level has it. One of the store's in the wrong place is not.
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
