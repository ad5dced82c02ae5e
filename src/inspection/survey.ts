/** What a store's files say, read without changing them: for `inspect`. */

import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { CorruptionError } from '../errors.ts'
import { FILE_HEADER_SIZE, FORMAT_VERSION, storeSeed, versionOf } from '../format/file-header.ts'
import { HintDecoder } from '../format/hint.ts'
import type { Manifest } from '../format/manifest.ts'
import { CHECKPOINT_NAME, hintName, MANIFEST_NAME, segmentName } from '../format/names.ts'
import { PUT, type RecordFields } from '../format/record.ts'
import { readWhole, systemFiles } from '../io/files.ts'
import { lockHolder } from '../io/lock.ts'
import type { LeftOutSegment } from '../merge/options.ts'
import { verifyCheckpoint } from '../recovery/checkpoint-file.ts'
import { readFileHeader } from '../segment/file.ts'
import { readHintFile } from '../segment/hint-file.ts'
import { readCacheMark } from '../segment/kind.ts'
import { scanSegment } from '../segment/scan.ts'
import { requireManifest } from './directory.ts'
import type { SegmentFigures, StoreFigures, SurveyedStore } from './figures.ts'
import { planMerge, sumUp } from './merge-preview.ts'
import { asReadFailure } from './read-failure.ts'
import { steadily } from './steady.ts'

/** Whether a shortcut serves; the next open does without it where it does not. */
export type ShortcutState = 'sound' | 'stale' | 'damaged' | 'missing'

/** What is known of a segment; what only a sound store can tell is `undefined`. */
export interface SegmentSurvey {
  readonly id: number
  readonly origin: 'appended' | 'merged'
  readonly active: boolean
  readonly bytes: number
  readonly liveBytes: number | undefined
  readonly deadBytes: number | undefined
  readonly puts: number
  readonly tombstones: number
  readonly minSequence: number
  readonly maxSequence: number
  /** Of the puts that expire, the first and the last moment; 0 where none does. */
  readonly minExpiryMs: number
  readonly maxExpiryMs: number
  /** `undefined` for a segment of the tail, which has none. */
  readonly hint: ShortcutState | undefined
}

/** What is known of a store. */
export interface StoreSurvey {
  readonly directory: string
  readonly kind: 'store' | 'cache'
  /** How a cache's values are stored: an encoding's name, or a codec's; of a store only its program knows that. */
  readonly valueEncoding: string | undefined
  readonly format: number
  readonly storeId: string
  readonly keydir: string
  /** Who has it open for writing. */
  readonly inUseBy: string | undefined
  /** Whether it was closed in good order, and nothing was written since. */
  readonly closed: boolean
  /** Those that have expired do not count. */
  readonly keys: number | undefined
  readonly nextSequence: number
  readonly bytes: number
  readonly liveBytes: number | undefined
  readonly deadBytes: number | undefined
  readonly tombstoneBytes: number | undefined
  readonly checkpoint: ShortcutState
  /** What `firkin merge --all` would do. */
  readonly merge:
    | {
        readonly segments: number
        readonly bytesRead: number
        readonly bytesGained: number
        readonly leftOut: readonly LeftOutSegment[]
      }
    | undefined
  readonly segments: readonly SegmentSurvey[]
  /** Bytes at the end that a crash left unfinished; the next open to write cuts them. */
  readonly tornBytes: number
  /** Why the store does not open. */
  readonly damage: string | undefined
}

/**
 * Surveys the store in a directory.
 *
 * @param open opens the store beside its writer, without changing anything
 * @throws {@link StoreError} FIRKIN_NOT_FOUND, FIRKIN_VERSION, FIRKIN_READ_FAILED
 * @throws {@link CorruptionError} where not even the manifest can be read
 */
