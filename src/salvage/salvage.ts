/**
 * Salvage: makes a damaged directory a store that opens again, and reports what is missing.
 *
 * 1. Find the segments: in the manifest or, if that is lost, among the files.
 * 2. Read every segment to its end. At bytes that are not a record, look for the next record
 *    (segment-reader.ts).
 * 3. Replace the damaged segments by copies of their sound records (replacement.ts).
 *
 * If nothing is damaged nothing is done: a torn tail is left to recovery.
 *
 * Invariants
 * - A record is kept only if its checksum matches. The sequences say which of two records of a key
 *   is newer.
 * - The lost records are named as far as hints and the checkpoint list them (losses.ts).
 */

import { join } from 'node:path'
import { StoreError } from '../errors.ts'
import type { KeydirKind } from '../format/keydir-kind.ts'
import type { Manifest } from '../format/manifest.ts'
import {
  CHECKPOINT_NAME,
  hintName,
  holdsStore,
  segmentIdsOf,
  segmentName,
} from '../format/names.ts'
import { BATCH_END } from '../format/record.ts'
import type { HeldFiles } from '../io/held-files.ts'
import type { DamagedRange, LossReport } from '../recovery/report.ts'
import { Sweeps } from '../segment/sweeps.ts'
import { mayBeBlank, tailIdsOf } from '../segment/tail.ts'
import { Losses } from './losses.ts'
import { Progress, type SalvageProgress } from './progress.ts'
import { replaceDamaged } from './replacement.ts'
import { type ReadSegment, SegmentReader } from './segment-reader.ts'
import { findManifest, findStoreId } from './store-identity.ts'

/** Options of a salvage. */
interface SalvageOptions {
  /** The size at which a new copy is begun. */
  readonly maxSegmentBytes: number
  /** Whether it is only found out what a salvage would do. */
  readonly dryRun: boolean
  /** The time at which records count as expired. */
  readonly nowMs: number
  /** Called with the progress. If it throws, nothing has been changed. */
  readonly onProgress?: (progress: SalvageProgress) => void
}

/**
 * Salvages the store in a directory that is locked, or that nobody else writes to.
 *
 * @throws {@link StoreError} FIRKIN_NOT_FOUND, FIRKIN_VERSION
 * @throws {@link CorruptionError} if not even one file says which store it was
 */
export async function salvageStore(files: HeldFiles, options: SalvageOptions): Promise<LossReport> {
  const names = files.list(files.directory) ?? []
  const manifest = findManifest(files, files.directory, names)
  if (manifest === undefined && segmentIdsOf(names).length === 0) {
    throw new StoreError('FIRKIN_NOT_FOUND', `There is no store in ${files.directory}`)
  }
  return await new Salvage(files, options, names, manifest).run()
}

/** Salvages a store if there is one. Returns the report if anything was damaged. */
export async function salvageIfDamaged(
  files: HeldFiles,
  { maxSegmentBytes, clock }: { readonly maxSegmentBytes: number; readonly clock: () => number },
): Promise<LossReport | undefined> {
  if (!holdsStore(files.list(files.directory) ?? [])) return undefined
  const report = await salvageStore(files, { maxSegmentBytes, dryRun: false, nowMs: clock() })
  return report.damaged.length > 0 || report.manifestRebuilt ? report : undefined
}

class Salvage {
  readonly #files: HeldFiles
  readonly #directory: string
  readonly #options: SalvageOptions
  readonly #names: readonly string[]
  /** `undefined` if it is lost. */
  readonly #manifest: Manifest | undefined
  readonly #storeId: Uint8Array
  readonly #reader: SegmentReader
  readonly #losses: Losses
  readonly #progress: Progress

