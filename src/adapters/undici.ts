/**
 * Firkin's cache as a store for the cache interceptor of undici 7.
 *
 * A method and a URL make a *resource*. Its responses are told apart by those headers of the request that their
 * `vary` names; so it has one entry for the sets of names that have been seen, and one for each response:
 *
 *     "GET https://a.org /path"             until when the sets are kept, and the sets: JSON
 *     "GET https://a.org /path <digest>"    4 bytes size of the head, the head: JSON, the body
 *
 * The digest is of the names and of the request's values. Every entry has the URL as its tag, so that one
 * invalidation drops the responses to all methods, whatever they vary by.
 */

import { createHash } from 'node:crypto'
import { Writable } from 'node:stream'
import type { cacheStores } from 'undici'
import { type CacheOptions, openCache, PersistentCache } from '../cache/cache.ts'
import { MAX_CACHE_BYTES, MAX_ENTRY_SHARE, MIN_CACHE_BYTES } from '../cache/options.ts'
import { ownBytes, type ReadBytes } from '../engine/encoding.ts'
import { checkInteger, checkNames, checkObject } from '../options.ts'
import { systemClock } from '../scheduling/time.ts'
import { checkEncodings } from './check-encodings.ts'

/** What undici asks of a store. */
type CacheStore = Pick<
  InstanceType<typeof cacheStores.MemoryCacheStore>,
  'get' | 'createWriteStream' | 'delete'
>
type CacheKey = Parameters<CacheStore['get']>[0]
type CacheValue = Parameters<CacheStore['createWriteStream']>[1]
type GetResult = Exclude<Awaited<ReturnType<CacheStore['get']>>, undefined>
type Headers = Readonly<Record<string, string | readonly string[] | null>> | undefined

/** How a {@link FirkinCacheStore} is opened in a directory. Sizes are bytes. */
export interface FirkinCacheStoreOptions
  extends Pick<CacheOptions, 'policy' | 'strict' | 'allowNonEmpty' | 'mapping' | 'clock'> {
  /** What the files may take on disk together, at any moment: the cache's `maxBytes`. */
  readonly maxSize: number
  /**
   * The largest body; a longer one is not kept. At most an eighth of `maxSize`, less 64 KiB.
   * @defaultValue 5 MiB, or as much as `maxSize` allows
   */
  readonly maxEntrySize?: number
  /**
   * How many entries there may be. Each response is one, and each resource is one more.
   * @defaultValue Infinity
   */
  readonly maxCount?: number
}

/** The header names that responses of one resource vary by, and until when they are kept. */
interface Variants {
  readonly until: number
  readonly sets: readonly (readonly string[])[]
}

const OPTION_NAMES = [
  'maxSize',
  'maxEntrySize',
  'maxCount',
  'policy',
  'strict',
  'mapping',
  'clock',
] as const satisfies (keyof FirkinCacheStoreOptions)[]

const MAX_BODY_BYTES = 5 * 2 ** 20
/** What a response takes beside its body, at most; where that is not enough the cache refuses it. */
const HEAD_ROOM = 64 * 1024
const HEAD_SIZE_BYTES = 4
/**
 * A body is given in pieces of this size: the memory of larger ones comes from the system each time, page by page, which
 * takes many times as long as the copy (measured).
 */
const PIECE_SIZE = 64 * 1024
/** Longer URLs are known by their digest: a key is kept in memory. */
const MAX_URL_LENGTH = 2048
/** A resource whose responses vary by more sets of names forgets the oldest. */
const MAX_SET_COUNT = 8
const NO_VARIANTS: Variants = { until: 0, sets: [] }

/**
 * A store for `interceptors.cache` that survives restarts and kills, within a budget on disk.
 *
 * A body is gathered in memory, up to `maxEntrySize`, and kept when it is complete. A response is kept until its
 * `deleteAt`, or until its room is needed. What is deleted while it is being written is not kept.
 *
 * @example
 * const store = await FirkinCacheStore.open('./http-cache', { maxSize: 512 * 2 ** 20 })
 * const agent = new Agent().compose(interceptors.cache({ store }))
 */
export class FirkinCacheStore implements CacheStore {
  /** What the responses are kept in: its `stats` and its events are here. */
  readonly cache: PersistentCache<Buffer>
  readonly #maxEntrySize: number
  readonly #clock: () => number
  /** Responses that are being written, by URL. */
  readonly #writing = new Map<string, Set<ResponseWriter>>()

