/**
 * Recovery: opens the segments of a directory and loads the keydir.
 *
 * 1. Read the manifest. It lists the sealed segments and says where the tail begins.
 * 2. Load the keydir from the checkpoint if it fits. Otherwise load it from the hint of each sealed
 *    segment, or from the segment itself if the hint is missing, cut, stale or damaged.
 * 3. Replay the tail: the records written after that. It ends at the first fault (tail.ts).
 * 4. Cut a torn tail and remove leftovers. A read-only open does neither.
 *
 * If a checkpoint turns out to be damaged before the end of step 3, steps 1 to 3 are repeated
 * without it; they change no file.
 *
 * Invariant: the result does not depend on the source of the keydir.
 */

import { join } from 'node:path'
import { CorruptionError, StoreError } from '../errors.ts'
import { STORE_ID_SIZE } from '../format/file-header.ts'
import type { Manifest } from '../format/manifest.ts'
import { hintName, MANIFEST_NAME, parseName, RESERVE_NAME, segmentIdsOf } from '../format/names.ts'
import type { HeldFiles } from '../io/held-files.ts'
import { randomBytes } from '../io/random.ts'
import { createKeydir } from '../keydir/create.ts'
import type { Keydir } from '../keydir/keydir.ts'
import type { SegmentContext } from '../segment/file.ts'
import { assertNoCache } from '../segment/kind.ts'
import { readManifest } from '../segment/manifest-file.ts'
import { openSealed } from '../segment/open.ts'
import { isReserve } from '../segment/reserve.ts'
import { heldContext } from '../segment/segment.ts'
import { Segments } from '../segment/segments.ts'
import { wholeMs } from '../segment/sweeps.ts'
import { type ChunkReader, DamagedCheckpoint } from './checkpoint-file.ts'
import { type Load, loadKeydir } from './load-keydir.ts'
import { mappingSize, type RecoveryOptions } from './options.ts'
import type { LossReport, RecoveryReport } from './report.ts'
import { openTail, renewTail, replayTail, sealTail } from './tail.ts'

/** A clock that was put back by less is not worth reporting. */
const CLOCK_TOLERANCE_MS = 60_000

/** A recovered store. */
export interface Recovered {
  readonly segments: Segments
  readonly keydir: Keydir
  /** The source of chunks that the keydir has not read yet; `undefined` without a checkpoint. */
  readonly chunks: ChunkReader | undefined
  /** Higher than every sequence in use. */
  readonly nextSequence: number
  readonly report: RecoveryReport
}

/**
 * Recovers the segments and the keydir of a directory. The directory exists, and is locked unless
 * `readOnly`.
 *
 * @param lost the losses of a salvage before this, for the report
 * @throws {@link CorruptionError} for damage that is not a torn tail
 * @throws {@link StoreError} FIRKIN_NOT_FOUND, FIRKIN_VERSION, FIRKIN_OTHER_KIND
 */
export async function recover(
  files: HeldFiles,
  options: RecoveryOptions,
  lost?: LossReport,
): Promise<Recovered> {
  try {
    return await recoverFrom(files, options, lost, undefined)
  } catch (error) {
    if (!(error instanceof DamagedCheckpoint)) throw error
    return await recoverFrom(files, options, lost, error.told)
  }
}

/**
 * @param checkpointFault the reason to do without the checkpoint
 * @throws {@link DamagedCheckpoint} before any file was changed
 */
async function recoverFrom(
  files: HeldFiles,
  options: RecoveryOptions,
  lost: LossReport | undefined,
  checkpointFault: StoreError | undefined,
): Promise<Recovered> {
  const { directory } = files
  const names = files.list(directory) ?? []
  // The directory may have been replaced since it was last looked at, even by a cache's.
  if (!options.allowCache) assertNoCache(directory, names)
  const manifest = readManifest(files, directory)
  if (manifest === undefined) return createStore(files, names, options)

  const context = heldContext(files, manifest.storeId)
  const nextId = Math.max(manifest.nextSegmentId, highestId(names) + 1)
  const mapped = mappingSize(options)
  const segments = new Segments(context, manifest, nextId, mapped, options.maxOpenFiles)
  try {
    for (const sealed of manifest.segments) {
      segments.addSealed(openSealed(context, sealed, options.mapping))
    }
    const tail = openTail(context, manifest, names, options)
    for (const segment of tail.segments) segments.addToTail(segment, 0)

    const mayLoad = checkpointFault === undefined
    const load = loadKeydir(segments, tail.segments, options.keydir, mayLoad)
    const torn = replayTail(segments, tail.predecessors, load, options)
    load.replay.finish()
    const leftovers = [...tail.leftovers, ...leftoversIn(names, segments)]
    const hasReserve = options.reserveBytes > 0 || options.readOnly
    if (!hasReserve && holdsReserve(context, names)) leftovers.push(RESERVE_NAME)
    const clockMs = wholeMs(options.clock())
    segments.clockMs = clockMs
    const closed = manifest.closed && torn.length === 0 && endsAsClosed(segments)
    if (!options.readOnly) {
      // The names that were found here may not be durable yet, least of all the manifest's.
      files.syncDirectory(directory)
      renewTail(segments, torn)
      for (const name of leftovers) files.remove(join(directory, name))
      if (segments.sealPending) await sealTail(segments)
    }
    const report: RecoveryReport = {
      source: load.source,
      checkpointFault: checkpointFault ?? load.checkpointFault,
      closed,
      clockBackMs: clockBackMs(manifest.clockMs, clockMs),
      torn,
      leftovers,
      // Including those that were sealed just now.
      unhinted: withoutHint(load, segments, names),
      replayedCount: load.replay.recordCount - load.loadedCount,
      lost,
    }
    const nextSequence = Math.max(segments.nextSequence, load.nextSequence)
    return { segments, keydir: load.replay.keydir, chunks: load.chunks, nextSequence, report }
  } catch (error) {
    segments.close()
    throw error
  }
}

