/**
 * Recovery: from the files of a directory to segments and a keydir.
 *
 * 1. Manifest. It says which segments are sealed, and where the tail begins.
 * 2. Keydir. From the checkpoint, where it fits; otherwise from each sealed segment's hint, or from the segment
 *    itself where the hint is missing, cut, stale or damaged.
 * 3. Replay the tail: what was written after that. It ends at the first fault.
 * 4. Cut a torn tail, and remove leftovers. A read-only open leaves both alone.
 *
 * A checkpoint that turns out to be damaged before the end of step 3 is left aside: steps 1 to 3, which change no file,
 * are taken again without it.
 *
 * Invariants
 * - The result does not depend on what the keydir was loaded from.
 * - A fault in the tail is torn where it lies behind all that is known to be whole and no whole record is at it or
 *   behind it in its file; then what is in newer files was never promised, and goes with it. All else is corrupt.
 * - A segment of the tail counts only if its predecessor is there as it was when the segment was begun.
 */

import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { CorruptionError, StoreError } from '../errors.ts'
import { FILE_HEADER_SIZE, type Predecessor, STORE_ID_SIZE } from '../format/file-header.ts'
import type { KeydirKind } from '../format/keydir-kind.ts'
import { knownTailSize, type Manifest } from '../format/manifest.ts'
import {
  hintName,
  holdsStore,
  MANIFEST_NAME,
  parseName,
  RESERVE_NAME,
  segmentIdsOf,
  segmentName,
} from '../format/names.ts'
import type { Page } from '../format/record.ts'
import { readFully, writeFully } from '../io/files.ts'
import type { HeldFiles } from '../io/held-files.ts'
import { allocateBuffer } from '../io/memory.ts'
import { createKeydir } from '../keydir/create.ts'
import type { Keydir } from '../keydir/keydir.ts'
import type { ResolvedOptions } from '../options.ts'
import { type LossReport, salvageStore } from '../salvage/salvage.ts'
import {
  isBlank,
  openSegmentFile,
  readSegmentHeader,
  type SegmentContext,
} from '../segment/file.ts'
import { assertNoCache } from '../segment/kind.ts'
import { readManifest } from '../segment/manifest-file.ts'
import { openSealed } from '../segment/open.ts'
import { isReserve, noSpaceCode } from '../segment/reserve.ts'
import type { ScanEnd } from '../segment/scan.ts'
import { heldContext, Segment } from '../segment/segment.ts'
import { Segments } from '../segment/segments.ts'
import { wholeMs } from '../segment/sweeps.ts'
import { isTorn, lacksFirst, mayBeBlank, TailEnds, tailIdsOf } from '../segment/tail.ts'
import { SegmentUsage } from '../segment/usage.ts'
import {
  type Checkpoint,
  type ChunkReader,
  DamagedCheckpoint,
  loadCheckpoint,
} from './checkpoint-file.ts'
import { Replay } from './replay.ts'

/** A piece of the tail that a crash cut short. */
export interface TornTail {
  readonly file: string
  /** Where the file was cut; 0 where it was removed. */
  readonly offset: number
  /** How many bytes were behind it. */
  readonly bytes: number
}

/** What opening found. */
export interface RecoveryReport {
  /** What the keydir was loaded from; `'segments'` where any segment had no sound hint. */
  readonly source: 'new' | 'checkpoint' | 'hints' | 'segments'
  /** Why the checkpoint was no help, where it is damaged or cannot be read; told by an event `error`, too. */
  readonly checkpointFault: StoreError | undefined
  /** Whether the store had been closed in good order. */
  readonly closed: boolean
  /**
   * By how much the clock is behind what it said when the manifest was written, in milliseconds; 0 up to a minute. What
   * had been swept by then stays gone; what had only expired may be there again.
   */
  readonly clockBackMs: number
  readonly torn: readonly TornTail[]
  /** Files of the store's own names that were no part of it; a writer removes them. */
  readonly leftovers: readonly string[]
  /** The ids of sealed segments without a sound hint. */
  readonly unhinted: readonly number[]
  /** How many records were read from the tail. */
  readonly replayedCount: number
  /** With `recovery: 'salvage'`: what is missing; `undefined` where nothing was damaged. */
  readonly lost: LossReport | undefined
}

/** What an open store stands on. */
export interface Recovered {
  readonly segments: Segments
  readonly keydir: Keydir
  /** Where the keydir gets what it has not been asked for yet; `undefined` where it came from no checkpoint. */
  readonly chunks: ChunkReader | undefined
  /** Higher than every sequence in use. */
  readonly nextSequence: number
  readonly report: RecoveryReport
}

