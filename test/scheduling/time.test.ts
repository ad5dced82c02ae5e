import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { FirkinCacheStore } from '../../src/adapters/undici.ts'
import { firkinDriver } from '../../src/adapters/unstorage.ts'
import { openCache } from '../../src/cache/cache.ts'
import { afterThis, monotonicMs } from '../../src/scheduling/time.ts'
import { withDirectory } from '../support/directory.ts'
import { openAny, openStore } from '../support/store.ts'

/**
 * Everything that `install()` of sinon's fake timers replaces, except `nextTick`, which Node's own
 * streams use.
 */
const EVERYTHING = [
  'Date',
  'clearImmediate',
  'clearInterval',
  'clearTimeout',
  'performance',
  'queueMicrotask',
  'setImmediate',
  'setInterval',
  'setTimeout',
] as const

const fakeEverything = (): void => {
  vi.useFakeTimers({ toFake: [...EVERYTHING] })
}

/** Ends the test at once, rather than by its timeout, if `work` hangs. */
async function settles<T>(work: Promise<T>): Promise<T | 'pending'> {
  return await Promise.race([work, setTimeout(5000, 'pending' as const)])
}

afterEach(() => {
  vi.useRealTimers()
})

describe('a faked clock', () => {
  it('expires what a store, a snapshot and an iterator show', () =>
    withDirectory(async (directory) => {
      await using store = await openStore(directory, { ttlMs: 1000 })
      vi.useFakeTimers()
      await store.put('k', 'v')
      await store.put('session', 'open', { ttlMs: 5000 })

      const before = [...store.keys()]
      vi.advanceTimersByTime(1001)
      const after = [...store.keys()]

      expect(before).toEqual(['k', 'session'])
      expect(after).toEqual(['session'])
      expect([store.get('k'), store.has('k'), store.snapshot().get('k')]).toEqual([
        undefined,
        false,
        undefined,
      ])
    }))

  it('expires what a cache, unstorage and undici keep', () =>
    withDirectory(async (directory) => {
      await using cache = await openCache(join(directory, 'cache'), { maxBytes: 2 ** 20 })
      const driver = firkinDriver({ base: join(directory, 'unstorage') })
      const responses = await FirkinCacheStore.open(join(directory, 'undici'), { maxSize: 2 ** 24 })
      await driver.getItem('opened')
      vi.useFakeTimers({ now: Date.UTC(2100, 0, 1) })
      const request = { origin: 'http://o', method: 'GET', path: '/', headers: {} }
      cache.set('k', Buffer.from('v'), { ttlMs: 1000 })
      await driver.setItem?.('k', 'v', { ttl: 1 })
      const written = responses.createWriteStream(request, {
        statusCode: 200,
        statusMessage: 'OK',
        headers: {},
        cachedAt: Date.now(),
        staleAt: Date.now() + 500,
        deleteAt: Date.now() + 1000,
      })
      written?.end('body')
      await settles(vi.waitFor(() => expect(responses.get(request)).toBeDefined()))

      const before = await Promise.all([
        cache.get('k'),
        driver.getItem('k'),
        driver.getMeta?.('k', {}),
      ])
      vi.advanceTimersByTime(1001)
      const after = [cache.get('k'), await driver.getItem('k'), responses.get(request)]

      expect(before).toEqual([
        Buffer.from('v'),
        'v',
        expect.objectContaining({ mtime: new Date(Date.UTC(2100, 0, 1)) }),
      ])
      expect(after).toEqual([undefined, null, undefined])
      await driver.dispose?.()
      await responses.close()
    }))
})

describe('faked timers', () => {
  it('let a put settle that was begun before the real ones were restored', () =>
    withDirectory(async (directory) => {
      await using store = await openStore(directory)
      fakeEverything()

      const begun = store.put('k', 'v')
      vi.useRealTimers()
      const settled = await settles(begun)
      const next = await settles(store.put('next', 'v'))

      expect([settled, next]).toEqual([undefined, undefined])
    }))

  it.each(['before the store is opened', 'after it'])(
    'hold up no write, sync, merge, backup, verification or close, installed %s',
    (when) =>
      withDirectory(async (directory) => {
        if (when.startsWith('before')) fakeEverything()
        const path = join(directory, 'store')
        const recovered: unknown[] = []
        const store = await openStore(path, { sync: { everyMs: 1 } })
        store.on('recover', (report) => recovered.push(report))
        fakeEverything()
        for (let round = 0; round < 3; round++) {
          for (let index = 0; index < 200; index++) void store.put(`k${index}`, 'v'.repeat(400))
        }

        const work = [
          store.put('k', 'v'),
          store.sync(),
          store.merge(),
          store.backup(join(directory, 'backup')),
          store.verify(),
        ]
        for (const each of work) expect(await settles<unknown>(each)).not.toBe('pending')
        expect(await settles(store.close())).not.toBe('pending')
        expect(recovered).toHaveLength(1)
      }),
  )

  it('hold up no sweep of expired keys', () =>
    withDirectory(async (directory) => {
      fakeEverything()
      await using store = await openStore(directory, { expiryIntervalMs: 1, ttlMs: 1000 })
      await store.put('k', 'v')

      vi.useRealTimers()
      vi.setSystemTime(Date.now() + 10_000)

      await vi.waitFor(() => expect(store.stats().expiredKeys).toBe(1))
    }))

  it('let a follower see what its writer does', () =>
    withDirectory(async (directory) => {
      fakeEverything()
      await using writer = await openAny(directory)
      await using reader = await openAny(directory, { readOnly: true, follow: 1 })
      await writer.put('k', 'v')
      vi.useRealTimers()

      await vi.waitFor(() => expect(reader.get('k')).toEqual(Buffer.from('v')))
    }))

  it('hold up neither a load nor the close of a cache', () =>
    withDirectory(async (directory) => {
      fakeEverything()
      const cache = await openCache(directory, { maxBytes: 2 ** 20 })

      const loaded = await settles(cache.getOrSet('k', async () => Buffer.from('v')))
      vi.useRealTimers()

      expect(loaded).toEqual(Buffer.from('v'))
      expect(await settles(cache.close())).not.toBe('pending')
    }))
})

describe('the monotonic clock', () => {
  it('is the real one while the process’s own is faked', () => {
    const before = monotonicMs()
    fakeEverything()
    vi.advanceTimersByTime(3_600_000)

    expect(monotonicMs()).toBeGreaterThanOrEqual(before)
    expect(monotonicMs()).toBeLessThan(before + 3_600_000)
    expect(performance.now()).not.toBe(monotonicMs())
  })
})

describe('work after what runs now', () => {
  it('is done before the next turn, in the order in which it was requested', async () => {
    const done: number[] = []

    for (const number of [1, 2, 3]) afterThis(() => done.push(number))
    const atOnce = [...done]
    await Promise.resolve()

    expect(atOnce).toEqual([])
    expect(done).toEqual([1, 2, 3])
  })
})
