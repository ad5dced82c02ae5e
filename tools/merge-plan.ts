/** What a merge would do, found out without opening the store for writing. */

import { type MergePlan, type PlannedSegment, planAll, planAutomatic } from '../src/merge/plan.ts'
import { resolveOptions } from '../src/options.ts'
import type { StoreStats } from '../src/stats.ts'

/** The plan of a merge, of all that has anything to give back or of what is worth it by the default policy. */
export function planMerge({ segments }: StoreStats, all: boolean): MergePlan {
  const planned: PlannedSegment[] = segments.map((segment) => ({
    id: segment.id,
    size: segment.bytes,
    putCount: segment.livePuts + segment.deadPuts,
    deadPutCount: segment.deadPuts,
    deadBytes: segment.deadBytes,
    tombstoneBytes: segment.tombstoneBytes,
    minSequence: segment.minSequence,
    maxSequence: segment.maxSequence,
    lastExpiryMs: segment.lastExpiryMs,
    // Nobody writes to the active one while the tool merges.
    sealed: true,
  }))
  return all
    ? planAll(planned, Date.now())
    : planAutomatic(planned, resolveOptions().merge, Date.now())
}

/** What a plan comes to, in the form in which a merge reports. */
export function sumUp({ inputs, expired }: MergePlan) {
  const segments = [...inputs, ...expired]
  const bytesRead = inputs.reduce((sum, { bytes }) => sum + bytes, 0)
  const bytesGone = segments.reduce((sum, { bytes }) => sum + bytes, 0)
  const bytesGained = segments.reduce((sum, entry) => sum + entry.bytesGained, 0)
  return { segments, bytesRead, bytesWritten: bytesGone - bytesGained, bytesGained }
}
