/** Makes records and file headers byte by byte. */

import { checksum } from '../../src/format/checksum.ts'
import { encodeFileHeader } from '../../src/format/file-header.ts'
import type { Manifest } from '../../src/format/manifest.ts'
import {
  BATCH_COUNT_SIZE,
  BATCH_END,
  type Page,
  PUT,
  pageOf,
  recordSize,
  TOMBSTONE,
  writeChecksum,
  writeRecordHeader,
} from '../../src/format/record.ts'

/** The fields of a record; a missing one is 0 or empty. */
export interface RecordInput {
  readonly kind?: typeof PUT | typeof TOMBSTONE | typeof BATCH_END
  readonly flags?: number
  readonly key?: string | Uint8Array
  readonly value?: string | Uint8Array
  readonly sequence: number
  readonly expiresAtMs?: number
}

/** The store id of tests, and the seed that follows from it. */
export const STORE_ID = Buffer.from('000102030405060708090a0b0c0d0e0f', 'hex')
export const SEED = checksum(STORE_ID, 0, STORE_ID.length, 0)

/** Makes the header of a segment's file, for a segment without a predecessor. */
export function segmentHeader(fileId: number): Buffer {
  const origin = 'appended'
  return encodeFileHeader({
    type: 'segment',
    storeId: STORE_ID,
    fileId,
    origin,
    predecessor: undefined,
  })
}

/** The manifest of a store without a segment. */
export const EMPTY_MANIFEST: Manifest = {
  storeId: STORE_ID,
  generation: 0,
  tailId: 1,
  tailSize: 0,
  nextSegmentId: 1,
  nextSequence: 1,
  keydirKind: 'btree',
  closed: true,
  clockMs: 0,
  sweeps: [],
  segments: [],
}

/** Makes a whole record. */
export function record(input: RecordInput): Buffer {
  const { kind = PUT, flags = 0, sequence, expiresAtMs = 0 } = input
  const key = Buffer.from(input.key ?? '')
  const value = Buffer.from(input.value ?? '')
  const bytes = Buffer.alloc(recordSize(key.length, value.length, expiresAtMs !== 0))
  const page: Page = pageOf(bytes)
  const keyAt = writeRecordHeader(
    page.view,
    0,
    kind,
    flags,
    key.length,
    value.length,
    sequence,
    expiresAtMs,
  )
  key.copy(bytes, keyAt)
  value.copy(bytes, keyAt + key.length)
  writeChecksum(page, 0, bytes.length, SEED)
  return bytes
}

export function put(key: string, value: string, sequence: number, expiresAtMs = 0): Buffer {
  return record({ key, value, sequence, expiresAtMs })
}

export function tombstone(key: string, sequence: number): Buffer {
  return record({ kind: TOMBSTONE, key, sequence })
}

/** Makes the end of a batch of `count` members. */
export function batchEnd(count: number, sequence: number): Buffer {
  const value = Buffer.alloc(BATCH_COUNT_SIZE)
  value.writeUInt32LE(count)
  return record({ kind: BATCH_END, value, sequence })
}

/** Yields every way of flipping one bit of `bytes`, with the place of the bit. */
export function* flips(bytes: Uint8Array): Generator<{ at: number; bit: number; bytes: Buffer }> {
  for (let at = 0; at < bytes.length; at++) {
    for (let bit = 0; bit < 8; bit++) {
      const flipped = Buffer.from(bytes)
      flipped[at] = (flipped[at] ?? 0) ^ (1 << bit)
      yield { at, bit, bytes: flipped }
    }
  }
}
