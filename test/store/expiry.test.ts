/** Expiry: keys whose time has come are not there, and the sweep removes them. */

import { describe, expect, it } from 'vitest'
import { FaultyFiles } from '../support/faulty-files.ts'
import { KIB, keysUpTo, openOn, type TextOptions, type TextStore, until } from '../support/store.ts'

/** A clock that a test sets. */
class Clock {
  nowMs = 1_000_000
  readonly read = (): number => this.nowMs
}

async function openTimed(
  options: TextOptions = {},
): Promise<{ files: FaultyFiles; clock: Clock; store: TextStore }> {
  const files = new FaultyFiles(1)
  const clock = new Clock()
  // Nothing is swept unless a test sets a shorter interval.
  const store = await openOn(files, {
    clock: clock.read,
    expiryIntervalMs: 2 ** 31 - 1,
    ...options,
  })
  return { files, clock, store }
}

describe('a put that expires', () => {
  it('is there before its time, and not at it', async () => {
    const { clock, store } = await openTimed()
    await store.put('a', '1', { ttlMs: 10 })

    clock.nowMs += 9
    expect(store.get('a')).toBe('1')
    expect(store.has('a')).toBe(true)
    expect(store.expiresAt('a')).toBe(1_000_010)
    expect([...store.entries()]).toEqual([['a', '1']])

    clock.nowMs += 1
    expect(store.get('a')).toBeUndefined()
    expect(store.has('a')).toBe(false)
    expect(store.expiresAt('a')).toBeUndefined()
    expect([...store.entries()]).toEqual([])
    expect(store.count()).toBe(0)
    expect(await store.delete('a')).toBe(false)
    await store.close()
  })

  it('counts towards the limit of a range only while it is there', async () => {
    const { clock, store } = await openTimed()
    const keys = keysUpTo(300)
    const lasts = (index: number) => index % 3 === 0
    for (const [index, key] of keys.entries()) {
      await store.put(key, '1', lasts(index) ? {} : { ttlMs: 10 })
    }
    clock.nowMs += 10

    for (const limit of [1, 5, 64, 65, 100, 101]) {
      const expected = keys.filter((_, index) => lasts(index)).slice(0, limit)
      expect([...store.keys({ limit })]).toEqual(expected)
    }
    await store.close()
  })

  it.each<[string, object, number]>([
    ['a time', { expiresAt: 1_000_500 }, 1_000_500],
    ['a date', { expiresAt: new Date(1_000_500) }, 1_000_500],
    ['a fractional time', { expiresAt: 1_000_500.9 }, 1_000_500],
    ['a time to live', { ttlMs: 500 }, 1_000_500],
    ['a fractional time to live', { ttlMs: 499.1 }, 1_000_500],
    ['an infinite time to live', { ttlMs: Number.POSITIVE_INFINITY }, Number.POSITIVE_INFINITY],
    ['an infinite time', { expiresAt: Number.POSITIVE_INFINITY }, Number.POSITIVE_INFINITY],
    ['undefined', { ttlMs: undefined, expiresAt: undefined }, Number.POSITIVE_INFINITY],
    ['the last time of the format', { expiresAt: 2 ** 48 - 1 }, 2 ** 48 - 1],
  ])('accepts %s', async (_, options, expected) => {
    const { files, store } = await openTimed()

    await store.put('a', '1', options)
    expect(store.expiresAt('a')).toBe(expected)
    await store.close()

    await using reopened = await openOn(files, { clock: () => 1_000_000, checkpoint: false })
    expect(reopened.expiresAt('a')).toBe(expected)
    expect(reopened.get('a')).toBe('1')
  })

  it.each([0, -1, 1_000_000, new Date(0)])('is not there if %o is past', async (expiresAt) => {
    const { store } = await openTimed()
    await store.put('a', 'before')

    await store.put('a', '1', { expiresAt })

    expect(store.get('a')).toBeUndefined()
    expect(store.count()).toBe(0)
    await store.close()
  })

  it('lives for the ttlMs of the store if it has none', async () => {
    const { clock, store } = await openTimed({ ttlMs: 10 })
    await store.put('a', '1')
    await store.batch().put('b', '2').put('c', '3', { ttlMs: 20 }).commit()
    await store.put('d', '4', { ttlMs: Number.POSITIVE_INFINITY })
    await store.put('e', '5', {})

    clock.nowMs += 10
    expect([...store.keys()]).toEqual(['c', 'd'])
    await store.close()
  })

  it('expires, or does not, as the last put of its key says', async () => {
    const { files, clock, store } = await openTimed()
    await store.put('a', '1', { ttlMs: 10 })
    await store.put('a', '2')
    await store.put('b', '1')
    await store.put('b', '2', { ttlMs: 10 })

    clock.nowMs += 10
    expect([...store.entries()]).toEqual([['a', '2']])
    expect(store.expiresAt('a')).toBe(Number.POSITIVE_INFINITY)
    await store.close()

    for (const keydir of ['btree', 'hash', 'skiplist', 'bplustree'] as const) {
      await using reopened = await openOn(files, { clock: clock.read, keydir })
      expect([...reopened.entries()]).toEqual([['a', '2']])
    }
  })

  it('is there again if the clock is set back before it is swept', async () => {
    const { clock, store } = await openTimed()
    await store.put('a', '1', { ttlMs: 10 })

    clock.nowMs += 10
    expect(store.has('a')).toBe(false)
    clock.nowMs -= 5
    expect(store.get('a')).toBe('1')
    expect(store.count()).toBe(1)
    await store.close()
  })

  it('does not bring back an older value', async () => {
    const { files, clock, store } = await openTimed()
    for (const key of keysUpTo(12)) await store.put(key, 'old '.repeat(2 * KIB))
    await store.put('key 003', 'young', { ttlMs: 10 })
    clock.nowMs += 10

    expect(store.has('key 003')).toBe(false)
    await store.merge()
    expect(store.has('key 003')).toBe(false)
    await store.close()
    for (const checkpoint of [true, false]) {
      await using reopened = await openOn(files, { clock: clock.read, checkpoint })
      expect(reopened.has('key 003')).toBe(false)
      expect(reopened.count()).toBe(11)
    }
  })

  it('expires in a batch as it does alone', async () => {
    const { clock, store } = await openTimed()
    await store
      .batch([
        { type: 'put', key: 'a', value: '1', ttlMs: 10 },
        { type: 'put', key: 'b', value: '2', expiresAt: 1_000_005 },
        { type: 'put', key: 'c', value: '3' },
      ])
      .commit()

    clock.nowMs += 5
    expect([...store.keys()]).toEqual(['a', 'c'])
    clock.nowMs += 5
    expect([...store.keys()]).toEqual(['c'])
    await store.close()
  })
})

