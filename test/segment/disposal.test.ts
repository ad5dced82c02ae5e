/** The files of deleted segments, which are closed by a thread. */

import { setImmediate } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, it } from 'vitest'
import type { StoreError } from '../../src/errors.ts'
import { Disposal } from '../../src/segment/disposal.ts'
import { openInMemory } from '../cache/support.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { idle, KIB, keysUpTo, openOn } from '../support/store.ts'

setFlagsFromString('--expose-gc')
const collectGarbage: () => void = runInNewContext('gc')

/** Files that are closed only when a test lets them. */
class SlowFiles extends FaultyFiles {
  readonly closed: number[] = []
  readonly closing: (() => void)[] = []

  override async closeLater(file: number): Promise<void> {
    await new Promise<void>((resolve) => this.closing.push(resolve))
    this.closed.push(file)
  }

  override close(file: number): void {
    this.closed.push(file)
  }
}

describe('the files of deleted segments', () => {
  it('are closed by a thread, one after the other, once the turn has ended', async () => {
    const { files, disposal } = made()
    for (const file of [10, 11, 12]) disposal.take({ file, mapped: undefined })

    expect(files.closing).toHaveLength(0)
    for (let count = 1; count <= 3; count++) {
      await setImmediate()
      expect(files.closing).toHaveLength(count)
      files.closing.at(-1)?.()
    }
    await disposal.settle()

    expect(files.closed).toEqual([10, 11, 12])
  })

  it('are closed only after their mappings are gone', async () => {
    const { files, disposal } = made()
    takeMapped(disposal, 10)
    disposal.take({ file: 11, mapped: undefined })
    await closeAll(files)
    expect(files.closed).toEqual([11])

    collectGarbage()
    await closeAll(files)

    expect(files.closed).toEqual([11, 10])
  })

  it('are few at any time, even if nothing is unmapped and the thread is stuck', async () => {
    const { files, disposal } = made()
    const held = Array.from({ length: 20 }, () => new ArrayBuffer(8))
    for (const [file, mapped] of held.entries()) disposal.take({ file, mapped })
    await closeAll(files)
    expect(files.closed).toHaveLength(12)

    for (let file = 100; file < 200; file++) disposal.take({ file, mapped: undefined })
    expect(files.closed.length).toBeGreaterThan(70)

    const settled = disposal.settle()
    await closeAll(files)
    await settled
    expect(files.closed).toHaveLength(120)
    expect(held).toHaveLength(20)
  })

  it('are reported if they cannot be closed, and others are closed all the same', async () => {
    const errors: StoreError[] = []
    const files = new FaultyFiles(1)
    files.closeLater = async (file) => {
      if (file === 10) throw new Error('EBADF')
    }
    const disposal = new Disposal(
      () => files,
      128,
      (error) => errors.push(error),
    )
    for (const file of [10, 11]) disposal.take({ file, mapped: undefined })
    await disposal.settle()

    expect(errors).toMatchObject([{ code: 'FIRKIN_IO_FAILED' }])
  })
})

describe.each(['a merge', 'a cache'])('the segments that %s deletes', (what) => {
  it('lose their names before their files are closed, by a thread', async () => {
    const files = new FaultyFiles(1)
    const later: number[] = []
    const { closeLater } = files
    files.closeLater = (file) => {
      later.push(file)
      return closeLater.call(files, file)
    }
    if (what === 'a merge') await mergeOn(files)
    else await turnOver(files)

    const removed = files.calls.filter(({ kind, path }) => kind === 'remove' && isSegment(path))
    expect(removed.length).toBeGreaterThan(2)
    expect(later).toHaveLength(removed.length)
    for (const { path, number } of removed) {
      const closes = files.calls.filter((call) => call.kind === 'close' && call.path === path)
      expect(closes.at(-1)?.number).toBeGreaterThan(number)
    }
    expect(files.openPaths).toEqual([])
  })
})

function made(): { files: SlowFiles; disposal: Disposal } {
  const files = new SlowFiles(1)
  const failed = (error: StoreError): void => {
    throw error
  }
  return { files, disposal: new Disposal(() => files, 128, failed) }
}

/** Takes a file whose mapping nothing refers to. */
function takeMapped(disposal: Disposal, file: number): void {
  disposal.take({ file, mapped: new ArrayBuffer(8) })
}

async function closeAll(files: SlowFiles): Promise<void> {
  for (let turn = 0; turn < 200; turn++) {
    await setImmediate()
    files.closing.shift()?.()
  }
}

async function mergeOn(files: FaultyFiles): Promise<void> {
  const store = await openOn(files)
  for (const text of ['a', 'b']) {
    for (const key of keysUpTo(40)) await store.put(key, text.repeat(6 * KIB))
  }
  await idle(store)
  await store.merge()
  await store.close()
}

async function turnOver(files: FaultyFiles): Promise<void> {
  const cache = await openInMemory<string>(files, { valueEncoding: 'utf8' })
  for (let index = 0; index < 2000; index++) {
    cache.set(`key ${index}`, 'x'.repeat(1000))
    if (index % 100 === 0) await setImmediate()
  }
  await cache.close()
}

function isSegment(path: string): boolean {
  return path.endsWith('.segment')
}
