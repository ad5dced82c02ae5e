import { MAX_UINT48 } from '../format/bytes.ts'
import { checkNames, checkObject, shown } from '../options.ts'

/** How long a put lives. At most one of the two; without either, the store's `ttlMs` counts. */
export interface PutOptions {
  /** How long from now, in milliseconds, from 1; what ends later than the format can say, the year 10889, is for ever. */
  readonly ttlMs?: number
  /** Until when, in milliseconds since 1970; later than the year 10889 is for ever. What is past is not there. */
  readonly expiresAt?: number | Date
}

/**
 * When a put expires, in milliseconds since 1970; 0 is never.
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
  if (until !== undefined) return checkMoment(until instanceof Date ? until.getTime() : until)
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
  // What the format cannot say is later than anybody's clock.
  if (momentMs > MAX_UINT48) return 0
  // 0 on disk is never; what expired at the epoch or before has expired at its first millisecond too.
  return Math.max(1, Math.floor(momentMs))
}
