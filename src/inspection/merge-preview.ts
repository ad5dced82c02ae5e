/** A preview of a merge: its plan, made without opening the store for writing. */

import { join } from 'node:path'
import { StoreError } from '../errors.ts'
import { FILE_HEADER_SIZE, storeSeed } from '../format/file-header.ts'
import { segmentName } from '../format/names.ts'
import { errorCode, type Files } from '../io/files.ts'
import type { LeftOutSegment, MergeReport } from '../merge/options.ts'
import { type MergePlan, type PlannedSegment, planAll, planAutomatic } from '../merge/plan.ts'
import { resolveOptions } from '../options.ts'
import { scanSound } from '../segment/scan.ts'
import { requireManifest } from './directory.ts'
import type { StoreFigures } from './figures.ts'
import { asReadFailure } from './read-failure.ts'

/** The figures of a merge that can be known before it is made. */
type MergePreview = Pick<
  MergeReport,
  'segments' | 'leftOut' | 'bytesRead' | 'bytesWritten' | 'bytesGained'
>

/**
 * Plans a merge of every segment that has anything to give back, or of those that the default
 * policy selects. The segments that it would read are read here, since a merge leaves out those
 * that it cannot read whole.
 */
export function previewMerge(
  files: Files,
  directory: string,
  figures: StoreFigures,
  all: boolean,
): MergePreview {
  const seed = storeSeed(requireManifest(files, directory).storeId)
  const sound = new Set<number>()
  const faulty = new Map<number, LeftOutSegment>()
  for (;;) {
    const plan = planWithout(faulty, figures, all)
    const unknown = plan.inputs.filter(({ id }) => !sound.has(id))
    if (unknown.length === 0) return sumUp(plan, [...faulty.values()])
    for (const { id, bytes } of unknown) {
      const error = findFault(files, join(directory, segmentName(id)), bytes, seed)
      if (error === undefined) sound.add(id)
      else faulty.set(id, { id, bytes, error })
    }
  }
}

/** Returns the reason for which a merge cannot read a segment whole, if there is one. */
function findFault(files: Files, path: string, size: number, seed: number): StoreError | undefined {
  try {
    const file = files.open(path, 'read')
    try {
      scanSound({ files, file, from: FILE_HEADER_SIZE, to: size, seed }, path, () => undefined)
      return undefined
    } finally {
      files.close(file)
    }
  } catch (error) {
    // The writer has merged it meanwhile.
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
    ...segment,
    size: segment.bytes,
    putCount: segment.livePuts + segment.deadPuts,
    deadPutCount: segment.deadPuts,
    // Nobody writes to the active segment while the tool merges, so it counts as sealed.
    sealed: true,
    leftOut: leftOut.has(segment.id),
  }))
  return all
    ? planAll(planned, Date.now())
    : planAutomatic(planned, resolveOptions().merge, Date.now())
}

function sumUp({ inputs, unread }: MergePlan, leftOut: readonly LeftOutSegment[]): MergePreview {
  const segments = [...inputs, ...unread]
  const bytesRead = inputs.reduce((sum, { bytes }) => sum + bytes, 0)
  const bytesGone = segments.reduce((sum, { bytes }) => sum + bytes, 0)
  const bytesGained = segments.reduce((sum, entry) => sum + entry.bytesGained, 0)
  return { segments, leftOut, bytesRead, bytesWritten: bytesGone - bytesGained, bytesGained }
}
