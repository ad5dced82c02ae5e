/** The times of an entry: first it is fresh, then stale, then gone. */

import { MAX_UINT48 } from '../format/bytes.ts'
import type { Entry } from '../keydir/keydir.ts'
import { expiresAt } from '../store/put-options.ts'
import type { Shelf } from './shelf.ts'

/**
 * Returns when an entry turns stale and when it expires. An expiry of 0 is never; an entry whose
 * `staleAtMs` is 0 is fresh until it expires.
 */
export function timesOf(ttlMs: number, staleMs: number, nowMs: number) {
  if (ttlMs === 0) return { staleAtMs: 0, expiresAtMs: 0 }
  const clock = (): number => nowMs
  const freshUntilMs = expiresAt({ ttlMs }, 0, clock)
  if (freshUntilMs === 0 || staleMs === 0) return { staleAtMs: 0, expiresAtMs: freshUntilMs }
  const expiresAtMs = expiresAt({ ttlMs: ttlMs + staleMs }, 0, clock)
  return { staleAtMs: freshUntilMs, expiresAtMs: expiresAtMs === 0 ? MAX_UINT48 : expiresAtMs }
}

/**
 * Whether the entry that was found is stale. An entry that turns stale also expires, so `nowMs` is
 * known.
 */
export function isStale({ head }: Shelf, nowMs: number): boolean {
  return head.staleAtMs !== 0 && !(head.staleAtMs > nowMs)
}

/**
 * Whether to reload the entry that was found before it turns stale. This is random, and the more
 * likely the closer that moment is and the longer the load took.
 */
export function isDueEarly(
  shelf: Shelf,
  entry: Entry,
  nowMs: number,
  earlyRefresh: number,
): boolean {
  const { loadMs, staleAtMs, isFailure } = shelf.head
  if (earlyRefresh === 0 || loadMs === 0 || isFailure) return false
  const endsAtMs = staleAtMs !== 0 ? staleAtMs : shelf.expiresAtOf(entry)
  if (endsAtMs === 0) return false
  return nowMs - loadMs * earlyRefresh * Math.log(Math.random()) >= endsAtMs
}
