import { cpSync } from 'node:fs'
import { appendFile, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { checksum } from '../../src/format/checksum.ts'
import { FILE_HEADER_SIZE } from '../../src/format/file-header.ts'
import type { VerifyProgress } from '../../src/inspection/verification.ts'
import { verifyDirectory } from '../../src/inspection/verify.ts'
import { systemFiles } from '../../src/io/files.ts'
import { Random } from '../support/random.ts'
import { DAMAGES, FILE_KINDS, flip, kindsOf } from './damage.ts'
import { Fixtures, fillTiny, openBytes } from './fixture.ts'
import { linesOf, run } from './run.ts'

const fixtures = new Fixtures()
const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000)

/** Files that only make opening faster: damage to them loses nothing. */
function isShortcut(name: string): boolean {
  return name === 'CHECKPOINT' || name.endsWith('.hint')
}

/** Returns the names of the files that verification reads. */
async function filesOf(directory: string): Promise<string[]> {
  return (await readdir(directory)).filter((name) => name !== 'LOCK')
}

/** Makes a small store with a sealed segment, its hint, a tail and a checkpoint. */
async function makeSmall(): Promise<string> {
  return await fixtures.make(async (store) => {
    await fillTiny(store)
    await store.merge()
    await store.put('plain', Buffer.from('changed once more'))
    await store.delete('session')
  })
}

