/** Prints records as lines, for `dump` and `tail`. */

import type { PlacedRecord } from '../src/inspection/placed-record.ts'
import { type JsonBytes, toJsonBytes } from './entry.ts'
import type { Output } from './output.ts'
import { escapePieces, formatMoment, hexPieces } from './text.ts'

/** A record in JSON. */
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

/**
 * Prints a record as one line: segment, offset, sequence, kind, key size, value size, expiry, key
 * and value, separated by tabs.
 *
 * @param raw whether keys and values are hexadecimal digits instead of quoted text
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
