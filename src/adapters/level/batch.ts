/** Batches: Level's operations, added to a batch of the store. */

import type { PutOptions, WriteBatch } from '../../index.ts'
import { assertStorable, type Format, storableKey, storedKey } from './formats.ts'
import { AbstractChainedBatch } from './library.ts'
import { type FirkinChainedPutOptions, type FirkinWriteOptions, lifetime } from './options.ts'

/** An operation of an array batch, as Level hands it over. */
export type Operation =
  | ({ readonly type: 'put'; readonly key: Format; readonly value: Format } & PutOptions)
  | { readonly type: 'del'; readonly key: Format }

/** A chained batch. Each operation is added to the store's batch when it is called. */
export class FirkinChainedBatch<D, K, V> extends AbstractChainedBatch<D, K, V> {
  readonly #batch: WriteBatch<Buffer>
  readonly #commit: Commit

  /** @internal Made by `level.batch()`. */
  constructor(db: D, batch: WriteBatch<Buffer>, commit: Commit) {
    super(db)
    this.#batch = batch
    this.#commit = commit
  }

  /** Adds a put. */
  override put(key: K, value: V): this
  /** Adds a put with encodings of its own, to a sublevel, or with a lifetime. */
  override put<L = K, W = V>(key: L, value: W, options: FirkinChainedPutOptions<D, L, W>): this
  override put(key: K, value: V, options?: FirkinChainedPutOptions<D, K, V>): this {
    return options === undefined ? super.put(key, value) : super.put(key, value, options)
  }

  /**
   * Makes all changes or none. With `sync` they survive a power loss once the promise has resolved.
   */
  override write(options?: FirkinWriteOptions): Promise<void> {
    return options === undefined ? super.write() : super.write(options)
  }

  /** @internal */
  _put(key: Format, value: Format, options: PutOptions): void {
    addPut(this.#batch, key, value, lifetime(options))
  }

  /** @internal */
  _del(key: Format): void {
    addDelete(this.#batch, key)
  }

  /** @internal */
  _clear(): void {
    this.#batch.clear()
  }

  /** @internal */
  async _write(options: FirkinWriteOptions): Promise<void> {
    await this.#commit(options, this.#batch)
  }
}

/** Commits a batch, with the options of its `write`. */
type Commit = (options: FirkinWriteOptions, batch: WriteBatch<Buffer>) => Promise<void>

/**
 * Adds a put to a batch.
 *
 * @throws LevelError: LEVEL_INVALID_KEY, LEVEL_INVALID_VALUE
 */
export function addPut(
  batch: WriteBatch<Buffer>,
  key: Format,
  value: Format,
  options: PutOptions | undefined,
): void {
  const stored = storableKey(key)
  assertStorable(value)
  batch.put(stored, value, options)
}

/** Adds a delete to a batch, unless the store could not hold the key anyway. */
export function addDelete(batch: WriteBatch<Buffer>, key: Format): void {
  const stored = storedKey(key)
  if (stored !== undefined) batch.delete(stored)
}
