import diagnostics from 'node:diagnostics_channel'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { type CacheMessage, openCache } from '../../src/cache/cache.ts'
import { CACHE_ORDER_NAME } from '../../src/format/names.ts'
import { recordSize } from '../../src/format/record.ts'
import { withDirectory } from '../support/directory.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { Clock, DIRECTORY, MIB, openInMemory } from './support.ts'

describe('openCache', () => {
  it.each([
    [{}, TypeError, 'Option maxBytes is undefined; it must be an integer'],
    [{ maxBytes: 1000 }, RangeError, 'Option maxBytes is 1000; it must be from 1048576 to'],
    [
      { maxBytes: MIB, maxBites: 1 },
      TypeError,
      'Unknown cache option maxBites; did you mean maxBytes?',
    ],
    [{ maxBytes: MIB, maxEntries: 0 }, RangeError, 'Option maxEntries is 0; it must be from 1 to'],
    [{ maxBytes: MIB, maxEntryBytes: MIB }, RangeError, 'it must be from 1 to 131072'],
    [{ maxBytes: MIB, ttlMs: -1 }, RangeError, 'Option ttlMs is -1; it must be 0 or more'],
    [{ maxBytes: MIB, staleMs: '1' }, TypeError, 'Option staleMs is "1"; it must be a number'],
    [{ maxBytes: MIB, earlyRefresh: -1 }, RangeError, 'Option earlyRefresh is -1'],
    [
      { maxBytes: MIB, policy: 'lfu' },
      TypeError,
      'Option policy is lfu; it must be one of sieve, lru, fifo',
    ],
    [{ maxBytes: MIB, strict: 1 }, TypeError, 'Option strict must be a boolean'],
    [{ maxBytes: MIB, clock: 1 }, TypeError, 'Option clock must be a function'],
    [{ maxBytes: MIB, valueEncoding: 'xml' }, TypeError, 'Option valueEncoding is xml'],
  ])('refuses %j', async (options, kind, message) => {
    await withDirectory(async (directory) => {
      const opening = openCache(directory, options as never)

      await expect(opening).rejects.toBeInstanceOf(kind)
      await expect(opening).rejects.toThrow(message)
    })
  })

  it('refuses a directory that is not a path', async () => {
    await expect(openCache('', { maxBytes: MIB })).rejects.toBeInstanceOf(TypeError)
  })
})

