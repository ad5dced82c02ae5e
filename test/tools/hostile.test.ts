/** Directories made to do harm: the tool says what is wrong, in bounded time and memory. */

import { execFileSync } from 'node:child_process'
import { appendFile, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { describe, expect, it, vi } from 'vitest'
import { storeSeed } from '../../src/format/file-header.ts'
import {
  PUT,
  pageOf,
  RecordFields,
  recordSize,
  writeChecksum,
  writeRecordHeader,
} from '../../src/format/record.ts'
import { systemFiles } from '../../src/io/files.ts'
import { takeLock } from '../../src/io/lock.ts'
import { Targets } from '../../src/merge/targets.ts'
import { readManifest } from '../../src/segment/manifest-file.ts'
import { heldContext } from '../../src/segment/segment.ts'
import { Segments } from '../../src/segment/segments.ts'
import { withHeld } from '../support/held.ts'
import { DAMAGES, kindsOf } from './damage.ts'
import { Fixtures } from './fixture.ts'
import { linesOf, run } from './run.ts'

const fixtures = new Fixtures()
const READERS = ['inspect', 'dump', 'tail', 'verify', 'count', 'scan', 'export'] as const

describe('a hostile store', () => {
  it.each(['the manifest', 'a hint', 'the checkpoint'] as const)(
    'in which %s seems to have a tebibyte costs no memory for it',
    async (kind) => {
      const store = await fixtures.copyOf(fixtures.large())
      const path = kindsOf(store)[kind]
      await truncate(path, 2 ** 40)
      const before = process.memoryUsage().rss

      for (const command of READERS) {
        const { status, stderr } = await run([command, store])

        expect([command, status === 0]).toEqual([command, kind !== 'the manifest'])
        if (kind === 'the manifest') expect(linesOf(stderr)).toHaveLength(1)
      }
      const { status } = await run(['repair', store])

      expect(status).toBe(0)
      expect(process.memoryUsage().rss - before).toBeLessThan(300 * 2 ** 20)
      expect((await run(['count', store])).stdout).toBe('1476\n')
    },
  )

  it.each([
    ['a record that is said to have a gibibyte', [65_535, 2 ** 30]],
    ['a record that is said to have four gibibytes', [65_535, 2 ** 32 - 1]],
  ] as const)('with %s at its end is read up to there', async (_name, [keySize, valueSize]) => {
    const store = await fixtures.copyOf(fixtures.tiny())
    const path = join(store, '0000000001.segment')
    const head = pageOf(Buffer.alloc(64))
    writeRecordHeader(head.view, 0, PUT, 0, keySize, valueSize, 99, 0)
    await appendFile(path, head.bytes)

    const dumped = await run(['dump', store])
    const verified = await run(['verify', store])

    expect([dumped.status, linesOf(dumped.stdout).length]).toEqual([0, 12])
    expect(verified.stdout).toBe(`${path}:411: notice: 64 bytes are unfinished\n`)
  })

  it.each(['the manifest', 'a sealed segment', 'the active segment', 'a hint'] as const)(
    'in which a pipe is in place of %s does not block the tool',
    async (kind) => {
      const store = await fixtures.copyOf(fixtures.large())
      const path = kindsOf(store)[kind]
      await rm(path)
      execFileSync('mkfifo', [path])

      for (const command of [...READERS, 'merge', 'repair']) {
        const { status, stderr } = await run([command, store])

        if (status !== 0) expect(linesOf(stderr).length).toBeLessThan(3)
      }
      expect((await run(['verify', store])).status).toBeLessThan(2)
    },
  )

  it('in which a pipe is in place of a segment is not copied endlessly', async () => {
    const store = await fixtures.copyOf(fixtures.tiny())
    const path = join(store, '0000000001.segment')
    await rm(path)
    execFileSync('mkfifo', [path])

    const { status, stderr } = await run(['repair', store, '--to', await fixtures.path()])

    expect(status).toBe(1)
    expect(stderr).toBe(`firkin: ${path} is not a file\n`)
  })

  it('in which a pipe is in place of the lock can be read', async () => {
    const store = await fixtures.copyOf(fixtures.tiny())
    await rm(join(store, 'LOCK'))
    execFileSync('mkfifo', [join(store, 'LOCK')])

    expect((await run(['inspect', store])).status).toBe(0)
    expect((await run(['verify', store])).status).toBe(0)
  })

  it('in which a file links to itself or to a device is reported as unreadable or damaged', async () => {
    for (const target of ['0000000001.segment', '/dev/zero', '/dev/null', 'nowhere']) {
      const store = await fixtures.copyOf(fixtures.tiny())
      const path = join(store, '0000000001.segment')
      await rm(path)
      await symlink(target, path)

      for (const command of ['inspect', 'dump', 'verify', 'count', 'export', 'merge']) {
        const { status, stdout, stderr } = await run([command, store])

        expect([target, command, status]).toEqual([target, command, 1])
        expect(stdout + stderr).toContain(path)
      }
    }
  })

  it('that names its holder at length and with escapes is shown without harm', async () => {
    const store = await fixtures.copyOf(fixtures.tiny())
    const lock = takeLock(store)
    await writeFile(join(store, 'LOCK'), '\u001b]0;evil\u0007\u009b31m')

    const { stdout } = await run(['inspect', store, '--no-color'], { columns: 200 })
    const { stderr } = await run(['put', store, 'k', 'v'])
    lock.release()

    expect(stdout).toContain('in use by \\x1b]0;evil\\x07\\u{9b}31m')
    expect(stderr).toContain('open for writing by \\x1b]0;evil\\x07\\u{9b}31m')
  })

  it('of thousands of segments is read, merged and repaired like any other', async () => {
    const store = await fixtures.make((opened) => opened.put('first', Buffer.from('1')))
    await scatter(store, 1000)

    const inspected = await run(['inspect', store, '--json'])
    const tailed = await run(['tail', store, '-n', '2'])
    const verified = await run(['verify', store])
    await DAMAGES.missing(join(store, '0000000100.segment'))
    const repaired = await run(['repair', store, '--json'])
    const merged = await run(['merge', store, '--all', '--json'])

    expect(JSON.parse(inspected.stdout).segments.length).toBeGreaterThan(1000)
    expect(linesOf(tailed.stdout)).toHaveLength(2)
    expect([verified.status, verified.stdout]).toEqual([0, ''])
    expect(JSON.parse(repaired.stdout).lost.keys).toHaveLength(1)
    expect(merged.status).toBe(0)
    expect((await run(['count', store])).stdout).toBe('1000\n')
  })
})

describe('hostile input', () => {
  /** Yields the same bytes again and again, without allocating memory for them. */
  function endless(text: string): Readable {
    const chunk = Buffer.alloc(16 * 2 ** 20, text)
    let left = 64
    return new Readable({
      read() {
        this.push(left-- > 0 ? chunk : null)
      },
    })
  }

  it('with a line without an end is refused before it takes all memory', async () => {
    const { status, stderr } = await run(['import', await fixtures.path()], { input: endless('{') })

    expect(status).toBe(1)
    expect(stderr).toMatch(/^firkin: Line 1 has more than \d+ bytes, which is the limit$/m)
  })

  it.each([
    ['{"key":"a","value":"b","expiresAt":{}}', 'Line 1: expiresAt is not a number'],
    [`{"key":"${'k'.repeat(70_000)}","value":"b"}`, 'Record 1: Key is 70000 bytes'],
    [`${'['.repeat(100_000)}`, 'Line 1: '],
    ['{"__proto__":{"key":"a","value":"b"}}', 'Line 1: key is neither'],
  ])('such as %.40s is refused in one line', async (input, message) => {
    const store = await fixtures.path()

    const { status, stderr } = await run(['import', store], { input })

    expect(status).toBe(1)
    expect(linesOf(stderr).at(-1)?.startsWith(`firkin: ${message}`)).toBe(true)
    expect((await run(['count', store])).stdout).toBe('0\n')
  })

  it('with a time beyond any date means for ever', async () => {
    const store = await fixtures.path()
    const input = '{"key":"a","value":"b","expiresAt":1e300}'

    const { status } = await run(['import', store], { input })

    expect(status).toBe(0)
    expect((await run(['export', store])).stdout).toBe('{"key":"a","value":"b"}\n')
  })
})

/** Adds `count` segments to a store that has only one, each with one record. */
async function scatter(directory: string, count: number): Promise<void> {
  const manifest = readManifest(systemFiles, directory)
  if (manifest === undefined) throw new Error('There is no manifest')
  const { storeId, nextSegmentId } = manifest
  const targetIds = Array.from({ length: count }, (_, index) => nextSegmentId + index)
  // One segment for each record.
  const spy = vi.spyOn(systemFiles, 'sync').mockReturnValue()
  const targets = new Targets(systemFiles, { directory, storeId, targetIds, maxSegmentBytes: 1 })
  const fields = new RecordFields()
  for (let index = 0; index < count; index++) {
    const key = Buffer.from(`key ${index}`)
    const page = pageOf(Buffer.alloc(recordSize(key.length, 1, false)))
    const keyAt = writeRecordHeader(page.view, 0, PUT, 0, key.length, 1, 100 + index, 0)
    key.copy(page.bytes, keyAt)
    writeChecksum(page, 0, page.bytes.length, storeSeed(storeId))
    fields.readHeader(page, 0, page.bytes.length)
    targets.copy(fields, page)
  }
  spy.mockRestore()
  const written = targets.finish().map(({ sealed }) => sealed)
  const nextId = nextSegmentId + count
  await withHeld(systemFiles, directory, (held) =>
    new Segments(heldContext(held, storeId), manifest, nextId, 0).commit(() => ({
      nextSegmentId: nextId,
      nextSequence: 100 + count,
      segments: written,
    })),
  )
}
