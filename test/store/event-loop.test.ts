/** Loops of writes: they let the event loop turn, and do the work that is due by time. */

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { describe, expect, it, vi } from 'vitest'
import { openCache } from '../../src/cache/cache.ts'
import { Group } from '../../src/engine/group.ts'
import { Pace } from '../../src/engine/pace.ts'
import { Chores } from '../../src/scheduling/chores.ts'
import { Store } from '../../src/store/store.ts'
import { openInMemory } from '../cache/support.ts'
import { withDirectory } from '../support/directory.ts'
import { FakeLoop } from '../support/event-loop.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { inProcessWork } from '../support/in-process-work.ts'
import {
  DISK,
  KIB,
  keysUpTo,
  openStore,
  type TextOptions,
  type TextStore,
} from '../support/store.ts'
import { fakeOwnTimers } from '../support/timers.ts'

/** Whether a promise settles without a turn of the event loop. */
async function hasSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false
  void promise.then(() => {
    settled = true
  })
  for (let step = 0; step < 10; step++) await Promise.resolve()
  return settled
}

/** Releases a group; returns its promise, and whether it settles before the loop turns. */
async function release(
  pace: Pace,
  isInRun = false,
): Promise<{ promise: Promise<void>; settled: boolean }> {
  const group = new Group()
  const { promise } = group
  pace.release(group, isInRun)
  return { promise, settled: await hasSettled(promise) }
}

describe('the pace of writes', () => {
  it('settles a group at once while the event loop turns', async () => {
    const loop = new FakeLoop()
    const pace = new Pace(loop)

    for (let round = 0; round < 50; round++) {
      expect((await release(pace)).settled).toBe(true)
      loop.now += 3
      loop.turn()
    }
  })

  it('holds groups until the loop turns, once it has not turned for 4 ms', async () => {
    const loop = new FakeLoop()
    const pace = new Pace(loop)
    expect((await release(pace)).settled).toBe(true)
    loop.now += 4

    const first = await release(pace)
    const second = await release(pace)
    const passed = pace.pass('answer')
    expect([first.settled, second.settled, await hasSettled(passed)]).toEqual([false, false, false])
    loop.turn()

    expect(await hasSettled(first.promise)).toBe(true)
    expect(await hasSettled(second.promise)).toBe(true)
    expect(await passed).toBe('answer')
    expect((await release(pace)).settled).toBe(true)
  })

  it('settles at once all but the last group that a caller writes without awaiting', async () => {
    const loop = new FakeLoop()
    const pace = new Pace(loop)
    await release(pace)
    loop.now += 4
    loop.turn()
    for (let round = 0; round < 3; round++) {
      loop.now += 100
      expect((await release(pace, true)).settled).toBe(true)
    }

    const last = await release(pace)
    const ofNextRun = await release(pace, true)
    expect([last.settled, ofNextRun.settled]).toEqual([false, false])
    loop.turn()

    expect(await hasSettled(ofNextRun.promise)).toBe(true)
  })

  it('finds that the loop is late within 16 groups, however fast they are', async () => {
    const loop = new FakeLoop()
    const pace = new Pace(loop)
    for (let round = 0; round < 17; round++) await release(pace)
    loop.now += 4

    const settled: boolean[] = []
    for (let round = 0; round < 16; round++) settled.push((await release(pace)).settled)

    expect(settled.at(-1)).toBe(false)
  })

  it('settles held groups on request', async () => {
    const loop = new FakeLoop()
    const pace = new Pace(loop)
    await release(pace)
    loop.now += 4
    const held = await release(pace)

    pace.settleHeld()

    expect([held.settled, await hasSettled(held.promise)]).toEqual([false, true])
  })

  it('reports a stall once per look, with the bytes written, after 20 ms without a turn', () => {
    const loop = new FakeLoop()
    const pace = new Pace(loop)
    pace.count(3)
    loop.now += 19
    pace.count(4)
    expect(pace.takeStall()).toBe(undefined)

    loop.now += 1
    pace.count(5)

    expect([pace.takeStall(), pace.takeStall()]).toEqual([12, undefined])
    loop.now += 5
    pace.count(6)
    loop.turn()
    expect(pace.takeStall()).toBe(undefined)
  })

  it('charges calls that await nothing if writers are slowed, once that is worth a pause', () => {
    const loop = new FakeLoop()
    const pace = new Pace(loop)
    pace.slow(4)
    pace.count(256 * KIB)
    loop.turn()
    expect(pace.takeStall()).toBe(undefined)

    pace.count(256 * KIB)

    expect([pace.takeStall(), pace.takeStall()]).toEqual([512 * KIB, undefined])
  })
})

