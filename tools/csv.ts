import { isUtf8 } from 'node:buffer'
import { Readable } from 'node:stream'
import { parse } from 'csv-parse'
import { stringify } from 'csv-stringify/sync'
import { decodeBase64, type Entry, type EntryFormat, MAX_ENTRY_SIZE } from './entry.ts'
import { showText } from './text.ts'

/** Which columns hold what. */
export interface CsvColumns {
  readonly key: string
  readonly value: string
  /** Need not be there. */
  readonly expiry: string
  /** Whether keys and values are base64. */
  readonly base64?: boolean
}

const BYTE_ORDER_MARK = Buffer.from('\ufeff')

/** CSV with a header; other columns than those three are not read. */
export function csvFormat({ key, value, expiry, base64 = false }: CsvColumns): EntryFormat {
  const header = [key, value, expiry]
  return {
    head: stringify([header]),
    encode: (entries) =>
      // A carriage return would be taken for the end of a line by many a reader.
      stringify(
        entries.map((entry) => encodeRow(entry, base64)),
        { quoted_match: /\r/ },
      ),
    show: (text) => text.split('\n').map(showText).join('\n'),
    async *decode(source) {
      const parser = Readable.from(withoutMark(source)).pipe(
        parse({ encoding: null, skip_empty_lines: true, max_record_size: MAX_ENTRY_SIZE }),
      )
      let columns: readonly number[] | undefined
      let number = 0
      for await (const row of parser as AsyncIterable<readonly Buffer[]>) {
        if (columns === undefined) columns = findColumns(row, header)
        else yield decodeRow(row, columns, base64, ++number)
      }
    },
  }
}

/** Leaves out a byte order mark; csv-parse would, but decodes the text then, and with it what is no text. */
async function* withoutMark(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let begun: Uint8Array | undefined = new Uint8Array()
  for await (const chunk of source) {
    if (begun === undefined) {
      yield chunk
      continue
    }
    begun = Buffer.concat([begun, chunk])
    if (begun.length < BYTE_ORDER_MARK.length) continue
    yield withoutPrefix(begun)
    begun = undefined
  }
  if (begun !== undefined) yield begun
}

function withoutPrefix(bytes: Uint8Array): Uint8Array {
  const { length } = BYTE_ORDER_MARK
  return BYTE_ORDER_MARK.equals(bytes.subarray(0, length)) ? bytes.subarray(length) : bytes
}

function encodeRow({ key, value, expiresAt }: Entry, base64: boolean): string[] {
  const encoding = base64 ? 'base64' : 'utf8'
  if (!base64 && !(isUtf8(key) && isUtf8(value))) {
    throw new Error('A key or value is not UTF-8, which CSV cannot hold: use --base64, or NDJSON')
  }
  return [
    key.toString(encoding),
    value.toString(encoding),
    expiresAt === Number.POSITIVE_INFINITY ? '' : String(expiresAt),
  ]
}

/** Where key, value and expiry stand; -1 where there is no expiry. */
function findColumns(row: readonly Buffer[], [key, value, expiry]: readonly string[]): number[] {
  const names = row.map(String)
  for (const wanted of [key, value]) {
    if (wanted === undefined || names.includes(wanted)) continue
    throw new Error(`There is no column ${wanted}; the columns are ${names.join(', ')}`)
  }
  return [key, value, expiry].map((name) => (name === undefined ? -1 : names.indexOf(name)))
}

function decodeRow(
  row: readonly Buffer[],
  [keyAt = -1, valueAt = -1, expiryAt = -1]: readonly number[],
  base64: boolean,
  number: number,
): Entry {
  const bytesAt = (column: number): Buffer => {
    const field = row[column] ?? Buffer.alloc(0)
    const bytes = base64 ? decodeBase64(field.toString('latin1')) : field
    if (bytes === undefined) throw new Error(`Record ${number}: ${field} is not base64`)
    return bytes
  }
  const expiry = String(row[expiryAt] ?? '')
  const expiresAt = expiry === '' ? Number.POSITIVE_INFINITY : Number(expiry)
  if (Number.isNaN(expiresAt)) throw new Error(`Record ${number}: ${expiry} is no moment`)
  return { key: bytesAt(keyAt), value: bytesAt(valueAt), expiresAt }
}
