/** better-sqlite3 as a contender. */

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type Contender, type Mode, type OpenContender, PAST_ALL, type Scan } from '../contender.ts'
import { loadPeer } from '../peers.ts'
import { keyAt, touch, type Values } from '../workload.ts'

interface BetterSqlite3Module {
  readonly default: new (file: string) => Database
}

interface Database {
  pragma(text: string): unknown
  exec(text: string): unknown
  prepare(text: string): Statement
  close(): void
}

interface Statement {
  pluck(): Statement
  raw(): Statement
  get(...values: unknown[]): unknown
  run(...values: unknown[]): unknown
  iterate(...values: unknown[]): Iterable<unknown>
}

const SYNCHRONOUS = { unsynced: 'OFF', background: 'NORMAL', durable: 'FULL' } as const

/**
 * better-sqlite3: one table without row ids, with the key as its primary key, a write-ahead log,
 * and prepared statements.
 */
export const betterSqlite3: Contender = {
  name: 'better-sqlite3',
  open: async (directory: string, mode: Mode, values: Values) => {
    const { default: Sqlite } = await loadPeer<BetterSqlite3Module>('better-sqlite3')
    mkdirSync(directory, { recursive: true })
    const database = new Sqlite(join(directory, 'store.db'))
    database.pragma('journal_mode = WAL')
    database.pragma(`synchronous = ${SYNCHRONOUS[mode]}`)
    // As much cache as the other stores get from the page cache.
    database.pragma('mmap_size = 4294967296')
    database.exec(
      'CREATE TABLE IF NOT EXISTS store (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID',
    )
    return new OpenBetterSqlite3(database, values)
  },
}

class OpenBetterSqlite3 implements OpenContender {
  readonly #database: Database
  readonly #values: Values
  readonly #get: Statement
  readonly #put: Statement
  readonly #begin: Statement
  readonly #commit: Statement
  readonly #range: Statement
  #inTransaction = false

  constructor(database: Database, values: Values) {
    this.#database = database
    this.#values = values
    this.#get = database.prepare('SELECT value FROM store WHERE key = ?').pluck()
    this.#put = database.prepare(
      'INSERT INTO store VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value',
    )
    this.#begin = database.prepare('BEGIN')
    this.#commit = database.prepare('COMMIT')
    this.#range = database
      .prepare('SELECT key, value FROM store WHERE key >= ? AND key < ? ORDER BY key LIMIT ?')
      .raw()
  }

  read(order: Uint32Array, from: number, to: number): number {
    const get = this.#get
    let found = 0
    let sum = 0
    for (let at = from; at < to; at++) {
      const value = get.get(keyAt(order[at] as number)) as Uint8Array | undefined
      if (value === undefined) continue
      found++
      sum += touch(value)
    }
    return sum < 0 ? -1 : found
  }

  put(index: number): void {
    if (!this.#inTransaction) {
      this.#begin.run()
      this.#inTransaction = true
    }
    this.#put.run(keyAt(index), this.#values.next())
  }

  async settle(): Promise<void> {
    this.#settle()
  }

  putSync(order: Uint32Array, from: number, to: number): void {
    for (let at = from; at < to; at++) {
      const index = order[at] as number
      this.#put.run(keyAt(index), this.#values.next())
    }
  }

  putBatch(order: Uint32Array, from: number, to: number): void {
    for (let at = from; at < to; at++) this.put(order[at] as number)
    this.#settle()
  }

  async putAwaited(index: number): Promise<void> {
    this.#put.run(keyAt(index), this.#values.next())
  }

  scan({ prefix = '', gte = prefix, limit = -1 }: Scan): number {
    let count = 0
    let sum = 0
    for (const row of this.#range.iterate(gte, prefix + PAST_ALL, limit)) {
      const [key, value] = row as [string, Uint8Array]
      sum += key.length + touch(value)
      count++
    }
    return sum < 0 ? -1 : count
  }

  async close(): Promise<void> {
    this.#settle()
    this.#database.close()
  }

  #settle(): void {
    if (!this.#inTransaction) return
    this.#commit.run()
    this.#inTransaction = false
  }
}
