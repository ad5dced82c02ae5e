/** Reads segments without the engine's scanner, as the model that damage is compared with. */

import { FILE_HEADER_SIZE, storeSeed } from '../../src/format/file-header.ts'
import { BATCH_END, IN_BATCH, PUT, pageOf, RecordFields } from '../../src/format/record.ts'

/** A record of a segment's file. */
export interface SegmentRecord {
  readonly offset: number
  readonly size: number
  readonly kind: RecordFields['kind']
  readonly inBatch: boolean
  readonly sequence: number
  readonly key: string
  readonly value: string
  readonly expiresAtMs: number
}

/** Returns the records of a whole segment, in order. @throws Error if it has anything else */
export function recordsOf(bytes: Buffer, storeId: Uint8Array): SegmentRecord[] {
  const page = pageOf(bytes)
  const fields = new RecordFields()
  const records: SegmentRecord[] = []
  for (let offset = FILE_HEADER_SIZE; offset < bytes.length; offset += fields.size) {
    const size = fields.read(page, offset, bytes.length, storeSeed(storeId))
    if (size <= 0) throw new Error(`There is no record at ${offset}`)
    const { kind, flags, sequence, keyAt, valueAt, valueSize, expiresAtMs } = fields
    records.push({
      offset,
      size,
      kind,
      inBatch: (flags & IN_BATCH) !== 0,
      sequence,
      key: bytes.toString('utf8', keyAt, valueAt),
      value: bytes.toString('utf8', valueAt, valueAt + valueSize),
      expiresAtMs,
    })
  }
  return records
}

/** Returns the newest record of each key. */
export function newestOf(records: Iterable<SegmentRecord>): Map<string, SegmentRecord> {
  const newest = new Map<string, SegmentRecord>()
  for (const record of records) {
    if (record.kind === BATCH_END) continue
    if ((newest.get(record.key)?.sequence ?? 0) < record.sequence) newest.set(record.key, record)
  }
  return newest
}

/** Returns the entries of a store of these records, in key order. */
export function entriesOf(records: Iterable<SegmentRecord>, nowMs: number): [string, string][] {
  return [...newestOf(records).values()]
    .filter(({ kind, expiresAtMs }) => kind === PUT && (expiresAtMs === 0 || expiresAtMs > nowMs))
    .map(({ key, value }): [string, string] => [key, value])
    .sort(([a], [b]) => (a < b ? -1 : 1))
}
