import { describe, expect, it } from 'vitest'
import type { CachePolicy, PersistentCache } from '../../src/cache/cache.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { Random } from '../support/random.ts'
import { Clock, DIRECTORY, MIB, openInMemory } from './support.ts'

const TEXT = { valueEncoding: 'utf8' } as const
const POLICIES = ['sieve', 'lru', 'fifo'] as const

/** Counts the keys that are there, of the last `count` of `total`. */
function countLast(cache: PersistentCache<string>, total: number, count: number): number {
  let there = 0
  for (let index = total - count; index < total; index++) if (cache.has(`key ${index}`)) there++
  return there
}

describe.each(POLICIES)('the limits of a cache that was killed (%s)', (policy) => {
  it('evict what was written longest ago, also after a close and another open', async () => {
    const options = { ...TEXT, policy, maxBytes: 4 * MIB }
    let files = new FaultyFiles(1)
    const first = await openInMemory<string>(files, options)
    for (let index = 0; index < 4000; index++) first.set(`key ${index}`, 'x'.repeat(2000))
    await Promise.resolve()
    files = files.restart(2)
    await (await openInMemory<string>(files, options)).close()

    const cache = await openInMemory<string>(files, options)
    const { entries } = cache.stats()
    for (let index = 0; index < 500; index++) cache.set(`new ${index}`, 'x'.repeat(2000))

    expect(entries).toBeGreaterThan(1000)
    expect(countLast(cache, 4000, 200)).toBe(200)
    expect(cache.stats().entries).toBeGreaterThan(0.9 * entries)
    await cache.close()
    await first.close()
  })

  it('both hold from the first open on', async () => {
    let files = new FaultyFiles(1)
    const options = { ...TEXT, policy, maxEntries: 100 }
    const first = await openInMemory<string>(files, { ...options, maxEntries: 1000 })
    for (let index = 0; index < 1000; index++) first.set(`key ${index}`, 'value')
    await Promise.resolve()
    files = files.restart(2)

    const second = await openInMemory<string>(files, options)
    expect(second.stats()).toMatchObject({ entries: 100, evictions: { count: 900 } })
    expect(countLast(second, 1000, 100)).toBe(100)
    for (let index = 1000; index < 1050; index++) {
      second.set(`key ${index}`, 'value')
      expect(second.stats().entries).toBe(100)
    }
    expect(countLast(second, 1050, 100)).toBe(100)
    await second.close()

    const third = await openInMemory<string>(files, { ...options, maxEntries: 30 })
    expect(third.stats().entries).toBe(30)
    expect(countLast(third, 1050, 30)).toBe(30)
    await third.close()
    await first.close()
  })
})

it('has no more than maxEntries, even if it moves entries to make space', async () => {
  const cache = await openInMemory<string>(undefined, { ...TEXT, maxEntries: 600 })
  let most = 0
  for (let index = 0; index < 2000; index++) {
    cache.set(`key ${index}`, 'x'.repeat(1000))
    cache.get(`key ${index % 200}`)
    most = Math.max(most, cache.stats().entries)
  }

  expect(most).toBe(600)
  await cache.close()
})

