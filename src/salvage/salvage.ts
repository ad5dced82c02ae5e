/**
 * Salvage: making a store of a damaged directory that opens again, and saying exactly what is missing.
 *
 * 1. Find out what the segments are: from the manifest, or, where that is lost, from the files themselves.
 * 2. Read every segment to its end. At bytes that are no record, look for the next record behind them.
 * 3. Copy the sound records of each damaged segment into a new one.
 * 4. Give the damaged files a second name, under which the store does not see them, and keep beside what is to be cut
 *    off a torn tail: of what was found no byte is ever lost, nor where a crash comes in between.
 * 5. Replace the manifest by one that lists the sound segments and the copies.
 * 6. Remove the damaged files' first names.
 *
 * Where nothing is damaged nothing is done: a torn tail is left to recovery.
 *
 * Invariants
 * - A record is kept only if its checksum matches; which of two records of a key is newer, their sequences say.
 * - What is lost is named as far as hints and the checkpoint know it (losses.ts).
 */

import { join } from 'node:path'
import { StoreError } from '../errors.ts'
import { decodeFileHeader, FILE_HEADER_SIZE, storeSeed } from '../format/file-header.ts'
import type { KeydirKind } from '../format/keydir-kind.ts'
import type { Manifest, SealedSegment } from '../format/manifest.ts'
import { CHECKPOINT_NAME, hintName, segmentIdsOf, segmentName } from '../format/names.ts'
import { BATCH_END } from '../format/record.ts'
import { type FileDescriptor, readFully } from '../io/files.ts'
import type { HeldFiles } from '../io/held-files.ts'
import { Targets } from '../merge/targets.ts'
import { nextTurn } from '../scheduling/time.ts'
import { isBlank } from '../segment/file.ts'
import { findRecord, type RecordVisitor, scanSegment } from '../segment/scan.ts'
import { heldContext } from '../segment/segment.ts'
import { Segments } from '../segment/segments.ts'
import { Sweeps } from '../segment/sweeps.ts'
import { isTorn, mayBeBlank, tailIdsOf } from '../segment/tail.ts'
import { SegmentUsage } from '../segment/usage.ts'
import { Window } from '../segment/window.ts'
import { KeptFiles } from './kept-files.ts'
import { Losses, type LostKey } from './losses.ts'
import { findManifest, findStoreId } from './store-identity.ts'

/** A run of bytes that are no record. */
export interface DamagedRange {
  /** The path that the file had. */
  readonly file: string
  readonly offset: number
  readonly bytes: number
}

/** What salvage found, and what is missing. */
export interface LossReport {
  /** Whether the manifest was lost, and made anew from the segments. */
  readonly manifestRebuilt: boolean
  readonly damaged: readonly DamagedRange[]
  /** What a crash had left unfinished at the end: it was never promised. */
  readonly torn: readonly DamagedRange[]
  /** The bytes of all damaged ranges. */
  readonly bytesLost: number
  /** The records that hints or the checkpoint know to have been there. */
  readonly recordsLost: number
  /** The bytes of damaged ranges of which neither knows what was in them. */
  readonly bytesUnknown: number
  /** Keys that lost their newest record, and show nothing now, or something older. */
  readonly keys: readonly LostKey[]
  /** The paths under which damaged files, and what was cut off, were kept. */
  readonly kept: readonly string[]
}

/** How salvage goes about it. */
export interface SalvageOptions {
  /** The size at which copies are begun anew. */
  readonly maxSegmentBytes: number
  /** Only finds out. */
  readonly dryRun: boolean
  /** When what has expired has expired. */
  readonly nowMs: number
  /** Told how far it has come; where it throws nothing has been changed. */
  readonly onProgress?: (progress: SalvageProgress) => void
}

/** How far salvage has come, in bytes of segments. */
export interface SalvageProgress {
  readonly bytesRead: number
  readonly bytesTotal: number
}

/**
 * Salvages the store in a directory that is locked, or that nobody else writes to.
 *
 * @throws {@link StoreError} FIRKIN_NOT_FOUND, FIRKIN_VERSION
 * @throws {@link CorruptionError} where not even one file tells which store it was
 */
export async function salvageStore(files: HeldFiles, options: SalvageOptions): Promise<LossReport> {
  return await new Salvage(files, options).run()
}

