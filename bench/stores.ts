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

/** Firkin as it is by default. */
export const FIRKIN = firkin('firkin')
/** Firkin with the keydir of kind `hash`. */
export const FIRKIN_HASH = firkin('firkin hash', { keydir: 'hash' })
/** lmdb, whose reads give copies. */
export const LMDB = lmdb('lmdb', { borrowed: false })
/** lmdb, whose reads lend a buffer. */
export const LMDB_FAST = lmdb('lmdb fast', { borrowed: true })
/** What Firkin is measured against. */
export const PEERS: readonly Contender[] = [LMDB, classicLevel, betterSqlite3]

/** How many operations a chunk has where nothing else is said. */
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

/** Runs `work` with each contender opened in a directory of its own, empty; closes them. */
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
 * How many puts are made before any is waited for, where a store is only read afterwards: the peers are quicker so. lmdb
 * writes far more slowly ever after.
 */
export const LARGE_WINDOW = 50_000

/** Puts the keys of the indexes from `low` up to `high`. */
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

/** Walks an order in chunks, round and round. */
export class Rotation {
  readonly order: Uint32Array
  readonly #size: number
  #at = 0

  constructor(order: Uint32Array, size = CHUNK) {
    this.order = order
    this.#size = size
  }

  /** Where the next chunk begins; it ends `size` further on. */
  next(): number {
    const from = this.#at
    this.#at = from + 2 * this.#size > this.order.length ? 0 : from + this.#size
    return from
  }
}
