/** The file of the next segment, which is created ahead. */

import { setImmediate } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { createOrReplaceLater } from '../../src/io/files.ts'
import { NextFile } from '../../src/segment/next-file.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { DISK, idle, KIB, openOn } from '../support/store.ts'

const AHEAD = `${DISK}/0000000001.segment.1.tmp`
const PATH = `${DISK}/0000000002.segment`

describe('the file of the next segment', () => {
  it('is created by a thread, and gets its name when it is taken', async () => {
    const { files, next } = made()
    expect(next.take(PATH)).toBeUndefined()

    next.prepare(1)
    expect(next.take(PATH)).toBeUndefined()
    await next.settle()
    next.prepare(1)
    await next.settle()
    expect(files.list(DISK)).toEqual([AHEAD.slice(DISK.length + 1)])

    const file = next.take(PATH)
    expect(file).toBeTypeOf('number')
    expect(files.openPaths).toEqual([PATH])
    expect(files.peek(PATH)).toHaveLength(0)
    expect(next.take(PATH)).toBeUndefined()
  })

  it('does not replace a file that is there', async () => {
    const { files, next } = made()
    const file = files.open(PATH, 'create')
    files.write(file, Buffer.from('there'), 0, 5, 0)
    next.prepare(1)
    await next.settle()

    expect(next.take(PATH)).toBeUndefined()

    expect(files.peek(PATH)?.toString()).toBe('there')
    expect(files.peek(AHEAD)).toBeUndefined()
  })

  it.each(['open', 'rename', 'identify'] as const)('is done without if %s fails', async (kind) => {
    const { files, next } = made()
    files.fail({ kinds: [kind], nth: 1, code: 'EIO' })
    next.prepare(1)
    await next.settle()

    expect(next.take(PATH)).toBeUndefined()

    expect(files.openPaths).toEqual([])
    expect(files.list(DISK)).toEqual([])
    next.prepare(1)
    await next.settle()
    expect(next.take(PATH)).toBeDefined()
  })

  it.each([
    ['when it is there', true],
    ['while it is created', false],
  ])('is removed by a close %s', async (_, isThere) => {
    const { files, next } = made()
    next.prepare(1)
    if (isThere) await next.settle()

    next.close()
    await next.settle()
    next.prepare(2)
    await next.settle()

    expect(files.openPaths).toEqual([])
    expect(files.list(DISK)).toEqual([])
  })
})

describe('a file that replaces what a failure has left', () => {
  it('is created on the spot if a thread has no descriptor for it', async () => {
    const { files } = made()
    files.fail({ kinds: ['open'], nth: 1, code: 'EMFILE' })

    const file = await createOrReplaceLater(files, PATH)

    expect(files.openPaths).toEqual([PATH])
    files.close(file)
    files.close(await createOrReplaceLater(files, PATH))
    files.fail({ kinds: ['open'], nth: 1, code: 'ENOSPC', lasting: true })
    await expect(createOrReplaceLater(files, PATH)).rejects.toMatchObject({ code: 'ENOSPC' })
  })
})

describe('a store that fills segments', () => {
  it('creates none of their files on the spot except for the first two', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    for (let index = 0; index < 400; index++) {
      await store.put(`key ${index}`, 'x'.repeat(2 * KIB))
      await setImmediate()
    }

    const named = (kind: string): number =>
      files.calls.filter((call) => call.kind === kind && call.path.endsWith('.segment')).length
    const last = files.list(DISK)?.findLast((name) => name.endsWith('.segment'))
    const count = Number(last?.split('.')[0])
    expect(count).toBeGreaterThan(2)
    expect(named('rename')).toBe(count - 2)
    await store.close()
    expect(files.list(DISK)?.filter((name) => name.endsWith('.tmp'))).toEqual([])
  })

  it('leaves an empty file at a crash, which is not damage and goes at the next open', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    for (let index = 0; index < 40; index++) await store.put(`key ${index}`, 'x'.repeat(2 * KIB))
    await idle(store)
    const isAhead = (name: string): boolean => name.endsWith('.tmp')
    expect(files.list(DISK)?.filter(isAhead)).toHaveLength(1)
    expect((await store.verify()).findings).toEqual([])

    const again = await openOn(files.restart(1))

    expect(again.stats().recovery.leftovers.filter(isAhead)).toHaveLength(1)
    expect(again.get('key 39')).toHaveLength(2 * KIB)
    await again.close()
    await store.close()
  })
})

function made() {
  const files = new FaultyFiles(1)
  files.makeDirectory(DISK)
  return { files, next: new NextFile(files, DISK) }
}