describe('the sweep', () => {
  it.each(['btree', 'hash', 'skiplist', 'bplustree'] as const)(
    'removes expired keys of a %s that nobody reads',
    async (keydir) => {
      const { clock, store } = await openTimed({ expiryIntervalMs: 1, keydir })
      await Promise.all([
        ...keysUpTo(500).map((key) => store.put(key, '', { ttlMs: 10 })),
        ...keysUpTo(500).map((key) => store.put(`${key} stays`, '', { ttlMs: 1000 })),
        store.put('forever', ''),
      ])
      const before = store.stats()

      clock.nowMs += 10
      await until(() => store.stats().expiredKeys === 500)

      const after = store.stats()
      expect(after.keys).toBe(before.keys - 500)
      expect(after.deadBytes).toBeGreaterThan(before.deadBytes)
      expect(store.count()).toBe(501)
      await store.close()
    },
  )

  it('comes back to keys that had not expired at its last visit', async () => {
    const { clock, store } = await openTimed({ expiryIntervalMs: 1 })
    // These are more than one slice visits.
    await Promise.all(keysUpTo(3000).map((key) => store.put(key, '', { ttlMs: 1000 })))
    await store.put('last', '', { ttlMs: 10 })
    clock.nowMs += 10
    await until(() => store.stats().expiredKeys === 1)

    clock.nowMs += 990
    await until(() => store.stats().expiredKeys === 3001)

    expect(store.stats().keys).toBe(0)
    await store.close()
  })

  it('writes nothing', async () => {
    const { files, clock, store } = await openTimed({ expiryIntervalMs: 1 })
    await store.put('a', '1', { ttlMs: 10 })
    await store.sync()
    const { digest } = files

    clock.nowMs += 10
    await until(() => store.stats().expiredKeys === 1)

    expect(files.digest).toBe(digest)
    await store.close()
  })

  it('leaves keys that were put again', async () => {
    const { clock, store } = await openTimed({ expiryIntervalMs: 1 })
    await store.put('a', '1', { ttlMs: 10 })
    await store.put('b', '1', { ttlMs: 10 })
    clock.nowMs += 10

    await store.put('a', '2', { ttlMs: 1000 })
    await until(() => store.stats().expiredKeys === 1)

    expect([...store.entries()]).toEqual([['a', '2']])
    await store.close()
  })

  it('lets a merge free the space without reading', async () => {
    const { clock, store } = await openTimed()
    for (const key of keysUpTo(20)) await store.put(key, 'x'.repeat(6 * KIB), { ttlMs: 10 })
    clock.nowMs += 10

    const report = await store.merge()

    expect(report.segments.map(({ reason }) => reason)).toEqual(
      report.segments.map(() => 'expired'),
    )
    expect(report).toMatchObject({ bytesRead: 0, bytesWritten: 0, created: [] })
    expect(store.stats().keys).toBe(0)
    expect(store.stats().bytes).toBeLessThan(KIB)
    await store.close()
  })
})
