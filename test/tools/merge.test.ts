import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { digestsOf, exportOf, flip } from './damage.ts'
import { Fixtures, fillLarge, openBytes } from './fixture.ts'
import { linesOf, run } from './run.ts'

const fixtures = new Fixtures()

describe('firkin merge', () => {
  it('gives back all dead bytes with --all', async () => {
    const store = await fixtures.copyOf(fixtures.large())
    const before = await exportOf(store)

    const { status, stdout } = await run(['merge', store, '--all', '--bytes'])
    const again = await run(['merge', store, '--all'])

    expect(status).toBe(0)
    expect(linesOf(stdout)).toHaveLength(6)
    expect(stdout).toMatch(/^ +1 +65\d{3} +15\d{3} +asked$/m)
    expect(stdout).toMatch(/^Merged 4 segments in .*: \d+ read, \d+ written, \d{5} gained$/m)
    expect(again.stdout).toBe('Nothing to gain\n')
    expect(await exportOf(store)).toEqual(before)
    const { deadBytes, tombstoneBytes } = JSON.parse(
      (await run(['inspect', store, '--json'])).stdout,
    )
    expect([deadBytes, tombstoneBytes]).toEqual([0, 0])
    expect((await run(['verify', store])).status).toBe(0)
  })

  it('merges only what is worth it without --all', async () => {
    const clean = await fixtures.make((store) => store.put('k', Buffer.alloc(60_000)))
    const wasteful = await fixtures.make(async (store) => {
      for (let round = 0; round < 9; round++) await store.put('k', Buffer.alloc(20_000))
    })
    const little = await fixtures.make(async (store) => {
      await store.put('k', Buffer.alloc(60_000))
      await store.put('small', Buffer.from('old'))
      await store.put('small', Buffer.from('new'))
    })

    expect((await run(['merge', clean])).stdout).toBe(
      'Nothing worth merging; --all merges every segment with dead bytes\n',
    )
    expect((await run(['merge', little])).stdout).toBe(
      'Nothing worth merging; --all merges every segment with dead bytes\n',
    )
    expect((await run(['merge', wasteful])).stdout).toMatch(/^Merged \d segments/m)
  })

  it('prints an object with --json', async () => {
    const store = await fixtures.copyOf(fixtures.large())

    const report = JSON.parse((await run(['merge', store, '--all', '--json'])).stdout)

    expect(report).toMatchObject({ dryRun: false, bytesRead: 242682 })
    expect(report.segments.map(({ id }: { id: number }) => id)).toEqual([1, 2, 3, 4])
    expect(report.bytesRead - report.bytesWritten).toBe(report.bytesGained)
  })

  it('only reports with --dry-run, even beside a writer', async () => {
    const store = await fixtures.copyOf(fixtures.large())
    const before = await digestsOf(store)

    const { status, stdout } = await run(['merge', store, '--all', '--dry-run'])

    expect(status).toBe(0)
    expect(stdout).toMatch(
      /^Would merge 4 segments: 237 KiB read, 1\d\d KiB written, \d\d.\d KiB gained$/m,
    )
    expect(await digestsOf(store)).toEqual(before)

    const directory = await fixtures.path()
    await using writer = await openBytes(directory)
    await fillLarge(writer)
    const live = await run(['merge', directory, '--all', '--dry-run', '--json'])
    expect(JSON.parse(live.stdout)).toMatchObject({ dryRun: true, created: [] })
  })

  it('names a damaged segment, merges the others, and exits with 1', async () => {
    const store = await fixtures.copyOf(fixtures.large())
    await flip(join(store, '0000000002.segment'), 300)
    const said = /^Segment 2 is left out: .* \(.*0000000002.segment, offset \d+\)$/m

    const planned = await run(['merge', store, '--all', '--dry-run'])
    const inspected = await run(['inspect', store, '--json'])
    const merged = await run(['merge', store, '--all'])
    const again = await run(['inspect', store])

    expect([planned, inspected, merged, again].map(({ status }) => status)).toEqual([1, 1, 1, 1])
    expect(planned.stdout).toMatch(said)
    expect(planned.stdout).toMatch(/^Would merge 3 segments/m)
    const { leftOut } = JSON.parse(inspected.stdout).merge
    expect(leftOut).toEqual([
      { id: 2, bytes: expect.any(Number), error: expect.stringContaining('0000000002.segment') },
    ])
    expect(merged.stdout).toMatch(said)
    expect(merged.stdout).toMatch(/^Merged 3 segments/m)
    expect(again.stdout).toMatch(/^merge +nothing to gain$/m)
    expect(again.stdout).toMatch(/^left out +segment 2 of any merge: /m)
  })

  it('leaves the store as it was when Ctrl-C ends it', async () => {
    const store = await fixtures.copyOf(fixtures.large())
    const before = await exportOf(store)
    const interrupt = new AbortController()
    interrupt.abort()

    const { status, stderr } = await run(['merge', store, '--all'], { interrupt: interrupt.signal })

    expect(status).toBe(130)
    expect(stderr).toBe('firkin: Interrupted. Nothing was merged\n')
    expect(await exportOf(store)).toEqual(before)
    expect((await run(['verify', store])).status).toBe(0)
  })
})