describe('chores', () => {
  it('are done once each when they are due, and what they throw is reported', () => {
    const loop = new FakeLoop()
    const errors: unknown[] = []
    const chores = new Chores(loop, (error) => errors.push(error))
    const done: string[] = []
    chores.every(1_000_000, () => {
      done.push('first')
      chores.catchUp()
    })
    chores.every(2_000_000, () => {
      throw new Error('second')
    })
    chores.catchUp()
    expect(done).toEqual([])

    loop.now = 2_000_000
    chores.catchUp()
    chores.catchUp()

    expect(done).toEqual(['first'])
    expect(errors).toEqual([new Error('second')])
    chores.stop()
    loop.now = 9_000_000
    chores.catchUp()
    expect(done).toEqual(['first'])
  })

  it('are done sooner if they return a shorter delay, by a timer and by a writer', () => {
    fakeOwnTimers('setInterval', 'clearInterval', 'setTimeout', 'clearTimeout')
    const loop = new FakeLoop()
    const pass = (ms: number): void => {
      loop.now += ms
      vi.advanceTimersByTime(ms)
    }
    const chores = new Chores(loop, () => {})
    const delays = [20, 1000, 5, 1000, 30, 1000]
    let done = 0
    chores.atLeastEvery(1000, () => delays[done++] ?? 1000)

    pass(1000)
    expect(done).toBe(1)
    pass(19)
    expect(done).toBe(1)
    pass(1)
    expect(done).toBe(2)
    pass(980)
    expect(done).toBe(3)
    loop.now += 5
    chores.catchUp()
    expect(done).toBe(4)
    vi.advanceTimersByTime(900)
    expect(done).toBe(4)
    loop.now += 1000
    chores.catchUp()
    expect(done).toBe(5)
    chores.stop()
    pass(5000)
    expect(done).toBe(5)
  })
})

/** Work that a loop may await round by round; none of it lets the event loop turn by itself. */
const AWAITED: readonly [string, (store: TextStore, round: number) => Promise<unknown>][] = [
  ['puts', (store, round) => store.put(`key ${round % 100}`, 'x'.repeat(100))],
  ['large puts', (store, round) => store.put(`key ${round % 2}`, 'x'.repeat(300 * KIB))],
  [
    'batches',
    (store, round) =>
      store
        .batch()
        .put(`key ${round % 100}`, 'x')
        .commit(),
  ],
  ['empty batches', (store) => store.batch().commit()],
  ['deletes of keys that are not there', (store) => store.delete('missing')],
  [
    'puts and deletes',
    async (store, round) => {
      await store.put(`key ${round}`, '')
      await store.delete(`key ${round}`)
    },
  ],
  ['clears', (store) => store.clear()],
  ['syncs', (store) => store.sync()],
]

const NONE = { createIfMissing: false } as const

async function reopen(directory: string, options: TextOptions = {}): Promise<void> {
  const store = await openStore(directory, options)
  await store.close()
}

async function openAndCloseCache(directory: string): Promise<void> {
  const cache = await openCache(`${directory} cache`, { maxBytes: 1024 * KIB })
  await cache.close()
}

