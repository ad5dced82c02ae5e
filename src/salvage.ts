/**
 * Salvage: making a store of a damaged directory that opens again, and saying exactly what is missing.
 *
 * 1. Find out what the segments are: from the manifest, or, where that is lost, from the files themselves.
 * 2. Read every segment to its end. At bytes that are no record, look for the next record behind them.
 * 3. Copy the sound records of each damaged segment into a new one.
 * 4. Replace the manifest by one that lists the sound segments and the copies.
 * 5. Give the damaged files another name, under which the store does not see them. Nothing is deleted.
 *
 * Where nothing is damaged nothing is done: a torn tail is left to recovery.
 *
 * Invariants
 * - A record is kept only if its checksum matches; which of two records of a key is newer, their sequences say.
 * - A record that was damaged is known by its hint, where that is sound; what no hint knows is counted in
 *   bytes only.
 */

import { join } from 'node:path'
import { CorruptionError, StoreError } from './errors.ts'
import {
  decodeFileHeader,
  FILE_HEADER_SIZE,
  type FileType,
  storeSeed,
} from './format/file-header.ts'
import { HintDecoder } from './format/hint.ts'
import type { Manifest, SealedSegment } from './format/manifest.ts'
import { hintName, parseName, segmentName } from './format/names.ts'
import { BATCH_END, PUT, type RecordFields } from './format/record.ts'
import { errorCode, type FileDescriptor, type Files, readFully, readWhole } from './io/files.ts'
import { readManifest } from './manifest-file.ts'
import { Targets } from './merge/targets.ts'
import { findRecord, type RecordVisitor, scanSegment, Window } from './segment/scan.ts'
import { Segments } from './segment/segments.ts'
import { SegmentUsage } from './segment/usage.ts'

/** A run of bytes that are no record. */
export interface DamagedRange {
  /** The path that the file had. */
  readonly file: string
  readonly offset: number
  readonly bytes: number
}

/** A key whose newest record is gone. */
export interface LostKey {
  readonly key: Buffer
  /** The sequence of the record that is gone. */
  readonly sequence: number
  /** The sequence of the older record that the key shows now; `undefined` where it shows none. */
  readonly rolledBackTo: number | undefined
}

/** What salvage found, and what is missing. */
export interface LossReport {
  /** Whether the manifest was lost, and made anew from the segments. */
  readonly manifestRebuilt: boolean
  readonly damaged: readonly DamagedRange[]
  /** The bytes of all damaged ranges. */
  readonly bytesLost: number
  /** The records that hints know to have been there; what no hint knows is in `bytesUnknown`. */
  readonly recordsLost: number
  /** The bytes of damaged ranges of segments without a sound hint. */
  readonly bytesUnknown: number
  /** Keys that lost their newest record: gone altogether, or back at an older value. */
  readonly keys: readonly LostKey[]
  /** The paths under which damaged files were kept. */
  readonly kept: readonly string[]
}

/** How salvage goes about it. */
export interface SalvageOptions {
  /** The size at which copies are begun anew. */
  readonly maxSegmentBytes: number
  /** Only finds out. */
  readonly dryRun: boolean
}

/** What the name of a damaged file gets at its end. */
const DAMAGED_SUFFIX = '.damaged'

/**
 * Salvages the store in a directory that is locked, or that nobody else writes to.
 *
 * @throws {@link StoreError} FIRKIN_NOT_FOUND, FIRKIN_VERSION
 * @throws {@link CorruptionError} where not even one file tells which store it was
 */
export async function salvageStore(
  files: Files,
  directory: string,
  options: SalvageOptions,
): Promise<LossReport> {
  return await new Salvage(files, directory, options).run()
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
  /** Where a torn tail begins, if there is one. */
  readonly tornAt: number | undefined
}

interface LostRecord {
  readonly key: Buffer
  readonly sequence: number
}

class Salvage {
  readonly #files: Files
  readonly #directory: string
  readonly #options: SalvageOptions
  /** The newest sound record of each key: its sequence, negative for a tombstone. */
  readonly #newest = new Map<string, number>()
  readonly #lost: LostRecord[] = []
  #bytesUnknown = 0
  #storeId: Uint8Array = new Uint8Array()

  constructor(files: Files, directory: string, options: SalvageOptions) {
    this.#files = files
    this.#directory = directory
    this.#options = options
  }

