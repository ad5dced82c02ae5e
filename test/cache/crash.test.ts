import { describe, expect, it } from 'vitest'
import type { PersistentCache } from '../../src/cache/cache.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { Random } from '../support/random.ts'
import { MIB, openInMemory } from './support.ts'

const KEY_COUNT = 400
const TAGS = ['red', 'green', 'blue']

/** The last value of each key; a key without one must not be there. */
type Truth = Map<string, string>

describe('a cache that is killed', () => {
  it.each([1, 2, 3, 4])('never returns any value except the last (seed %i)', async (seed) => {
    const random = new Random(Number(process.env.SEED ?? seed))
    const options = { valueEncoding: 'utf8' as const }
    let files = new FaultyFiles(random.below(2 ** 32))
    let cache = await openInMemory<string>(files, options)
    const truth: Truth = new Map()
    const tagOf = new Map<string, string>()
    let found = 0

    for (let round = 0; round < 12; round++) {
      const stepCount = 200 + random.below(1500)
      for (let step = 0; step < stepCount; step++) change(cache, random, truth, tagOf)
      // Writes reach the operating system at the end of the turn.
      await Promise.resolve()
      expect(files.usedSize).toBeLessThanOrEqual(MIB)

      const killed = random.chance(0.7)
      if (!killed) await cache.close()
      files = files.restart(random.below(2 ** 32))
      cache = await openInMemory<string>(files, options)

      for (let index = 0; index < KEY_COUNT; index++) {
        const key = `key ${index}`
        const value = cache.get(key)
        if (value === undefined) continue
        found++
        expect(value, `${key} in round ${round}`).toBe(truth.get(key))
      }
    }

    expect(found).toBeGreaterThan(KEY_COUNT)
    expect(cache.stats().emptied).toBe(0)
    await cache.close()
  })

  it('holds what was set before the turn in which it was killed', async () => {
    const files = new FaultyFiles(1)
    const cache = await openInMemory<string>(files, { valueEncoding: 'utf8' })
    for (let index = 0; index < 500; index++) cache.set(`key ${index}`, `value ${index}`)
    await Promise.resolve()

    const again = await openInMemory<string>(files.restart(2), { valueEncoding: 'utf8' })

    expect(again.stats().entries).toBe(500)
    expect(again.get('key 499')).toBe('value 499')
    await again.close()
    await cache.close()
  })
})

function change(
  cache: PersistentCache<string>,
  random: Random,
  truth: Truth,
  tagOf: Map<string, string>,
): void {
  const key = `key ${random.below(KEY_COUNT)}`
  if (random.chance(0.72)) {
    const value = `${random.below(1e9)}${'x'.repeat(random.below(8000))}`
    const tag = random.pick(TAGS)
    cache.set(key, value, { tags: [tag] })
    truth.set(key, value)
    tagOf.set(key, tag)
  } else if (random.chance(0.5)) {
    cache.get(key)
  } else if (random.chance(0.9)) {
    cache.delete(key)
    truth.delete(key)
  } else if (random.chance(0.95)) {
    const tag = random.pick(TAGS)
    cache.invalidateTags(tag)
    for (const [each, its] of tagOf) if (its === tag) truth.delete(each)
  } else {
    cache.clear()
    truth.clear()
  }
}
