/** A survey of a store: what its files say, read without changing them, for `inspect`. */

import { join } from 'node:path'
import { CorruptionError } from '../errors.ts'
import { FILE_HEADER_SIZE, FORMAT_VERSION, storeSeed, versionOf } from '../format/file-header.ts'
import { HintDecoder } from '../format/hint.ts'
import type { Manifest } from '../format/manifest.ts'
import { CHECKPOINT_NAME, hintName, MANIFEST_NAME, segmentName } from '../format/names.ts'
import { PUT, type RecordFields } from '../format/record.ts'
import { type Files, readWhole } from '../io/files.ts'
import { lockHolder } from '../io/lock.ts'
import { type NetworkType, networkTypeOf } from '../io/network.ts'
import type { LeftOutSegment } from '../merge/options.ts'
import { verifyCheckpoint } from '../recovery/checkpoint-file.ts'
import { readFileHeader } from '../segment/file.ts'
import { readHintFile } from '../segment/hint-file.ts'
import { readCacheMark } from '../segment/kind.ts'
import { scanSegment } from '../segment/scan.ts'
import type { SegmentStats } from '../segment/stats.ts'
import { requireManifest } from './directory.ts'
import type { StoreFigures, SurveyedStore } from './figures.ts'
import { previewMerge } from './merge-preview.ts'
import { asReadFailure } from './read-failure.ts'
import { steadily } from './steady.ts'

/** The state of a shortcut file. Unless it is sound, the next open does without it. */
type ShortcutState = 'sound' | 'stale' | 'damaged' | 'missing'

/** The survey of a segment. Fields that only a sound store can give are `undefined` otherwise. */
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
  /** The earliest and the latest expiry among the puts that expire; 0 if none does. */
  readonly minExpiryMs: number
  readonly maxExpiryMs: number
  /** `undefined` for a segment of the tail, which has no hint. */
  readonly hint: ShortcutState | undefined
}

/** The survey of a store. */
export interface StoreSurvey {
  readonly directory: string
  readonly kind: 'store' | 'cache'
  /**
   * The encoding of a cache's values: its name, or that of a codec. `undefined` for a store, whose
   * encoding only its program knows.
   */
  readonly valueEncoding: string | undefined
  /** The type of its file system if that may be on another machine; otherwise `undefined`. */
  readonly fileSystem: NetworkType | undefined
  readonly format: number
  readonly storeId: string
  readonly keydir: string
  /** The process that has it open for writing. */
  readonly inUseBy: string | undefined
  /** Whether it was closed in good order, and nothing has been written since. */
  readonly closed: boolean
  /** The number of keys that have not expired. */
  readonly keys: number | undefined
  readonly nextSequence: number
  readonly bytes: number
  readonly liveBytes: number | undefined
  readonly deadBytes: number | undefined
  readonly tombstoneBytes: number | undefined
  readonly checkpoint: ShortcutState
  /** The outcome that `firkin merge --all` would have. */
  readonly merge:
    | {
        readonly segments: number
        readonly bytesRead: number
        readonly bytesGained: number
        readonly leftOut: readonly LeftOutSegment[]
      }
    | undefined
  readonly segments: readonly SegmentSurvey[]
  /** Bytes at the end that a crash left unfinished; the next open for writing cuts them. */
  readonly tornBytes: number
  /** The reason for which the store does not open. */
  readonly damage: string | undefined
}

/**
 * Surveys the store in a directory.
 *
 * @param open opens the store for reading, beside its writer if it has one
 * @throws {@link StoreError} FIRKIN_NOT_FOUND, FIRKIN_VERSION, FIRKIN_READ_FAILED
 * @throws {@link CorruptionError} if not even the manifest can be read
 */
export async function surveyStore(
  files: Files,
  directory: string,
  open: () => Promise<SurveyedStore>,
): Promise<StoreSurvey> {
  const surveyor = new Surveyor(files, directory)
  try {
    await using store = await steadily(files, directory, open)
    return await steadily(files, directory, async () => {
      await store.refresh()
      return surveyor.survey({ keys: store.count(), figures: store.stats() }, undefined)
    })
  } catch (error) {
    if (error instanceof CorruptionError) return surveyor.survey(NOTHING, error)
    throw error
  }
}

/** The figures of a store that opens, or nothing. */
interface Known {
  readonly keys: number | undefined
  readonly figures: StoreFigures | undefined
}

const NOTHING: Known = { keys: undefined, figures: undefined }

/** Surveys one store, more than once if a merge gets in the way. */
class Surveyor {
  readonly #files: Files
  readonly #directory: string
  /** The surveys of segments that no longer change. */
  readonly #surveyed = new Map<number, SegmentSurvey>()

  constructor(files: Files, directory: string) {
    this.#files = files
    this.#directory = directory
  }