  /**
   * @param cache stays the caller's to close, unless `close` is called here; its values are bytes
   * @param options `maxEntrySize`: the largest body, in bytes, 5 MiB by default; `clock`: the cache's
   */
  constructor(
    cache: PersistentCache<Buffer>,
    {
      maxEntrySize = MAX_BODY_BYTES,
      clock = systemClock,
    }: { maxEntrySize?: number; clock?: () => number } = {},
  ) {
    // Its bytes are read where they lie, which no other object can do.
    if (!(cache instanceof PersistentCache)) {
      throw new TypeError('FirkinCacheStore needs an open cache')
    }
    checkEncodings('FirkinCacheStore', 'cache', cache, ['buffer'])
    checkInteger(maxEntrySize, 0, Number.MAX_SAFE_INTEGER, 'maxEntrySize')
    this.cache = cache
    this.#maxEntrySize = maxEntrySize
    this.#clock = clock
  }

  /**
   * Opens the cache in a directory, and creates it where there is none.
   *
   * @throws TypeError, RangeError for wrong options
   * @throws whatever `openCache` throws, with `strict`
   */
  static async open(
    directory: string,
    options: FirkinCacheStoreOptions,
  ): Promise<FirkinCacheStore> {
    checkObject(options, 'Options')
    checkNames(options, OPTION_NAMES, 'option')
    const { maxSize, maxEntrySize, maxCount, ...rest } = options
    checkInteger(maxSize, MIN_CACHE_BYTES, MAX_CACHE_BYTES, 'maxSize')
    const most = Math.floor(maxSize / MAX_ENTRY_SHARE) - HEAD_ROOM
    if (maxEntrySize !== undefined) checkInteger(maxEntrySize, 0, most, 'maxEntrySize')
    if (maxCount !== undefined && maxCount !== Number.POSITIVE_INFINITY) {
      checkInteger(maxCount, 1, Number.MAX_SAFE_INTEGER, 'maxCount')
    }
    const bodySize = maxEntrySize ?? Math.min(MAX_BODY_BYTES, most)
    const cache = await openCache(directory, {
      ...rest,
      maxBytes: maxSize,
      maxEntryBytes: bodySize + HEAD_ROOM,
      ...(maxCount !== undefined && { maxEntries: maxCount }),
    })
    return new FirkinCacheStore(cache, {
      maxEntrySize: bodySize,
      ...(rest.clock !== undefined && { clock: rest.clock }),
    })
  }

  /**
   * The newest response that fits a request, fresh or stale; `undefined` where there is none.
   *
   * @throws TypeError for a key that is none
   */
  get(key: CacheKey): GetResult | undefined {
    const resource = resourceOf(key)
    let found: GetResult | undefined
    for (const names of this.#variantsOf(resource).sets) {
      const response = this.#read(responseKey(resource, names, key.headers))
      if (response === undefined) continue
      if (found === undefined || response.cachedAt >= found.cachedAt) found = response
    }
    return found
  }

  /**
   * Takes a response's body; when it has ended the response is kept, in the place of the one that the request would
   * have been answered with.
   *
   * @throws TypeError for a key or value that is none
   */
  createWriteStream(key: CacheKey, value: CacheValue): Writable {
    const url = urlOf(key)
    if (typeof value !== 'object' || value === null || typeof value.deleteAt !== 'number') {
      throw new TypeError('A response has a status, headers and times')
    }
    const writers = this.#writing.get(url) ?? new Set()
    this.#writing.set(url, writers)
    const writer = new ResponseWriter(this.#maxEntrySize, {
      complete: (body) => this.#keep(key, value, body, writer),
      closed: () => {
        writers.delete(writer)
        if (writers.size === 0 && this.#writing.get(url) === writers) this.#writing.delete(url)
      },
    })
    writers.add(writer)
    return writer
  }

  /** Deletes every response to a URL, whatever the method, in constant time. */
  delete(key: CacheKey): void {
    const url = urlOf(key)
    for (const writer of this.#writing.get(url) ?? []) writer.overtaken = true
    this.cache.invalidateTags(url)
  }

  /** Closes the cache. */
  async close(): Promise<void> {
    await this.cache.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #variantsOf(resource: string): Variants {
    const stored = this.cache.get(resource)
    return stored === undefined ? NO_VARIANTS : (JSON.parse(stored.toString()) as Variants)
  }

  #read(key: string): GetResult | undefined {
    return PersistentCache.readInPlace(this.cache, key, decodeResponse)
  }

