/** The options of a cache, of its entries and of its loads. */

import {
  checkInteger,
  checkNames,
  checkObject,
  type NeededValueEncoding,
  resolveOptions,
  shown,
  type ValueEncoding,
  type ValueEncodingOf,
} from '../options.ts'
import { systemClock } from '../scheduling/time.ts'
import type { CachePolicy } from './order.ts'

/**
 * The options of `openCache`: {@link CacheSettings}, of which `valueEncoding` may be missing only
 * if values can be bytes.
 */
export type CacheOptions<V = Buffer> = CacheSettings<V> & NeededValueEncoding<V>

/** The options of a cache. Sizes are in bytes, times in milliseconds. */
export interface CacheSettings<V = Buffer> {
  // Behaviour

  /** The most that the cache's files may take on disk at any moment: 1 MiB to 512 GiB. */
  readonly maxBytes: number
  /**
   * The most entries.
   * @defaultValue Infinity
   */
  readonly maxEntries?: number
  /**
   * The largest entry, key included; a larger one is refused. At most an eighth of `maxBytes`, and
   * 1 GiB.
   * @defaultValue a sixty-fourth of `maxBytes`, at least 64 KiB and at most 16 MiB
   */
  readonly maxEntryBytes?: number
  /**
   * How long an entry that sets no `ttlMs` of its own is fresh. 0 means forever, as does any time
   * after the year 10889.
   * @defaultValue 0
   */
  readonly ttlMs?: number
  /**
   * How long after its `ttlMs` `getOrSet` may still return an entry while it is reloaded.
   * @defaultValue 0
   */
  readonly staleMs?: number
  /**
   * How long a failed load is not tried again. Until then its error is thrown at once.
   * @defaultValue 0
   */
  readonly errorTtlMs?: number
  /**
   * Reloads an entry before it turns stale, so that not all callers find it stale at once. That is
   * random: the more likely, the closer that moment is and the longer the load took. 0 means never,
   * 1 is usual. After Vattani, Chierichetti and Lowenstein, "Optimal Probabilistic Cache Stampede
   * Prevention", VLDB 2015.
   * @defaultValue 0
   */
  readonly earlyRefresh?: number
  /**
   * The order in which entries are evicted.
   * @defaultValue 'sieve'
   */
  readonly policy?: CachePolicy
  /**
   * How values are stored and returned.
   * @defaultValue 'buffer'
   */
  readonly valueEncoding?: ValueEncodingOf<V>
  /**
   * The reaction to damage, a full disk, or a directory that cannot be used. With `false` the
   * cache is emptied or works without a disk, and emits an event `error`; with `true` it throws.
   * @defaultValue false
   */
  readonly strict?: boolean
  /**
   * Whether the cache may be created in a directory that holds other files. Dot files and
   * `lost+found` never matter.
   * @defaultValue false
   */
  readonly allowNonEmpty?: boolean
  /**
   * Whether a directory that may be on another machine is refused, as by a store.
   * @defaultValue false
   */
  readonly localOnly?: boolean
  /**
   * The clock for expiry, in milliseconds since 1970. The default is looked up at each call, so a
   * faked `Date` counts.
   * @defaultValue Date.now
   */
  readonly clock?: () => number

  // Performance

  /**
   * Whether files are read through memory mappings, if they are available and the file system is
   * local.
   * @defaultValue true
   */
  readonly mapping?: boolean
}

/** The options of one entry. The defaults are the cache's options. */
export interface EntryOptions {
  /** How long the entry is fresh, in milliseconds, at least 1; `Infinity` means forever. */
  readonly ttlMs?: number
  /** How long after that `getOrSet` may still return it, in milliseconds. */
  readonly staleMs?: number
  /** Tags by which it can be invalidated together with others; at most 255. */
  readonly tags?: readonly string[]
}

/** The options of an entry that is loaded. */
export interface LoadOptions extends EntryOptions {
  /** How long the error of a failed load is kept, in milliseconds. */
  readonly errorTtlMs?: number
  /** Ends the wait. A load that nobody waits for any longer is aborted. */
  readonly signal?: AbortSignal
}

/** {@link CacheSettings} with all defaults filled in. */
export interface ResolvedCacheOptions<V> {
  readonly maxBytes: number
  readonly maxEntries: number
  readonly maxEntryBytes: number
  /** The size of a segment of the store below. */
  readonly segmentBytes: number
  readonly ttlMs: number
  readonly staleMs: number
  readonly errorTtlMs: number
  readonly earlyRefresh: number
  readonly policy: CachePolicy
  readonly valueEncoding: ValueEncoding<V>
  readonly strict: boolean
  readonly allowNonEmpty: boolean
  readonly localOnly: boolean
  readonly clock: () => number
  readonly mapping: boolean
}