/** A segment's file, read to its end. */
interface Survey {
  readonly id: number
  readonly name: string
  readonly origin: 'appended' | 'merged'
  readonly usage: SegmentUsage
  readonly ranges: readonly DamagedRange[]
  /** The size that the file has, or should have. */
  readonly size: number
  /** Where its records end, as far as what is behind is torn, or room. */
  readonly end: number
  /** Whether what is behind is torn. */
  readonly isTorn: boolean
}

class Salvage {
  readonly #files: HeldFiles
  readonly #directory: string
  readonly #options: SalvageOptions
  #storeId: Uint8Array = new Uint8Array()
  #bytesRead = 0
  #bytesTotal = 0

  constructor(files: HeldFiles, options: SalvageOptions) {
    this.#files = files
    this.#directory = files.directory
    this.#options = options
  }

  async run(): Promise<LossReport> {
    const names = this.#files.list(this.#directory) ?? []
    const ids = segmentIdsOf(names)
    const manifest = findManifest(this.#files, this.#directory, names)
    if (manifest === undefined && ids.length === 0) {
      throw new StoreError('FIRKIN_NOT_FOUND', `There is no store in ${this.#directory}`)
    }
    this.#storeId = manifest?.storeId ?? findStoreId(this.#files, this.#directory, names)
    const losses = new Losses(this.#files, this.#storeId, {
      nowMs: this.#options.nowMs,
      sweeps: Sweeps.of(manifest?.sweeps ?? []),
    })
    const belonging = this.#belonging(ids, manifest)
    const listed = new Set(manifest?.segments.map(({ id }) => id))
    const newest = belonging.filter((id) => !listed.has(id) && !this.#isMerged(id)).at(-1)
    const surveys: Survey[] = []
    this.#bytesTotal = belonging.reduce((sum, id) => sum + this.#sizeOf(segmentName(id)), 0)
    for (const id of belonging) {
      const survey = this.#survey(id, manifest, id === newest, losses)
      surveys.push(survey)
      await this.#reportProgress(survey.size)
    }
    const missing = this.#findMissing(surveys, manifest, losses)
    for (const { id, ranges, size } of surveys) {
      if (ranges.length > 0) losses.noteLost(id, this.#path(hintName(id)), size, ranges)
    }
    const damaged = [...missing, ...surveys.flatMap(({ ranges }) => ranges)]
    const isSound = damaged.length === 0 && manifest !== undefined
    const checkpoint = isSound ? undefined : losses.noteCheckpoint(this.#path(CHECKPOINT_NAME))
    const base = manifest ?? this.#rebuilt(checkpoint?.summary.kind)
    const kept =
      isSound || this.#options.dryRun ? [] : await this.#rewrite(surveys, base, names, losses)
    return {
      manifestRebuilt: manifest === undefined,
      damaged,
      torn: surveys
        .filter(({ isTorn }) => isTorn)
        .map(({ name, end, size }) => this.#range(name, end, size - end)),
      bytesLost: damaged.reduce((sum, { bytes }) => sum + bytes, 0),
      recordsLost: losses.recordsLost,
      bytesUnknown: losses.bytesUnknown,
      keys: losses.keys(),
      kept,
    }
  }

  /** Reports how far it has come, and lets other work have its turn. */
  async #reportProgress(bytes: number): Promise<void> {
    this.#bytesRead += bytes
    this.#options.onProgress?.({ bytesRead: this.#bytesRead, bytesTotal: this.#bytesTotal })
    await nextTurn()
  }

  /** What stands in the place of a manifest that is lost. */
  #rebuilt(keydirKind: KeydirKind = 'btree'): Manifest {
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

  /** The segments of the store: those listed, and the tail; without a manifest, all. */
  #belonging(ids: readonly number[], manifest: Manifest | undefined): readonly number[] {
    if (manifest === undefined) return ids
    const listed = new Set(manifest.segments.map(({ id }) => id))
    const tail = tailIdsOf(ids, manifest).filter(
      (id) => !this.#isMerged(id) && !(mayBeBlank(id, manifest) && this.#isBlank(id)),
    )
    return ids.filter((id) => listed.has(id) || tail.includes(id))
  }

  /** Whether a segment of the tail has no header yet: nothing in it was promised, and recovery removes it. */
  #isBlank(id: number): boolean {
    return this.#withFile(segmentName(id), (file, size) => isBlank(this.#files, file, size))
  }

  #isMerged(id: number): boolean {
    return this.#withFile(segmentName(id), (file) => this.#origin(file) === 'merged')
  }

