import { type Entry, type EntryFormat, fromJson, MAX_ENTRY_SIZE, toJson } from './entry.ts'
import { showJson } from './text.ts'

const NEWLINE = 0x0a

/** Newline-delimited JSON: an entry a line. */
export const ndjsonFormat: EntryFormat = {
  head: '',
  encode: (entries) => entries.map((entry) => `${JSON.stringify(toJson(entry))}\n`).join(''),
  show: showJson,
  async *decode(source) {
    let number = 0
    for await (const line of linesOf(source)) {
      number++
      if (line.trim() !== '') yield decodeLine(line, number)
    }
  },
}

function decodeLine(line: string, number: number): Entry {
  try {
    return fromJson(JSON.parse(line))
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new Error(`Line ${number}: ${reason}`, { cause: error })
  }
}

/** The lines of UTF-8 text; only a line feed ends one, for JSON may hold every other line separator. */
async function* linesOf(source: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  let begun: Buffer[] = []
  let begunSize = 0
  let number = 1
  for await (const chunk of source) {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
    let from = 0
    for (let to = bytes.indexOf(NEWLINE); to !== -1; to = bytes.indexOf(NEWLINE, from)) {
      const end = bytes.subarray(from, to)
      yield (begun.length === 0 ? end : Buffer.concat([...begun, end])).toString('utf8')
      begun = []
      begunSize = 0
      number++
      from = to + 1
    }
    if (from === bytes.length) continue
    begun.push(bytes.subarray(from))
    begunSize += bytes.length - from
    if (begunSize > MAX_ENTRY_SIZE) {
      throw new Error(`Line ${number} has more than ${MAX_ENTRY_SIZE} bytes, which is the limit`)
    }
  }
  if (begun.length > 0) yield Buffer.concat(begun).toString('utf8')
}
