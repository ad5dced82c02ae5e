import { describe, expect, it } from 'vitest'
import type { PersistentCache } from '../../src/cache/cache.ts'
import { TagIndex } from '../../src/cache/tag-index.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { Random } from '../support/random.ts'
import { MIB, openInMemory } from './support.ts'

const TEXT = { valueEncoding: 'utf8' } as const

describe('invalidating a tag', () => {
  it('writes nothing if no entry has the tag', async () => {
    const cache = await openInMemory<string>(undefined, TEXT)
    cache.set('key', 'value', { tags: ['a', 'b'] })
    const { disk } = cache.stats().bytes

    for (let index = 0; index < 1000; index++) cache.invalidateTags(`tag ${index}`)
    expect(cache.stats()).toMatchObject({ tags: 0, bytes: { disk } })
    expect(cache.get('key')).toBe('value')

    cache.invalidateTags('a')
    const after = cache.stats().bytes.disk
    expect(after).toBeGreaterThan(disk)
    expect(cache.get('key')).toBeUndefined()
    for (let index = 0; index < 1000; index++) cache.invalidateTags('a')

    expect(cache.stats()).toMatchObject({ tags: 1, entries: 0, bytes: { disk: after, live: 0 } })
    await cache.close()
  })

  it('is remembered while a kill may bring back an evicted entry', async () => {
    const files = new FaultyFiles(1)
    const first = await openInMemory<string>(files, { ...TEXT, maxEntries: 1 })
    first.set('tagged', 'old', { tags: ['a'] })
    first.set('other', 'value')
    expect(first.has('tagged')).toBe(false)

    first.invalidateTags('a')
    await Promise.resolve()

    const again = await openInMemory<string>(files.restart(2), TEXT)
    expect(again.get('tagged')).toBeUndefined()
    expect(again.get('other')).toBe('value')
    await again.close()
    await first.close()
  })

  it.each(['close', 'kill'])('works for entries that were set before a %s', async (end) => {
    const files = new FaultyFiles(1)
    const first = await openInMemory<string>(files, TEXT)
    for (let index = 0; index < 100; index++)
      first.set(`key ${index}`, 'v', { tags: [`tag ${index}`] })
    await Promise.resolve()
    if (end === 'close') await first.close()

    const second = await openInMemory<string>(files.restart(2), TEXT)
    for (let index = 0; index < 50; index++) second.invalidateTags(`tag ${index}`)

    for (let index = 0; index < 100; index++) expect(second.has(`key ${index}`)).toBe(index >= 50)
    await second.close()
  })

  it('invalidates that tag, whatever is moved to make space for it', async () => {
    const cache = await openInMemory<string>(undefined, TEXT)
    for (let index = 0; index < 1000; index++) cache.set(`old ${index}`, 'x'.repeat(1000))
    let missed = 0
    for (let index = 0; index < 2000; index++) {
      cache.set('key', 'value', { tags: [`tag ${index}`] })
      cache.invalidateTags(`tag ${index}`)
      if (cache.has('key')) missed++
    }

    expect(missed).toBe(0)
    expect(cache.get('old 999')).toBe('x'.repeat(1000))
    await cache.close()
  })

  it('is not counted any longer once it was cleaned away', async () => {
    const cache = await openInMemory<string>(undefined, { ...TEXT, policy: 'fifo' })
    for (let index = 0; index < 100; index++) {
      cache.set('key', 'value', { tags: [`tag ${index}`] })
      cache.invalidateTags(`tag ${index}`)
    }
    expect(cache.stats().tags).toBe(100)

    for (let index = 0; index < 4000; index++) cache.set(`key ${index}`, 'x'.repeat(500))
    for (let index = 0; index < 4000; index++) cache.delete(`key ${index}`)

    expect(cache.stats()).toMatchObject({ tags: 0, bytes: { live: 0 } })
    await cache.close()
  })

  it.each(['new', 'closed', 'killed'])(
    'takes no more than its share, and evicts nothing, however many there are (%s)',
    async (state) => {
      let files = new FaultyFiles(1)
      const options = { ...TEXT, maxBytes: 2 * MIB }
      let cache = await openInMemory<string>(files, options)
      for (let index = 0; index < 300; index++) {
        cache.set(`hot ${index}`, 'x'.repeat(3000), { tags: [`hot ${index}`] })
      }
      await Promise.resolve()
      if (state === 'closed') await cache.close()
      if (state !== 'new') {
        files = files.restart(2)
        cache = await openInMemory<string>(files, options)
      }

      let most = 0
      for (let index = 0; index < 40_000; index++) {
        // One tag that an entry has, and many that none has.
        if (index % 10 === 0) cache.set('one', 'value', { tags: [`one ${index}`] })
        cache.invalidateTags(`one ${index}`)
        if (index % 100 === 0) await Promise.resolve()
        most = Math.max(most, cache.stats().tags)
      }

      expect(countHot(cache)).toBe(300)
      expect(cache.stats()).toMatchObject({ evictions: { size: 0 }, emptied: 0 })
      expect(most).toBeLessThan(5000)
      expect(files.usedSize).toBeLessThanOrEqual(2 * MIB)
      await cache.close()
    },
  )
})

function countHot(cache: PersistentCache<string>): number {
  return Array.from({ length: 300 }, (_, index) => cache.get(`hot ${index}`)).filter(Boolean).length
}

describe('TagIndex', () => {
  it('knows when each tag was last put, and forgets what the log no longer holds', () => {
    const random = new Random(Number(process.env.SEED ?? 1))
    const model = new Map<string, number>()
    let oldest = 1
    const index = new TagIndex(() => oldest)

    for (let sequence = 1; sequence <= 60_000; sequence++) {
      const tag = `tag ${random.below(20_000)}`
      index.note(Buffer.from(tag), sequence)
      model.set(tag, sequence)
      oldest = Math.max(1, sequence - 10_000)
    }

    for (let at = 0; at < 25_000; at++) {
      const last = model.get(`tag ${at}`) ?? 0
      const found = index.lastOf(Buffer.from(`tag ${at}`))
      if (last >= oldest) expect(found).toBe(last)
      else expect([0, last]).toContain(found)
    }
    index.clear()
    expect(index.lastOf(Buffer.from('tag 1'))).toBe(0)
  })
})
