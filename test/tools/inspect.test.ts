import { appendFile, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import type { StoreSurvey } from '../../src/inspection/survey.ts'
import { systemFiles } from '../../src/io/files.ts'
import { flip, kindsOf } from './damage.ts'
import { Fixtures, FUTURE_MS, fillTiny, openBytes, USER_COUNT } from './fixture.ts'
import { run } from './run.ts'

const fixtures = new Fixtures()

async function survey(store: string): Promise<StoreSurvey> {
  return JSON.parse((await run(['inspect', store, '--json'])).stdout)
}

describe('firkin inspect', () => {
  it('shows a store at a glance', async () => {
    const { status, stdout, stderr } = await run(['inspect', await fixtures.large(), '--bytes'])

    expect(status).toBe(0)
    expect(stderr).toBe('')
    expect(stdout).toMatch(/^state +closed in good order$/m)
    expect(stdout).toMatch(/^keydir +btree$/m)
    expect(stdout).toMatch(/^keys +1,476$/m)
    expect(stdout).toMatch(/^checkpoint +sound$/m)
    expect(stdout).toMatch(/^merge +would gain \d+ by reading \d+ of \d segments$/m)
    expect(stdout).toMatch(/^ +1 +appended +65\d\d\d +\d+ +\d+ +\d+ +0 +1-\d+ +- +sound$/m)
    expect(stdout).toMatch(/ active .* 2001-01-01T00:00:00.000Z to 2100-01-01T00:00:00.000Z +-$/m)
  })

  it('has figures that add up', async () => {
    const store = await survey(await fixtures.large())

    const sum = (
      figure: (segment: StoreSurvey['segments'][number]) => number | undefined,
    ): number => store.segments.reduce((total, segment) => total + (figure(segment) ?? 0), 0)
    expect(store.closed).toBe(true)
    expect(store.damage).toBeUndefined()
    expect(store.segments.length).toBeGreaterThan(3)
    expect(sum(({ bytes }) => bytes)).toBe(store.bytes)
    expect(sum(({ liveBytes }) => liveBytes)).toBe(store.liveBytes)
    expect(sum(({ deadBytes }) => deadBytes)).toBe(store.deadBytes)
    expect(sum(({ tombstones }) => tombstones)).toBe(USER_COUNT / 50 + 2)
    expect(store.nextSequence).toBe(1 + Math.max(...store.segments.map((each) => each.maxSequence)))
    expect(Math.max(...store.segments.map(({ maxExpiryMs }) => maxExpiryMs))).toBe(FUTURE_MS)
    expect(store.merge?.bytesGained).toBeGreaterThan(0)
  })

  it('changes nothing', async () => {
    const store = await fixtures.copyOf(fixtures.tiny())
    await rm(join(store, 'CHECKPOINT'))
    const before = await readFile(join(store, 'MANIFEST'))

    await run(['inspect', store])

    expect(await readFile(join(store, 'MANIFEST'))).toEqual(before)
    expect((await survey(store)).checkpoint).toBe('missing')
  })

  it('says which process has a store open', async () => {
    const directory = await fixtures.path()
    await using store = await openBytes(directory)
    await fillTiny(store)

    const { status, stdout } = await run(['inspect', directory])

    expect(status).toBe(0)
    expect(stdout).toMatch(new RegExp(`^state +in use by process ${process.pid} on .* since`, 'm'))
    expect(stdout).toMatch(/^keys +6$/m)
  })

  it('says that a store may be on another machine, and nothing of one on a local disk', async () => {
    const store = await fixtures.tiny()
    const local = await run(['inspect', store])
    const type = vi.spyOn(systemFiles, 'fileSystemType').mockReturnValue(0x65735546)
    const warned = vi.spyOn(process, 'emitWarning')

    const remote = await run(['inspect', store])
    const { fileSystem } = await survey(store)

    expect(local.stdout).not.toContain('file system')
    expect(remote.stdout).toMatch(/^file system +FUSE, which may be a network file system$/m)
    expect(fileSystem).toEqual({ name: 'FUSE', mayBeLocal: true })
    expect([remote.status, remote.stderr]).toEqual([0, ''])
    expect(warned).not.toHaveBeenCalled()
    type.mockRestore()
    warned.mockRestore()
  })

  it('reports a store that was not closed, and the bytes that a crash left unfinished', async () => {
    const crashed = await fixtures.copyOf(fixtures.tiny())
    await rm(join(crashed, 'CHECKPOINT'))
    await appendFile(join(crashed, '0000000001.segment'), 'half a rec')

    const { status, stdout } = await run(['inspect', crashed])

    expect(status).toBe(0)
    expect(stdout).toMatch(/^state +not closed: .*; 10 B at the end are unfinished$/m)
  })

  it.each([
    ['missing', (path: string) => rm(path)],
    ['damaged', async (path: string) => writeFile(path, (await readFile(path)).subarray(0, 60))],
  ])('reports that a hint and a checkpoint are %s', async (state, damage) => {
    const store = await fixtures.copyOf(fixtures.large())
    const { segments } = await survey(store)
    const hinted = segments.find(({ hint }) => hint === 'sound')
    await damage(join(store, `${String(hinted?.id).padStart(10, '0')}.hint`))
    await damage(join(store, 'CHECKPOINT'))

    const after = await survey(store)

    expect(after.checkpoint).toBe(state)
    expect(after.segments.find(({ id }) => id === hinted?.id)).toEqual({ ...hinted, hint: state })
  })

  it('shows a damaged checkpoint once, of which scan warns', async () => {
    const store = await fixtures.copyOf(fixtures.large())
    await flip(kindsOf(store)['the checkpoint'], 3000)
    const warned = vi.spyOn(process, 'emitWarning')

    const inspected = await run(['inspect', store])
    const scanned = await run(['scan', store, '--limit', '1'])

    expect(inspected.stdout).toMatch(/^checkpoint +damaged$/m)
    expect([inspected.status, inspected.stderr]).toEqual([0, ''])
    expect([scanned.status, scanned.stderr]).toEqual([
      0,
      expect.stringMatching(
        /^warning: Damaged: The checkpoint is damaged \(.*CHECKPOINT, offset \d+\); see `firkin verify` and `firkin repair`\n$/,
      ),
    ])
    expect(warned).not.toHaveBeenCalled()
    warned.mockRestore()
  })

  it('shows the manifest of a store that does not open, and the reason', async () => {
    const store = await fixtures.copyOf(fixtures.large())
    const { segments } = await survey(store)
    await rm(join(store, '0000000001.segment'))

    const { status, stdout } = await run(['inspect', store])
    const after = await survey(store)

    expect(status).toBe(1)
    expect(stdout).toMatch(
      /^state +damaged: The segment is missing \(.*0000000001.segment, offset 0\)$/m,
    )
    expect(stdout).toMatch(/^keys +\?$/m)
    expect(stdout).toMatch(/^merge +\?$/m)
    expect(after.segments.map(({ id }) => id)).toEqual(segments.map(({ id }) => id).slice(0, -1))
    expect(after.segments[0]?.puts).toBe(segments[0]?.puts)
  })
})
