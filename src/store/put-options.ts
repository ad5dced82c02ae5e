/** Checks the options of a put, and computes when it expires. */

import { types } from 'node:util'
import { MAX_UINT48 } from '../format/bytes.ts'
import { checkNames, checkObject, shown } from '../options.ts'

/**
 * The options of a put: its time to live. At most one of the two may be given; without either the
 * store's `ttlMs` applies. Times beyond the format's limit, in the year 10889, mean forever.
 */
export interface PutOptions {
  /** The time to live from now, in milliseconds; at least 1. */
  readonly ttlMs?: number
  /** The time of expiry, in milliseconds since 1970. If it is past, the key is not there. */
  readonly expiresAt?: number | Date
}

/**
 * Returns when a put expires, in milliseconds since 1970; 0 means never.
 *
 * @throws TypeError, RangeError
 */
export function expiresAt(
  options: PutOptions | undefined,
  storeTtlMs: number,
  clock: () => number,
): number {
  if (options === undefined) return storeTtlMs === 0 ? 0 : fromNow(storeTtlMs, clock)
  checkObject(options, 'Put options')
  checkNames(options, ['ttlMs', 'expiresAt'], 'put option')
  const { ttlMs, expiresAt: until } = options
  if (ttlMs !== undefined && until !== undefined) {
    throw new TypeError('Options ttlMs and expiresAt exclude each other')
  }
  if (until !== undefined) return checkMoment(types.isDate(until) ? until.getTime() : until)
  if (ttlMs === undefined) return storeTtlMs === 0 ? 0 : fromNow(storeTtlMs, clock)
  if (typeof ttlMs !== 'number' || Number.isNaN(ttlMs)) {
    throw new TypeError(`Option ttlMs is ${shown(ttlMs)}; it must be a number`)
  }
  if (ttlMs < 1) throw new RangeError(`Option ttlMs is ${ttlMs}; the least is 1`)
  return fromNow(ttlMs, clock)
}

function fromNow(ttlMs: number, clock: () => number): number {
  return checkMoment(Math.ceil(clock() + ttlMs))
}

function checkMoment(momentMs: unknown): number {
  if (typeof momentMs !== 'number' || Number.isNaN(momentMs)) {
    throw new TypeError(`Option expiresAt is ${shown(momentMs)}; it must be a Date or a number`)
  }
  // The format's limit is later than any clock.
  if (momentMs > MAX_UINT48) return 0
  // On disk 0 means never; what expired at the epoch has expired a millisecond later, too.
  return Math.max(1, Math.floor(momentMs))
}
