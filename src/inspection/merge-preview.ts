/** What a merge would do, found out without opening the store for writing. */

import { join } from 'node:path'
import { CorruptionError, StoreError } from '../errors.ts'
import { FILE_HEADER_SIZE, storeSeed } from '../format/file-header.ts'
import { segmentName } from '../format/names.ts'
import { errorCode, systemFiles } from '../io/files.ts'
import type { LeftOutSegment } from '../merge/options.ts'
import { type MergePlan, type PlannedSegment, planAll, planAutomatic } from '../merge/plan.ts'
import { resolveOptions } from '../options.ts'
import { scanSegment } from '../segment/scan.ts'
import { requireManifest } from './directory.ts'
import type { StoreFigures } from './figures.ts'
import { asReadFailure } from './read-failure.ts'

/** A plan, and what it does without. */
export interface CheckedPlan {
  readonly plan: MergePlan
  readonly leftOut: readonly LeftOutSegment[]
}

/**
 * The plan of a merge, of all that has anything to give back or of what is worth it by the default policy. What it would
 * read is read here, for a merge leaves out what cannot be read whole.
 */
export function planMerge(directory: string, stats: StoreFigures, all: boolean): CheckedPlan {
  const seed = storeSeed(requireManifest(systemFiles, directory).storeId)
  const sound = new Set<number>()
  const faulty = new Map<number, LeftOutSegment>()
  for (;;) {
    const plan = planWithout(faulty, stats, all)
    const unknown = plan.inputs.filter(({ id }) => !sound.has(id))
    if (unknown.length === 0) return { plan, leftOut: [...faulty.values()] }
    for (const { id, bytes } of unknown) {
      const error = findFault(join(directory, segmentName(id)), bytes, seed)
      if (error === undefined) sound.add(id)
      else faulty.set(id, { id, bytes, error })
    }
  }
}

/** Why a merge cannot read a segment whole. */
function findFault(path: string, size: number, seed: number): StoreError | undefined {
  try {
    const file = systemFiles.open(path, 'read')
    try {
      const scan = scanSegment(
        {
          files: systemFiles,
          file,
          from: FILE_HEADER_SIZE,
          to: size,
          seed,
          ascending: false,
          batches: 'loose',
        },
        () => undefined,
      )
      return scan.faultAt === undefined
        ? undefined
        : new CorruptionError(scan.fault, path, scan.faultAt)
    } finally {
      systemFiles.close(file)
    }
  } catch (error) {
    // The writer beside has merged it.
    if (errorCode(error) === 'ENOENT') return undefined
    const failure = asReadFailure(error, path)
    if (failure instanceof StoreError) return failure
    throw failure
  }
}

function planWithout(
  leftOut: ReadonlyMap<number, LeftOutSegment>,
  { segments }: StoreFigures,
  all: boolean,
): MergePlan {
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
    leftOut: leftOut.has(segment.id),
  }))
  return all
    ? planAll(planned, Date.now())
    : planAutomatic(planned, resolveOptions().merge, Date.now())
}

/** What a plan comes to, in the form in which a merge reports. */
export function sumUp({ plan: { inputs, unread }, leftOut }: CheckedPlan) {
  const segments = [...inputs, ...unread]
  const bytesRead = inputs.reduce((sum, { bytes }) => sum + bytes, 0)
  const bytesGone = segments.reduce((sum, { bytes }) => sum + bytes, 0)
  const bytesGained = segments.reduce((sum, entry) => sum + entry.bytesGained, 0)
  return { segments, leftOut, bytesRead, bytesWritten: bytesGone - bytesGained, bytesGained }
}
