import { describe, expect, it } from 'vitest'
import type { CacheOptions } from '../../src/cache/cache.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { Clock, DIRECTORY, openInMemory } from './support.ts'

const TEXT = { valueEncoding: 'utf8' } as const

describe('a cache that was closed', () => {
  it.each(['sieve', 'lru'] as const)('goes on with the order that it had (%s)', async (policy) => {
    const files = new FaultyFiles(1)
    const options: Partial<CacheOptions<string>> = { ...TEXT, policy, maxEntries: 100 }
    const first = await openInMemory<string>(files, options)
    for (let index = 0; index < 100; index++) first.set(`key ${index}`, 'value')
    for (let index = 0; index < 50; index++) first.get(`key ${index}`)
    await first.close()

    const second = await openInMemory<string>(files, options)
    for (let index = 0; index < 50; index++) second.set(`new ${index}`, 'value')

    for (let index = 0; index < 100; index++) {
      expect(second.has(`key ${index}`), `key ${index}`).toBe(index < 50)
    }
    await second.close()
  })

  it('reads no segment when it is opened again', async () => {
    const files = new FaultyFiles(1)
    const first = await openInMemory<string>(files, TEXT)
    for (let index = 0; index < 2000; index++) first.set(`key ${index}`, 'x'.repeat(200))
    await first.close()
    const before = files.calls.length

    const second = await openInMemory<string>(files, TEXT)

    const opening = files.calls.slice(before)
    // Only the header of a file is read, to check that it is the right one.
    const reads = opening.filter(({ kind, path }) => kind === 'read' && path.endsWith('.segment'))
    const opens = opening.filter(({ kind, path }) => kind === 'open' && path.endsWith('.segment'))
    expect(opens.length).toBeGreaterThan(3)
    expect(reads.length).toBeLessThanOrEqual(2 * opens.length)
    expect(second.stats().entries).toBe(2000)
    await second.close()
  })

  it('loses only the order if its file is damaged', async () => {
    const files = new FaultyFiles(1)
    const first = await openInMemory<string>(files, TEXT)
    for (let index = 0; index < 200; index++) first.set(`key ${index}`, `value ${index}`)
    await first.close()
    const path = `${DIRECTORY}/CACHE-ORDER`
    const order = files.peek(path)
    if (order === undefined) throw new Error('There is no order')

    for (const at of [0, 4, 20, order.length - 1]) {
      const damaged = Buffer.from(order)
      damaged.writeUInt8(damaged.readUInt8(at) ^ 0xff, at)
      const copy = files.restart(at)
      copy.poke(path, damaged)
      const cache = await openInMemory<string>(copy, TEXT)

      for (let index = 0; index < 200; index++) {
        expect(cache.get(`key ${index}`)).toBe(`value ${index}`)
      }
      for (let index = 0; index < 9000; index++) cache.set(`new ${index}`, 'x'.repeat(200))
      expect(cache.stats()).toMatchObject({ emptied: 0 })
      await cache.close()
    }
  })

  it('keeps to the most entries while it finds its order damaged', async () => {
    const files = new FaultyFiles(1)
    const options = { ...TEXT, maxEntries: 200 }
    const first = await openInMemory<string>(files, options)
    for (let index = 0; index < 200; index++) first.set(`key ${index}`, 'value')
    await first.close()
    const path = `${DIRECTORY}/CACHE-ORDER`
    const damaged = Buffer.from(files.peek(path) ?? '')
    damaged.writeUInt8(damaged.readUInt8(damaged.length - 1) ^ 0xff, damaged.length - 1)
    files.poke(path, damaged)

    const second = await openInMemory<string>(files, options)

    for (let index = 0; index < 300; index++) {
      second.set(`new ${index}`, 'value')
      expect(second.stats().entries).toBe(200)
    }
    await second.close()
  })

  it('fits into a smaller budget if it is opened with one', async () => {
    const files = new FaultyFiles(1)
    const first = await openInMemory<string>(files, { ...TEXT, maxBytes: 4 * 2 ** 20 })
    for (let index = 0; index < 3000; index++) first.set(`key ${index}`, 'x'.repeat(1000))
    await first.close()
    expect(files.usedSize).toBeGreaterThan(2 ** 21)

    const second = await openInMemory<string>(files, TEXT)

    expect(files.usedSize).toBeLessThanOrEqual(2 ** 20)
    expect(second.has('key 2999')).toBe(true)
    await second.close()
    expect(files.usedSize).toBeLessThanOrEqual(2 ** 20)
  })
})