  /** @param damage the reason for which the store does not open */
  survey({ keys, figures }: Known, damage: CorruptionError | undefined): StoreSurvey {
    const manifest = requireManifest(this.#files, this.#directory)
    const segments =
      figures === undefined
        ? this.#surveyListed(manifest)
        : this.#surveySegments(manifest, figures.segments)
    const { storeId, keydirKind, closed } = manifest
    const mark = readCacheMark(this.#files, this.#directory)
    return {
      directory: this.#directory,
      kind: mark === undefined ? 'store' : 'cache',
      valueEncoding: mark?.name ?? mark?.valueEncoding,
      fileSystem: networkTypeOf(this.#files, this.#directory),
      format: this.#format(),
      storeId: Buffer.from(storeId).toString('hex'),
      keydir: keydirKind,
      inUseBy: lockHolder(this.#directory),
      closed: figures?.recovery.closed ?? closed,
      keys,
      nextSequence: figures?.nextSequence ?? manifest.nextSequence,
      bytes: segments.reduce((sum, { bytes }) => sum + bytes, 0),
      liveBytes: figures?.liveBytes,
      deadBytes: figures?.deadBytes,
      tombstoneBytes: figures?.tombstoneBytes,
      checkpoint: this.#checkpointState(manifest, figures),
      merge: figures === undefined ? undefined : this.#mergeGain(figures),
      segments,
      tornBytes: (figures?.recovery.torn ?? []).reduce((sum, { bytes }) => sum + bytes, 0),
      damage: damage?.message,
    }
  }

  /** The format version of the manifest; segments may have an earlier one. */
  #format(): number {
    const head = readWhole(this.#files, this.#path(MANIFEST_NAME), FILE_HEADER_SIZE)
    return head === undefined ? FORMAT_VERSION : versionOf(head)
  }

  #surveySegments(manifest: Manifest, segments: readonly SegmentStats[]): SegmentSurvey[] {
    const listed = new Set(manifest.segments.map(({ id }) => id))
    const surveys = segments.map((segment) =>
      this.#surveySegment(manifest, segment, listed.has(segment.id)),
    )
    this.#assertListed(surveys)
    return surveys
  }

  #surveySegment(manifest: Manifest, segment: SegmentStats, isListed: boolean): SegmentSurvey {
    const { id, bytes, liveBytes, deadBytes } = segment
    const before = this.#surveyed.get(id)
    if (before !== undefined) return { ...before, liveBytes, deadBytes }
    const expiry = new ExpiryRange()
    const hint = isListed ? this.#readHint(manifest, id, bytes, expiry) : undefined
    if (hint !== 'sound') this.#readSegment(manifest, segment, expiry)
    const survey: SegmentSurvey = {
      id,
      origin: segment.origin,
      active: segment.active,
      bytes,
      liveBytes,
      deadBytes,
      puts: segment.livePuts + segment.deadPuts,
      tombstones: segment.tombstones,
      minSequence: segment.minSequence,
      maxSequence: segment.maxSequence,
      minExpiryMs: expiry.minMs,
      maxExpiryMs: expiry.maxMs,
      hint,
    }
    if (hint === 'sound') this.#surveyed.set(id, survey)
    return survey
  }

  /**
   * Asserts that segments without a hint are still listed: a merge may have removed both files.
   *
   * @throws {@link CorruptionError}
   */
  #assertListed(surveys: readonly SegmentSurvey[]): void {
    const suspects = surveys.filter(({ hint }) => hint === 'missing')
    if (suspects.length === 0) return
    const { segments } = requireManifest(this.#files, this.#directory)
    const listed = new Set(segments.map(({ id }) => id))
    const gone = suspects.find(({ id }) => !listed.has(id))
    if (gone === undefined) return
    const path = this.#path(segmentName(gone.id))
    throw new CorruptionError('The segment is of the store no more', path, 0)
  }

  /** Surveys the segments of a store that does not open by the manifest and the hints alone. */
  #surveyListed(manifest: Manifest): SegmentSurvey[] {
    return manifest.segments.map((sealed) => {
      const expiry = new ExpiryRange()
      const hint = this.#readHint(manifest, sealed.id, sealed.size, expiry)
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

  #readHint(
    { storeId }: Manifest,
    id: number,
    segmentSize: number,
    expiry: ExpiryRange,
  ): ShortcutState {
    const path = this.#path(hintName(id))
    try {
      const bytes = readHintFile(this.#files, path, segmentSize)
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

  #readSegment({ storeId }: Manifest, { id, bytes: to }: SegmentStats, expiry: ExpiryRange): void {
    const files = this.#files
    const file = files.open(this.#path(segmentName(id)), 'read')
    try {
      const options = {
        files,
        file,
        from: FILE_HEADER_SIZE,
        to,
        seed: storeSeed(storeId),
        values: false,
      } as const
      scanSegment(options, (fields) => expiry.add(fields))
    } finally {
      files.close(file)
    }
  }

  #checkpointState({ storeId }: Manifest, figures: StoreFigures | undefined): ShortcutState {
    const path = this.#path(CHECKPOINT_NAME)
    if (!this.#exists(CHECKPOINT_NAME)) return 'missing'
    try {
      verifyCheckpoint(this.#files, path, storeId)
    } catch (error) {
      // The writer may have just removed it.
      if (!this.#exists(CHECKPOINT_NAME)) return 'missing'
      if (error instanceof CorruptionError) return 'damaged'
      throw asReadFailure(error, path)
    }
    return figures === undefined || figures.recovery.source === 'checkpoint' ? 'sound' : 'stale'
  }

  #mergeGain(figures: StoreFigures): NonNullable<StoreSurvey['merge']> {
    const preview = previewMerge(this.#files, this.#directory, figures, true)
    const { segments, leftOut, bytesRead, bytesGained } = preview
    return { segments: segments.length, bytesRead, bytesGained, leftOut }
  }

  #exists(name: string): boolean {
    return (this.#files.list(this.#directory) ?? []).includes(name)
  }

  #path(name: string): string {
    return join(this.#directory, name)
  }
}

/** The range of the expiries of puts. */
class ExpiryRange {
  minMs = 0
  maxMs = 0

  add({ kind, expiresAtMs }: RecordFields): void {
    if (kind !== PUT || expiresAtMs === 0) return
    if (this.minMs === 0 || expiresAtMs < this.minMs) this.minMs = expiresAtMs
    if (expiresAtMs > this.maxMs) this.maxMs = expiresAtMs
  }
}