describe('a cache', () => {
  it('returns copies of what was set, and nothing else', async () => {
    const cache = await openInMemory()
    const value = Buffer.from('value')

    expect(cache.set('key', value)).toBe(true)
    value.fill(0)
    cache.get('key')?.fill(0)

    expect(cache.get('key')?.toString()).toBe('value')
    expect(cache.get('other')).toBeUndefined()
    expect(cache.has('key')).toBe(true)
    expect(cache.has('other')).toBe(false)
    await cache.close()
  })

  it('refuses invalid keys, values and options', async () => {
    const text = await openInMemory<string>(undefined, { valueEncoding: 'utf8' })

    expect(() => text.get('')).toThrow(RangeError)
    expect(() => text.get(1 as never)).toThrow(TypeError)
    expect(() => text.set('key', 1 as never)).toThrow(TypeError)
    expect(() => text.set('key', 'v', { ttl: 1 } as never)).toThrow('Unknown set option ttl')
    expect(() => text.set('key', 'v', { ttlMs: Number.NaN })).toThrow(TypeError)
    expect(() => text.set('key', 'v', { tags: 'a' as never })).toThrow('must be an array')
    expect(() => text.set('key', 'v', { tags: [1 as never] })).toThrow('A tag is a string')
    expect(() => text.invalidateTags(1 as never)).toThrow('A tag is a string')
    expect(text.stats()).toMatchObject({ sets: 0, entries: 0 })
    await text.close()
  })

  it.each([
    ['utf8', 'grün'],
    ['json', { list: [1, null, 'ü'] }],
    ['buffer', Buffer.from([0, 255])],
    [
      {
        encode: (date: Date) => date.toISOString(),
        decode: (bytes: Buffer) => new Date(String(bytes)),
      },
      new Date(5),
    ],
  ])('stores values in the encoding %j', async (valueEncoding, value) => {
    const cache = await openInMemory<unknown>(undefined, { valueEncoding: valueEncoding as never })

    cache.set('plain', value)
    cache.set('headed', value, { tags: ['a'], ttlMs: 1000, staleMs: 1000 })

    expect(cache.get('plain')).toEqual(value)
    expect(cache.get('headed')).toEqual(value)
    await cache.close()
  })

  it('removes a key, and returns whether it was there', async () => {
    const cache = await openInMemory<string>(undefined, { valueEncoding: 'utf8' })
    cache.set('key', 'value')

    expect(cache.delete('key')).toBe(true)
    expect(cache.delete('key')).toBe(false)
    expect(cache.get('key')).toBeUndefined()
    expect(cache.stats().entries).toBe(0)
    await cache.close()
  })

  it('clears everything at once, and then takes new entries', async () => {
    const cache = await openInMemory<string>(undefined, { valueEncoding: 'utf8' })
    for (let index = 0; index < 2000; index++) cache.set(`key ${index}`, 'x'.repeat(100))

    cache.clear()

    expect(cache.stats()).toMatchObject({ entries: 0, bytes: { live: 0 } })
    expect(cache.stats().bytes.disk).toBeLessThan(100)
    expect(cache.get('key 5')).toBeUndefined()
    cache.set('key 5', 'again')
    expect(cache.get('key 5')).toBe('again')
    await cache.close()
  })

  it('keeps no order of cleared entries', async () => {
    const sizes: (number | undefined)[] = []
    for (const count of [1, 10_000]) {
      const files = new FaultyFiles(1)
      const cache = await openInMemory<string>(files, { valueEncoding: 'utf8' })
      for (let index = 0; index < count; index++) cache.set(`key ${index}`, 'value')
      cache.clear()
      expect(cache.stats().entries).toBe(0)
      cache.set('key', 'value')
      await cache.close()
      sizes.push(files.peek(join(DIRECTORY, CACHE_ORDER_NAME))?.length)
    }

    expect(sizes[0]).toBeGreaterThan(0)
    expect(sizes[1]).toBeLessThan(Number(sizes[0]) + 100)
  })

  it('returns false for an entry that is too large, and drops the previous one', async () => {
    const cache = await openInMemory<string>(undefined, {
      valueEncoding: 'utf8',
      maxEntryBytes: 200,
    })
    cache.set('key', 'small')

    expect(cache.set('key', 'x'.repeat(200))).toBe(false)
    expect(cache.get('key')).toBeUndefined()
    expect(cache.set('key', 'x'.repeat(150))).toBe(true)
    expect(cache.stats()).toMatchObject({ refused: 1, sets: 2 })
    await cache.close()
  })

  it('keeps an entry of the largest size, and refuses one a byte larger', async () => {
    const options = { valueEncoding: 'utf8', maxEntryBytes: 200 } as const
    const cache = await openInMemory<string>(undefined, options)
    for (const ttlMs of [0, 1000]) {
      // The head takes one byte in front of the value.
      const largest = 200 - recordSize(3, 1, ttlMs !== 0)

      expect(cache.set('key', 'x'.repeat(largest + 1), { ttlMs })).toBe(false)
      expect(cache.set('key', 'x'.repeat(largest), { ttlMs })).toBe(true)
    }
    await cache.close()
  })

  it('peeks without counting a read or a use', async () => {
    const cache = await openInMemory<string>(undefined, {
      valueEncoding: 'utf8',
      policy: 'lru',
      maxEntries: 2,
    })
    cache.set('a', '1')
    cache.set('b', '2')

    expect(cache.peek('a')).toBe('1')
    cache.set('c', '3')

    expect(cache.peek('a')).toBeUndefined()
    expect(cache.peek('b')).toBe('2')
    expect(cache.stats()).toMatchObject({ hits: 0, misses: 0 })
    await cache.close()
  })

  it.each([
    ['sieve', ['a', 'd', 'c']],
    ['lru', ['a', 'd', 'c']],
    ['fifo', ['b', 'c', 'd']],
  ] as const)('never has more than maxEntries, and evicts by %s', async (policy, left) => {
    const cache = await openInMemory<string>(undefined, {
      valueEncoding: 'utf8',
      policy,
      maxEntries: 3,
    })
    const gone: string[] = []
    cache.on('evict', (key, cause) => gone.push(`${key}: ${cause}`))
    for (const key of ['a', 'b', 'c']) cache.set(key, key)

    cache.get('a')
    cache.set('d', 'd')
    cache.set('d', 'again')
    await Promise.resolve()

    expect(left.filter((key) => cache.peek(key) !== undefined)).toEqual(left)
    expect(cache.stats()).toMatchObject({ entries: 3, evictions: { count: 1 } })
    expect(gone).toEqual([policy === 'fifo' ? 'a: count' : 'b: count'])
    await cache.close()
  })

  it('counts its operations', async () => {
    const cache = await openInMemory<string>(undefined, { valueEncoding: 'utf8' })

    cache.set('a', '1')
    cache.get('a')
    cache.get('b')
    cache.delete('a')

    expect(cache.stats()).toMatchObject({
      hits: 1,
      misses: 1,
      staleHits: 0,
      sets: 1,
      refused: 0,
      deletes: 1,
      emptied: 0,
      bytes: { limit: MIB },
    })
    await cache.close()
  })

  it('misses everything after close, which may be called again', async () => {
    const cache = await openInMemory<string>(undefined, { valueEncoding: 'utf8' })
    cache.set('key', 'value')

    const closing = cache.close()

    expect(cache.close()).toBe(closing)
    expect(cache.closed).toBe(true)
    expect(cache.get('key')).toBeUndefined()
    expect(cache.set('key', 'value')).toBe(false)
    await closing
    expect(await cache.getOrSet('key', () => 'loaded')).toBe('loaded')
  })

  it('publishes each operation on a diagnostics channel', async () => {
    const cache = await openInMemory<string>(undefined, { valueEncoding: 'utf8', maxEntries: 1 })
    const messages: unknown[] = []
    const listen = (message: unknown): void => {
      const { cache: directory, operation, key, outcome } = message as CacheMessage
      if (directory === cache.directory) messages.push([operation, key, outcome])
    }
    diagnostics.subscribe('firkin-cache:operations', listen)

    cache.get('a')
    cache.set('a', '1')
    cache.set('b', '2')
    cache.get('b')
    cache.delete('b')
    cache.invalidateTags('t')
    cache.clear()
    await Promise.resolve()
    diagnostics.unsubscribe('firkin-cache:operations', listen)
    cache.get('a')
    await Promise.resolve()

    expect(messages).toEqual([
      ['get', 'a', 'miss'],
      ['set', 'a', 'set'],
      ['evict', 'a', 'count'],
      ['set', 'b', 'set'],
      ['get', 'b', 'hit'],
      ['delete', 'b', 'removed'],
      ['invalidate', 't', 'invalidated'],
      ['clear', undefined, 'cleared'],
    ])
    await cache.close()
  })
})

