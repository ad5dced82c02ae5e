/** Reads the segments of a damaged store to their ends, past bytes that are not records. */

import { join } from 'node:path'
import { decodeFileHeader, FILE_HEADER_SIZE, storeSeed } from '../format/file-header.ts'
import { knownTailSize, type Manifest } from '../format/manifest.ts'
import { segmentName } from '../format/names.ts'
import { type FileDescriptor, type Files, readFully } from '../io/files.ts'
import type { DamagedRange } from '../recovery/report.ts'
import { isBlank } from '../segment/file.ts'
import { findRecord, type RecordVisitor, scanSegment } from '../segment/scan.ts'
import { isTorn } from '../segment/tail.ts'
import { SegmentUsage } from '../segment/usage.ts'
import { Window } from '../segment/window.ts'

/** A segment's file that was read to its end. */
export interface ReadSegment {
  readonly id: number
  readonly name: string
  readonly origin: 'appended' | 'merged'
  readonly usage: SegmentUsage
  readonly ranges: readonly DamagedRange[]
  /** The size that the file has, or should have. */
  readonly size: number
  /** The end of its records, if torn bytes or preallocated space follow. */
  readonly end: number
  /** Whether torn bytes follow the end. */
  readonly isTorn: boolean
}

/** Reads the segments of one store. */
export class SegmentReader {
  readonly #files: Files
  readonly #directory: string
  readonly #storeId: Uint8Array

  constructor(files: Files, directory: string, storeId: Uint8Array) {
    this.#files = files
    this.#directory = directory
    this.#storeId = storeId
  }

  sizeOf(id: number): number {
    return this.#withFile(segmentName(id), (_file, size) => size)
  }

  isMerged(id: number): boolean {
    return this.#withFile(segmentName(id), (file) => this.#origin(file) === 'merged')
  }

  /** Whether a segment of the tail has no header yet: nothing in it was promised. */
  isBlank(id: number): boolean {
    return this.#withFile(segmentName(id), (file, size) => isBlank(this.#files, file, size))
  }

  /**
   * Reads a segment to its end and finds its damaged ranges.
   *
   * @param isNewest whether it may be torn, or end in preallocated space
   * @param visit called with each sound record
   */
  read(
    id: number,
    manifest: Manifest | undefined,
    isNewest: boolean,
    visit: RecordVisitor,
  ): ReadSegment {
    const name = segmentName(id)
    const listed = manifest?.segments.find((sealed) => sealed.id === id)
    const known = manifest === undefined ? 0 : knownTailSize(manifest, id)
    return this.#withFile(name, (file, size) => {
      const headerOrigin = this.#origin(file)
      const ranges: DamagedRange[] = []
      const usage = new SegmentUsage()
      const hasTail = isNewest && headerOrigin !== undefined
      const { end, isTorn } = hasTail
        ? this.#endOf(file, size, known)
        : { end: size, isTorn: false }
      if (headerOrigin === undefined) {
        ranges.push(this.range(name, 0, Math.min(FILE_HEADER_SIZE, size)))
      }
      const preallocatedFrom = isNewest ? known : undefined
      this.#visitSound(file, end, preallocatedFrom, name, ranges, (fields, page, offset) => {
        usage.add(fields.kind, fields.size, fields.sequence, fields.expiresAtMs)
        visit(fields, page, offset)
      })
      const expected = Math.max(listed?.size ?? 0, known)
      if (size < expected) ranges.push(this.range(name, size, expected - size))
      return {
        id,
        name,
        origin: listed?.origin ?? headerOrigin ?? 'appended',
        usage,
        ranges: joined(ranges),
        size: Math.max(size, expected),
        end,
        isTorn,
      }
    })
  }

  /** Visits each sound record of a segment that was read. */
  visitAgain({ name, end }: ReadSegment, visit: RecordVisitor): void {
    this.#withFile(name, (file) => this.#visitSound(file, end, undefined, name, [], visit))
  }

  /** Returns a range of a file. */
  range(name: string, offset: number, bytes: number): DamagedRange {
    return { file: join(this.#directory, name), offset, bytes }
  }

  /** Finds the end of the newest segment, and whether it is torn there. */
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

  /**
   * Visits each sound record of a file, and adds the ranges between them; zeros from
   * `preallocatedFrom` up to the end are not a range.
   */
  #visitSound(
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
        preallocatedFrom,
        window,
      } as const
      const { end, faultAt } = scanSegment(options, visit)
      if (faultAt === undefined) return
      const next = findRecord({ ...options, from: end + 1 }, 0) ?? size
      ranges.push(this.range(name, end, next - end))
      from = next
    }
  }

  /** Returns the origin in a segment's header; `undefined` if it is damaged or of another store. */
  #origin(file: FileDescriptor): 'appended' | 'merged' | undefined {
    const bytes = Buffer.alloc(FILE_HEADER_SIZE)
    readFully(this.#files, file, bytes, bytes.length, 0)
    const header = decodeFileHeader(bytes)
    if ('fault' in header || header.origin === 'none') return undefined
    return Buffer.compare(header.storeId, this.#storeId) === 0 ? header.origin : undefined
  }

  #withFile<T>(name: string, work: (file: FileDescriptor, size: number) => T): T {
    const file = this.#files.open(join(this.#directory, name), 'read')
    try {
      return work(file, this.#files.size(file))
    } finally {
      this.#files.close(file)
    }
  }
}

/** Joins adjacent ranges of one file, and drops empty ones. */
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
