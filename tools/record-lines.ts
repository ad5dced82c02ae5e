/** Records as lines, for `dump` and `tail`. */

import { BATCH_END, IN_BATCH, type Page, PUT, type RecordFields } from '../src/format/record.ts'
import { type JsonBytes, toJsonBytes } from './entry.ts'
import type { Output } from './output.ts'
import { escapePieces, formatMoment, hexPieces } from './text.ts'

/** A record, with its bytes in memory of its own. */
export interface PlacedRecord {
  readonly segment: number
  readonly offset: number
  readonly sequence: number
  /** `batch-put` and `batch-tombstone` are members of a batch, which `batch-end` closes. */
  readonly kind: 'put' | 'tombstone' | 'batch-put' | 'batch-tombstone' | 'batch-end'
  /** 0 where it does not expire. */
  readonly expiresAtMs: number
  readonly key: Buffer
  readonly value: Buffer
  /** How many members a batch end closes; 0 for any other record. */
  readonly batchCount: number
}

/** A record as JSON holds it. */
interface JsonRecord {
  readonly segment: number
  readonly offset: number
  readonly sequence: number
  readonly kind: PlacedRecord['kind']
  readonly keySize: number
  readonly valueSize: number
  readonly expiresAt?: number
  readonly key?: JsonBytes
  readonly value?: JsonBytes
  readonly batchCount?: number
}

/** Takes the record that was just read. */
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

/**
 * Prints a record as one line: segment, offset, sequence, kind, key size, value size, expiry, key and value, with
 * tabs between them.
 *
 * @param raw keys and values as hexadecimal digits, in place of quoted text
 */
export async function printRecord(
  output: Output,
  record: PlacedRecord,
  raw: boolean,
): Promise<void> {
  if (output.isJson) return await output.json(toJson(record))
  const { segment, offset, sequence, kind, key, value, expiresAtMs, batchCount } = record
  const fields = [segment, offset, sequence, kind, key.length, value.length]
  await output.write(`${fields.join('\t')}\t${formatMoment(expiresAtMs)}\t`)
  if (kind === 'batch-end') return await output.line(`-\t${batchCount}`)
  await printBytes(output, key, raw)
  await output.write('\t')
  if (kind.endsWith('tombstone')) await output.write('-')
  else await printBytes(output, value, raw)
  await output.write('\n')
}

async function printBytes(output: Output, bytes: Buffer, raw: boolean): Promise<void> {
  if (raw) {
    for (const piece of hexPieces(bytes)) await output.write(piece)
    return
  }
  await output.write('"')
  for (const piece of escapePieces(bytes)) await output.write(piece)
  await output.write('"')
}

function toJson(record: PlacedRecord): JsonRecord {
  const { segment, offset, sequence, kind, key, value, expiresAtMs, batchCount } = record
  return {
    segment,
    offset,
    sequence,
    kind,
    keySize: key.length,
    valueSize: value.length,
    ...(expiresAtMs === 0 ? {} : { expiresAt: expiresAtMs }),
    ...(kind === 'batch-end' ? { batchCount } : { key: toJsonBytes(key) }),
    ...(kind.endsWith('put') ? { value: toJsonBytes(value) } : {}),
  }
}
