import { appendFile, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { segmentName } from '../../src/format/names.ts'
import { systemFiles } from '../../src/io/files.ts'
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

/** Returns the report of a repair. */
async function repair(store: string, ...options: string[]) {
  const { status, stdout } = await run(['repair', store, '--json', ...options])
  return { status, report: JSON.parse(stdout) }
}

/** Puts a key in a segment that is then sealed, and changes or deletes it in the next one. */
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

/** Flips a bit in the key of the segment's last record. */
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
      // If tombstones are lost, the keys that they deleted are there again.
      if (isSegment) expect(await exportOf(store)).not.toEqual(before)
      else expect(await exportOf(store)).toEqual(before)
      if (damage !== 'missing') {
        expect(report.kept.some((kept: string) => kept.startsWith(path))).toBe(true)
      }
    })
  })

  it('names the lost keys, and those with an older value', async () => {
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
    expect((await run(['get', store, 'only'])).status).toBe(3)
  })

  it('only reports with --dry-run', async () => {
    const store = await makeHistory()
    await damageNewest(store, 'changed')
    await rm(join(store, '0000000001.hint'))
    const before = await digestsOf(store)

    const { status, stdout } = await run(['repair', store, '--dry-run'])
    const dry = await repair(store, '--dry-run')

    expect(status).toBe(1)
    expect(stdout).toMatch(/^key "changed": back at sequence \d+$/m)
    expect(stdout).toMatch(/^Would rebuild: 0000000001.hint$/m)
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

  it('keeps unfinished bytes and leftovers', async () => {
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

  it('keeps unfinished bytes even if there is damage', async () => {
    const store = await makeHistory()
    await damageNewest(store, 'only')
    const tail = kindsOf(store)['the active segment']
    const size = (await readFile(tail)).length
    await appendFile(tail, 'half a record')

    const { status, report } = await repair(store)

    expect(status).toBe(0)
    expect(report.lost.keys.map(({ key }: { key: string }) => key)).toEqual(['only'])
    expect(report.torn).toEqual([{ file: tail, offset: size, bytes: 13 }])
    expect(report.kept).toContain(`${tail}.torn`)
    expect(await readFile(`${tail}.torn`, 'utf8')).toBe('half a record')
  })

  it('takes the losses of a segment without a hint from the checkpoint', async () => {
    const store = await fixtures.copyOf(fixtures.tiny())
    const [deleted, plain] = ['gone', 'plain'].map((key) => JSON.stringify(key))
    const records = newestOf(await dumpOf(store))
    const [tombstone, put] = [records.get(deleted ?? ''), records.get(plain ?? '')]
    const path = join(store, '0000000001.segment')
    await flip(path, (tombstone?.offset ?? 0) + 5)
    await flip(path, (put?.offset ?? 0) + 5)

    const { stdout } = await run(['repair', store])

    expect(stdout).toContain('key "plain": lost\n')
    expect(stdout).toContain('key "gone": back at sequence 4\n')
    expect(stdout).toMatch(/ are lost: 2 known records, 2 keys changed by it\. /)
  })

  it('says before it begins that its report cannot be written', async () => {
    const store = await makeHistory()
    await damageNewest(store, 'only')
    const before = await digestsOf(store)
    const file = join(await fixtures.path(), 'report.json')

    const { status, stdout, stderr } = await run(['repair', store, '--report', file])

    expect([status, stdout]).toEqual([1, ''])
    expect(stderr).toBe(`firkin: Cannot write ${file}: there is no such file or directory\n`)
    expect(await digestsOf(store)).toEqual(before)
  })

  it.each([0, 1, 2, 3, 5, 8])(
    'loses nothing, and prints its report, if the disk is full at write %i',
    async (roomFor) => {
      const store = await makeHistory()
      const records = await dumpOf(store)
      const { sequence } = await damageNewest(store, 'only')
      await rm(join(store, '0000000002.hint'))
      const before = await digestsOf(store)
      let room = roomFor
      const { write } = systemFiles
      const full = vi.spyOn(systemFiles, 'write').mockImplementation((...given) => {
        if (room-- > 0) return write(...given)
        throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
      })

      const { status, stdout, stderr } = await run(['repair', store])
      full.mockRestore()
      const left = await digestsOf(store)
      const again = await run(['repair', store])

      expect([status, again.status]).toEqual([1, 0])
      if (stdout === '') {
        expect(stderr).toBe(`firkin: ${store} cannot be repaired: no space is left on the device\n`)
        expect(left).toEqual(before)
        expect(again.stdout).toContain('key "only": lost\n')
      } else {
        expect(stdout).toContain('key "only": lost\n')
        expect(stderr).toMatch(/^(warning: .*\n)?firkin: The repair was not finished: .*no space/m)
      }
      expect(await exportOf(store)).toEqual(
        entriesOf(records.filter((record) => record.sequence !== sequence)),
      )
    },
  )

  it('puts a damaged manifest back if there is no space for a new one', async () => {
    const store = await fixtures.copyOf(fixtures.large())
    await flip(join(store, 'MANIFEST'), 60)
    const before = await digestsOf(store)
    const full = vi.spyOn(systemFiles, 'write').mockImplementation(() => {
      throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
    })

    const { status, stderr } = await run(['repair', store])
    full.mockRestore()

    expect(status).toBe(1)
    expect(stderr).toBe(`firkin: ${store} cannot be repaired: no space is left on the device\n`)
    expect(await digestsOf(store)).toEqual(before)
  })

  it.each([
    ['verify', 'Nothing was changed'],
    ['salvage', 'Nothing was changed'],
    ['the end', 'The repair was not finished; repair again to finish it'],
  ])('leaves a store that can be repaired when Ctrl-C ends it at %s', async (step, said) => {
    const store = await makeHistory()
    await damageNewest(store, 'only')
    const before = await digestsOf(store)
    const interrupt = new AbortController()
    const { read, link } = systemFiles
    let reads = 0
    const spies = [
      vi.spyOn(systemFiles, 'read').mockImplementation((...given) => {
        if (++reads === (step === 'verify' ? 5 : 40) && step !== 'the end') interrupt.abort()
        return read(...given)
      }),
      vi.spyOn(systemFiles, 'link').mockImplementation((from, to) => {
        if (step === 'the end' && to.endsWith('.segment.damaged')) interrupt.abort()
        link(from, to)
      }),
    ]

    const { status, stdout, stderr } = await run(['repair', store], { interrupt: interrupt.signal })
    for (const spy of spies) spy.mockRestore()
    const left = await digestsOf(store)
    const again = await run(['repair', store])

    expect([status, stderr]).toEqual([130, `firkin: Interrupted. ${said}\n`])
    expect(again.status).toBe(0)
    if (step === 'the end') expect(stdout).toContain('key "only": lost\n')
    else expect(left).toEqual(before)
    expect((await run(['verify', store])).stdout).toBe('')
  })

  it('shows progress on a terminal', async () => {
    const store = await makeHistory()
    await damageNewest(store, 'only')

    const { stderr } = await run(['repair', store], { columns: 100, outputIsTerminal: false })

    expect(stderr).toMatch(/verify █+.*% .*salvage █+.*% .*verify █+.*% /s)
  })

  it('keeps what an earlier repair has kept', async () => {
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