export async function surveyStore(
  directory: string,
  open: (directory: string) => Promise<SurveyedStore>,
): Promise<StoreSurvey> {
  const path = resolve(directory)
  try {
    await using store = await steadily(path, () => open(path))
    const seen = new Map<number, SegmentSurvey>()
    return await steadily(path, async () => {
      await store.refresh()
      return survey(path, { keys: store.count(), stats: store.stats() }, seen)
    })
  } catch (error) {
    if (error instanceof CorruptionError) return survey(path, error, new Map())
    throw error
  }
}

/**
 * @param read a store's figures, or the damage for which it does not open
 * @param seen what was found of segments that do not change any more, when the store was looked at before
 */
function survey(
  path: string,
  read: Figures | CorruptionError,
  seen: Map<number, SegmentSurvey>,
): StoreSurvey {
  const manifest = requireManifest(systemFiles, path)
  const { keys, stats: sound } = read instanceof CorruptionError ? NOTHING : read
  const segments =
    sound === undefined ? listedAlone(path, manifest) : surveyAll(path, manifest, sound, seen)
  const { storeId, keydirKind, closed } = manifest
  const mark = readCacheMark(systemFiles, path)
  return {
    directory: path,
    kind: mark === undefined ? 'store' : 'cache',
    valueEncoding: mark?.name ?? mark?.valueEncoding,
    format: formatOf(path),
    storeId: Buffer.from(storeId).toString('hex'),
    keydir: keydirKind,
    inUseBy: lockHolder(path),
    closed: sound?.recovery.closed ?? closed,
    keys,
    nextSequence: sound?.nextSequence ?? manifest.nextSequence,
    bytes: segments.reduce((sum, { bytes }) => sum + bytes, 0),
    liveBytes: sound?.liveBytes,
    deadBytes: sound?.deadBytes,
    tombstoneBytes: sound?.tombstoneBytes,
    checkpoint: checkpointState(path, manifest, sound),
    merge: sound === undefined ? undefined : mergeGain(path, sound),
    segments,
    tornBytes: (sound?.recovery.torn ?? []).reduce((sum, { bytes }) => sum + bytes, 0),
    damage: read instanceof CorruptionError ? read.message : undefined,
  }
}

/** The version of the format that the manifest is written in; that of the segments may be an earlier one. */
function formatOf(directory: string): number {
  const head = readWhole(systemFiles, join(directory, MANIFEST_NAME), FILE_HEADER_SIZE)
  return head === undefined ? FORMAT_VERSION : versionOf(head)
}

interface Figures {
  readonly keys: number | undefined
  readonly stats: StoreFigures | undefined
}

const NOTHING: Figures = { keys: undefined, stats: undefined }

function surveyAll(
  directory: string,
  manifest: Manifest,
  stats: StoreFigures,
  seen: Map<number, SegmentSurvey>,
): SegmentSurvey[] {
  const seed = storeSeed(manifest.storeId)
  const listed = new Set(manifest.segments.map(({ id }) => id))
  const surveys = stats.segments.map((segment) => {
    const before = seen.get(segment.id)
    if (before !== undefined) {
      const { liveBytes, deadBytes } = segment
      return { ...before, liveBytes, deadBytes }
    }
    const expiry = new ExpiryRange()
    const hint = listed.has(segment.id)
      ? readHint(directory, manifest, segment.id, segment.bytes, expiry)
      : undefined
    if (hint !== 'sound') readSegment(directory, seed, segment, expiry)
    const found: SegmentSurvey = {
      id: segment.id,
      origin: segment.origin,
      active: segment.active,
      bytes: segment.bytes,
      liveBytes: segment.liveBytes,
      deadBytes: segment.deadBytes,
      puts: segment.livePuts + segment.deadPuts,
      tombstones: segment.tombstones,
      minSequence: segment.minSequence,
      maxSequence: segment.maxSequence,
      minExpiryMs: expiry.minMs,
      maxExpiryMs: expiry.maxMs,
      hint,
    }
    if (hint === 'sound') seen.set(segment.id, found)
    return found
  })
  assertListed(directory, surveys)
  return surveys
}