describe('expiry', () => {
  it('ends an entry to the millisecond, unless a set without ttlMs has renewed it', async () => {
    const clock = new Clock()
    const cache = await openInMemory<string>(undefined, {
      valueEncoding: 'utf8',
      clock: clock.read,
    })
    cache.set('brief', '1', { ttlMs: 50 })
    cache.set('renewed', '1', { ttlMs: 50 })
    cache.set('renewed', '2')

    clock.now += 49
    expect(cache.get('brief')).toBe('1')
    clock.now += 1

    expect(cache.get('brief')).toBeUndefined()
    expect(cache.get('renewed')).toBe('2')
    await cache.close()
  })

  it('follows the ttlMs of the cache if an entry has none', async () => {
    const clock = new Clock()
    const cache = await openInMemory<string>(undefined, {
      valueEncoding: 'utf8',
      clock: clock.read,
      ttlMs: 100,
    })
    cache.set('usual', '1')
    cache.set('longer', '1', { ttlMs: 200 })
    cache.set('for ever', '1', { ttlMs: Number.POSITIVE_INFINITY })

    clock.now += 100
    expect(cache.has('usual')).toBe(false)
    expect(cache.has('longer')).toBe(true)
    clock.now += 1e9

    expect(cache.has('longer')).toBe(false)
    expect(cache.has('for ever')).toBe(true)
    await cache.close()
  })

  it('follows a clock that jumps back', async () => {
    const clock = new Clock()
    const cache = await openInMemory<string>(undefined, {
      valueEncoding: 'utf8',
      clock: clock.read,
    })
    cache.set('key', '1', { ttlMs: 100 })

    clock.now -= 500_000
    expect(cache.get('key')).toBe('1')
    clock.now += 500_100

    expect(cache.get('key')).toBeUndefined()
    await cache.close()
  })

  it('follows a clock that jumps forward and back, but expired entries stay gone', async () => {
    const clock = new Clock()
    const cache = await openInMemory<string>(undefined, {
      valueEncoding: 'utf8',
      clock: clock.read,
    })
    cache.set('brief', '1', { ttlMs: 100 })
    cache.set('for ever', '1')

    clock.now += 1e12
    expect(cache.get('brief')).toBeUndefined()
    await until(() => cache.stats().evictions.expired === 1)
    clock.now -= 1e12

    expect(cache.get('brief')).toBeUndefined()
    expect(cache.get('for ever')).toBe('1')
    cache.set('brief', '2', { ttlMs: 100 })
    expect(cache.get('brief')).toBe('2')
    await cache.close()
  })

  it('is never the reason for which an entry leaves that does not expire', async () => {
    const cache = await openInMemory<string>(undefined, { valueEncoding: 'utf8' })
    // So that the cache asks its clock.
    cache.set('long', '1', { ttlMs: 1e12 })
    for (let index = 0; index < 100; index++) cache.set(`kept ${index}`, 'x'.repeat(100))

    // Most of what is written is dead soon, so that the oldest segments are cleaned.
    for (let index = 0; index < 20_000; index++) {
      cache.set(`key ${index % 50}`, 'x'.repeat(1000))
      cache.get(`kept ${index % 100}`)
    }

    for (let index = 0; index < 100; index++) expect(cache.has(`kept ${index}`)).toBe(true)
    expect(cache.has('long')).toBe(true)
    expect(cache.stats().evictions).toMatchObject({ expired: 0, size: 0 })
    await cache.close()
  })

  it('frees memory and disk without a read', async () => {
    const clock = new Clock()
    const cache = await openInMemory<string>(undefined, {
      valueEncoding: 'utf8',
      clock: clock.read,
      maxBytes: 2 * MIB,
    })
    const expired: string[] = []
    cache.on('expire', (key) => expired.push(key))
    for (let index = 0; index < 3000; index++) {
      cache.set(`key ${index}`, 'x'.repeat(200), { ttlMs: 1000 })
    }
    cache.set('kept', 'value')
    const { disk } = cache.stats().bytes
    expect(disk).toBeGreaterThan(500_000)

    clock.now += 1000
    await until(() => cache.stats().bytes.disk < 4096)

    expect(cache.stats()).toMatchObject({ entries: 1, evictions: { expired: 3000 } })
    expect(expired).toHaveLength(3000)
    expect(cache.get('kept')).toBe('value')
    await cache.close()
  })
})

/** Waits while the timers of a cache do their work. */
async function until(isDone: () => boolean): Promise<void> {
  await vi.waitFor(() => expect(isDone()).toBe(true), { timeout: 20_000, interval: 50 })
}