describe('a loop of awaited', () => {
  it.each(AWAITED)('%s lets timers fire', async (_, write) => {
    await withDirectory(async (directory) => {
      for (const sync of ['interval', 'always', 'never'] as const) {
        const store = await openStore(directory, { sync, maxSegmentBytes: 16 * KIB * KIB })
        let isOver = false
        setTimeout(() => {
          isOver = true
        }, 10)
        const givesUpAt = performance.now() + 5000

        for (let round = 0; !isOver && performance.now() < givesUpAt; round++) {
          await write(store, round)
        }

        expect(isOver, sync).toBe(true)
        await store.close()
      }
    })
  })

  it.each<[string, (directory: string, store: TextStore) => Promise<unknown>]>([
    ['opens and closes without writes', (directory) => reopen(`${directory} other`)],
    ['opens and closes of a read-only store', (directory) => reopen(directory, { readOnly: true })],
    ['refused opens', (directory) => openStore(directory).catch(() => {})],
    ['opens of missing stores', (directory) => reopen(`${directory}/none`, NONE).catch(() => {})],
    ['merges without dead bytes', (_, store) => store.merge()],
    ['verifications', (_, store) => store.verify()],
    ['refused backups', (directory, store) => store.backup(directory).catch(() => {})],
    ['caches', openAndCloseCache],
  ])('%s lets timers fire', async (_, work) => {
    await withDirectory(async (directory) => {
      const store = await openStore(`${directory}/store`)
      store.putSync('key', 'value')
      await reopen(`${directory}/store other`)
      let isOver = false
      setTimeout(() => {
        isOver = true
      }, 10)
      const givesUpAt = performance.now() + 5000

      while (!isOver && performance.now() < givesUpAt) await work(`${directory}/store`, store)

      expect(isOver).toBe(true)
      await store.close()
    })
  })

  it('puts whose group is written while others are started lets timers fire', async () => {
    await withDirectory(async (directory) => {
      const store = await openStore(directory, { maxSegmentBytes: 256 * KIB * KIB })
      const writeMany = async (): Promise<void> => {
        const first = store.put('first', 'x'.repeat(100))
        for (let count = 0; count < 300; count++) void store.put(`key ${count}`, 'x'.repeat(1000))
        await first
      }
      // The first run counts as one that follows another.
      for (let round = 0; round < 10; round++) await writeMany()
      await new Promise((resolve) => setTimeout(resolve, 5))
      let isOver = false
      setTimeout(() => {
        isOver = true
      }, 10)
      // Beyond some hundreds of mebibytes, writers wait for another reason.
      for (let round = 0; !isOver && round < 300; round++) await writeMany()

      expect(isOver).toBe(true)
      await store.close()
    })
  })

  it('refreshes lets timers fire', async () => {
    await withDirectory(async (directory) => {
      await reopen(directory)
      const reader = await openStore(directory, { readOnly: true })
      let isOver = false
      setTimeout(() => {
        isOver = true
      }, 10)
      const givesUpAt = performance.now() + 5000

      while (!isOver && performance.now() < givesUpAt) await reader.refresh()

      expect(isOver).toBe(true)
      await reader.close()
    })
  })

  it('loads into a cache lets timers fire', async () => {
    const cache = await openInMemory<string>(new FaultyFiles(1), { valueEncoding: 'utf8' })
    let isOver = false
    setTimeout(() => {
      isOver = true
    }, 10)
    const givesUpAt = performance.now() + 5000

    for (let round = 0; !isOver && performance.now() < givesUpAt; round++) {
      await cache.getOrSet(`key ${round % 1000}`, () => 'loaded')
      cache.delete(`key ${round % 1000}`)
    }

    expect(isOver).toBe(true)
    await cache.close()
  })
})

interface Stalled {
  readonly files: FaultyFiles
  readonly loop: FakeLoop
  readonly store: TextStore
  readonly syncsSince: (from: number) => number
}

/** Opens a store on a fake event loop, which does not turn. */
async function openStalled(options: TextOptions): Promise<Stalled> {
  const files = new FaultyFiles(1)
  const loop = new FakeLoop()
  const store = await Store.open<string>(
    DISK,
    {
      valueEncoding: 'utf8',
      lock: false,
      mapping: false,
      maxSegmentBytes: 64 * KIB,
      // No timer may fire before the test is over.
      syncIntervalMs: 1_000_000,
      expiryIntervalMs: 1_000_000,
      ...options,
    },
    { files, backgroundWork: inProcessWork(files), loop },
  )
  store.putSync('first', '')
  const syncsSince = (from: number): number =>
    files.calls.slice(from).filter(({ kind }) => kind === 'sync').length
  return { files, loop, store, syncsSince }
}

