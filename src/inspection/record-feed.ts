/**
 * The records of a store in the order of their sequences, as they are appended: for `tail`.
 *
 * Records are appended to one segment at a time, and a newer segment has a higher id. So reading on means: to the
 * end of the segment at hand, then to the next appended one. What a merge writes is not new, and is passed over.
 */

import { resolve } from 'node:path'
import { CorruptionError } from '../errors.ts'
import { FILE_HEADER_SIZE } from '../format/file-header.ts'
import type { Manifest } from '../format/manifest.ts'
import { parseName } from '../format/names.ts'
import { systemFiles } from '../io/files.ts'
import { scanSegment } from '../segment/scan.ts'
import { requireManifest } from './directory.ts'
import { type PlacedRecord, placeRecord } from './placed-record.ts'
import { SegmentFile, segmentIds } from './segment-file.ts'

/** A segment that is open. */
interface OpenedSegment {
  readonly id: number
  readonly segment: SegmentFile
}

/** Reads records as they come. */
export class RecordFeed {
  readonly #directory: string
  #segment: SegmentFile | undefined
  #id = 0
  /** How far the segment at hand has been read. */
  #position = FILE_HEADER_SIZE

  constructor(directory: string) {
    this.#directory = resolve(directory)
  }

  /** The newest records, up to `count`, oldest first; those that come later are for `next`. */
  newest(count: number): PlacedRecord[] {
    const manifest = requireManifest(systemFiles, this.#directory)
    const maxSequences = new Map(manifest.segments.map((sealed) => [sealed.id, sealed.maxSequence]))
    // What is not listed is of the tail, and newer than all that is.
    const newestOf = (id: number): number => maxSequences.get(id) ?? Number.POSITIVE_INFINITY
    const ids = segmentIds(this.#directory, manifest).sort(
      (a, b) => newestOf(b) - newestOf(a) || b - a,
    )
    let newest: PlacedRecord[] = []
    for (const id of ids) {
      const oldest = newest[0]?.sequence ?? 0
      if (newest.length >= count && newestOf(id) < oldest) break
      newest = mostRecent([...newest, ...this.#newestOf(id, count)], count)
    }
    this.#seek(ids)
    return newest
  }

  /** The records that were appended since; none where there are none. */
  next(): PlacedRecord[] {
    const records: PlacedRecord[] = []
    this.#read(records)
    for (let next = this.#following(); next !== undefined; next = this.#following()) {
      // The last look at the one before: what was written between reading it and beginning the next.
      this.#read(records)
      this.#goTo(next)
      this.#read(records)
    }
    return records
  }

  close(): void {
    this.#segment?.close()
    this.#segment = undefined
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #newestOf(id: number, count: number): PlacedRecord[] {
    using segment = SegmentFile.open(
      this.#directory,
      requireManifest(systemFiles, this.#directory),
      id,
    )
    if (segment === undefined) return []
    const { offsets, end } = lastOffsets(segment, count)
    const from = offsets[0]
    if (from === undefined) return []
    const wanted = new Set(offsets)
    const records: PlacedRecord[] = []
    scanSegment(segment.scanOptions('loose', from, end), (fields, page, offset) => {
      if (wanted.has(offset)) records.push(placeRecord(fields, page, id, offset))
    })
    return records
  }

  /** Goes to the end of the newest appended segment. */
  #seek(ids: readonly number[]): void {
    for (const id of ids) {
      const segment = SegmentFile.open(
        this.#directory,
        requireManifest(systemFiles, this.#directory),
        id,
      )
      if (segment === undefined) continue
      this.#goTo({ id, segment })
      if (segment.isMerged) continue
      this.#position = scanSegment(segment.scanOptions('whole'), () => undefined).end
      return
    }
    this.close()
  }

  #goTo({ id, segment }: OpenedSegment): void {
    this.close()
    this.#segment = segment
    this.#id = id
    this.#position = FILE_HEADER_SIZE
  }

  /** Adds what was appended to the segment at hand; of a batch only once it is whole. */
  #read(records: PlacedRecord[]): void {
    const segment = this.#segment
    if (segment === undefined) return
    const { size } = segment
    // A write that failed was taken back.
    if (size < this.#position) this.#position = size
    if (size === this.#position) return
    const { end } = scanSegment(segment.scanOptions('whole', this.#position, size), () => undefined)
    if (end === this.#position) return
    scanSegment(segment.scanOptions('loose', this.#position, end), (fields, page, offset) => {
      records.push(placeRecord(fields, page, this.#id, offset))
    })
    this.#position = end
  }

  /** The next appended segment behind the one at hand, open, so that no merge takes it away. */
  #following(): OpenedSegment | undefined {
    const ids = (systemFiles.list(this.#directory) ?? [])
      .map((name) => parseName(name))
      .flatMap((parsed) => (parsed.type === 'segment' && parsed.id > this.#id ? [parsed.id] : []))
      .sort((a, b) => a - b)
    const manifest = requireManifest(systemFiles, this.#directory)
    for (const id of ids) {
      const segment = tryOpen(this.#directory, manifest, id)
      if (segment === undefined) continue
      if (!segment.isMerged) return { id, segment }
      segment.close()
    }
    return undefined
  }
}

/** Opens a segment; `undefined` where its header is not written yet, or a merge has just taken it away. */
function tryOpen(directory: string, manifest: Manifest, id: number): SegmentFile | undefined {
  try {
    return SegmentFile.open(directory, manifest, id)
  } catch (error) {
    if (error instanceof CorruptionError) return undefined
    throw error
  }
}

/** Where the last records of a segment begin that count, and where they end. */
function lastOffsets(segment: SegmentFile, count: number): { offsets: number[]; end: number } {
  const last: { offset: number; sequence: number }[] = []
  const { end } = scanSegment(segment.scanOptions('whole'), ({ sequence }, _page, offset) => {
    last.push({ offset, sequence })
    if (last.length >= 2 * count + 1024) keepNewest(last, count)
  })
  keepNewest(last, count)
  return { offsets: last.map(({ offset }) => offset).sort((a, b) => a - b), end }
}

function keepNewest(records: { readonly sequence: number }[], count: number): void {
  records.sort((a, b) => a.sequence - b.sequence)
  records.splice(0, Math.max(0, records.length - count))
}

function mostRecent(records: PlacedRecord[], count: number): PlacedRecord[] {
  return records.sort((a, b) => a.sequence - b.sequence).slice(Math.max(0, records.length - count))
}
