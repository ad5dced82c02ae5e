import type { StoreError } from '../errors.ts'
import type { KeydirKind } from '../format/keydir-kind.ts'
import type { LeftOutSegment } from '../merge/options.ts'
import type { Pressure } from '../merge/pressure.ts'
import type { RecoveryReport } from '../recovery/recovery.ts'
import type { Segment } from '../segment/segment.ts'
import type { Background } from './background.ts'

/** What a segment holds. */
export interface SegmentStats {
  readonly id: number
  readonly origin: 'appended' | 'merged'
  readonly active: boolean
  /** The size of its file in bytes, what is staged included. */
  readonly bytes: number
  /** The bytes of puts that are the newest record of their key. */
  readonly liveBytes: number
  /** The bytes that a merge gives back; tombstones are counted apart. */
  readonly deadBytes: number
  readonly tombstoneBytes: number
  readonly livePuts: number
  readonly deadPuts: number
  readonly tombstones: number
  /** 0 where there is no record. */
  readonly minSequence: number
  readonly maxSequence: number
  /** When the last put will have expired; 0 where one never does. */
  readonly lastExpiryMs: number
}

/** A store's figures. */
export interface StoreStats {
  /** Keys in the keydir; those that have expired count until they are swept. */
  readonly keys: number
  readonly keydir: { readonly kind: KeydirKind; readonly bytes: number }
  /** Bytes of all segments; hints, checkpoint and manifest not included. */
  readonly bytes: number
  readonly liveBytes: number
  readonly deadBytes: number
  readonly tombstoneBytes: number
  readonly segments: readonly SegmentStats[]
  /** The sequence that the next record gets. */
  readonly nextSequence: number
  /** Open snapshots and iterators. */
  readonly openViews: number
  /** Keys that were forgotten because they had expired, since the store was opened. */
  readonly expiredKeys: number
  readonly merge: {
    readonly running: boolean
    /** Merges finished since the store was opened. */
    readonly count: number
    readonly bytesRead: number
    readonly bytesGained: number
    /** The segments that no merge rewrites, for they cannot be read whole; as far as one has come across them. */
    readonly leftOut: readonly LeftOutSegment[]
    /** Why the last merge failed; `undefined` where it did not. */
    readonly lastError: StoreError | undefined
    /** After one that failed: how long until one may start by itself again, in milliseconds. */
    readonly restMs: number
  }
  /** How far merging is behind; `undefined` where the store never merges. */
  readonly pressure: Pressure | undefined
  /** Whether files are mapped. */
  readonly mapping: boolean
  /** What opening found. */
  readonly recovery: RecoveryReport
}

/** Returns a store's figures; takes time in proportion to the number of segments. */
export function storeStats({
  engine,
  merger,
  mergeTotals,
  sweeper,
}: Background): Omit<StoreStats, 'mapping' | 'recovery'> {
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
  }
}

function segmentStats(segment: Segment, active: boolean): SegmentStats {
  const { usage } = segment
  return {
    id: segment.id,
    origin: segment.origin,
    active,
    bytes: usage.size,
    liveBytes: usage.liveBytes,
    deadBytes: usage.deadBytes,
    tombstoneBytes: usage.tombstoneBytes,
    livePuts: usage.livePutCount,
    deadPuts: usage.deadPutCount,
    tombstones: usage.tombstoneCount,
    minSequence: usage.minSequence,
    maxSequence: usage.maxSequence,
    lastExpiryMs: usage.lastExpiryMs,
  }
}
