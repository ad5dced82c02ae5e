import { readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { systemFiles } from '../../src/io/files.ts'
import { readManifest } from '../../src/segment/manifest-file.ts'
import { withDirectory } from '../support/directory.ts'
import { openStore } from '../support/store.ts'
import { BINARY_KEY, BINARY_VALUE, Fixtures, FUTURE_MS } from './fixture.ts'
import { linesOf, run } from './run.ts'

const fixtures = new Fixtures()

/** Returns the fields of a line. */
function fieldsOf(line: string): string[] {
  return line.split('\t')
}

describe('firkin dump', () => {
  it('prints every record, as in the golden file', async () => {
    const { status, stdout, stderr } = await run(['dump', await fixtures.tiny()])

    expect(status).toBe(0)
    expect(stderr).toBe('')
    await expect(stdout).toMatchFileSnapshot('golden/dump.txt')
  })

  it('prints keys and values as hexadecimal digits with --raw', async () => {
    const { status, stdout } = await run(['dump', await fixtures.tiny(), '--raw'])

    expect(status).toBe(0)
    await expect(stdout).toMatchFileSnapshot('golden/dump-raw.txt')
  })

  it('prints one object per line with --json', async () => {
    const { stdout } = await run(['dump', await fixtures.tiny(), '--json'])

    const records = linesOf(stdout).map((line) => JSON.parse(line))
    expect(records).toContainEqual({
      segment: 1,
      offset: expect.any(Number),
      sequence: 6,
      kind: 'put',
      keySize: 7,
      valueSize: 4,
      expiresAt: FUTURE_MS,
      key: 'session',
      value: 'open',
    })
    expect(records).toContainEqual(
      expect.objectContaining({
        key: { base64: BINARY_KEY.toString('base64') },
        value: { base64: BINARY_VALUE.toString('base64') },
      }),
    )
    expect(records).toContainEqual(
      expect.objectContaining({ kind: 'batch-end', keySize: 0, batchCount: 3 }),
    )
    expect(records.find(({ kind }) => kind === 'tombstone')).not.toHaveProperty('value')
  })

  it('prints one segment with --segment, and all of them in file order without', async () => {
    const store = await fixtures.large()
    const all = linesOf((await run(['dump', store])).stdout)

    const segments = [...new Set(all.map((line) => fieldsOf(line)[0] ?? ''))]
    const apart: string[] = []
    for (const segment of segments) {
      apart.push(...linesOf((await run(['dump', store, '--segment', segment])).stdout))
    }

    expect(segments.length).toBeGreaterThan(3)
    expect(apart).toEqual(all)
    const sequences = all.map((line) => Number(fieldsOf(line)[2]))
    expect(sequences).toEqual([...sequences].sort((a, b) => a - b))
  })

  it('refuses a segment that does not belong to the store', async () => {
    const store = await fixtures.tiny()

    const { status, stderr } = await run(['dump', store, '--segment', '9'])

    expect(status).toBe(1)
    expect(stderr).toBe(`firkin: There is no segment 9 in ${store}\n`)
  })

  it('goes on after bytes that are not a record, and says where they are', async () => {
    const store = await fixtures.copyOf(fixtures.large())
    const whole = linesOf((await run(['dump', store])).stdout)
    const victim = whole[10] ?? ''
    const [segment = '', offset = ''] = fieldsOf(victim)
    const path = join(store, `${segment.padStart(10, '0')}.segment`)
    const bytes = await readFile(path)
    bytes[Number(offset) + 20] = 0xff
    await writeFile(path, bytes)

    const { status, stdout, stderr } = await run(['dump', store])

    expect(status).toBe(1)
    expect(linesOf(stdout)).toEqual(whole.filter((line) => line !== victim))
    expect(linesOf(stderr)).toHaveLength(1)
    expect(stderr).toMatch(
      new RegExp(`^warning: ${path}, offset ${offset}: \\d+ bytes are not a record`),
    )
  })

  it('reports an unfinished record at the end without failing', async () => {
    const store = await fixtures.copyOf(fixtures.tiny())
    const path = join(store, '0000000001.segment')
    const size = (await readFile(path)).length
    await truncate(path, size - 1)

    const { status, stdout, stderr } = await run(['dump', store])

    expect(status).toBe(0)
    expect(linesOf(stdout)).toHaveLength(11)
    expect(stderr).toMatch(
      /^.*0000000001.segment, offset \d+: 21 bytes at the end are unfinished\n$/,
    )
  })

  it.each([
    ['missing', (path: string) => rm(path), 'The segment is missing'],
    ['cut', (path: string) => truncate(path, 20), 'The file ends inside its header'],
  ])('says that a segment is %s', async (_how, damage, message) => {
    for (const id of ['0000000002', '0000000004']) {
      const store = await fixtures.copyOf(fixtures.large())
      const whole = linesOf((await run(['dump', store])).stdout)
      const path = join(store, `${id}.segment`)
      await damage(path)

      const { status, stdout, stderr } = await run(['dump', store])

      expect(status).toBe(1)
      expect(linesOf(stdout)).toEqual(whole.filter((line) => !line.startsWith(`${Number(id)}\t`)))
      expect(linesOf(stderr)).toHaveLength(1)
      expect(stderr).toContain(path)
      expect(stderr).toContain(message)
    }
  })

  it('accepts preallocated space at the end, even below merged segments of higher ids', async () => {
    await withDirectory(async (directory) => {
      await using store = await openStore(directory, { sync: 'always' })
      for (let count = 0; count < 10; count++) store.putSync('merged', String(count))
      const { created } = await store.merge()
      for (let count = 0; count < 20; count++) store.putSync('later', String(count))
      const active = store.stats().segments.find((segment) => segment.active)
      expect(active?.id).toBeLessThan(created[0] ?? 0)

      const file = await readFile(join(directory, '0000000002.segment'))
      expect(file.length).toBeGreaterThan(2 * (active?.bytes ?? 0))
      const { status, stdout, stderr } = await run(['dump', directory])

      expect([status, stderr]).toEqual([0, ''])
      expect(linesOf(stdout)).toHaveLength(21)
    })
  })

  it('reads the records after a damaged file header', async () => {
    const store = await fixtures.copyOf(fixtures.large())
    const whole = (await run(['dump', store])).stdout
    const id = readManifest(systemFiles, store)?.segments[0]?.id ?? 0
    const path = join(store, `${String(id).padStart(10, '0')}.segment`)
    const bytes = await readFile(path)
    bytes[0] = 0
    await writeFile(path, bytes)

    const { status, stdout, stderr } = await run(['dump', store])

    expect(status).toBe(1)
    expect(stdout).toBe(whole)
    expect(stderr).toMatch(/^warning: The file header is damaged \(.*, offset 0\)\n$/)
  })
})