async function createStore(
  files: HeldFiles,
  names: readonly string[],
  options: RecoveryOptions,
): Promise<Recovered> {
  const { directory } = files
  if (highestId(names) > 0) {
    throw new CorruptionError(
      'The manifest is missing, and there are segments; `firkin repair` can rebuild it',
      join(directory, MANIFEST_NAME),
      0,
    )
  }
  if (!options.createIfMissing || options.readOnly) {
    throw new StoreError('FIRKIN_NOT_FOUND', `There is no store in ${directory}`)
  }
  const storeId = randomBytes(STORE_ID_SIZE)
  const context = heldContext(files, storeId)
  const manifest: Manifest = {
    storeId,
    generation: 0,
    tailId: 1,
    tailSize: 0,
    nextSegmentId: 1,
    nextSequence: 1,
    keydirKind: options.keydir,
    closed: true,
    clockMs: 0,
    sweeps: [],
    segments: [],
  }
  for (const name of names) {
    if (parseName(name).type === 'temporary') files.remove(join(directory, name))
  }
  const segments = new Segments(context, manifest, 1, mappingSize(options), options.maxOpenFiles)
  segments.clockMs = wholeMs(options.clock())
  await segments.commit(() => ({ closed: true }))
  return {
    segments,
    keydir: createKeydir(options.keydir),
    chunks: undefined,
    nextSequence: 1,
    report: {
      source: 'new',
      checkpointFault: undefined,
      closed: true,
      clockBackMs: 0,
      torn: [],
      leftovers: [],
      unhinted: [],
      replayedCount: 0,
      lost: undefined,
    },
  }
}

/** Returns by how much the clock was put back, if both readings are known; 0 within tolerance. */
function clockBackMs(beforeMs: number, nowMs: number): number {
  const backMs = nowMs === 0 ? 0 : beforeMs - nowMs
  return backMs > CLOCK_TOLERANCE_MS ? backMs : 0
}

/** Whether there is a reserve in a store that should have none. */
function holdsReserve(
  { files, directory, storeId }: SegmentContext,
  names: readonly string[],
): boolean {
  if (!names.includes(RESERVE_NAME)) return false
  const file = files.open(join(directory, RESERVE_NAME), 'read')
  try {
    return isReserve(files, file, storeId)
  } finally {
    files.close(file)
  }
}

/** Returns the ids of sealed segments whose hint is missing, or was read and is not sound. */
function withoutHint(load: Load, segments: Segments, names: readonly string[]): number[] {
  const present = new Set(names)
  return segments.listed
    .filter((segment) => load.unhinted.includes(segment) || !present.has(hintName(segment.id)))
    .map((segment) => segment.id)
}

/** Returns the names of the store's own files that belong to no segment of it. */
function leftoversIn(names: readonly string[], segments: Segments): string[] {
  return names.filter((name) => {
    const parsed = parseName(name)
    switch (parsed.type) {
      case 'temporary':
        return true
      case 'segment':
        return parsed.id < segments.manifest.tailId && segments.find(parsed.id) === undefined
      case 'hint':
        return segments.find(parsed.id) === undefined
      default:
        return false
    }
  })
}

function endsAsClosed(segments: Segments): boolean {
  const { tailId, tailSize } = segments.manifest
  const { tail } = segments
  if (tailSize === 0) return tail.length === 0
  return tail.length === 1 && tail[0]?.id === tailId && tail[0].writtenSize === tailSize
}

function highestId(names: readonly string[]): number {
  return segmentIdsOf(names).at(-1) ?? 0
}