  #keep(
    key: CacheKey,
    value: CacheValue,
    body: readonly Buffer[],
    writer: { readonly overtaken: boolean },
  ): void {
    const nowMs = this.#clock()
    const ttlMs = value.deleteAt - nowMs
    const response = encodeResponse(value, body)
    if (ttlMs < 1) return
    const resource = resourceOf(key)
    const names = Object.keys(value.vary ?? {})
    const own = responseKey(resource, names, value.vary)
    const { until, sets } = this.#variantsOf(resource)
    for (const others of sets) {
      const other = responseKey(resource, others, key.headers)
      if (other !== own && this.cache.has(other)) this.cache.delete(other)
    }
    const url = urlOf(key)
    const tags = [url]
    if (!this.cache.set(own, response, { ttlMs, tags })) return
    const kept = sets.filter((others) => others.join() !== names.join())
    const variants: Variants = {
      until: Math.max(until, value.deleteAt),
      sets: [...kept, names].slice(-MAX_SET_COUNT),
    }
    this.cache.set(resource, Buffer.from(JSON.stringify(variants)), {
      ttlMs: variants.until - nowMs,
      tags,
    })
    // The clock may have deleted it while it was kept.
    if (writer.overtaken) this.cache.invalidateTags(url)
  }
}

/** What a {@link ResponseWriter} tells. */
interface WriterListener {
  /** The body has ended. */
  complete(body: readonly Buffer[]): void
  /** Nothing more will come, whether the body has ended or not. */
  closed(): void
}

/** Gathers a body. */
class ResponseWriter extends Writable {
  /** Whether the response was deleted meanwhile: then it is not kept. */
  overtaken = false
  readonly #maxSize: number
  readonly #listener: WriterListener
  readonly #chunks: Buffer[] = []
  #size = 0

  constructor(maxSize: number, listener: WriterListener) {
    super()
    this.#maxSize = maxSize
    this.#listener = listener
  }

  override _write(chunk: Buffer, _: BufferEncoding, done: () => void): void {
    this.#size += chunk.length
    if (this.#size > this.#maxSize || this.overtaken) this.destroy()
    else this.#chunks.push(chunk)
    done()
  }

  override _final(done: () => void): void {
    if (!this.overtaken) this.#listener.complete(this.#chunks)
    done()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#chunks.length = 0
    this.#listener.closed()
    done(error)
  }
}

function urlOf(key: CacheKey): string {
  if (typeof key !== 'object' || key === null) {
    throw new TypeError(`A key is an object, not ${key === null ? 'null' : typeof key}`)
  }
  const { origin, path } = key
  if (typeof origin !== 'string' || typeof path !== 'string') {
    throw new TypeError('A key has an origin and a path, which are strings')
  }
  const url = `${origin} ${path}`
  return url.length <= MAX_URL_LENGTH ? url : digestOf(url)
}

function resourceOf(key: CacheKey): string {
  const url = urlOf(key)
  if (typeof key.method !== 'string') throw new TypeError('A key has a method, which is a string')
  return `${key.method} ${url}`
}

/** The key of the response to requests that have these values in the headers of these names. */
function responseKey(resource: string, names: readonly string[], headers: Headers): string {
  if (names.length === 0) return `${resource} `
  const values = names.map((name) => [name, headers?.[name] ?? null])
  return `${resource} ${digestOf(JSON.stringify(values))}`
}

function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('base64url')
}

function decodeResponse({ page: { bytes }, valueEnd }: ReadBytes, start: number): GetResult {
  const headAt = start + HEAD_SIZE_BYTES
  const bodyAt = headAt + bytes.readUInt32LE(start)
  const value = JSON.parse(bytes.toString('utf8', headAt, bodyAt)) as CacheValue
  // The interceptor takes a buffer's bytes one by one when it revalidates: so a body is a list of buffers.
  const body: Buffer[] = []
  for (let at = bodyAt; at < valueEnd; at += PIECE_SIZE) {
    body.push(ownBytes(bytes, at, Math.min(at + PIECE_SIZE, valueEnd)))
  }
  return { cacheControlDirectives: {}, ...value, body }
}

function encodeResponse(value: CacheValue, body: readonly Buffer[]): Buffer {
  const head = Buffer.from(JSON.stringify(value))
  const size = Buffer.allocUnsafe(HEAD_SIZE_BYTES)
  size.writeUInt32LE(head.length)
  return Buffer.concat([size, head, ...body])
}
