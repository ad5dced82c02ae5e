/** Ranges of keys: what callers give, and what a keydir takes. */

import { isBytes } from '../format/bytes.ts'
import type { KeyRange } from '../keydir/keydir.ts'
import { checkInteger, checkNames, checkObject } from '../options.ts'
import { encodeKey, type Key } from './encoding.ts'

/** A range of keys, its direction and its limit. A bound need not be a key of the store. */
export interface RangeOptions {
  /** Only keys above this one. */
  readonly gt?: Key
  /** Only this key and those above. */
  readonly gte?: Key
  /** Only keys below this one. */
  readonly lt?: Key
  /** Only this key and those below. */
  readonly lte?: Key
  /** Only keys that begin with this. */
  readonly prefix?: Key
  /**
   * From the last key to the first.
   * @defaultValue false
   */
  readonly reverse?: boolean
  /**
   * The most keys.
   * @defaultValue Infinity
   */
  readonly limit?: number
}

/** @internal A range as the keydir takes it, with its limit. */
export interface ResolvedRange extends KeyRange {
  readonly limit: number
}

const NAMES = ['gt', 'gte', 'lt', 'lte', 'prefix', 'reverse', 'limit'] as const

/**
 * @internal Checks a range. If several bounds are given, the tightest one counts.
 *
 * @throws TypeError, RangeError
 */
export function resolveRange(options: RangeOptions = {}): ResolvedRange {
  checkObject(options, 'A range')
  checkNames(options, NAMES, 'range option')
  const { reverse = false, limit = Number.POSITIVE_INFINITY } = options
  if (typeof reverse !== 'boolean') throw new TypeError('Option reverse must be a boolean')
  if (limit !== Number.POSITIVE_INFINITY) {
    checkInteger(limit, 0, Number.MAX_SAFE_INTEGER, 'limit')
  }
  const gt = bound(options.gt, 'gt')
  const gte = bound(options.gte, 'gte')
  const lt = bound(options.lt, 'lt')
  const lte = bound(options.lte, 'lte')
  const prefix = bound(options.prefix, 'prefix')

  let lower = gte
  let lowerInclusive = true
  if (gt !== undefined && (lower === undefined || Buffer.compare(gt, lower) >= 0)) {
    lower = gt
    lowerInclusive = false
  }
  if (prefix !== undefined && (lower === undefined || Buffer.compare(prefix, lower) > 0)) {
    lower = prefix
    lowerInclusive = true
  }
  let upper = lte
  let upperInclusive = true
  if (lt !== undefined && (upper === undefined || Buffer.compare(lt, upper) <= 0)) {
    upper = lt
    upperInclusive = false
  }
  const behindPrefix = prefix === undefined ? undefined : successor(prefix)
  if (
    behindPrefix !== undefined &&
    (upper === undefined || Buffer.compare(behindPrefix, upper) <= 0)
  ) {
    upper = behindPrefix
    upperInclusive = false
  }
  return { lower, lowerInclusive, upper, upperInclusive, reverse, limit }
}

/** @internal Whether every key is in the range. */
export function isUnbounded(range: ResolvedRange): boolean {
  return range.lower === undefined && range.upper === undefined
}

function bound(key: Key | undefined, name: string): Buffer | undefined {
  if (key === undefined) return undefined
  if (typeof key !== 'string' && !isBytes(key)) {
    throw new TypeError(`Option ${name} must be a string or a Uint8Array`)
  }
  return encodeKey(key)
}

/** Returns the first key after all that begin with `prefix`; `undefined` if there is none. */
function successor(prefix: Buffer): Buffer | undefined {
  let size = prefix.length
  while (size > 0 && prefix[size - 1] === 0xff) size--
  if (size === 0) return undefined
  const next = Buffer.from(prefix.subarray(0, size))
  next[size - 1] = (next[size - 1] ?? 0) + 1
  return next
}
