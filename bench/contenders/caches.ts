/** The caches that take part, Firkin's among them. */

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { openCache, type PersistentCache } from '../../src/cache/cache.ts'
import type { CacheContender, OpenCache } from '../cache-contender.ts'
import { loadPeer } from '../peers.ts'
import { keyAt, textAt } from '../workload.ts'

interface KeyvModule {
  readonly Keyv: new (options: { readonly store: unknown }) => Keyv
}

interface Keyv {
  get(key: string): Promise<string | undefined>
  set(key: string, value: string): Promise<boolean>
  disconnect(): Promise<void>
}

interface KeyvSqliteModule {
  readonly KeyvSqlite: new (uri: string) => unknown
}

interface CacacheModule {
  readonly default: Cacache
}

interface Cacache {
  get(directory: string, key: string): Promise<{ readonly data: Buffer }>
  put(directory: string, key: string, data: string): Promise<unknown>
}

interface LruCacheModule {
  readonly LRUCache: new (options: {
    readonly maxSize: number
    readonly sizeCalculation: (value: string, key: string) => number
  }) => LruCache
}

/** The part of lru-cache that is used. */
export interface LruCache {
  get(key: string): string | undefined
  set(key: string, value: string): unknown
}

/** Firkin's cache with its default options. */
export const FIRKIN_CACHE: CacheContender = {
  name: 'firkin',
  share: 1,
  persistent: true,
  open: async (directory, maxBytes) => {
    const options = { maxBytes, valueEncoding: 'utf8', strict: true } as const
    return new OpenFirkinCache(await openCache<string>(directory, options))
  },
}

class OpenFirkinCache implements OpenCache {
  readonly #cache: PersistentCache<string>

  constructor(cache: PersistentCache<string>) {
    this.#cache = cache
  }

  get(order: Uint32Array, from: number, to: number): number {
    let found = 0
    for (let at = from; at < to; at++) {
      if (this.#cache.get(keyAt(order[at] as number)) !== undefined) found++
    }
    return found
  }

  set(order: Uint32Array, from: number, to: number): void {
    for (let at = from; at < to; at++) {
      const index = order[at] as number
      this.#cache.set(keyAt(index), textAt(index))
    }
  }

  async close(): Promise<void> {
    await this.#cache.close()
  }
}

/** lru-cache: values in memory, by reference, without the work that a cache on a disk has. */
export const LRU_CACHE: CacheContender = {
  name: 'lru-cache',
  share: 1,
  persistent: false,
  open: async (_, maxBytes) => new OpenLruCache(await makeLruCache(maxBytes)),
}

/** Makes an lru-cache for `maxBytes` bytes of keys and values. */
export async function makeLruCache(maxBytes: number): Promise<LruCache> {
  const { LRUCache } = await loadPeer<LruCacheModule>('lru-cache')
  return new LRUCache({
    maxSize: maxBytes,
    sizeCalculation: (value, key) => value.length + key.length,
  })
}

class OpenLruCache implements OpenCache {
  readonly #cache: LruCache

  constructor(cache: LruCache) {
    this.#cache = cache
  }

  get(order: Uint32Array, from: number, to: number): number {
    let found = 0
    for (let at = from; at < to; at++) {
      if (this.#cache.get(keyAt(order[at] as number)) !== undefined) found++
    }
    return found
  }

  set(order: Uint32Array, from: number, to: number): void {
    for (let at = from; at < to; at++) {
      const index = order[at] as number
      this.#cache.set(keyAt(index), textAt(index))
    }
  }

  async close(): Promise<void> {}
}

/** Keyv with its SQLite adapter; it has no budget. */
export const KEYV_SQLITE: CacheContender = {
  name: '@keyv/sqlite',
  share: 1 / 4,
  persistent: true,
  open: async (directory) => {
    const { Keyv } = await loadPeer<KeyvModule>('keyv')
    const { KeyvSqlite } = await loadPeer<KeyvSqliteModule>('@keyv/sqlite')
    mkdirSync(directory, { recursive: true })
    return new OpenKeyv(
      new Keyv({ store: new KeyvSqlite(`sqlite://${join(directory, 'cache.db')}`) }),
    )
  },
}

class OpenKeyv implements OpenCache {
  readonly #keyv: Keyv

  constructor(keyv: Keyv) {
    this.#keyv = keyv
  }

  async get(order: Uint32Array, from: number, to: number): Promise<number> {
    let found = 0
    for (let at = from; at < to; at++) {
      if ((await this.#keyv.get(keyAt(order[at] as number))) !== undefined) found++
    }
    return found
  }

  async set(order: Uint32Array, from: number, to: number): Promise<void> {
    for (let at = from; at < to; at++) {
      const index = order[at] as number
      await this.#keyv.set(keyAt(index), textAt(index))
    }
  }

  async close(): Promise<void> {
    await this.#keyv.disconnect()
  }
}

/** cacache: files named by a digest of their content, and an index of small files; no budget. */
export const CACACHE: CacheContender = {
  name: 'cacache',
  share: 1 / 50,
  persistent: true,
  open: async (directory) => {
    const { default: cacache } = await loadPeer<CacacheModule>('cacache')
    return new OpenCacache(cacache, directory)
  },
}

class OpenCacache implements OpenCache {
  readonly #cacache: Cacache
  readonly #directory: string

  constructor(cacache: Cacache, directory: string) {
    this.#cacache = cacache
    this.#directory = directory
  }

  async get(order: Uint32Array, from: number, to: number): Promise<number> {
    let found = 0
    for (let at = from; at < to; at++) {
      const { data } = await this.#cacache.get(this.#directory, keyAt(order[at] as number))
      if (data.toString().length > 0) found++
    }
    return found
  }

  async set(order: Uint32Array, from: number, to: number): Promise<void> {
    for (let at = from; at < to; at++) {
      const index = order[at] as number
      await this.#cacache.put(this.#directory, keyAt(index), textAt(index))
    }
  }

  async close(): Promise<void> {}
}

/** All caches, Firkin first. */
export const CACHES: readonly CacheContender[] = [FIRKIN_CACHE, KEYV_SQLITE, CACACHE, LRU_CACHE]