  constructor(
    files: HeldFiles,
    options: SalvageOptions,
    names: readonly string[],
    manifest: Manifest | undefined,
  ) {
    this.#files = files
    this.#directory = files.directory
    this.#options = options
    this.#names = names
    this.#manifest = manifest
    this.#storeId = manifest?.storeId ?? findStoreId(files, files.directory, names)
    this.#reader = new SegmentReader(files, files.directory, this.#storeId)
    this.#losses = new Losses(files, this.#storeId, {
      nowMs: options.nowMs,
      sweeps: Sweeps.of(manifest?.sweeps ?? []),
    })
    this.#progress = new Progress(options.onProgress)
  }

  async run(): Promise<LossReport> {
    const losses = this.#losses
    const segments = await this.#readAll()
    const missing = this.#findMissing(segments)
    for (const { id, ranges, size } of segments) {
      if (ranges.length > 0) losses.noteLost(id, this.#path(hintName(id)), size, ranges)
    }
    const damaged = [...missing, ...segments.flatMap(({ ranges }) => ranges)]
    const isSound = damaged.length === 0 && this.#manifest !== undefined
    const checkpoint = isSound ? undefined : losses.noteCheckpoint(this.#path(CHECKPOINT_NAME))
    const base = this.#manifest ?? this.#newManifest(checkpoint?.summary.kind)
    const kept = isSound || this.#options.dryRun ? [] : await this.#replace(segments, base)
    return {
      manifestRebuilt: this.#manifest === undefined,
      damaged,
      torn: segments
        .filter(({ isTorn }) => isTorn)
        .map(({ name, end, size }) => this.#reader.range(name, end, size - end)),
      bytesLost: damaged.reduce((sum, { bytes }) => sum + bytes, 0),
      recordsLost: losses.recordsLost,
      bytesUnknown: losses.bytesUnknown,
      keys: losses.keys(),
      kept,
    }
  }

  /** Reads every segment of the store to its end. */
  async #readAll(): Promise<ReadSegment[]> {
    const reader = this.#reader
    const ids = this.#segmentIds()
    const listed = new Set(this.#manifest?.segments.map(({ id }) => id))
    const newest = ids.filter((id) => !listed.has(id) && !reader.isMerged(id)).at(-1)
    const segments: ReadSegment[] = []
    this.#progress.expect(ids.reduce((sum, id) => sum + reader.sizeOf(id), 0))
    for (const id of ids) {
      const segment = reader.read(id, this.#manifest, id === newest, (fields, page) => {
        if (fields.kind !== BATCH_END) this.#losses.noteSound(fields, page)
      })
      segments.push(segment)
      await this.#progress.advance(segment.size)
    }
    return segments
  }

  /** Returns the ids of the listed segments and those of the tail; without a manifest, all ids. */
  #segmentIds(): readonly number[] {
    const manifest = this.#manifest
    const ids = segmentIdsOf(this.#names)
    if (manifest === undefined) return ids
    const listed = new Set(manifest.segments.map(({ id }) => id))
    const tail = tailIdsOf(ids, manifest).filter(
      (id) => !this.#reader.isMerged(id) && !(mayBeBlank(id, manifest) && this.#reader.isBlank(id)),
    )
    return ids.filter((id) => listed.has(id) || tail.includes(id))
  }

  /** Finds segments that the manifest knows of and that are not there. */
  #findMissing(segments: readonly ReadSegment[]): DamagedRange[] {
    const manifest = this.#manifest
    if (manifest === undefined) return []
    const found = new Set(segments.map(({ id }) => id))
    const known = manifest.segments.map(({ id, size }) => ({ id, size }))
    if (manifest.tailSize > 0) known.push({ id: manifest.tailId, size: manifest.tailSize })
    return known
      .filter(({ id }) => !found.has(id))
      .map(({ id, size }) => {
        const range = this.#reader.range(segmentName(id), 0, size)
        this.#losses.noteLost(id, this.#path(hintName(id)), size, [range])
        return range
      })
  }

  /** Returns a manifest in place of the lost one. */
  #newManifest(keydirKind: KeydirKind = 'btree'): Manifest {
    return {
      storeId: this.#storeId,
      generation: 0,
      tailId: 1,
      tailSize: 0,
      nextSegmentId: 1,
      nextSequence: 1,
      keydirKind,
      closed: false,
      clockMs: 0,
      sweeps: [],
      segments: [],
    }
  }

  async #replace(segments: readonly ReadSegment[], base: Manifest): Promise<string[]> {
    const store = {
      files: this.#files,
      reader: this.#reader,
      names: this.#names,
      base,
      nextSequence: this.#losses.nextSequence,
      maxSegmentBytes: this.#options.maxSegmentBytes,
    }
    return await replaceDamaged(store, segments, this.#progress)
  }

  #path(name: string): string {
    return join(this.#directory, name)
  }
}
