/** Entries as CSV. */

import { isUtf8 } from 'node:buffer'
import { pipeline } from 'node:stream'
import { CsvError, parse } from 'csv-parse'
import { stringify } from 'csv-stringify/sync'
import { decodeBase64, type Entry, type EntryFormat, MAX_ENTRY_SIZE } from './entry.ts'
import { showText } from './text.ts'

/** The columns of entries. */
export interface CsvColumns {
  readonly key: string
  readonly value: string
  /** This column may be missing. */
  readonly expiry: string
  /** Whether keys and values are base64. */
  readonly base64?: boolean
}

/** A row as the parser returns it. */
interface CsvRow {
  readonly record: readonly Buffer[]
  /** The number of lines read, including this row. */
  readonly info: { readonly lines: number }
}

const PARSING = {
  encoding: null,
  info: true,
  max_record_size: MAX_ENTRY_SIZE,
  skip_empty_lines: true,
} as const

/** Returns the format for CSV with a header. Other columns than these three are not read. */
export function csvFormat({ key, value, expiry, base64 = false }: CsvColumns): EntryFormat {
  const header = [key, value, expiry]
  return {
    head: stringify([header]),
    encode: (entries) =>
      // Many readers take a carriage return for the end of a line.
      stringify(
        entries.map((entry) => encodeRow(entry, base64)),
        { quoted_match: /\r/ },
      ),
    show: (text) => text.split('\n').map(showText).join('\n'),
    async *decode(source) {
      // If anything fails in the pipeline, the iteration over its last stream throws it.
      const rows = pipeline(source, parse(PARSING), () => undefined)
      let columns: readonly number[] | undefined
      try {
        for await (const { record, info } of rows as AsyncIterable<CsvRow>) {
          if (columns === undefined) columns = findColumns(record, header)
          else yield decodeRow(record, columns, base64, info.lines)
        }
      } catch (error) {
        throw withoutBytes(error)
      }
    },
  }
}

/** Removes the bytes that the parser prints as numbers from its message. */
function withoutBytes(error: unknown): unknown {
  if (!(error instanceof CsvError)) return error
  return new Error(error.message.replace(/, (value is|got) \{.*/s, ''), { cause: error })
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

/** Returns the indexes of the columns of key, value and expiry; -1 if there is no expiry. */
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
  line: number,
): Entry {
  const bytesAt = (column: number, name: string): Buffer => {
    const field = row[column] ?? Buffer.alloc(0)
    if (!isUtf8(field)) {
      throw new Error(`Line ${line}: The ${name} is not UTF-8; bytes go in as base64, by --base64`)
    }
    if (!base64) return field
    const bytes = decodeBase64(field.toString('latin1'))
    if (bytes === undefined) throw new Error(`Line ${line}: ${field} is not base64`)
    return bytes
  }
  const expiry = String(row[expiryAt] ?? '')
  const expiresAt = expiry === '' ? Number.POSITIVE_INFINITY : Number(expiry)
  if (Number.isNaN(expiresAt)) throw new Error(`Line ${line}: ${expiry} is not a time`)
  return { key: bytesAt(keyAt, 'key'), value: bytesAt(valueAt, 'value'), expiresAt }
}
