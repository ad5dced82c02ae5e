/** Entries as newline-delimited JSON. */

import { isUtf8 } from 'node:buffer'
import { isError } from '../src/errors.ts'
import { type Entry, type EntryFormat, fromJson, toJson } from './entry.ts'
import { linesOf } from './lines.ts'
import { showJson } from './text.ts'

/** The format for newline-delimited JSON: one entry per line. */
export const ndjsonFormat: EntryFormat = {
  head: '',
  encode: (entries) => entries.map((entry) => `${JSON.stringify(toJson(entry))}\n`).join(''),
  show: showJson,
  async *decode(source) {
    let number = 0
    for await (const line of linesOf(source)) {
      number++
      if (!isUtf8(line)) throw new Error(`Line ${number}: It is not UTF-8`)
      const text = line.toString('utf8')
      if (text.trim() !== '') yield decodeLine(text, number)
    }
  },
}

function decodeLine(line: string, number: number): Entry {
  try {
    return fromJson(JSON.parse(line))
  } catch (error) {
    const reason = isError(error) ? error.message : String(error)
    throw new Error(`Line ${number}: ${reason}`, { cause: error })
  }
}
