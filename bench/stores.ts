/** Opens the stores that take part, fills them, and closes them. */

import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import type { Settings } from './bench.ts'
import type { Contender, Mode, OpenContender } from './contender.ts'
import { betterSqlite3 } from './contenders/better-sqlite3.ts'
import { classicLevel } from './contenders/classic-level.ts'
import { firkin } from './contenders/firkin.ts'
import { lmdb } from './contenders/lmdb.ts'
import { Values } from './workload.ts'

/** Firkin with its default options. */
export const FIRKIN = firkin('firkin')
/** Firkin with the keydir of kind `hash`. */
export const FIRKIN_HASH = firkin('firkin hash', { keydir: 'hash' })
/** lmdb with reads that return copies. */
export const LMDB = lmdb('lmdb', { borrowed: false })
/** lmdb with reads that lend a buffer. */
export const LMDB_FAST = lmdb('lmdb fast', { borrowed: true })
/** classic-level with its default options. */
export const CLASSIC_LEVEL = classicLevel
/** The stores that Firkin is measured against. */
export const PEERS: readonly Contender[] = [LMDB, CLASSIC_LEVEL, betterSqlite3]

/** The usual number of operations in a chunk. */
export const CHUNK = 1000

/** Runs `work` with an empty directory, and removes it. */
export async function withDirectory<T>(
  { directory }: Pick<Settings, 'directory'>,
  work: (path: string) => Promise<T>,
): Promise<T> {
  const path = mkdtempSync(join(directory, 'firkin-bench-'))
  try {
    return await work(path)
  } finally {
    rmSync(path, { recursive: true, force: true })
  }
}

/** Runs `work` with each contender open in its own empty directory, and then closes them. */
export async function withStores<T>(
  contenders: readonly Contender[],
  mode: Mode,
  settings: Settings,
  work: (stores: readonly Entrant[]) => Promise<T>,
): Promise<T> {
  return await withDirectory(settings, async (path) => {
    const values = new Values(settings.valueBytes)
    const stores: Entrant[] = []
    try {
      for (const [index, { name, open }] of contenders.entries()) {
        stores.push({ name, store: await open(join(path, String(index)), mode, values) })
      }
      return await work(stores)
    } finally {
      for (const { store } of stores) await store.close()
    }
  })
}

/** A contender that takes part. */
export interface Entrant<Store = OpenContender> {
  readonly name: string
  readonly store: Store
}

/**
 * The number of puts between two waits, if a store is only read afterwards. The peers load faster
 * with it, but lmdb writes far more slowly ever after.
 */
export const LARGE_WINDOW = 50_000

/** Puts the keys of the indexes from `low` to `high`. */
export async function load(
  store: Pick<OpenContender, 'put' | 'settle'>,
  low: number,
  high: number,
  window = CHUNK,
): Promise<void> {
  for (let at = low; at < high; at += window) {
    const end = Math.min(high, at + window)
    for (let index = at; index < end; index++) store.put(index)
    await store.settle()
    await setImmediate()
  }
}

/** Walks an order in chunks, and begins again at its end. */
export class Rotation {
  readonly order: Uint32Array
  readonly #size: number
  #at = 0

  constructor(order: Uint32Array, size = CHUNK) {
    this.order = order
    this.#size = size
  }

  /** Returns the beginning of the next chunk, which has `size` indexes. */
  next(): number {
    const from = this.#at
    this.#at = from + 2 * this.#size > this.order.length ? 0 : from + this.#size
    return from
  }
}
