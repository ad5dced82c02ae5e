/** Splits input into lines. */

import { MAX_ENTRY_SIZE } from './entry.ts'

const NEWLINE = 0x0a

/** Yields lines as bytes. Only a line feed ends a line: text may contain any other separator. */
export async function* linesOf(source: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  let begun: Buffer[] = []
  let begunSize = 0
  let number = 1
  for await (const chunk of source) {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
    let from = 0
    for (let to = bytes.indexOf(NEWLINE); to !== -1; to = bytes.indexOf(NEWLINE, from)) {
      const end = bytes.subarray(from, to)
      yield begun.length === 0 ? end : Buffer.concat([...begun, end])
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
  if (begun.length > 0) yield Buffer.concat(begun)
}