/** The options that recovery goes by. */
export type RecoveryOptions = Pick<
  ResolvedOptions<unknown>,
  | 'createIfMissing'
  | 'allowCache'
  | 'readOnly'
  | 'maxOpenFiles'
  | 'recovery'
  | 'keydir'
  | 'maxSegmentBytes'
  | 'reserveBytes'
  | 'mapping'
  | 'clock'
>

/**
 * Brings a directory's segments and keydir back; the directory exists, and is locked unless `readOnly`.
 *
 * @throws {@link CorruptionError} for damage that is not a torn tail
 * @throws {@link StoreError} FIRKIN_NOT_FOUND, FIRKIN_VERSION, FIRKIN_OTHER_KIND
 */
export async function recover(files: HeldFiles, options: RecoveryOptions): Promise<Recovered> {
  const lost = options.recovery === 'salvage' ? await salvage(files, options) : undefined
  try {
    return await recoverFrom(files, options, lost, undefined)
  } catch (error) {
    if (!(error instanceof DamagedCheckpoint)) throw error
    return await recoverFrom(files, options, lost, error.told)
  }
}

/**
 * @param checkpointFault why there is to be done without the checkpoint
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
  // What is looked at anew may have been replaced, by a cache's directory as well.
  if (!options.allowCache) assertNoCache(directory, names)
  const manifest = readManifest(files, directory)
  if (manifest === undefined) return createStore(files, names, options)

  const context = heldContext(files, manifest.storeId)
  const nextId = Math.max(manifest.nextSegmentId, highestId(names) + 1)
  const segments = new Segments(
    context,
    manifest,
    nextId,
    mappingSize(options),
    options.maxOpenFiles,
  )
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
      // What was seen here may not have been durable yet, the manifest's name least of all.
      files.syncDirectory(directory)
      if (torn.length > 0) cutTail(segments, torn)
      for (const segment of segments.tail) cutPreallocation(segments, segment)
      for (const segment of segments.tail) renew(segments, segment)
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
      // Those that were sealed just now included.
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

/**
 * Loads the keydir of an open store once more, from hints and segments: what it was loaded from turned out
 * to be damaged.
 *
 * @param stage what is staged behind the active segment, up to `stagedSize`
 */
export function reloadKeydir(
  segments: Segments,
  kind: KeydirKind,
  stage: Page,
  stagedSize: number,
): Keydir {
  const replay = new Replay(createKeydir(kind), segments)
  for (const segment of segments.all) segment.usage.setDead(NOTHING_DEAD)
  replay.loadSealed(segments.listed)
  for (const segment of segments.tail) {
    segment.usage.setFigures(new SegmentUsage())
    const { writtenSize } = segment
    // All of it was written: there is no room before its end.
    const scan = replay.replay(segment, FILE_HEADER_SIZE, writtenSize, writtenSize)
    if (scan.faultAt !== undefined)
      throw new CorruptionError(scan.fault, segment.path, scan.faultAt)
  }
  if (segments.active !== undefined) replay.replayStage(segments.active, stage, stagedSize)
  replay.finish()
  return replay.keydir
}

/** A clock that is put right by less is nothing to tell. */
const CLOCK_TOLERANCE_MS = 60_000

/** By how much a clock was put back, as far as it is known what it said, and worth telling. */
function clockBackMs(beforeMs: number, nowMs: number): number {
  const backMs = nowMs === 0 ? 0 : beforeMs - nowMs
  return backMs > CLOCK_TOLERANCE_MS ? backMs : 0
}

/** How much of a tail is written once more at a time. */
const RENEWAL_SIZE = 1024 * 1024

const NOTHING_DEAD = { deadPutCount: 0, deadBytes: 0 }

