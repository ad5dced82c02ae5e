/** Batches: Level's operations, added to a batch of the store. */

import type { AbstractLevel } from 'abstract-level'
import type { PutOptions, WriteBatch } from '../../index.ts'
import { assertStorable, type Format, storableKey, storedKey } from './formats.ts'
import { AbstractChainedBatch } from './library.ts'
import { type FirkinWriteOptions, lifetime } from './options.ts'

/** An operation of an array batch, as Level hands it over. */
export type Operation =
  | ({ readonly type: 'put'; readonly key: Format; readonly value: Format } & PutOptions)
  | { readonly type: 'del'; readonly key: Format }

/** A chained batch. Each operation is added to the store's batch when it is called. */
export class FirkinChainedBatch<K, V> extends AbstractChainedBatch<
  AbstractLevel<Format, K, V>,
  K,
  V
> {
  readonly #batch: WriteBatch<Buffer>
  readonly #commit: Commit

  /** @internal Made by `level.batch()`. */
  constructor(db: AbstractLevel<Format, K, V>, batch: WriteBatch<Buffer>, commit: Commit) {
    super(db)
    this.#batch = batch
    this.#commit = commit
  }

  /** @internal */
  _put(key: Format, value: Format, options: PutOptions): void {
    addPut(this.#batch, key, value, options)
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
  options: PutOptions,
): void {
  const stored = storableKey(key)
  assertStorable(value)
  batch.put(stored, value, lifetime(options))
}

/** Adds a delete to a batch, unless the store could not hold the key anyway. */
export function addDelete(batch: WriteBatch<Buffer>, key: Format): void {
  const stored = storedKey(key)
  if (stored !== undefined) batch.delete(stored)
}