const WRITES: readonly [string, (store: TextStore, key: string) => unknown][] = [
  ['putSync', (store, key) => store.putSync(key, '')],
  ['deleteSync', (store, key) => store.putSync(key, '') ?? store.deleteSync(key)],
  ['commitSync', (store, key) => store.batch().put(key, '').commitSync()],
  ['puts that nobody awaits', (store, key) => void store.put(key, 'x'.repeat(300 * KIB))],
]

describe('a loop during which the event loop does not turn', () => {
  it.each(WRITES)('of %s makes an overdue sync', async (_, write) => {
    const { files, loop, store, syncsSince } = await openStalled({ sync: 'interval' })
    const before = files.calls.length

    loop.now = 1_000_020
    for (const key of keysUpTo(17)) write(store, key)

    const machine = files.afterPowerLoss({ files: ['dropped'], entries: 'dropped' }, 1)
    expect(syncsSince(before)).toBeGreaterThanOrEqual(1)
    await using reopened = await Store.open(
      DISK,
      { lock: false, mapping: false },
      { files: machine, backgroundWork: inProcessWork(machine) },
    )
    expect(reopened.has('first')).toBe(true)
    loop.letGo()
    await store.close()
  })

  it('makes no sync of what was synced in the background before', async () => {
    const { files, loop, store, syncsSince } = await openStalled({ sync: 'interval' })
    await store.sync()
    const before = files.calls.length

    loop.now = 1_000_300
    store.putSync('second', '')
    const syncing = store.sync()
    await Promise.resolve()
    for (const key of keysUpTo(40)) store.putSync(key, '')

    expect(syncsSince(before)).toBe(1)
    loop.letGo()
    await syncing
    await store.close()
  })

  it('makes one sync if a background sync has begun in time and is stuck', async () => {
    const { files, loop, store, syncsSince } = await openStalled({ sync: 'interval' })
    loop.now = 1_000_000
    const syncing = store.sync()
    await Promise.resolve()
    const before = files.calls.length

    loop.now = 1_000_019
    for (const key of keysUpTo(17)) store.putSync(key, '')
    expect(syncsSince(before)).toBe(0)
    loop.now += 1
    for (const key of keysUpTo(17)) store.putSync(key, '')
    expect(syncsSince(before)).toBe(1)
    loop.now += 5
    for (const key of keysUpTo(17)) store.putSync(key, '')

    expect(syncsSince(before)).toBe(1)
    loop.letGo()
    await syncing
    await store.close()
  })

  it('makes no sync before one is overdue', async () => {
    const { files, loop, store, syncsSince } = await openStalled({ sync: 'interval' })
    const before = files.calls.length

    loop.now = 1_000_019
    for (const key of keysUpTo(40)) store.putSync(key, '')

    expect(syncsSince(before)).toBe(0)
    loop.letGo()
    await store.close()
  })

  it('leaves the sync to the timer while the event loop turns', async () => {
    const { files, loop, store, syncsSince } = await openStalled({ sync: 'interval' })
    const before = files.calls.length

    loop.now = 1_000_020
    loop.turn()
    for (const key of keysUpTo(17)) store.putSync(key, '')
    loop.now += 10
    for (const key of keysUpTo(17)) store.putSync(key, '')

    expect(syncsSince(before)).toBe(0)
    loop.letGo()
    await store.close()
  })

  it('makes an overdue sync once the event loop has not turned for 20 ms', async () => {
    const { files, loop, store, syncsSince } = await openStalled({ sync: 'interval' })
    const before = files.calls.length
    loop.now = 1_000_020
    loop.turn()
    store.putSync('second', '')

    loop.now += 20
    for (const key of keysUpTo(17)) store.putSync(key, '')

    expect(syncsSince(before)).toBe(1)
    loop.letGo()
    await store.close()
  })

  it('makes no sync while a background sync may still finish', async () => {
    const { files, loop, store, syncsSince } = await openStalled({ sync: 'interval' })
    const syncing = store.sync()
    await Promise.resolve()
    const before = files.calls.length
    store.putSync('second', '')

    loop.now = 50
    for (const key of keysUpTo(40)) store.putSync(key, '')

    expect(syncsSince(before)).toBe(0)
    loop.letGo()
    await syncing
    await store.close()
  })

  it('gets the failure of a sync in one of its calls from the next call', async () => {
    const { files, loop, store } = await openStalled({ sync: 'interval' })
    const errors: Error[] = []
    store.on('error', (error) => errors.push(error))
    files.fail({ kinds: ['sync'], nth: 1, code: 'EIO' })

    loop.now = 1_000_020
    const put: string[] = []
    expect(() => {
      for (const key of keysUpTo(18)) {
        store.putSync(key, '')
        put.push(key)
      }
    }).toThrow(expect.objectContaining({ code: 'FIRKIN_POISONED' }))

    expect(put.length).toBeGreaterThan(0)
    expect(put.every((key) => store.has(key))).toBe(true)
    loop.letGo()
    await store.close().catch(() => undefined)
    expect(errors).toHaveLength(1)
  })

  it('sweeps expired keys', async () => {
    let nowMs = 1_000_000
    const { loop, store } = await openStalled({ clock: () => nowMs })
    store.putSync('gone', '', { ttlMs: 10 })
    nowMs += 10

    loop.now = 1_000_000
    for (const key of keysUpTo(17)) store.putSync(key, '')

    expect(store.stats().expiredKeys).toBe(1)
    loop.letGo()
    await store.close()
  })

  it('sweeps the cache that it writes to', async () => {
    const files = new FaultyFiles(1)
    const loop = new FakeLoop()
    let nowMs = 1_000_000
    const expired: string[] = []
    const cache = await openInMemory<string>(
      files,
      { valueEncoding: 'utf8', clock: () => nowMs },
      loop,
    )
    cache.on('expire', (key) => expired.push(key))
    cache.set('gone', '', { ttlMs: 10 })
    nowMs += 10

    for (const key of keysUpTo(50)) {
      loop.now += 100
      cache.set(key, 'x'.repeat(20 * KIB))
    }

    // The event comes after the call that has swept the key.
    await Promise.resolve()
    expect(expired).toEqual(['gone'])
    loop.letGo()
    await cache.close()
  })
})

