import { appendFile, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { segmentName } from '../../src/format/names.ts'
import { Random } from '../support/random.ts'
import {
  DAMAGES,
  type DumpedRecord,
  digestsOf,
  dumpOf,
  entriesOf,
  exportOf,
  FILE_KINDS,
  flip,
  kindsOf,
  newestOf,
} from './damage.ts'
import { Fixtures } from './fixture.ts'
import { linesOf, run } from './run.ts'

const fixtures = new Fixtures()
const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000)

/** The report of a repair. */
async function repair(store: string, ...options: string[]) {
  const { status, stdout } = await run(['repair', store, '--json', ...options])
  return { status, report: JSON.parse(stdout) }
}

/** Puts a key in a segment that is then sealed, and its later fate in the next one. */
async function makeHistory(): Promise<string> {
  return await fixtures.make(async (store) => {
    const filler = Buffer.alloc(700, 'f')
    for (let index = 0; index < 100; index++) await store.put(`filler a ${index}`, filler)
    await store.put('changed', Buffer.from('old'))
    await store.put('deleted', Buffer.from('was here'))
    await store.put('only', Buffer.from('once'))
    for (let index = 0; index < 100; index++) await store.put(`filler b ${index}`, filler)
    await store.put('changed', Buffer.from('new'))
    await store.delete('deleted')
    for (let index = 0; index < 100; index++) await store.put(`filler c ${index}`, filler)
  })
}

/** Flips a bit in the key of its last record. */
async function damageNewest(store: string, key: string): Promise<DumpedRecord> {
  const record = newestOf(await dumpOf(store)).get(JSON.stringify(key))
  if (record === undefined) throw new Error(`There is no record of ${key}`)
  await flip(join(store, segmentName(record.segment)), record.offset + 18)
  return record
}