/** What has no hint may be of the store no more. @throws {@link CorruptionError} */
function assertListed(directory: string, surveys: readonly SegmentSurvey[]): void {
  const suspects = surveys.filter(({ hint }) => hint === 'missing')
  if (suspects.length === 0) return
  const listed = new Set(requireManifest(systemFiles, directory).segments.map(({ id }) => id))
  const gone = suspects.find(({ id }) => !listed.has(id))
  if (gone === undefined) return
  const path = join(directory, segmentName(gone.id))
  throw new CorruptionError('The segment is of the store no more', path, 0)
}

/** What the manifest and the hints tell, where the store does not open. */
function listedAlone(directory: string, manifest: Manifest): SegmentSurvey[] {
  return manifest.segments.map((sealed) => {
    const expiry = new ExpiryRange()
    const hint = readHint(directory, manifest, sealed.id, sealed.size, expiry)
    return {
      id: sealed.id,
      origin: sealed.origin,
      active: false,
      bytes: sealed.size,
      liveBytes: undefined,
      deadBytes: undefined,
      puts: sealed.putCount,
      tombstones: sealed.tombstoneCount,
      minSequence: sealed.minSequence,
      maxSequence: sealed.maxSequence,
      minExpiryMs: expiry.minMs,
      maxExpiryMs: Math.max(expiry.maxMs, sealed.lastExpiryMs),
      hint,
    }
  })
}

/** When the puts that expire do so. */
class ExpiryRange {
  minMs = 0
  maxMs = 0

  add({ kind, expiresAtMs }: RecordFields): void {
    if (kind !== PUT || expiresAtMs === 0) return
    if (this.minMs === 0 || expiresAtMs < this.minMs) this.minMs = expiresAtMs
    if (expiresAtMs > this.maxMs) this.maxMs = expiresAtMs
  }
}

function readHint(
  directory: string,
  manifest: Manifest,
  id: number,
  segmentSize: number,
  expiry: ExpiryRange,
): ShortcutState {
  const { storeId } = manifest
  const path = join(directory, hintName(id))
  try {
    const bytes = readHintFile(systemFiles, path, segmentSize)
    if (bytes === undefined) return 'missing'
    const header = readFileHeader(bytes, path, 'hint', { storeId, fileId: id })
    const decoder = header === 'short' ? undefined : HintDecoder.open(bytes, storeId, segmentSize)
    if (decoder === undefined) return 'damaged'
    while (decoder.next()) expiry.add(decoder.fields)
    return 'sound'
  } catch (error) {
    if (error instanceof CorruptionError) return 'damaged'
    throw asReadFailure(error, path)
  }
}

function readSegment(
  directory: string,
  seed: number,
  { id, bytes: to }: SegmentFigures,
  expiry: ExpiryRange,
): void {
  const file = systemFiles.open(join(directory, segmentName(id)), 'read')
  try {
    const options = {
      from: FILE_HEADER_SIZE,
      to,
      seed,
      ascending: false,
      batches: 'loose',
      values: false,
    } as const
    scanSegment({ files: systemFiles, file, ...options }, (fields) => expiry.add(fields))
  } finally {
    systemFiles.close(file)
  }
}

function checkpointState(
  directory: string,
  { storeId }: Manifest,
  stats: StoreFigures | undefined,
): ShortcutState {
  const path = join(directory, CHECKPOINT_NAME)
  if (!existsSync(path)) return 'missing'
  try {
    verifyCheckpoint(systemFiles, path, storeId)
  } catch (error) {
    // The writer may just have removed it.
    if (!existsSync(path)) return 'missing'
    if (error instanceof CorruptionError) return 'damaged'
    throw asReadFailure(error, path)
  }
  return stats === undefined || stats.recovery.source === 'checkpoint' ? 'sound' : 'stale'
}

function mergeGain(directory: string, stats: StoreFigures): NonNullable<StoreSurvey['merge']> {
  const { segments, leftOut, bytesRead, bytesGained } = sumUp(planMerge(directory, stats, true))
  return { segments: segments.length, bytesRead, bytesGained, leftOut }
}