const KIB = 1024
const MIB = 1024 * KIB
/** The least `maxBytes` of a cache. */
export const MIN_CACHE_BYTES = MIB
/** The largest `maxBytes` of a cache. */
export const MAX_CACHE_BYTES = 2 ** 39
const MAX_ENTRY_BYTES = 2 ** 30
const INFINITE = Number.POSITIVE_INFINITY

const POLICIES: readonly string[] = ['sieve', 'lru', 'fifo']

/** About how many segments a cache has. With fewer, space is freed later; more are more files. */
const SEGMENT_COUNT = 64
const MAX_SEGMENT_COUNT = 512
/** An entry takes at most this fraction of the cache: a larger one would evict too much at once. */
export const MAX_ENTRY_SHARE = 8

const OPTION_NAMES = [
  'maxBytes',
  'maxEntries',
  'maxEntryBytes',
  'ttlMs',
  'staleMs',
  'errorTtlMs',
  'earlyRefresh',
  'policy',
  'valueEncoding',
  'strict',
  'allowNonEmpty',
  'localOnly',
  'clock',
  'mapping',
] as const

/**
 * Checks a cache's options and fills in what is missing.
 *
 * @throws TypeError, RangeError
 */
export function resolveCacheOptions<V>(input: CacheSettings<V>): ResolvedCacheOptions<V> {
  checkObject(input, 'Cache options')
  checkNames(input, OPTION_NAMES, 'cache option')
  const { maxBytes } = input
  checkInteger(maxBytes, MIN_CACHE_BYTES, MAX_CACHE_BYTES, 'maxBytes')
  const segmentBytes = Math.max(
    Math.ceil(maxBytes / MAX_SEGMENT_COUNT),
    Math.min(16 * MIB, Math.max(64 * KIB, Math.floor(maxBytes / SEGMENT_COUNT))),
  )
  const {
    maxEntries = INFINITE,
    maxEntryBytes = segmentBytes,
    ttlMs = 0,
    staleMs = 0,
    errorTtlMs = 0,
    earlyRefresh = 0,
    policy = 'sieve',
    strict = false,
    allowNonEmpty = false,
    localOnly = false,
    mapping = true,
    clock = systemClock,
  } = input
  if (maxEntries !== INFINITE) checkInteger(maxEntries, 1, Number.MAX_SAFE_INTEGER, 'maxEntries')
  const largest = Math.min(MAX_ENTRY_BYTES, Math.floor(maxBytes / MAX_ENTRY_SHARE))
  checkInteger(maxEntryBytes, 1, largest, 'maxEntryBytes')
  checkMs(ttlMs, 'ttlMs')
  checkMs(staleMs, 'staleMs')
  checkMs(errorTtlMs, 'errorTtlMs')
  if (typeof earlyRefresh !== 'number' || !(earlyRefresh >= 0 && earlyRefresh < INFINITE)) {
    throw new RangeError(`Option earlyRefresh is ${shown(earlyRefresh)}; it must be 0 or more`)
  }
  if (!POLICIES.includes(policy)) {
    throw new TypeError(
      `Option policy is ${String(policy)}; it must be one of ${POLICIES.join(', ')}`,
    )
  }
  for (const [name, value] of Object.entries({ strict, allowNonEmpty, localOnly, mapping })) {
    if (typeof value !== 'boolean') throw new TypeError(`Option ${name} must be a boolean`)
  }
  // Safety: the default is the default of V.
  const valueEncoding = (input.valueEncoding ?? 'buffer') as ValueEncoding<V>
  resolveOptions<unknown, 'utf8'>({ clock, valueEncoding: valueEncoding as ValueEncoding<unknown> })
  return Object.freeze({
    maxBytes,
    maxEntries,
    maxEntryBytes,
    segmentBytes,
    ttlMs,
    staleMs,
    errorTtlMs,
    earlyRefresh,
    policy,
    valueEncoding,
    strict,
    allowNonEmpty,
    localOnly,
    clock,
    mapping,
  })
}

/** Checks a duration: 0 or more, `Infinity` included. @throws TypeError, RangeError */
export function checkMs(value: unknown, name: string): void {
  if (typeof value !== 'number' || Number.isNaN(value)) {
    throw new TypeError(`Option ${name} is ${shown(value)}; it must be a number`)
  }
  if (value < 0) throw new RangeError(`Option ${name} is ${value}; it must be 0 or more`)
}