/** Mends a store that there is; a new one has nothing to mend. */
async function salvage(
  files: HeldFiles,
  { maxSegmentBytes, clock }: RecoveryOptions,
): Promise<LossReport | undefined> {
  const names = files.list(files.directory) ?? []
  if (!holdsStore(names)) return undefined
  const report = await salvageStore(files, {
    maxSegmentBytes,
    dryRun: false,
    nowMs: clock(),
  })
  return report.damaged.length > 0 || report.manifestRebuilt ? report : undefined
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

/** The tail as it was found. */
export interface OpenTail {
  /** Oldest first; each still counts as empty. */
  readonly segments: Segment[]
  /** What each but the first was begun behind. */
  readonly predecessors: Map<Segment, Predecessor>
  /** The names of segments that have an id of the tail but are not of it: a crash has left them. */
  readonly leftovers: string[]
}

/** Opens the appended segments that the manifest does not list. */
export function openTail(
  context: SegmentContext,
  manifest: Manifest,
  names: readonly string[],
  options: RecoveryOptions,
): OpenTail {
  const ids = tailIdsOf(segmentIdsOf(names), manifest)
  const tail: OpenTail = { segments: [], predecessors: new Map(), leftovers: [] }
  if (lacksFirst(ids, manifest)) {
    const path = join(context.directory, segmentName(manifest.tailId))
    throw new CorruptionError('The segment is missing', path, 0)
  }
  try {
    for (const id of ids) addToTail(tail, id, context, manifest, options)
  } catch (error) {
    for (const segment of tail.segments) segment.close()
    throw error
  }
  return tail
}

/** Opens a segment behind those that the manifest lists, and finds out whether it is of the tail. */
function addToTail(
  tail: OpenTail,
  id: number,
  context: SegmentContext,
  manifest: Manifest,
  options: RecoveryOptions,
): void {
  const { files } = context
  const { path, file, size } = openSegmentFile(context, id, !options.readOnly)
  try {
    const isFirst = id === manifest.tailId
    if (isFirst && size < manifest.tailSize) {
      throw new CorruptionError(
        `The file has ${size} bytes; the manifest says ${manifest.tailSize}`,
        path,
        size,
      )
    }
    // Where the header never reached the disk, nothing in the file was promised.
    const blank = isBlank(files, file, size) && mayBeBlank(id, manifest)
    const header = blank ? 'short' : readSegmentHeader(context, file, path, id)
    if (header === 'short' || header.origin === 'merged') {
      tail.leftovers.push(segmentName(id))
      files.close(file)
      return
    }
    const usage = new SegmentUsage()
    const segment = new Segment(context, id, 'appended', file, usage, mappingSize(options))
    segment.writtenSize = size
    tail.segments.push(segment)
    if (header.predecessor !== undefined) tail.predecessors.set(segment, header.predecessor)
  } catch (error) {
    files.close(file)
    throw error
  }
}

interface Load {
  readonly replay: Replay
  readonly chunks: ChunkReader | undefined
  /** What is wrong with a checkpoint of which nothing was loaded. */
  readonly checkpointFault: StoreError | undefined
  readonly source: RecoveryReport['source']
  readonly unhinted: readonly Segment[]
  /** How many records were applied so far. */
  readonly loadedCount: number
  readonly nextSequence: number
  /** Where the replay of the tail begins, by segment; elsewhere behind the file header. */
  readonly tailFrom: ReadonlyMap<Segment, number>
}

/** Loads what the sealed segments hold, and as much of the tail as the checkpoint knows. */
function loadKeydir(
  segments: Segments,
  tail: readonly Segment[],
  kind: KeydirKind,
  mayLoadCheckpoint: boolean,
): Load {
  let checkpoint: Checkpoint | undefined
  let checkpointFault: StoreError | undefined
  try {
    if (mayLoadCheckpoint) checkpoint = loadCheckpoint(segments, tail, kind)
  } catch (error) {
    if (!(error instanceof DamagedCheckpoint)) throw error
    checkpointFault = error.told
  }
  if (checkpoint !== undefined) {
    const replay = new Replay(checkpoint.keydir, segments)
    const unhinted = replay.loadNewer(checkpoint.position)
    const { tailId, tailSize } = checkpoint.position
    const first = tail.find((segment) => segment.id === tailId)
    return {
      replay,
      chunks: checkpoint.chunks,
      checkpointFault,
      source: 'checkpoint',
      unhinted,
      loadedCount: replay.recordCount,
      nextSequence: checkpoint.nextSequence,
      // The store may have had no segment when the image was made.
      tailFrom: new Map(first && [[first, Math.max(tailSize, FILE_HEADER_SIZE)]]),
    }
  }
  const replay = new Replay(createKeydir(kind), segments)
  const unhinted = replay.loadSealed(segments.listed)
  return {
    replay,
    chunks: undefined,
    checkpointFault,
    source: unhinted.length > 0 ? 'segments' : 'hints',
    unhinted,
    loadedCount: replay.recordCount,
    nextSequence: 1,
    tailFrom: new Map(),
  }
}

/** Replays the tail up to its first fault; answers what is torn, by file. */
function replayTail(
  segments: Segments,
  predecessors: ReadonlyMap<Segment, Predecessor>,
  load: Load,
  options: RecoveryOptions,
): TornTail[] {
  const torn: TornTail[] = []
  const ends = new TailEnds(segments.manifest.tailId)
  for (const segment of segments.tail) {
    const fileSize = segment.writtenSize
    if (!ends.goesOn(predecessors.get(segment))) {
      torn.push({ file: segment.path, offset: 0, bytes: fileSize })
      segment.writtenSize = 0
      continue
    }
    const from = load.tailFrom.get(segment) ?? FILE_HEADER_SIZE
    const known = knownTailSize(segments.manifest, segment.id)
    const scan = load.replay.replay(segment, from, fileSize, known)
    segment.writtenSize = Math.max(scan.end, from)
    ends.ends(segment.id, segment.writtenSize, scan.faultAt !== undefined)
    if (scan.faultAt === undefined) continue
    assertTorn(segments, load.replay, segment, scan)
    torn.push({ file: segment.path, offset: scan.end, bytes: fileSize - scan.end })
  }
  const [first] = torn
  if (first !== undefined && options.recovery === 'strict') {
    throw new CorruptionError('The tail is torn', first.file, first.offset)
  }
  return torn
}

/** @throws {@link CorruptionError} where a fault in the tail cannot be a torn tail */
function assertTorn(segments: Segments, replay: Replay, segment: Segment, scan: ScanEnd): void {
  const faultAt = scan.faultAt ?? scan.end
  const known = knownTailSize(segments.manifest, segment.id)
  const fileSize = segments.context.files.size(segment.file)
  if (!isTorn(scan.end, known, replay.findFrom(segment, faultAt, fileSize))) {
    throw new CorruptionError(scan.fault, segment.path, faultAt)
  }
}

/** Cuts off room that was made for records and never used: it is no part of what is written from now on. */
function cutPreallocation({ context }: Segments, segment: Segment): void {
  const { files } = context
  if (files.size(segment.file) === segment.writtenSize) return
  files.truncate(segment.file, segment.writtenSize)
  files.sync(segment.file)
}

function cutTail(segments: Segments, torn: readonly TornTail[]): void {
  const { files, directory } = segments.context
  const byPath = new Map(segments.tail.map((segment) => [segment.path, segment]))
  // Newest first: a crash meanwhile must not leave a gap with a newer segment behind it.
  for (const { file, offset } of [...torn].reverse()) {
    const segment = byPath.get(file)
    if (segment === undefined) continue
    if (offset === 0) {
      segments.drop(segment)
      segment.close()
      files.remove(file)
    } else {
      files.truncate(segment.file, offset)
      files.sync(segment.file)
    }
  }
  files.syncDirectory(directory)
}

/**
 * Writes the bytes of a tail segment once more that may never have been synced. Where a sync had failed, the operating
 * system may still show them and take them for written: the next sync would succeed without them.
 */
function renew(segments: Segments, segment: Segment): void {
  const { files } = segments.context
  const end = segment.writtenSize
  const from = knownTailSize(segments.manifest, segment.id)
  const buffer = allocateBuffer(Math.min(RENEWAL_SIZE, Math.max(0, end - from)))
  for (let at = from; at < end; at += buffer.length) {
    const read = readFully(files, segment.file, buffer, Math.min(buffer.length, end - at), at)
    writeFully(files, segment.file, buffer, read, at)
  }
}

/** Lists what is full as sealed; without room for a manifest that is left to the next sync. */
async function sealTail(segments: Segments): Promise<void> {
  await segments.syncLater()
  try {
    await segments.seal()
  } catch (error) {
    if (noSpaceCode(error) === undefined) throw error
  }
}

/** Whether a store that is to have no reserve has one. */
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

/** The ids of sealed segments whose hint is not sound, as far as was looked, or is missing. */
function withoutHint(load: Load, segments: Segments, names: readonly string[]): number[] {
  const present = new Set(names)
  return segments.listed
    .filter((segment) => load.unhinted.includes(segment) || !present.has(hintName(segment.id)))
    .map((segment) => segment.id)
}

/** The names of own files that belong to no segment of the store. */
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

function mappingSize(options: RecoveryOptions): number {
  return options.mapping && !options.readOnly ? options.maxSegmentBytes : 0
}
