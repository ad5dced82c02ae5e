/** Measures small choices of the engine beside their alternatives, to which `src/` refers. */

import { crc32 as nativeCrc32 } from 'node:zlib'
import crc from 'crc-32'
import { KeyBuffer } from '../../src/engine/encoding.ts'
import { copyChecksum, viewChecksum } from '../../src/format/checksum.ts'
import { pageOf } from '../../src/format/record.ts'
import type { Bench, Settings } from '../bench.ts'
import { type Lane, race } from '../race.ts'
import type { Measure, Report } from '../report.ts'
import { keyAt, Values } from '../workload.ts'

/** The number of operations in a chunk, beside which a turn of the event loop does not count. */
const REPEATS = 100_000
const CHECKSUM_SIZES = [32, 64, 128, 192, 256, 320, 384, 512, 1024, 4096]
const COPY_SIZES = [8, 16, 32, 64, 96, 128, 256]

/** Makes a lane that repeats an operation, and sums its results so that none can be left out. */
function repeat(contender: string, operation: (turn: number) => number): Lane {
  return {
    contender,
    size: REPEATS,
    chunk: () => {
      let sum = 0
      for (let turn = 0; turn < REPEATS; turn++) sum += operation(turn)
      if (Number.isNaN(sum)) throw new Error('Something was no number')
    },
  }
}

async function compare(
  whats: readonly [string, readonly Lane[]][],
  settings: Settings,
): Promise<Report> {
  const measures: Measure[] = []
  for (const [what, lanes] of whats) measures.push(...(await race(what, lanes, settings)))
  return { measures, targets: [] }
}

/** Checksums. */
export const checksum: Bench = {
  name: 'micro-checksum',
  about:
    'CRC-32 by crc-32, by zlib, and by the loop over a view that Firkin has for records, by size',
  heavy: true,
  async run(settings): Promise<Report> {
    return await compare(
      CHECKSUM_SIZES.map((size) => {
        // As in a segment: records anywhere in a large page.
        const page = pageOf(new Values(1 << 16).at(0))
        const target = pageOf(Buffer.alloc(size))
        const at = (turn: number) => (turn * 37) & 0x7fff
        return [
          `checksum of ${size} B`,
          [
            repeat('crc-32', (turn) => crc.buf(page.bytes.subarray(at(turn), at(turn) + size), 0)),
            repeat('zlib', (turn) =>
              nativeCrc32(page.bytes.subarray(at(turn), at(turn) + size), 0),
            ),
            repeat('view', (turn) => viewChecksum(page.view, at(turn), at(turn) + size, 0)),
            repeat('view, copying', (turn) =>
              copyChecksum(page.view, at(turn), at(turn) + size, 0, target.view, 0),
            ),
          ],
        ]
      }),
      settings,
    )
  },
}

/** Copies of a few bytes into a large buffer. */
export const shortCopy: Bench = {
  name: 'micro-copy',
  about: 'copying short byte strings: by a loop, by set, by Buffer.copy',
  heavy: true,
  async run(settings): Promise<Report> {
    const target = Buffer.alloc(1 << 16)
    return await compare(
      COPY_SIZES.map((size) => {
        const values = new Values(size)
        const at = (turn: number) => (turn * 37) & 0x7fff
        return [
          `copy of ${size} B`,
          [
            repeat('loop', (turn) => {
              const source = values.at(turn)
              const to = at(turn)
              for (let index = 0; index < size; index++)
                target[to + index] = source[index] as number
              return to
            }),
            repeat('set', (turn) => {
              target.set(values.at(turn), at(turn))
              return turn
            }),
            repeat('subarray and set', (turn) => {
              target.set(values.at(turn).subarray(0, size), at(turn))
              return turn
            }),
            repeat('Buffer.copy', (turn) => values.at(turn).copy(target, at(turn))),
          ],
        ]
      }),
      settings,
    )
  },
}

/** The encoding of keys from strings to bytes. */
export const keyEncoding: Bench = {
  name: 'micro-key',
  about: 'encoding an ASCII key of 16 characters: by a loop, and by calls into the runtime',
  heavy: true,
  async run(settings): Promise<Report> {
    const target = Buffer.alloc(64)
    const encoded = new KeyBuffer()
    const encoder = new TextEncoder()
    return await compare(
      [
        [
          'key to bytes',
          [
            repeat('(the key alone)', (turn) => keyAt(turn).length),
            repeat('loop', (turn) => {
              const key = keyAt(turn)
              for (let index = 0; index < key.length; index++) {
                const code = key.charCodeAt(index)
                if (code > 127) return -1
                target[index] = code
              }
              return key.length
            }),
            repeat('as Firkin does, four at a time', (turn) => {
              encoded.encode(keyAt(turn))
              return encoded.size
            }),
            repeat('Buffer.write latin1', (turn) => target.write(keyAt(turn), 0, 'latin1')),
            repeat('Buffer.write utf8', (turn) => target.write(keyAt(turn), 0, 'utf8')),
            repeat('TextEncoder', (turn) => encoder.encodeInto(keyAt(turn), target).written),
          ],
        ],
      ],
      settings,
    )
  },
}