const built = (file: string): string => new URL(`../../dist/src/${file}`, import.meta.url).href

/**
 * Writes without pause in a process of its own; returns when it has synced, in milliseconds from
 * its start.
 */
async function syncsOf(directory: string, write: string, forMs: number): Promise<number[]> {
  const code = `
    import { Store } from ${JSON.stringify(built('store/store.js'))}
    import { systemFiles } from ${JSON.stringify(built('io/files.js'))}
    import { threadWork } from ${JSON.stringify(built('merge/thread.js'))}
    const syncs = []
    const note = () => syncs.push(performance.now())
    const files = {
      ...systemFiles,
      sync(file) { systemFiles.sync(file); note() },
      async syncLater(file, size) { await systemFiles.syncLater(file, size); note() },
    }
    const options = { syncIntervalMs: 300 }
    const environment = { files, backgroundWork: threadWork }
    const store = await Store.open(${JSON.stringify(directory)}, options, environment)
    syncs.length = 0
    const startedAt = performance.now()
    for (let round = 0; performance.now() - startedAt < ${forMs}; round++) {
      const key = 'key ' + (round % 1000)
      ${write}
    }
    console.log(JSON.stringify(syncs.map((at) => at - startedAt)))
    await store.close()
  `
  const run = promisify(execFile)
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', code])
  return JSON.parse(stdout)
}

describe("sync 'interval' in a process that only writes", () => {
  it.each([
    ['puts', "await store.put(key, 'value')"],
    ['batches', "await store.batch().put(key, 'value').commit()"],
    ['putSync', "store.putSync(key, 'value')"],
  ])('by %s syncs about every interval', async (_, write) => {
    await withDirectory(async (directory) => {
      const syncs = await syncsOf(directory, write, 3000)

      const gaps = [...syncs, 3000].map((at, index) => at - (syncs[index - 1] ?? 0))
      expect(syncs.length).toBeGreaterThanOrEqual(3)
      // This allows for an interval, one sync, and a busy machine.
      expect(Math.max(...gaps)).toBeLessThan(1500)
    })
  })
})