describe('tags', () => {
  it('invalidate the entries that have them, and none that is set later', async () => {
    const cache = await openInMemory<string>(undefined, TEXT)
    cache.set('both', '1', { tags: ['a', 'b'] })
    cache.set('b', '1', { tags: ['b'] })
    cache.set('none', '1')

    cache.invalidateTags('a')

    expect(['both', 'b', 'none'].filter((key) => cache.has(key))).toEqual(['b', 'none'])
    cache.set('both', '2', { tags: ['a'] })
    expect(cache.get('both')).toBe('2')
    cache.invalidateTags('a', 'b')
    expect(['both', 'b', 'none'].filter((key) => cache.has(key))).toEqual(['none'])
    expect(cache.stats()).toMatchObject({ entries: 1, evictions: { invalidated: 3 } })
    await cache.close()
  })

  it.each(['close', 'kill'])('stay invalidated after a %s', async (end) => {
    const files = new FaultyFiles(1)
    const first = await openInMemory<string>(files, TEXT)
    first.set('before', '1', { tags: ['a'] })
    first.invalidateTags('a')
    first.set('after', '1', { tags: ['a'] })
    await Promise.resolve()
    if (end === 'close') await first.close()

    const second = await openInMemory<string>(files.restart(2), TEXT)

    expect(second.has('before')).toBe(false)
    expect(second.has('after')).toBe(true)
    await second.close()
  })

  it('have up to 65,534 bytes, and are refused if they have more', async () => {
    const cache = await openInMemory<string>(undefined, { ...TEXT, maxEntryBytes: 2 ** 17 })
    const longest = 'ü'.repeat(32_767)

    expect(() => cache.set('key', 'value', { tags: [`${longest}x`] })).toThrow(
      'Tag is 65535 bytes; the limit is 65534',
    )
    expect(() => cache.invalidateTags(`${longest}x`)).toThrow(RangeError)
    expect(cache.get('key')).toBeUndefined()
    cache.set('key', 'value', { tags: [longest, 'a'] })
    expect(cache.get('key')).toBe('value')
    cache.invalidateTags(longest)
    expect(cache.get('key')).toBeUndefined()
    await cache.close()
  })

  it('are forgotten once no entry left is as old', async () => {
    const cache = await openInMemory<string>(undefined, TEXT)
    for (let index = 0; index < 500; index++) cache.invalidateTags(`tag ${index}`)

    for (let index = 0; index < 9000; index++) cache.set(`key ${index}`, 'x'.repeat(500))

    cache.clear()
    for (let index = 0; index < 10; index++) cache.set(`key ${index}`, 'x')
    expect(cache.stats().entries).toBe(10)
    await cache.close()
  })

  it('are checked when an old entry is written again, so that it stays invalidated', async () => {
    const clock = new Clock()
    const cache = await openInMemory<string>(undefined, { ...TEXT, clock: clock.read })
    cache.set('tagged', 'old', { tags: ['a'] })
    cache.set('kept', 'old', { tags: ['b'] })
    cache.invalidateTags('a')

    for (let index = 0; index < 20_000; index++) {
      cache.set(`key ${index}`, 'x'.repeat(300))
      cache.get('kept')
    }

    expect(cache.get('kept')).toBe('old')
    expect(cache.get('tagged')).toBeUndefined()
    await cache.close()
  })
})
