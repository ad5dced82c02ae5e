/** Firkin as a contender. */

import { open, type Store, type StoreOptions } from '../../src/index.ts'
import type { Contender, Mode, OpenContender, Scan } from '../contender.ts'
import { keyAt, touch, type Values } from '../workload.ts'

const SYNC = { unsynced: 'never', background: 'interval', durable: 'always' } as const

/** Makes a contender of Firkin, with `options` in addition to those of the mode. */
export function firkin(name: string, options: StoreOptions = {}): Contender {
  return {
    name,
    open: async (directory: string, mode: Mode, values: Values) =>
      new OpenFirkin(await open(directory, { sync: SYNC[mode], ...options }), values),
  }
}

class OpenFirkin implements OpenContender {
  readonly #store: Store
  readonly #values: Values
  #last: Promise<unknown> = Promise.resolve()

  constructor(store: Store, values: Values) {
    this.#store = store
    this.#values = values
  }

  read(order: Uint32Array, from: number, to: number): number {
    const store = this.#store
    let found = 0
    let sum = 0
    for (let at = from; at < to; at++) {
      const value = store.get(keyAt(order[at] as number))
      if (value === undefined) continue
      found++
      sum += touch(value)
    }
    return sum < 0 ? -1 : found
  }

  put(index: number): void {
    this.#last = this.#store.put(keyAt(index), this.#values.next())
  }

  async settle(): Promise<void> {
    await this.#last
  }

  putSync(order: Uint32Array, from: number, to: number): void {
    const store = this.#store
    for (let at = from; at < to; at++) {
      const index = order[at] as number
      store.putSync(keyAt(index), this.#values.next())
    }
  }

  async putBatch(order: Uint32Array, from: number, to: number): Promise<void> {
    const batch = this.#store.batch()
    for (let at = from; at < to; at++) {
      const index = order[at] as number
      batch.put(keyAt(index), this.#values.next())
    }
    await batch.commit()
  }

  putAwaited(index: number): Promise<void> {
    return this.#store.put(keyAt(index), this.#values.next())
  }

  scan(scan: Scan): number {
    let count = 0
    let sum = 0
    for (const [key, value] of this.#store.entries(scan)) {
      sum += key.length + touch(value)
      count++
    }
    return sum < 0 ? -1 : count
  }

  async close(): Promise<void> {
    await this.#store.close()
  }
}
