/** Gathers the figures of a store. */

import type { OpenEngine } from '../engine/open-engine.ts'
import type { StoreError } from '../errors.ts'
import type { KeydirKind } from '../format/keydir-kind.ts'
import { canMap } from '../io/mapping.ts'
import type { LeftOutSegment } from '../merge/options.ts'
import type { Pressure } from '../merge/pressure.ts'
import type { RecoveryReport } from '../recovery/report.ts'
import { type SegmentStats, segmentStats } from '../segment/stats.ts'
import type { Background } from './background.ts'

/** The figures of a store. */
export interface StoreStats {
  /** The keys in the keydir; expired ones count until they are swept. */
  readonly keys: number
  readonly keydir: { readonly kind: KeydirKind; readonly bytes: number }
  /** The bytes of all segments, without hints, checkpoint and manifest. */
  readonly bytes: number
  readonly liveBytes: number
  readonly deadBytes: number
  readonly tombstoneBytes: number
  readonly segments: readonly SegmentStats[]
  /** The sequence of the next record. */
  readonly nextSequence: number
  /** The number of open snapshots and iterators. */
  readonly openViews: number
  /** The number of expired keys that were removed since the store was opened. */
  readonly expiredKeys: number
  readonly merge: {
    readonly running: boolean
    /** The number of merges that have finished since the store was opened. */
    readonly count: number
    readonly bytesRead: number
    readonly bytesGained: number
    /** The segments found so far that no merge rewrites, because they cannot be read whole. */
    readonly leftOut: readonly LeftOutSegment[]
    /** Why the last merge failed; `undefined` if it did not. */
    readonly lastError: StoreError | undefined
    /** After a failed merge: milliseconds until one may start by itself again. */
    readonly restMs: number
  }
  /** The pressure of pending merges on writers; `undefined` if the store never merges. */
  readonly pressure: Pressure | undefined
  /** Whether files are mapped. */
  readonly mapping: boolean
  /** The bytes of memory in which the store keeps blocks of files that are not mapped. */
  readonly cachedBytes: number
  /** The report of opening. */
  readonly recovery: RecoveryReport
}

/**
 * @internal Returns a store's figures. Takes time in proportion to the number of segments.
 *
 * @param mapping the option
 */
export function storeStats(
  { engine, recovery }: OpenEngine,
  { merger, mergeTotals, sweeper }: Background,
  mapping: boolean,
): StoreStats {
  const { segments, keydir } = engine
  const { active } = segments
  const each = segments.all.map((segment) => segmentStats(segment, segment === active))
  const total = (figure: 'bytes' | 'liveBytes' | 'deadBytes' | 'tombstoneBytes'): number =>
    each.reduce((sum, segment) => sum + segment[figure], 0)
  const uncounted = merger?.uncountedDeadBytes ?? 0
  return {
    keys: keydir.size,
    keydir: { kind: keydir.kind, bytes: keydir.byteSize },
    bytes: total('bytes'),
    liveBytes: total('liveBytes') - uncounted,
    deadBytes: total('deadBytes') + uncounted,
    tombstoneBytes: total('tombstoneBytes'),
    segments: each,
    nextSequence: engine.nextSequence,
    openViews: engine.live.views.openCount,
    expiredKeys: sweeper?.expiredCount ?? 0,
    merge: {
      running: merger?.running ?? false,
      ...mergeTotals,
      leftOut: merger?.leftOut ?? [],
      lastError: merger?.lastError,
      restMs: merger?.restMs ?? 0,
    },
    pressure: merger?.pressure,
    mapping: mapping && canMap(),
    cachedBytes: segments.cachedSize,
    recovery,
  }
}