  async run(): Promise<LossReport> {
    const names = this.#files.list(this.#directory) ?? []
    const ids = segmentIds(names)
    const manifest = this.#readManifest()
    if (manifest === undefined && ids.length === 0) {
      throw new StoreError('FIRKIN_NOT_FOUND', `There is no store in ${this.#directory}`)
    }
    this.#storeId = manifest?.storeId ?? this.#findStoreId(names)
    const belonging = this.#belonging(ids, manifest)
    const newest = belonging.filter((id) => !this.#isMerged(id)).at(-1)
    const listed = new Set(manifest?.segments.map(({ id }) => id))
    const surveys = belonging.map((id) =>
      this.#survey(id, manifest, id === newest && !listed.has(id)),
    )
    const missing = this.#findMissing(surveys, manifest)
    for (const survey of surveys) this.#noteLost(survey)
    const damaged = [...missing, ...surveys.flatMap(({ ranges }) => ranges)]
    const isSound = damaged.length === 0 && manifest !== undefined
    const kept =
      isSound || this.#options.dryRun ? [] : await this.#rewrite(surveys, manifest, names)
    return {
      manifestRebuilt: manifest === undefined,
      damaged,
      bytesLost: damaged.reduce((sum, { bytes }) => sum + bytes, 0),
      recordsLost: this.#lost.length,
      bytesUnknown: this.#bytesUnknown,
      keys: this.#lostKeys(),
      kept,
    }
  }

  #readManifest(): Manifest | undefined {
    try {
      return readManifest(this.#files, this.#directory)
    } catch (error) {
      if (error instanceof CorruptionError) return undefined
      throw error
    }
  }

  /** The store that most files say they are of. */
  #findStoreId(names: readonly string[]): Uint8Array {
    const votes = new Map<string, number>()
    for (const name of names) {
      const { type } = parseName(name)
      if (type !== 'segment' && type !== 'hint' && type !== 'checkpoint') continue
      const id = this.#storeIdOf(name, type)
      if (id !== undefined) votes.set(id, (votes.get(id) ?? 0) + 1)
    }
    const [winner] = [...votes].sort(([, a], [, b]) => b - a)
    if (winner === undefined) {
      throw new CorruptionError('No file tells which store this was', this.#directory, 0)
    }
    return Buffer.from(winner[0], 'hex')
  }

  #storeIdOf(name: string, type: FileType): string | undefined {
    const file = this.#files.open(this.#path(name), 'read')
    try {
      const bytes = Buffer.alloc(FILE_HEADER_SIZE)
      readFully(this.#files, file, bytes, bytes.length, 0)
      const header = decodeFileHeader(bytes)
      if ('fault' in header || header.type !== type) return undefined
      return Buffer.from(header.storeId).toString('hex')
    } finally {
      this.#files.close(file)
    }
  }

  /** The segments of the store: those listed, and the tail; without a manifest, all. */
  #belonging(ids: readonly number[], manifest: Manifest | undefined): readonly number[] {
    if (manifest === undefined) return ids
    const listed = new Set(manifest.segments.map(({ id }) => id))
    return ids.filter((id) => listed.has(id) || (id >= manifest.tailId && !this.#isMerged(id)))
  }

  #isMerged(id: number): boolean {
    return this.#withFile(segmentName(id), (file) => this.#origin(file) === 'merged')
  }

  /** Reads a segment to its end, and notes what is sound and what is not. */
  #survey(id: number, manifest: Manifest | undefined, mayBeTorn: boolean): Survey {
    const name = segmentName(id)
    const listed = manifest?.segments.find((sealed) => sealed.id === id)
    return this.#withFile(name, (file, size) => {
      const headerOrigin = this.#origin(file)
      const origin = listed?.origin ?? headerOrigin ?? 'appended'
      const ranges: DamagedRange[] = []
      const usage = new SegmentUsage()
      const known = manifest?.tailId === id ? manifest.tailSize : FILE_HEADER_SIZE
      const torn = mayBeTorn && headerOrigin !== undefined
      const tornAt = torn ? this.#tornAt(file, size, known) : undefined
      if (headerOrigin === undefined) {
        ranges.push(this.#range(name, 0, Math.min(FILE_HEADER_SIZE, size)))
      }
      this.#readSound(file, tornAt ?? size, name, ranges, (fields, page) => {
        usage.add(fields.kind, fields.size, fields.sequence, fields.expiresAtMs)
        if (fields.kind !== BATCH_END) this.#noteNewest(fields, page.bytes)
      })
      const expected = Math.max(listed?.size ?? 0, manifest?.tailId === id ? known : 0)
      if (size < expected) ranges.push(this.#range(name, size, expected - size))
      return { id, name, origin, usage, ranges, size: Math.max(size, expected), tornAt }
    })
  }

  /** Where the newest segment is torn: behind all that is known to be whole, and no record follows. */
  #tornAt(file: FileDescriptor, size: number, known: number): number | undefined {
    const options = {
      files: this.#files,
      file,
      from: FILE_HEADER_SIZE,
      to: size,
      seed: storeSeed(this.#storeId),
      ascending: true,
      batches: 'whole',
    } as const
    const { end, faultAt, maxSequence } = scanSegment(options, () => {})
    if (faultAt === undefined || end < known) return undefined
    const next = findRecord({ ...options, from: faultAt + 1 }, maxSequence)
    return next === undefined ? end : undefined
  }

  /** Visits every sound record of a file, and notes the ranges between them. */
  #readSound(
    file: FileDescriptor,
    size: number,
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
        window,
      } as const
      const { end, faultAt } = scanSegment(options, visit)
      if (faultAt === undefined) return
      const next = findRecord({ ...options, from: end + 1 }, 0) ?? size
      ranges.push(this.#range(name, end, next - end))
      from = next
    }
  }

  /** Segments that the manifest lists and that are not there. */
  #findMissing(surveys: readonly Survey[], manifest: Manifest | undefined): DamagedRange[] {
    const found = new Set(surveys.map(({ id }) => id))
    const missing = (manifest?.segments ?? []).filter(({ id }) => !found.has(id))
    const ranges = missing.map((sealed) => {
      const range = this.#range(segmentName(sealed.id), 0, sealed.size)
      this.#noteLostByHint(sealed.id, sealed.size, [range])
      return range
    })
    if (manifest !== undefined && manifest.tailSize > 0 && !found.has(manifest.tailId)) {
      ranges.push(this.#range(segmentName(manifest.tailId), 0, manifest.tailSize))
      this.#bytesUnknown += manifest.tailSize
    }
    return ranges
  }

  #noteNewest(fields: RecordFields, bytes: Buffer): void {
    const key = bytes.toString('latin1', fields.keyAt, fields.keyAt + fields.keySize)
    const { sequence } = fields
    if (Math.abs(this.#newest.get(key) ?? 0) > sequence) return
    this.#newest.set(key, fields.kind === PUT ? sequence : -sequence)
  }

  #noteLost({ id, ranges, size }: Survey): void {
    if (ranges.length > 0) this.#noteLostByHint(id, size, ranges)
  }

  /** Notes the records that a hint knows in the ranges; without a hint, only the bytes. */
  #noteLostByHint(id: number, size: number, ranges: readonly DamagedRange[]): void {
    const hint = this.#openHint(id, size)
    if (hint === undefined) {
      this.#bytesUnknown += ranges.reduce((sum, { bytes }) => sum + bytes, 0)
      return
    }
    const { fields, page } = hint
    while (hint.next()) {
      const end = hint.offset + fields.size
      const isLost = ranges.some(
        ({ offset, bytes }) => hint.offset < offset + bytes && end > offset,
      )
      if (!isLost) continue
      const key = Buffer.from(page.bytes.subarray(fields.keyAt, fields.keyAt + fields.keySize))
      this.#lost.push({ key, sequence: fields.sequence })
    }
  }

  #openHint(id: number, size: number): HintDecoder | undefined {
    const bytes = readWhole(this.#files, this.#path(hintName(id)))
    if (bytes === undefined) return undefined
    const header = decodeFileHeader(bytes)
    if ('fault' in header || header.fileId !== id) return undefined
    return HintDecoder.open(bytes, this.#storeId, size)
  }

  /** Of the lost records, those that were the newest of their key. */
  #lostKeys(): LostKey[] {
    const newestLost = new Map<string, LostRecord>()
    for (const record of this.#lost) {
      const key = record.key.toString('latin1')
      if ((newestLost.get(key)?.sequence ?? 0) < record.sequence) newestLost.set(key, record)
    }
    const keys: LostKey[] = []
    for (const [text, { key, sequence }] of newestLost) {
      const left = this.#newest.get(text) ?? 0
      if (Math.abs(left) > sequence) continue
      keys.push({ key, sequence, rolledBackTo: left > 0 ? left : undefined })
    }
    return keys
  }

  /** Copies what is sound of the damaged segments, and installs a manifest without them. */
  async #rewrite(
    surveys: readonly Survey[],
    manifest: Manifest | undefined,
    names: readonly string[],
  ): Promise<string[]> {
    const damaged = surveys.filter(({ ranges }) => ranges.length > 0)
    const sound = surveys.filter(({ ranges }) => ranges.length === 0)
    const highest = Math.max(0, ...segmentIds(names))
    const firstId = Math.max(manifest?.nextSegmentId ?? 1, highest + 1)
    const targetIds = Array.from({ length: 2 * damaged.length + 1 }, (_, index) => firstId + index)
    const { maxSegmentBytes } = this.#options
    const home = { directory: this.#directory, storeId: this.#storeId, targetIds, maxSegmentBytes }
    const targets = new Targets(this.#files, home)
    let written: SealedSegment[] = []
    try {
      for (const { name, tornAt } of damaged) {
        this.#withFile(name, (file, size) => {
          this.#readSound(file, tornAt ?? size, name, [], (fields, page) => {
            if (fields.kind !== BATCH_END) targets.copy(fields, page)
          })
        })
      }
      written = targets.finish().map(({ sealed }) => sealed)
    } catch (error) {
      targets.discard()
      throw error
    }
    this.#cutTorn(sound)
    this.#files.syncDirectory(this.#directory)
    await this.#install(manifest, sound, written, firstId + targetIds.length)
    return this.#putAside(damaged)
  }

  #cutTorn(sound: readonly Survey[]): void {
    for (const { name, tornAt } of sound) {
      if (tornAt === undefined) continue
      const file = this.#files.open(this.#path(name), 'write')
      try {
        this.#files.truncate(file, tornAt)
        this.#files.sync(file)
      } finally {
        this.#files.close(file)
      }
    }
  }

  async #install(
    manifest: Manifest | undefined,
    sound: readonly Survey[],
    written: readonly SealedSegment[],
    nextSegmentId: number,
  ): Promise<void> {
    const base: Manifest = manifest ?? {
      storeId: this.#storeId,
      generation: 0,
      tailId: nextSegmentId,
      tailSize: 0,
      nextSegmentId,
      nextSequence: 1,
      keydirKind: 'btree',
      closed: false,
      segments: [],
    }
    const kept = sound.map(({ id, origin, usage }) => usage.seal(id, origin))
    const all = [...kept, ...written]
    const highest = Math.max(0, ...all.map(({ maxSequence }) => maxSequence))
    const lost = Math.max(0, ...this.#lost.map(({ sequence }) => sequence))
    const home = { files: this.#files, directory: this.#directory, storeId: this.#storeId }
    await new Segments(home, base, nextSegmentId, 0).commit(() => ({
      tailId: nextSegmentId,
      tailSize: 0,
      nextSegmentId,
      nextSequence: Math.max(base.nextSequence, highest + 1, lost + 1),
      segments: all,
    }))
  }

  #putAside(damaged: readonly Survey[]): string[] {
    const kept: string[] = []
    for (const { id, name } of damaged) {
      const path = this.#path(name) + DAMAGED_SUFFIX
      this.#files.rename(this.#path(name), path)
      kept.push(path)
      try {
        this.#files.rename(this.#path(hintName(id)), this.#path(hintName(id)) + DAMAGED_SUFFIX)
        kept.push(this.#path(hintName(id)) + DAMAGED_SUFFIX)
      } catch (error) {
        if (errorCode(error) !== 'ENOENT') throw error
      }
    }
    this.#files.syncDirectory(this.#directory)
    return kept
  }

  /** The origin that a segment's header tells; `undefined` where it is damaged, or of another store. */
  #origin(file: FileDescriptor): 'appended' | 'merged' | undefined {
    const bytes = Buffer.alloc(FILE_HEADER_SIZE)
    readFully(this.#files, file, bytes, bytes.length, 0)
    const header = decodeFileHeader(bytes)
    if ('fault' in header || header.origin === 'none') return undefined
    return Buffer.compare(header.storeId, this.#storeId) === 0 ? header.origin : undefined
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

function segmentIds(names: readonly string[]): number[] {
  const ids: number[] = []
  for (const name of names) {
    const parsed = parseName(name)
    if (parsed.type === 'segment') ids.push(parsed.id)
  }
  return ids.sort((a, b) => a - b)
}
