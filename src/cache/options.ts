import {
  checkInteger,
  checkNames,
  checkObject,
  resolveOptions,
  shown,
  type ValueEncoding,
  type ValueEncodingOf,
} from '../options.ts'
import { systemClock } from '../scheduling/time.ts'
import type { CachePolicy } from './order.ts'

/** How a cache is opened. Sizes are bytes, times milliseconds. */
export interface CacheOptions<V = Buffer> {
  // Behaviour

  /** What the cache's files may take on disk, at any moment: 1 MiB to 512 GiB. */
  readonly maxBytes: number
  /**
   * How many entries there may be.
   * @defaultValue Infinity
   */
  readonly maxEntries?: number
  /**
   * The largest entry, with its key; what is larger is refused. At most an eighth of `maxBytes`, and 1 GiB.
   * @defaultValue a sixty-fourth of `maxBytes`, at least 64 KiB and at most 16 MiB
   */
  readonly maxEntryBytes?: number
  /**
   * How long an entry is fresh where it does not say itself; 0 is for ever, as is what ends after the year 10889.
   * @defaultValue 0
   */
  readonly ttlMs?: number
  /**
   * How long behind its `ttlMs` an entry may still be served while a new one is loaded.
   * @defaultValue 0
   */
  readonly staleMs?: number
  /**
   * How long a load that has failed is not tried again: so long its error is thrown at once.
   * @defaultValue 0
   */
  readonly errorTtlMs?: number
  /**
   * Loads anew before an entry turns stale, the likelier the nearer that is and the longer its load took, so that
   * not everybody finds it stale at once; 0 is never, 1 is usual. After Vattani, Chierichetti and Lowenstein,
   * "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015.
   * @defaultValue 0
   */
  readonly earlyRefresh?: number
  /**
   * In which order entries are given up.
   * @defaultValue 'sieve'
   */
  readonly policy?: CachePolicy
  /**
   * How values are stored and given back.
   * @defaultValue 'buffer'
   */
  readonly valueEncoding?: ValueEncodingOf<V>
  /**
   * What to do about damage, a full disk, or a directory that cannot be used. `false` empties the cache, or does
   * without it, and says so by the event `error`; `true` throws.
   * @defaultValue false
   */
  readonly strict?: boolean
  /**
   * Whether the cache may be created in a directory that holds files of others; dot files and `lost+found` never stand
   * in the way.
   * @defaultValue false
   */
  readonly allowNonEmpty?: boolean
  /**
   * The clock that expiry goes by: milliseconds since 1970. The default is looked up at each call, so that a faked
   * `Date` counts.
   * @defaultValue Date.now
   */
  readonly clock?: () => number

  // Performance

  /**
   * Whether files are read through memory mappings, where there are any.
   * @defaultValue true
   */
  readonly mapping?: boolean
}

/** What may be said of one entry; what is not said is as the cache's options have it. */
export interface EntryOptions {
  /** How long the entry is fresh, in milliseconds, from 1; `Infinity` is for ever. */
  readonly ttlMs?: number
  /** How long behind that it may still be served by `getOrSet`, in milliseconds. */
  readonly staleMs?: number
  /** Names under which it can be invalidated with others; at most 255. */
  readonly tags?: readonly string[]
}

/** What may be said of an entry that is loaded. */
export interface LoadOptions extends EntryOptions {
  /** How long a failure is kept, in milliseconds. */
  readonly errorTtlMs?: number
  /** Gives up waiting; a load that nobody waits for any more is aborted. */
  readonly signal?: AbortSignal
}

/** {@link CacheOptions} with nothing left open. */
export interface ResolvedCacheOptions<V> {
  readonly maxBytes: number
  readonly maxEntries: number
  readonly maxEntryBytes: number
  /** A segment of the store beneath. */
  readonly segmentBytes: number
  readonly ttlMs: number
  readonly staleMs: number
  readonly errorTtlMs: number
  readonly earlyRefresh: number
  readonly policy: CachePolicy
  readonly valueEncoding: ValueEncoding<V>
  readonly strict: boolean
  readonly allowNonEmpty: boolean
  readonly clock: () => number
  readonly mapping: boolean
}

const KIB = 1024
const MIB = 1024 * KIB
/** What a cache's `maxBytes` may be. */
export const MIN_CACHE_BYTES = MIB
export const MAX_CACHE_BYTES = 2 ** 39
const MAX_ENTRY_BYTES = 2 ** 30
const INFINITE = Number.POSITIVE_INFINITY

const POLICIES: readonly string[] = ['sieve', 'lru', 'fifo']

/** A cache has about so many segments: fewer are given back later, more are more files. */
const SEGMENT_COUNT = 64
const MAX_SEGMENT_COUNT = 512
/** No entry takes more than this part of the cache: a larger one would put too much out at once. */
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
  'clock',
  'mapping',
] as const

/**
 * Checks a cache's options and fills in what is missing.
 *
 * @throws TypeError, RangeError
 */
export function resolveCacheOptions<V>(input: CacheOptions<V>): ResolvedCacheOptions<V> {
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
  for (const [name, value] of Object.entries({ strict, allowNonEmpty, mapping })) {
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
    clock,
    mapping,
  })
}

/** @throws TypeError, RangeError where `value` is no time from 0 on; `Infinity` is one */
export function checkMs(value: unknown, name: string): void {
  if (typeof value !== 'number' || Number.isNaN(value)) {
    throw new TypeError(`Option ${name} is ${shown(value)}; it must be a number`)
  }
  if (value < 0) throw new RangeError(`Option ${name} is ${value}; it must be 0 or more`)
}
