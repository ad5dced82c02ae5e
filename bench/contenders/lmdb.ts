/** lmdb as a contender. */

import { type Contender, type Mode, type OpenContender, PAST_ALL, type Scan } from '../contender.ts'
import { loadPeer } from '../peers.ts'
import { keyAt, touch, type Values } from '../workload.ts'

interface Lmdb {
  open(options: object): Database
}

interface Database {
  getBinary(key: string): Uint8Array | undefined
  /** Returns the value in a buffer that the next read overwrites. */
  getBinaryFast(key: string): Uint8Array | undefined
  put(key: string, value: Uint8Array): Promise<boolean>
  putSync(key: string, value: Uint8Array): boolean
  transactionSync(work: () => void): void
  getRange(options: { start?: string; end?: string; limit?: number }): Iterable<{
    key: string
    value: Uint8Array
  }>
  close(): Promise<void>
}

// `overlappingSync` must not go with `noSync`. Without it, a promise resolves when it is durable.
const OPTIONS = {
  unsynced: { noSync: true },
  background: {},
  durable: { overlappingSync: false },
} as const

/**
 * Makes a contender of lmdb that reads by `getBinary`, or with `borrowed` by `getBinaryFast`, which
 * lends a buffer that the next read overwrites. Its options are the defaults except for the sync:
 * string keys, values as bytes, no cache, no compression.
 */
export function lmdb(name: string, { borrowed }: { borrowed: boolean }): Contender {
  return {
    name,
    open: async (directory: string, mode: Mode, values: Values) => {
      const { open } = await loadPeer<Lmdb>('lmdb')
      const database = open({ path: directory, encoding: 'binary', ...OPTIONS[mode] })
      return borrowed ? new OpenLmdbBorrowing(database, values) : new OpenLmdb(database, values)
    },
  }
}

class OpenLmdb implements OpenContender {
  readonly database: Database
  readonly #values: Values
  #last: Promise<unknown> = Promise.resolve()

  constructor(database: Database, values: Values) {
    this.database = database
    this.#values = values
  }

  read(order: Uint32Array, from: number, to: number): number {
    const { database } = this
    let found = 0
    let sum = 0
    for (let at = from; at < to; at++) {
      const value = database.getBinary(keyAt(order[at] as number))
      if (value === undefined) continue
      found++
      sum += touch(value)
    }
    return sum < 0 ? -1 : found
  }

  put(index: number): void {
    this.#last = this.database.put(keyAt(index), this.#values.next())
  }

  async settle(): Promise<void> {
    await this.#last
  }

  putSync(order: Uint32Array, from: number, to: number): void {
    const { database } = this
    for (let at = from; at < to; at++) {
      const index = order[at] as number
      database.putSync(keyAt(index), this.#values.next())
    }
  }

  putBatch(order: Uint32Array, from: number, to: number): void {
    const { database } = this
    database.transactionSync(() => {
      for (let at = from; at < to; at++) {
        const index = order[at] as number
        database.putSync(keyAt(index), this.#values.next())
      }
    })
  }

  putAwaited(index: number): Promise<boolean> {
    return this.database.put(keyAt(index), this.#values.next())
  }

  scan({ prefix, gte = prefix, limit }: Scan): number {
    let count = 0
    let sum = 0
    const range = {
      ...(gte !== undefined && { start: gte }),
      ...(prefix !== undefined && { end: prefix + PAST_ALL }),
      ...(limit !== undefined && { limit }),
    }
    for (const { key, value } of this.database.getRange(range)) {
      sum += key.length + touch(value)
      count++
    }
    return sum < 0 ? -1 : count
  }

  async close(): Promise<void> {
    await this.database.close()
  }
}

class OpenLmdbBorrowing extends OpenLmdb {
  override read(order: Uint32Array, from: number, to: number): number {
    const { database } = this
    let found = 0
    let sum = 0
    for (let at = from; at < to; at++) {
      const value = database.getBinaryFast(keyAt(order[at] as number))
      if (value === undefined) continue
      found++
      sum += touch(value)
    }
    return sum < 0 ? -1 : found
  }
}
