/** Records with their places, as the tool prints them. */

import { BATCH_END, IN_BATCH, type Page, PUT, type RecordFields } from '../format/record.ts'

/** A record and its place, with a copy of its bytes. */
export interface PlacedRecord {
  readonly segment: number
  readonly offset: number
  readonly sequence: number
  /** `batch-put` and `batch-tombstone` are members of a batch, which `batch-end` closes. */
  readonly kind: 'put' | 'tombstone' | 'batch-put' | 'batch-tombstone' | 'batch-end'
  /** 0 if it does not expire. */
  readonly expiresAtMs: number
  readonly key: Buffer
  readonly value: Buffer
  /** The number of members that a batch end closes; 0 for any other record. */
  readonly batchCount: number
}

/** Copies the record that was just read from `page`. */
export function placeRecord(
  fields: RecordFields,
  page: Page,
  segment: number,
  offset: number,
): PlacedRecord {
  const { sequence, expiresAtMs, keyAt, valueAt, keySize, valueSize } = fields
  const isEnd = fields.kind === BATCH_END
  const plain = fields.kind === PUT ? 'put' : 'tombstone'
  const member = (fields.flags & IN_BATCH) === 0 ? plain : (`batch-${plain}` as const)
  return {
    segment,
    offset,
    sequence,
    kind: isEnd ? 'batch-end' : member,
    expiresAtMs,
    key: Buffer.from(page.bytes.subarray(keyAt, keyAt + keySize)),
    value: isEnd ? Buffer.alloc(0) : Buffer.from(page.bytes.subarray(valueAt, valueAt + valueSize)),
    batchCount: isEnd ? fields.batchCount(page) : 0,
  }
}
