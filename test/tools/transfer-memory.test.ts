/**
 * Moves records through the built tool and back: they stay the same, byte for byte, and memory does
 * not grow with them. `TRANSFER_COUNT=1000000` moves a million and prints the peak of each step.
 */

import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { describe, expect, it } from 'vitest'
import { open } from '../../src/store/store.ts'
import { Random } from '../support/random.ts'
import { Fixtures, FUTURE_MS } from './fixture.ts'
import { BINARY } from './run.ts'

const fixtures = new Fixtures()
const COUNT = Number(process.env.TRANSFER_COUNT ?? 20_000)
/** The memory that a step may take besides the keydir. */
const MAX_RESIDENT_BYTES = 250e6

/** Loaded before the tool: writes the peak of its resident KiB to descriptor 3 when it exits. */
const REPORTER = `data:text/javascript,${encodeURIComponent(`
  import { writeSync } from 'node:fs'
  process.on('exit', () => writeSync(3, process.resourceUsage().maxRSS + '\\n'))
`)}`

/** Puts text and bytes, some of which expire. Returns the size of the keydir. */
async function fill(directory: string): Promise<number> {
  const random = new Random(1)
  await using store = await open<Buffer, 'buffer'>(directory, {
    keyEncoding: 'buffer',
    merge: { automatic: false },
  })
  let last: Promise<void> | undefined
  for (let index = 0; index < COUNT; index++) {
    const key = `user:${String((index * 7919) % COUNT).padStart(8, '0')}`
    const text = `{"name":"Ada ${index}","note":"a \\"line\\" of text, ß"}\n`.repeat(
      1 + random.below(20),
    )
    const value = index % 5 === 0 ? Buffer.alloc(random.below(800), index % 256) : Buffer.from(text)
    last = store.put(key, value, index % 7 === 0 ? { expiresAt: FUTURE_MS + index } : {})
    if (index % 1000 === 0) await last
  }
  await last
  return store.stats().keydir.bytes
}

/** Runs the tool. Returns the peak of its resident bytes. */
async function peakOf(...argv: string[]): Promise<number> {
  const child = spawn(process.execPath, ['--import', REPORTER, BINARY, ...argv], {
    stdio: ['ignore', 'ignore', 'inherit', 'pipe'],
  })
  let told = ''
  child.stdio[3]?.on('data', (chunk) => {
    told += String(chunk)
  })
  const status = await new Promise((resolve) => child.on('close', resolve))
  expect([argv[0], status]).toEqual([argv[0], 0])
  // Threads report as well.
  return Math.max(...told.trim().split('\n').map(Number)) * 1024
}

async function digestOf(file: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(file), hash)
  return hash.digest('hex')
}

describe('many records', () => {
  it('come back byte for byte, in memory that does not grow with them', async () => {
    const place = await fixtures.path()
    await mkdir(place)
    const [source, target, first, second] = ['source', 'target', 'first', 'second'].map((name) =>
      join(place, name),
    ) as [string, string, string, string]
    const keydirBytes = await fill(source)

    const peaks = {
      export: await peakOf('export', source, '-o', first, '--quiet'),
      import: await peakOf('import', target, first, '--quiet'),
      'export again': await peakOf('export', target, '-o', second, '--quiet'),
    }

    expect(await digestOf(second)).toBe(await digestOf(first))
    for (const [step, bytes] of Object.entries(peaks)) {
      expect([step, bytes - keydirBytes < MAX_RESIDENT_BYTES]).toEqual([step, true])
    }
    if (process.env.TRANSFER_COUNT === undefined) return
    const figures = Object.entries({ keydir: keydirBytes, ...peaks }).map(
      ([name, bytes]) => `${name} ${(bytes / 1e6).toFixed(0)} MB`,
    )
    process.stdout.write(`${COUNT} records: ${figures.join(', ')}\n`)
  }, 600_000)
})
