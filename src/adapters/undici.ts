/**
 * A store for the cache interceptor of undici 7, over Firkin's cache.
 *
 * A method and a URL make a *resource*. The request headers that a response's `vary` names tell the
 * responses of one resource apart. So a resource has one entry for the sets of header names seen so
 * far, and one for each response:
 *
 *     "GET https://a.org /path"             JSON: the sets, and until when they are kept
 *     "GET https://a.org /path <digest>"    size of the head (4 bytes), head (JSON), body
 *
 * The digest covers the header names and their values in the request. Every entry is tagged with
 * its URL, so that one invalidation drops the responses for all methods, whatever they vary by.
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

/** The interface that undici requires of a store. */
type CacheStore = Pick<
  InstanceType<typeof cacheStores.MemoryCacheStore>,
  'get' | 'createWriteStream' | 'delete'
>
type CacheKey = Parameters<CacheStore['get']>[0]
type CacheValue = Parameters<CacheStore['createWriteStream']>[1]
type GetResult = Exclude<Awaited<ReturnType<CacheStore['get']>>, undefined>
type Headers = Readonly<Record<string, string | readonly string[] | null>> | undefined

/** The options of a cache that a {@link FirkinCacheStore} passes on. */
type PassedOption = 'policy' | 'strict' | 'allowNonEmpty' | 'localOnly' | 'mapping' | 'clock'

/** The options that open a {@link FirkinCacheStore} in a directory. Sizes are in bytes. */
export interface FirkinCacheStoreOptions extends Pick<CacheOptions, PassedOption> {
  /** The most that the files take together on disk, at any moment: the cache's `maxBytes`. */
  readonly maxSize: number
  /**
   * The largest body that is cached. At most an eighth of `maxSize`, less 64 KiB.
   * @defaultValue 5 MiB, or as much as `maxSize` allows
   */
  readonly maxEntrySize?: number
  /**
   * The most entries. Each response counts as one, and each resource as one more.
   * @defaultValue Infinity
   */
  readonly maxCount?: number
}

/** The sets of header names that a resource's responses vary by, and until when they are kept. */
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
  'allowNonEmpty',
  'localOnly',
  'mapping',
  'clock',
] as const satisfies (keyof FirkinCacheStoreOptions)[]

const MAX_BODY_BYTES = 5 * 2 ** 20
/** The space for a response's head beside the largest body. The cache refuses anything larger. */
const HEAD_ROOM = 64 * 1024
const HEAD_SIZE_BYTES = 4
/**
 * The size of the pieces in which a body is returned. The memory of larger pieces would come from
 * the system page by page, which takes many times as long as the copy (measured).
 */
const PIECE_SIZE = 64 * 1024
/** The longest URL that is a key as it is. Keys are in memory, so a longer one becomes a digest. */
const MAX_URL_LENGTH = 2048
/** The most sets of header names that a resource keeps; beyond that the oldest is dropped. */
const MAX_SET_COUNT = 8
const NO_VARIANTS: Variants = { until: 0, sets: [] }

/**
 * A store for `interceptors.cache` that survives restarts and kills, within a disk budget.
 *
 * A body is gathered in memory, up to `maxEntrySize`, and cached when it is complete. A response is
 * kept until its `deleteAt`, or until its space is needed. A response that is deleted while it is
 * being written is not cached.
 *
 * @example
 * const store = await FirkinCacheStore.open('./http-cache', { maxSize: 512 * 2 ** 20 })
 * const agent = new Agent().compose(interceptors.cache({ store }))
 */
export class FirkinCacheStore implements CacheStore {
  /** The cache that holds the responses; it has the figures and the events. */
  readonly cache: PersistentCache<Buffer>
  readonly #maxEntrySize: number
  readonly #clock: () => number
  /** The responses being written, by URL. */
  readonly #writing = new Map<string, Set<ResponseWriter>>()

  /**
   * Takes an open cache whose values are bytes.
   *
   * @param cache remains the caller's to close, unless `close` is called here
   * @param options `maxEntrySize` is the largest body in bytes, 5 MiB by default; `clock` must be
   * the cache's
   * @throws TypeError, RangeError
   */
  constructor(
    cache: PersistentCache<Buffer>,
    {
      maxEntrySize = MAX_BODY_BYTES,
      clock = systemClock,
    }: { maxEntrySize?: number; clock?: () => number } = {},
  ) {
    // Responses are decoded in place, in the cache's own buffers, which no other object offers.
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
   * Opens the cache in a directory, or creates it.
   *
   * @param directory its path, or its `file:` URL
   * @throws TypeError, RangeError for another directory, or wrong options
   * @throws with `strict`, whatever `openCache` throws
   */
  static async open(
    directory: string | URL,
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
   * Returns the newest response that fits a request, fresh or stale, or `undefined`.
   *
   * @throws TypeError for a malformed key
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
   * Returns a stream that takes a response's body. When the body ends the response is cached, in
   * place of the ones that the same request would have found.
   *
   * @throws TypeError for a malformed key or value
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

  /** Deletes the responses to a URL for all methods, in constant time. @throws TypeError */
  delete(key: CacheKey): void {
    const url = urlOf(key)
    for (const writer of this.#writing.get(url) ?? []) writer.overtaken = true
    this.cache.invalidateTags(url)
  }

  /** Closes the cache. */
  async close(): Promise<void> {
    await this.cache.close()
  }

  /** Closes the cache; for `await using`. */
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
    // The caller's clock may have called `delete` meanwhile.
    if (writer.overtaken) this.cache.invalidateTags(url)
  }
}

/** The calls that a {@link ResponseWriter} makes. */
interface WriterListener {
  /** Receives the whole body at its end. */
  complete(body: readonly Buffer[]): void
  /** Is called when the stream has closed, whether or not the body was complete. */
  closed(): void
}

/** A stream that gathers a body in memory. */
class ResponseWriter extends Writable {
  /** Whether the response was deleted meanwhile, and so is not to be cached. */
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

/** Returns the key of the response to requests whose headers of these names have these values. */
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
  // When it revalidates, the interceptor would iterate over a buffer's bytes one by one. So a body
  // is a list of buffers.
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