describe('firkin repair', () => {
  it('leaves a sound store as it is', async () => {
    const store = await fixtures.copyOf(fixtures.large())
    const before = await digestsOf(store)

    const { status, stdout } = await run(['repair', store])

    expect(status).toBe(0)
    expect(stdout).toBe(`Nothing is lost. ${store} is sound\n`)
    expect(await digestsOf(store)).toEqual(before)
  })

  describe.each(FILE_KINDS)('of a store in which %s is', (kind) => {
    it.each(Object.keys(DAMAGES) as (keyof typeof DAMAGES)[])('%s', async (damage) => {
      const store = await fixtures.copyOf(fixtures.large())
      const before = await exportOf(store)
      const path = kindsOf(store)[kind]
      await DAMAGES[damage](path)

      const { status, report } = await repair(store)
      const verified = await run(['verify', store])

      const isSegment = path.endsWith('.segment')
      expect(status).toBe(0)
      expect(report.verified).toBe(true)
      expect(verified.status).toBe(0)
      expect(verified.stdout).toBe('')
      expect(report.lost.damaged.length > 0).toBe(isSegment)
      expect(report.lost.manifestRebuilt).toBe(kind === 'the manifest')
      // Where tombstones are lost, what they had deleted is there again.
      if (isSegment) expect(await exportOf(store)).not.toEqual(before)
      else expect(await exportOf(store)).toEqual(before)
      if (damage !== 'missing') {
        expect(report.kept.some((kept: string) => kept.startsWith(path))).toBe(true)
      }
    })
  })

  it(`loses what was in the damaged record, and says so (SEED=${SEED})`, async () => {
    const random = new Random(SEED)
    const records = await dumpOf(await fixtures.large())
    const tailId = Math.max(...records.map(({ segment }) => segment))

    for (let round = 0; round < 25; round++) {
      const store = await fixtures.copyOf(fixtures.large())
      const victim = random.pick(records)
      const path = join(store, segmentName(victim.segment))
      const end =
        records.find(({ segment, offset }) => segment === victim.segment && offset > victim.offset)
          ?.offset ?? (await readFile(path)).length
      const size = end - victim.offset
      await flip(path, victim.offset + random.below(size))

      const { report } = await repair(store)

      const left = records.filter((record) => record !== victim)
      const hadKey = JSON.stringify(victim.key)
      const isNewest = newestOf(records).get(hadKey) === victim
      const older = newestOf(left).get(hadKey)
      expect(await exportOf(store)).toEqual(entriesOf(left))
      expect(report.lost.damaged).toEqual([{ file: path, offset: victim.offset, bytes: size }])
      expect(report.lost.bytesLost).toBe(size)
      if (victim.segment === tailId) {
        // Only a hint tells which key it was.
        expect(report.lost.bytesUnknown).toBe(size)
      } else {
        expect(report.lost.bytesUnknown).toBe(0)
        expect(report.lost.recordsLost).toBe(victim.key === undefined ? 0 : 1)
        expect(report.lost.keys).toEqual(
          isNewest
            ? [
                {
                  key: victim.key,
                  sequence: victim.sequence,
                  rolledBackTo: older?.kind.endsWith('put') ? older.sequence : null,
                },
              ]
            : [],
        )
      }
    }
  })

  it('names the keys that are lost, and those that show an older value', async () => {
    const store = await makeHistory()
    const olds = (await dumpOf(store)).filter(({ kind }) => kind === 'put')
    const first = (key: string) => olds.find((record) => record.key === key)?.sequence
    for (const key of ['only', 'changed', 'deleted']) await damageNewest(store, key)

    const { status, stdout } = await run(['repair', store])

    expect(status).toBe(0)
    expect(linesOf(stdout)).toEqual(
      expect.arrayContaining([
        'key "only": lost',
        `key "changed": back at sequence ${first('changed')}`,
        `key "deleted": back at sequence ${first('deleted')}`,
      ]),
    )
    expect(stdout).toMatch(/ are lost: 3 known records, 3 keys changed by it\. .* is sound\n$/)
    expect((await run(['get', store, 'changed'])).stdout).toBe('old')
    expect((await run(['get', store, 'deleted'])).stdout).toBe('was here')
    expect((await run(['get', store, 'only'])).status).toBe(1)
  })

  it('only says what it would do with --dry-run', async () => {
    const store = await makeHistory()
    await damageNewest(store, 'changed')
    await rm(join(store, '0000000001.hint'))
    const before = await digestsOf(store)

    const { status, stdout } = await run(['repair', store, '--dry-run'])
    const dry = await repair(store, '--dry-run')

    expect(status).toBe(1)
    expect(stdout).toMatch(/^key "changed": back at sequence \d+$/m)
    expect(stdout).toMatch(/^Would make anew: 0000000001.hint$/m)
    expect(stdout).toMatch(/ Nothing was done\n$/)
    expect(await digestsOf(store)).toEqual(before)
    const done = await repair(store)
    expect(dry.report.lost).toEqual({ ...done.report.lost, kept: [] })
    expect(dry.report.dryRun).toBe(true)
  })

  it('leaves the original alone with --to', async () => {
    const store = await makeHistory()
    const target = await fixtures.path()
    await damageNewest(store, 'only')
    await appendFile(join(store, 'a file of somebody else'), 'is not copied')
    const before = await digestsOf(store)

    const { status, stdout } = await run(['repair', store, '--to', target])
    const again = await run(['repair', store, '--to', target])

    expect(status).toBe(0)
    expect(stdout).toContain(`${target} is sound`)
    expect(await digestsOf(store)).toEqual(before)
    expect((await run(['verify', store])).status).toBe(1)
    expect((await run(['verify', target])).status).toBe(0)
    expect(await readdir(target)).not.toContain('a file of somebody else')
    expect(again.status).toBe(1)
    expect(again.stderr).toBe(`firkin: ${target} is not empty\n`)
  })

  it('writes its report to a file with --report', async () => {
    const store = await makeHistory()
    const file = await fixtures.path()
    const { sequence } = await damageNewest(store, 'only')

    const { stdout } = await run(['repair', store, '--report', file, '--json'])

    const report = JSON.parse(await readFile(file, 'utf8'))
    expect(report).toEqual(JSON.parse(stdout))
    expect(report.lost.keys).toEqual([{ key: 'only', sequence, rolledBackTo: null }])
  })

  it('keeps what a crash has left unfinished, and what was left over', async () => {
    const store = await fixtures.copyOf(fixtures.tiny())
    const path = join(store, '0000000001.segment')
    await appendFile(path, 'half a record')
    await appendFile(join(store, '0000000009.hint'), 'of nothing')

    const { status, report } = await repair(store)

    expect(status).toBe(0)
    expect(report.torn).toEqual([{ file: path, offset: 411, bytes: 13 }])
    expect(report.lost.damaged).toEqual([])
    expect(report.kept.sort()).toEqual(
      [`${path}.torn`, join(store, '0000000009.hint.leftover')].sort(),
    )
    expect(await readFile(`${path}.torn`, 'utf8')).toBe('half a record')
    expect((await run(['verify', store])).stdout).toBe('')
  })

  it('keeps what a repair before it has kept', async () => {
    const store = await fixtures.copyOf(fixtures.tiny())
    const manifest = join(store, 'MANIFEST')

    for (const damaged of ['once', 'twice']) {
      await rm(manifest)
      await appendFile(manifest, damaged)
      await repair(store)
    }

    expect(await readFile(`${manifest}.damaged`, 'utf8')).toBe('once')
    expect(await readFile(`${manifest}.damaged.2`, 'utf8')).toBe('twice')
    expect((await run(['count', store])).stdout).toBe('6\n')
  })
})