describe('firkin verify', () => {
  it('prints nothing but a note of what it read for a sound store', async () => {
    const { status, stdout, stderr } = await run(['verify', await fixtures.large(), '--bytes'])

    expect(status).toBe(0)
    expect(stdout).toBe('')
    expect(stderr).toMatch(/^No damage: 1,902 records, \d{6} in 4 segments\n$/)
  })

  it('prints an object with --json', async () => {
    const { status, stdout } = await run(['verify', await fixtures.tiny(), '--json'])

    expect(status).toBe(0)
    expect(JSON.parse(stdout)).toEqual({
      ok: true,
      findings: [],
      segments: 1,
      records: 12,
      bytes: expect.any(Number),
    })
  })

  it('prints one finding per line, with file and offset', async () => {
    const store = await fixtures.copyOf(fixtures.tiny())
    const path = join(store, '0000000001.segment')
    await flip(path, 200)

    const text = await run(['verify', store])
    const json = await run(['verify', store, '--json'])

    expect(text.status).toBe(1)
    expect(text.stdout).toBe(`${path}:186: damage: The record does not match its checksum\n`)
    expect(text.stderr).toMatch(/^1 damaged place: /)
    expect(json.status).toBe(1)
    expect(JSON.parse(json.stdout).findings).toEqual([
      {
        severity: 'damage',
        kind: 'segment',
        file: path,
        offset: 186,
        message: 'The record does not match its checksum',
      },
    ])
  })

  it('knows from the start how much there is to read', async () => {
    const come: VerifyProgress[] = []

    await verifyDirectory(systemFiles, await fixtures.large(), {
      onProgress: (progress) => come.push(progress),
    })

    expect(come.length).toBeGreaterThan(3)
    expect(new Set(come.map(({ bytesTotal }) => bytesTotal)).size).toBe(1)
    expect(come.at(-1)?.bytesRead).toBe(come[0]?.bytesTotal)
  })

  it('finds a flipped bit at every byte of every file', async () => {
    const store = await makeSmall()
    const names = await filesOf(store)
    let count = 0

    for (const name of names) {
      const path = join(store, name)
      const bytes = await readFile(path)
      for (let offset = 0; offset < bytes.length; offset++) {
        const changed = Buffer.from(bytes)
        changed[offset] = (changed[offset] ?? 0) ^ (1 << (offset % 8))
        await writeFile(path, changed)

        const { ok, findings } = await verifyDirectory(systemFiles, store)

        expect([name, offset, ok]).toEqual([name, offset, isShortcut(name)])
        expect(findings.map(({ file }) => file)).toContain(path)
        count++
      }
      await writeFile(path, bytes)
    }

    expect(names.length).toBe(5)
    expect(count).toBeGreaterThan(1500)
    expect((await verifyDirectory(systemFiles, store)).findings).toEqual([])
  })

  it(`finds a flipped bit anywhere in a larger store (SEED=${SEED})`, async () => {
    const store = await fixtures.copyOf(fixtures.large())
    const random = new Random(SEED)
    const names = await filesOf(store)

    for (let round = 0; round < 60; round++) {
      const name = random.pick(names)
      const path = join(store, name)
      const bytes = await readFile(path)
      const offset = random.below(bytes.length)
      await flip(path, offset, random.below(8))

      const { ok, findings } = await verifyDirectory(systemFiles, store)

      expect([name, offset, ok]).toEqual([name, offset, isShortcut(name)])
      expect(findings.length).toBeGreaterThan(0)
      await writeFile(path, bytes)
    }
  })

  describe.each(FILE_KINDS)('of a store in which %s is', (kind) => {
    it.each(Object.keys(DAMAGES) as (keyof typeof DAMAGES)[])('%s', async (damage) => {
      const store = await fixtures.copyOf(fixtures.large())
      const path = kindsOf(store)[kind]
      await DAMAGES[damage](path)

      const { status, stdout, stderr } = await run(['verify', store])

      // A checkpoint may be missing.
      const isSilent = kind === 'the checkpoint' && damage === 'missing'
      expect(status).toBe(isShortcut(path.slice(store.length + 1)) ? 0 : 1)
      expect(stdout.includes(path)).toBe(!isSilent)
      expect(linesOf(stderr)).toHaveLength(1)
      expect(stderr.startsWith('No damage: ')).toBe(isSilent)
    })
  })

  it('prints a notice for what the next open repairs', async () => {
    const store = await fixtures.copyOf(fixtures.tiny())
    await appendFile(join(store, '0000000001.segment'), 'half a record')
    await writeFile(join(store, '0000000002.segment'), Buffer.alloc(20))
    await writeFile(join(store, 'MANIFEST.7.tmp'), 'half a manifest')
    await writeFile(join(store, 'a file of somebody else'), 'is left alone')

    const { status, stdout } = await run(['verify', store])

    expect(status).toBe(0)
    expect(linesOf(stdout).sort()).toEqual([
      `${store}/0000000001.segment:411: notice: 13 bytes are unfinished`,
      `${store}/0000000002.segment:0: notice: The file is left over`,
      `${store}/MANIFEST.7.tmp:0: notice: The file is left over`,
    ])
    await run(['put', store, 'k', 'v'])
    expect((await run(['verify', store])).stdout).toBe('')
  })

  it('judges what follows a torn segment as the next open does', async () => {
    await using writer = await openBytes(await fixtures.path(), { merge: { automatic: false } })
    for (let index = 0; index < 700; index++) {
      writer.putSync(`key ${index}`, Buffer.alloc(200, 'v'))
    }
    const copy = await fixtures.path()
    // All at once, so that no segment is listed as sealed yet.
    cpSync(writer.directory, copy, { recursive: true })
    const names = (await filesOf(copy)).filter((name) => name.endsWith('.segment')).sort()
    const first = join(copy, names[0] ?? '')
    const bytes = await readFile(first)
    await writeFile(first, bytes.subarray(0, bytes.length - 5))

    const { status, stdout } = await run(['verify', copy])
    await run(['put', copy, 'k', 'v'])
    const after = await run(['verify', copy])

    expect(names.length).toBeGreaterThan(2)
    expect(status).toBe(0)
    expect(linesOf(stdout)).toHaveLength(names.length)
    expect(stdout).toContain('bytes follow the end of the store')
    expect(after.stdout).toBe('')
  })

  it('looks only for damage beside a writer, not for files that come and go', async () => {
    const directory = await fixtures.path()
    await using store = await openBytes(directory)
    await fillTiny(store)
    await writeFile(join(directory, '0000000077.hint'), 'of a merge that is under way')

    const { status, stdout } = await run(['verify', directory])

    expect(status).toBe(0)
    expect(stdout).toBe('')
  })

  it.each([
    ['the active segment', ['inspect', 'dump', 'tail', 'verify', 'merge', 'repair']],
    ['a sealed segment', ['inspect', 'dump', 'verify', 'count', 'merge', 'repair', 'export']],
    ['a hint', ['inspect', 'verify', 'repair']],
    ['the manifest', ['inspect', 'dump', 'tail', 'verify', 'count', 'merge', 'repair', 'export']],
    ['the checkpoint', ['inspect', 'verify', 'repair']],
  ] as const)('says that it cannot read %s', async (kind, commands) => {
    const store = await fixtures.copyOf(fixtures.large())
    const path = kindsOf(store)[kind]
    await rm(path)
    await mkdir(path)

    for (const command of commands) {
      const { status, stdout, stderr } = await run([command, store])

      expect([command, status]).toEqual([command, 1])
      // A file that has become shorter is damaged, whatever it holds.
      if (command === 'inspect' && kind.endsWith('segment')) continue
      if (command !== 'dump') expect(stdout).toBe('')
      expect(stderr).toMatch(/^firkin: Cannot .*: it is a directory\n$/)
      if (command !== 'count' && command !== 'export') expect(stderr).toContain(store)
    }
  })

  it('refuses a store of a newer format by its version', async () => {
    const store = await fixtures.copyOf(fixtures.tiny())
    const path = join(store, 'MANIFEST')
    await writeFile(path, asVersion(await readFile(path), 9))

    for (const command of ['inspect', 'dump', 'verify', 'count', 'merge', 'repair', 'export']) {
      const { status, stdout, stderr } = await run([command, store])

      expect([command, status, stdout]).toEqual([command, 1, ''])
      expect(stderr).toBe(
        `firkin: ${path} is of format version 9; this version of Firkin reads versions 1 to 2\n`,
      )
    }
  })
})

/** Returns a file with another format version in its header. */
function asVersion(bytes: Buffer, version: number): Buffer {
  const crcAt = FILE_HEADER_SIZE - 4
  const changed = Buffer.from(bytes)
  changed[7] = version
  changed.writeUInt32LE(checksum(changed, 0, crcAt, 0), crcAt)
  return changed
}
