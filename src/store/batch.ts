/** Collects changes of a store that are made together or not at all. */

import { encodeValue, type Key, KeyBuffer, valueSize } from '../engine/encoding.ts'
import type { Engine } from '../engine/engine.ts'
import { StoreError } from '../errors.ts'
import {
  IN_BATCH,
  type Page,
  PUT,
  pageOf,
  recordSize,
  TOMBSTONE,
  writeRecordHeader,
} from '../format/record.ts'
import { allocateBuffer } from '../io/memory.ts'
import type { ValueEncoding, ValueInput } from '../options.ts'
import { expiresAt, type PutOptions } from './put-options.ts'

/** The most bytes that one batch may hold: 1 GiB. */
const MAX_BATCH_SIZE = 2 ** 30

const INITIAL_SIZE = 4096

/** A change in a list of which a {@link WriteBatch} is made. */
export type BatchOperation<V> =
  | ({ readonly type: 'put'; readonly key: Key; readonly value: ValueInput<V> } & PutOptions)
  | { readonly type: 'delete'; readonly key: Key }

/** The parts of a store that a batch needs. */
interface BatchTarget<V> {
  readonly engine: Engine
  readonly valueEncoding: ValueEncoding<V>
  readonly ttlMs: number
  assertOpen(): void
}

/**
 * Changes that are made together or not at all: after a crash at any point, a store shows all of
 * a batch or nothing of it. Keys and values are copied when they are added. Later changes of a key
 * win over earlier ones.
 *
 * @example
 * await store.batch().put('from', '90').put('to', '110').delete('pending').commit()
 */
export class WriteBatch<V> {
  readonly #target: BatchTarget<V>
  readonly #key = new KeyBuffer()
  #page: Page = pageOf(allocateBuffer(INITIAL_SIZE))
  #size = 0
  #count = 0
  #putCount = 0
  #committed = false

  /** @internal Made by `store.batch()`. */
  constructor(target: BatchTarget<V>) {
    this.#target = target
  }

  /** The number of changes. */
  get length(): number {
    return this.#count
  }

  /** The bytes that the changes take in a segment. */
  get byteSize(): number {
    return this.#size
  }

  /**
   * Adds a put.
   *
   * @throws TypeError, RangeError; the batch is then unchanged
   * @throws {@link StoreError} FIRKIN_CLOSED once the batch is committed
   */
  put(key: Key, value: ValueInput<V>, options?: PutOptions): this {
    this.#assertUncommitted()
    const { valueEncoding, ttlMs, engine } = this.#target
    const expiresAtMs = expiresAt(options, ttlMs, engine.options.clock)
    const encoded = encodeValue(valueEncoding, value)
    // The caller's getters, clock and codec have run, and may have committed the batch or added to
    // it. No code of the caller's runs from here on.
    this.#assertUncommitted()
    const size = valueSize(encoded)
    this.#key.encode(key)
    const valueAt = this.#add(PUT, size, expiresAtMs)
    if (typeof encoded === 'string') this.#page.bytes.write(encoded, valueAt, 'utf8')
    else this.#page.bytes.set(encoded, valueAt)
    return this
  }

  /** Adds a delete. The commit looks up whether the key is there. */
  delete(key: Key): this {
    this.#assertUncommitted()
    this.#key.encode(key)
    this.#add(TOMBSTONE, 0, 0)
    return this
  }

  /** Adds a change from a list. */
  add(operation: BatchOperation<V>): this {
    switch (operation.type) {
      case 'put': {
        const { type, key, value, ...options } = operation
        return this.put(key, value, options)
      }
      case 'delete':
        return this.delete(operation.key)
      default:
        throw new TypeError("A batch operation is of type 'put' or 'delete'")
    }
  }

  /** Removes all changes from the batch. */
  clear(): this {
    this.#assertUncommitted()
    this.#size = 0
    this.#count = 0
    this.#putCount = 0
    return this
  }

  /**
   * Makes all changes. They are visible at once; the promise settles when they are as durable as
   * `sync` promises. If the write fails nothing has changed, and the batch can be committed again.
   *
   * @throws {@link StoreError} FIRKIN_CLOSED, FIRKIN_READ_ONLY, FIRKIN_WRITE_FAILED,
   * FIRKIN_NO_MEMORY, FIRKIN_POISONED
   */
  async commit(): Promise<void> {
    const { promise } = this.#commit()
    try {
      await promise
    } catch (error) {
      this.#committed = false
      throw error
    }
  }

  /** As {@link commit}. On return the changes are as durable as `sync` promises. */
  commitSync(): void {
    const group = this.#commit()
    try {
      this.#target.engine.commits.settleNow(group)
    } catch (error) {
      this.#committed = false
      throw error
    }
  }

  #commit() {
    this.#assertUncommitted()
    const { engine } = this.#target
    this.#target.assertOpen()
    engine.attend()
    // Work that was due may have run the caller's clock, which may have closed the store or
    // committed the batch.
    this.#assertUncommitted()
    this.#target.assertOpen()
    const isFreeing = this.#putCount === 0
    const group = engine.commitBatch(this.#page, this.#size, this.#count, isFreeing)
    this.#committed = true
    return group
  }

  /** Adds a record without its value; returns the offset in the page at which the value goes. */
  #add(kind: typeof PUT | typeof TOMBSTONE, size: number, expiresAtMs: number): number {
    const key = this.#key
    const total = recordSize(key.size, size, expiresAtMs !== 0)
    const end = this.#size + total
    if (end > MAX_BATCH_SIZE) {
      throw new RangeError(`Batch is ${end} bytes; the limit is ${MAX_BATCH_SIZE}`)
    }
    if (end > this.#page.bytes.length) {
      const grown = allocateBuffer(Math.max(end, this.#page.bytes.length * 2))
      this.#page.bytes.copy(grown, 0, 0, this.#size)
      this.#page = pageOf(grown)
    }
    const { view, bytes } = this.#page
    const keyAt = writeRecordHeader(
      view,
      this.#size,
      kind,
      IN_BATCH,
      key.size,
      size,
      0,
      expiresAtMs,
    )
    bytes.set(key.bytes.subarray(0, key.size), keyAt)
    this.#size = end
    this.#count++
    if (kind === PUT) this.#putCount++
    return keyAt + key.size
  }

  #assertUncommitted(): void {
    if (this.#committed) {
      throw new StoreError('FIRKIN_CLOSED', 'The batch has been committed')
    }
  }
}