describe('a cache that was killed', () => {
  it('counts no removed or expired entries, and no tags', async () => {
    const clock = new Clock()
    const files = new FaultyFiles(1)
    const first = await openInMemory<string>(files, { ...TEXT, clock: clock.read })
    for (let index = 0; index < 50; index++) {
      first.set(`key ${index}`, 'value', { tags: [`tag ${index}`] })
      first.set(`brief ${index}`, 'value', { ttlMs: 10 })
      first.delete(`absent ${index}`)
    }
    for (let index = 0; index < 10; index++) first.invalidateTags(`tag ${index}`)
    await Promise.resolve()
    clock.now += 10

    const options = { ...TEXT, clock: clock.read, maxEntries: 50 }
    const again = await openInMemory<string>(files.restart(2), options)

    // An invalidated entry counts until it is found to be invalid.
    expect(again.stats()).toMatchObject({ entries: 50, tags: 10, evictions: { count: 0 } })
    expect(countLast(again, 50, 50)).toBe(40)
    for (let index = 0; index < 50; index++) again.delete(`key ${index}`)
    expect(again.stats()).toMatchObject({ entries: 0, tags: 10, bytes: { live: 0 } })
    await again.close()
    await first.close()
  })

  it('loses only its order if that is damaged, and keeps what was written last', async () => {
    const files = new FaultyFiles(1)
    const options = { ...TEXT, maxEntries: 8000, maxBytes: 4 * MIB }
    const first = await openInMemory<string>(files, options)
    for (let index = 0; index < 8000; index++) first.set(`key ${index}`, 'value')
    await first.close()
    const path = `${DIRECTORY}/CACHE-ORDER`
    const order = files.peek(path) ?? Buffer.alloc(0)

    for (const at of [0, order.length - 100, order.length - 3 * 9 * 4096]) {
      const copy = files.restart(at)
      const damaged = Buffer.from(order)
      damaged.writeUInt8(damaged.readUInt8(at) ^ 0xff, at)
      copy.poke(path, damaged)
      await (await openInMemory<string>(copy, options)).close()
      // No key was read, so the order is again the one in which they were written.
      expect(copy.peek(path)?.equals(order)).toBe(true)
      const cache = await openInMemory<string>(copy, options)
      for (let index = 8000; index < 12_000; index++) cache.set(`key ${index}`, 'value')

      expect(cache.stats()).toMatchObject({ entries: 8000, emptied: 0 })
      expect(countLast(cache, 12_000, 8000)).toBe(8000)
      await cache.close()
    }
  })

  // SIEVE may evict a new entry before an old one that was read.
  it.each(
    (['lru', 'fifo'] as const).flatMap((policy) =>
      [1, 2, 3, 4].map((seed) => [policy, seed] as const),
    ),
  )(
    'keeps both limits and what was set last, through random lives (%s, seed %i)',
    async (policy, seed) => {
      await live(policy, new Random(Number(process.env.SEED ?? seed)))
    },
  )
})

const LIFE_COUNT = 25
const KEY_COUNT = 400
const MAX_ENTRIES = 100
/** How many of the keys set last must be there. */
const LAST_COUNT = 25

/** Opens, kills and closes a cache many times that is full by count and by size. */
async function live(policy: CachePolicy, random: Random): Promise<void> {
  const options = { ...TEXT, policy, maxEntries: MAX_ENTRIES }
  let files = new FaultyFiles(random.below(2 ** 32))
  let cache = await openInMemory<string>(files, options)
  const before: PersistentCache<string>[] = []
  // The last value of each key; the key that was set, or added, longest ago comes first.
  const values = new Map<string, string>()
  const check = (when: string): void => {
    expect(cache.stats().entries, when).toBeLessThanOrEqual(MAX_ENTRIES)
    for (const [key, value] of [...values].slice(-LAST_COUNT)) {
      expect(cache.peek(key) === value, `${key} ${when}`).toBe(true)
    }
    for (const [key, value] of values) {
      expect([value, undefined].includes(cache.peek(key)), `${key} ${when}`).toBe(true)
    }
  }
  for (let life = 0; life < LIFE_COUNT; life++) {
    const stepCount = random.below(random.pick([3, 60, 600]))
    for (let step = 0; step < stepCount; step++) {
      const key = `key ${random.below(KEY_COUNT)}`
      if (random.chance(0.25))
        cache.get([...values.keys()].at(-1 - random.below(LAST_COUNT)) ?? key)
      if (random.chance(0.05)) {
        cache.delete(key)
        values.delete(key)
        continue
      }
      const value = `${step} ${'x'.repeat(random.below(random.pick([200, 16_000])))}`
      // With fifo, a key that is there keeps its place.
      if (policy === 'lru' || !cache.has(key)) values.delete(key)
      cache.set(key, value)
      values.set(key, value)
    }
    await Promise.resolve()
    check(`at the end of life ${life}`)
    expect(files.usedSize).toBeLessThanOrEqual(MIB)
    if (random.chance(0.5)) await cache.close()
    else before.push(cache)
    files = files.restart(random.below(2 ** 32))
    cache = await openInMemory<string>(files, options)
    check(`at the beginning of life ${life + 1}`)
    expect(files.usedSize).toBeLessThanOrEqual(MIB)
  }
  expect(cache.stats().emptied).toBe(0)
  for (const each of [...before, cache]) await each.close()
}
