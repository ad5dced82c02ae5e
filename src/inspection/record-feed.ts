/**
 * A feed of a store's records in the order of their sequences, as they are appended: for `tail`.
 *
 * Records are appended to one segment at a time, and a newer segment has a higher id. So the feed
 * reads to the end of its segment, then goes on with the next appended one. What a merge writes is
 * not new, and is skipped.
 */

import { CorruptionError } from '../errors.ts'
import { FILE_HEADER_SIZE } from '../format/file-header.ts'
import type { Manifest } from '../format/manifest.ts'
import { segmentIdsOf } from '../format/names.ts'
import type { Files } from '../io/files.ts'
import { scanSegment } from '../segment/scan.ts'
import { requireManifest } from './directory.ts'
import { type PlacedRecord, placeRecord } from './placed-record.ts'
import { SegmentFile, segmentIds } from './segment-file.ts'

/** Reads the newest records of a store, then each record that is appended. */
export class RecordFeed {
  readonly #files: Files
  readonly #directory: string
  /** The segment that is read, and the offset up to which it has been. */
  #segment: SegmentFile | undefined
  #position = FILE_HEADER_SIZE
  /** The id of the segment that was read last. */
  #id = 0

  constructor(files: Files, directory: string) {
    this.#files = files
    this.#directory = directory
  }

  /** Returns up to `count` of the newest records, oldest first. `next` returns those after them. */
  newest(count: number): PlacedRecord[] {
    const manifest = requireManifest(this.#files, this.#directory)
    const maxSequences = new Map(manifest.segments.map((sealed) => [sealed.id, sealed.maxSequence]))
    // A segment that is not listed is of the tail, and newer than all that are.
    const newestOf = (id: number): number => maxSequences.get(id) ?? Number.POSITIVE_INFINITY
    const ids = segmentIds(this.#files, this.#directory, manifest).sort(
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

  /** Returns the records that were appended since the last call. */
  next(): PlacedRecord[] {
    const records: PlacedRecord[] = []
    this.#read(records)
    for (let next = this.#following(); next !== undefined; next = this.#following()) {
      // Records may have been written between the last read and the start of the next segment.
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

  #open(id: number): SegmentFile | undefined {
    const manifest = requireManifest(this.#files, this.#directory)
    return SegmentFile.open(this.#files, this.#directory, manifest, id)
  }

  #newestOf(id: number, count: number): PlacedRecord[] {
    using segment = this.#open(id)
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
      const segment = this.#open(id)
      if (segment === undefined) continue
      this.#goTo(segment)
      if (segment.isMerged) continue
      this.#position = scanSegment(segment.scanOptions('whole'), () => undefined).end
      return
    }
    this.close()
  }

  #goTo(segment: SegmentFile): void {
    this.close()
    this.#segment = segment
    this.#id = segment.id
    this.#position = FILE_HEADER_SIZE
  }

  /** Adds what was appended to the segment; the members of a batch only once it is whole. */
  #read(records: PlacedRecord[]): void {
    const segment = this.#segment
    if (segment === undefined) return
    const { id, size } = segment
    // The writer has undone a write that failed.
    if (size < this.#position) this.#position = size
    if (size === this.#position) return
    const { end } = scanSegment(segment.scanOptions('whole', this.#position, size), () => undefined)
    if (end === this.#position) return
    scanSegment(segment.scanOptions('loose', this.#position, end), (fields, page, offset) => {
      records.push(placeRecord(fields, page, id, offset))
    })
    this.#position = end
  }

  /** Returns the next appended segment, open, so that no merge takes it away. */
  #following(): SegmentFile | undefined {
    const ids = segmentIdsOf(this.#files.list(this.#directory) ?? []).filter((id) => id > this.#id)
    const manifest = requireManifest(this.#files, this.#directory)
    for (const id of ids) {
      const segment = this.#tryOpen(manifest, id)
      if (segment === undefined) continue
      if (!segment.isMerged) return segment
      segment.close()
    }
    return undefined
  }

  /** Opens a segment; `undefined` if it has no header yet, or a merge has just removed it. */
  #tryOpen(manifest: Manifest, id: number): SegmentFile | undefined {
    try {
      return SegmentFile.open(this.#files, this.#directory, manifest, id)
    } catch (error) {
      if (error instanceof CorruptionError) return undefined
      throw error
    }
  }
}

/** Returns the offsets of the newest records of a segment, and the end of those that count. */
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
