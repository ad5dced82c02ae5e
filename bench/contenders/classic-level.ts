/** classic-level as a contender. */

import { type Contender, type Mode, type OpenContender, PAST_ALL, type Scan } from '../contender.ts'
import { loadPeer } from '../peers.ts'
import { keyAt, touch, type Values } from '../workload.ts'

interface ClassicLevelModule {
  readonly ClassicLevel: new (directory: string, options: object) => Database
}

interface Operation {
  readonly type: 'put'
  readonly key: string
  readonly value: Uint8Array
}

interface Database {
  open(): Promise<void>
  getSync(key: string): Uint8Array | undefined
  put(key: string, value: Uint8Array, options: { sync: boolean }): Promise<void>
  batch(operations: readonly Operation[], options: { sync: boolean }): Promise<void>
  iterator(options: { gte?: string; lt?: string; limit?: number }): Iterator
  close(): Promise<void>
}

interface Iterator {
  nextv(size: number): Promise<[string, Uint8Array][]>
  close(): Promise<void>
}

const SCAN_STEP = 1000

/** classic-level (LevelDB) with its default options, values as bytes. */
export const classicLevel: Contender = {
  name: 'classic-level',
  open: async (directory: string, mode: Mode, values: Values) => {
    const { ClassicLevel } = await loadPeer<ClassicLevelModule>('classic-level')
    const database = new ClassicLevel(directory, { valueEncoding: 'buffer' })
    await database.open()
    return new OpenClassicLevel(database, mode === 'durable', values)
  },
}

class OpenClassicLevel implements OpenContender {
  readonly #database: Database
  readonly #options: { sync: boolean }
  readonly #values: Values
  #operations: Operation[] = []

  constructor(database: Database, sync: boolean, values: Values) {
    this.#database = database
    this.#options = { sync }
    this.#values = values
  }

  read(order: Uint32Array, from: number, to: number): number {
    const database = this.#database
    let found = 0
    let sum = 0
    for (let at = from; at < to; at++) {
      const value = database.getSync(keyAt(order[at] as number))
      if (value === undefined) continue
      found++
      sum += touch(value)
    }
    return sum < 0 ? -1 : found
  }

  put(index: number): void {
    this.#operations.push({ type: 'put', key: keyAt(index), value: this.#values.next() })
  }

  async settle(): Promise<void> {
    const operations = this.#operations
    this.#operations = []
    if (operations.length > 0) await this.#database.batch(operations, this.#options)
  }

  putSync(): never {
    throw new Error('classic-level has no synchronous put')
  }

  async putBatch(order: Uint32Array, from: number, to: number): Promise<void> {
    for (let at = from; at < to; at++) this.put(order[at] as number)
    await this.settle()
  }

  putAwaited(index: number): Promise<void> {
    return this.#database.put(keyAt(index), this.#values.next(), this.#options)
  }

  async scan({ prefix, gte = prefix, limit }: Scan): Promise<number> {
    const iterator = this.#database.iterator({
      ...(gte !== undefined && { gte }),
      ...(prefix !== undefined && { lt: prefix + PAST_ALL }),
      ...(limit !== undefined && { limit }),
    })
    const step = Math.min(SCAN_STEP, limit ?? SCAN_STEP)
    let count = 0
    let sum = 0
    for (;;) {
      const entries = await iterator.nextv(step)
      for (const [key, value] of entries) {
        sum += key.length + touch(value)
        count++
      }
      if (entries.length === 0 || count === limit) break
    }
    await iterator.close()
    return sum < 0 ? -1 : count
  }

  async close(): Promise<void> {
    await this.#database.close()
  }
}