  /** Reads a segment to its end, and notes what is sound and what is not. */
  #survey(id: number, manifest: Manifest | undefined, mayBeTorn: boolean, losses: Losses): Survey {
    const name = segmentName(id)
    const listed = manifest?.segments.find((sealed) => sealed.id === id)
    return this.#withFile(name, (file, size) => {
      const headerOrigin = this.#origin(file)
      const origin = listed?.origin ?? headerOrigin ?? 'appended'
      const ranges: DamagedRange[] = []
      const usage = new SegmentUsage()
      const known = manifest?.tailId === id ? manifest.tailSize : FILE_HEADER_SIZE
      const isRead = mayBeTorn && headerOrigin !== undefined
      const { end, isTorn } = isRead ? this.#endOf(file, size, known) : { end: size, isTorn: false }
      if (headerOrigin === undefined) {
        ranges.push(this.#range(name, 0, Math.min(FILE_HEADER_SIZE, size)))
      }
      const preallocatedFrom = mayBeTorn ? known : undefined
      this.#readSound(file, end, preallocatedFrom, name, ranges, (fields, page) => {
        usage.add(fields.kind, fields.size, fields.sequence, fields.expiresAtMs)
        if (fields.kind !== BATCH_END) losses.noteSound(fields, page)
      })
      const expected = Math.max(listed?.size ?? 0, manifest?.tailId === id ? known : 0)
      if (size < expected) ranges.push(this.#range(name, size, expected - size))
      return {
        id,
        name,
        origin,
        usage,
        ranges: joined(ranges),
        size: Math.max(size, expected),
        end,
        isTorn,
      }
    })
  }

  /** Where the newest segment ends, and whether it is torn: behind all that is known to be whole, and no record follows. */
  #endOf(file: FileDescriptor, size: number, known: number): { end: number; isTorn: boolean } {
    const options = {
      files: this.#files,
      file,
      from: FILE_HEADER_SIZE,
      to: size,
      seed: storeSeed(this.#storeId),
      ascending: true,
      batches: 'whole',
      preallocatedFrom: known,
    } as const
    const { end, faultAt, maxSequence } = scanSegment(options, () => {})
    if (faultAt === undefined) return { end, isTorn: false }
    const next = findRecord({ ...options, from: faultAt }, maxSequence)
    const isCut = isTorn(end, known, next)
    return { end: isCut ? end : size, isTorn: isCut }
  }

  /** Visits every sound record of a file, and notes the ranges between them; room from `preallocatedFrom` on is none. */
  #readSound(
    file: FileDescriptor,
    size: number,
    preallocatedFrom: number | undefined,
    name: string,
    ranges: DamagedRange[],
    visit: RecordVisitor,
  ): void {
    const window = new Window(this.#files, file, size)
    for (let from = FILE_HEADER_SIZE; from < size; ) {
      const options = {
        files: this.#files,
        file,
        from,
        to: size,
        seed: storeSeed(this.#storeId),
        ascending: false,
        batches: 'loose',
        preallocatedFrom,
        window,
      } as const
      const { end, faultAt } = scanSegment(options, visit)
      if (faultAt === undefined) return
      const next = findRecord({ ...options, from: end + 1 }, 0) ?? size
      ranges.push(this.#range(name, end, next - end))
      from = next
    }
  }

  /** Segments that the manifest knows and that are not there. */
  #findMissing(
    surveys: readonly Survey[],
    manifest: Manifest | undefined,
    losses: Losses,
  ): DamagedRange[] {
    if (manifest === undefined) return []
    const found = new Set(surveys.map(({ id }) => id))
    const known = manifest.segments.map(({ id, size }) => ({ id, size }))
    if (manifest.tailSize > 0) known.push({ id: manifest.tailId, size: manifest.tailSize })
    return known
      .filter(({ id }) => !found.has(id))
      .map(({ id, size }) => {
        const range = this.#range(segmentName(id), 0, size)
        losses.noteLost(id, this.#path(hintName(id)), size, [range])
        return range
      })
  }

  /** Copies what is sound of the damaged segments, and installs a manifest without them. */
  async #rewrite(
    surveys: readonly Survey[],
    base: Manifest,
    names: readonly string[],
    losses: Losses,
  ): Promise<string[]> {
    const damaged = surveys.filter(({ ranges }) => ranges.length > 0)
    const sound = surveys.filter(({ ranges }) => ranges.length === 0)
    const highest = Math.max(0, ...segmentIdsOf(names))
    const firstId = Math.max(base.nextSegmentId, highest + 1)
    const { maxSegmentBytes } = this.#options
    const bytes = damaged.reduce((sum, { size }) => sum + size, 0)
    this.#bytesTotal += bytes
    // Of two copies that follow each other one at least is half full, or a single record.
    const most = 2 * Math.ceil(bytes / maxSegmentBytes) + 1
    const targetIds = Array.from({ length: most }, (_, index) => firstId + index)
    const home = { directory: this.#directory, storeId: this.#storeId, targetIds, maxSegmentBytes }
    const targets = new Targets(this.#files, home)
    let written: SealedSegment[] = []
    try {
      for (const { name, end, size } of damaged) {
        this.#withFile(name, (file) => {
          this.#readSound(file, end, undefined, name, [], (fields, page) => {
            if (fields.kind !== BATCH_END) targets.copy(fields, page)
          })
        })
        await this.#reportProgress(size)
      }
      written = targets.finish().map(({ sealed }) => sealed)
    } catch (error) {
      targets.discard()
      throw error
    }
    const going = damaged
      .flatMap(({ id, name }) => [name, hintName(id)])
      .filter((name) => names.includes(name))
    const keptFiles = new KeptFiles(this.#files, this.#directory)
    try {
      for (const { name, end, isTorn } of sound) if (isTorn) keptFiles.keepTorn(name, end)
      for (const name of going) keptFiles.keepDamaged(name)
      this.#files.syncDirectory(this.#directory)
      this.#cutTails(sound)
      await this.#install(base, sound, written, firstId + targetIds.length, losses)
    } catch (error) {
      // Once the manifest names the copies they are the store's, whatever has failed after that.
      if (
        (findManifest(this.#files, this.#directory, names) ?? base).generation === base.generation
      ) {
        targets.discard()
        keptFiles.discardDamaged()
      }
      throw error
    }
    for (const name of going) this.#files.remove(this.#path(name))
    this.#files.syncDirectory(this.#directory)
    return keptFiles.paths
  }

  /** Cuts what is torn, and room, off sound segments. */
  #cutTails(sound: readonly Survey[]): void {
    for (const { name, end, size } of sound) {
      if (end === size) continue
      const file = this.#files.open(this.#path(name), 'write')
      try {
        this.#files.truncate(file, end)
        this.#files.sync(file)
      } finally {
        this.#files.close(file)
      }
    }
  }

  async #install(
    base: Manifest,
    sound: readonly Survey[],
    written: readonly SealedSegment[],
    nextSegmentId: number,
    losses: Losses,
  ): Promise<void> {
    const kept = sound.map(({ id, origin, usage }) => usage.seal(id, origin))
    const all = [...kept, ...written]
    const highest = Math.max(0, ...all.map(({ maxSequence }) => maxSequence))
    const context = heldContext(this.#files, this.#storeId)
    await new Segments(context, base, nextSegmentId, 0).commit(() => ({
      tailId: nextSegmentId,
      tailSize: 0,
      nextSegmentId,
      nextSequence: Math.max(base.nextSequence, highest + 1, losses.nextSequence),
      segments: all,
    }))
  }

  /** The origin that a segment's header tells; `undefined` where it is damaged, or of another store. */
  #origin(file: FileDescriptor): 'appended' | 'merged' | undefined {
    const bytes = Buffer.alloc(FILE_HEADER_SIZE)
    readFully(this.#files, file, bytes, bytes.length, 0)
    const header = decodeFileHeader(bytes)
    if ('fault' in header || header.origin === 'none') return undefined
    return Buffer.compare(header.storeId, this.#storeId) === 0 ? header.origin : undefined
  }

  #sizeOf(name: string): number {
    return this.#withFile(name, (_file, size) => size)
  }

  #withFile<T>(name: string, work: (file: FileDescriptor, size: number) => T): T {
    const file = this.#files.open(this.#path(name), 'read')
    try {
      return work(file, this.#files.size(file))
    } finally {
      this.#files.close(file)
    }
  }

  #range(name: string, offset: number, bytes: number): DamagedRange {
    return { file: this.#path(name), offset, bytes }
  }

  #path(name: string): string {
    return join(this.#directory, name)
  }
}

/** Ranges of one file, in order: what is side by side becomes one, and what is empty goes. */
function joined(ranges: readonly DamagedRange[]): DamagedRange[] {
  const result: DamagedRange[] = []
  for (const range of ranges) {
    const last = result.at(-1)
    if (range.bytes === 0) continue
    if (last !== undefined && last.offset + last.bytes === range.offset) {
      result[result.length - 1] = { ...last, bytes: last.bytes + range.bytes }
    } else result.push(range)
  }
  return result
}
