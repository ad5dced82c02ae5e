/** The records of one segment in file order, past damage: for `dump`. */

import { FILE_HEADER_SIZE } from '../format/file-header.ts'
import { findRecord, scanSegment } from '../segment/scan.ts'
import { Window } from '../segment/window.ts'
import { type PlacedRecord, placeRecord } from './placed-record.ts'
import type { SegmentFile } from './segment-file.ts'

/** The size of records after which a run is handed over. */
const STEP_SIZE = 1024 * 1024

/** Bytes that are not a record. */
interface Gap {
  readonly offset: number
  readonly bytes: number
  /** The reason, for a message. */
  readonly fault: string
  /** Whether no record follows. */
  readonly isLast: boolean
}

/** Records that follow each other, and the gap after them, if there is one. */
interface RecordRun {
  readonly records: readonly PlacedRecord[]
  readonly gap: Gap | undefined
}

/**
 * Reads the records of a segment in order.
 *
 * @param preallocatedFrom the offset from which zeros up to the end are preallocated space; there
 * is none without it
 */
export function* readRecords(
  segment: SegmentFile,
  preallocatedFrom: number | undefined,
): Generator<RecordRun, void> {
  const to = segment.size
  const options = {
    ...segment.scanOptions('loose', FILE_HEADER_SIZE, to),
    preallocatedFrom: preallocatedFrom ?? to,
  }
  const window = new Window(options.files, options.file, to)
  for (let from = FILE_HEADER_SIZE; from < to; ) {
    const start = from
    const records: PlacedRecord[] = []
    const { end, faultAt, fault, preallocatedSize } = scanSegment(
      { ...options, from, window },
      (fields, page, offset) => {
        records.push(placeRecord(fields, page, segment.id, offset))
        return offset - start < STEP_SIZE ? undefined : false
      },
    )
    from = end + preallocatedSize
    if (faultAt === undefined) {
      yield { records, gap: undefined }
      continue
    }
    const next = findRecord({ ...options, from: faultAt + 1 }, 0) ?? to
    yield { records, gap: { offset: faultAt, bytes: next - faultAt, fault, isLast: next === to } }
    from = next
  }
}
