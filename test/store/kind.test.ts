/** Directories of stores and of caches: neither is taken for the other. */

import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { FirkinLevel } from '../../src/adapters/abstract-level.ts'
import { KeyvFirkin } from '../../src/adapters/keyv.ts'
import { firkinDriver } from '../../src/adapters/unstorage.ts'
import { openCache } from '../../src/cache/cache.ts'
import { withDirectory } from '../support/directory.ts'
import { openAny, openStore, withCode } from '../support/store.ts'

const OPTIONS = { maxBytes: 2 ** 20, valueEncoding: 'json', strict: true } as const

/** Fills a cache, and closes it. */
async function fillCache(directory: string): Promise<void> {
  await using cache = await openCache<unknown>(directory, OPTIONS)
  for (let index = 0; index < 100; index++) cache.set(`key ${index}`, { index })
}

/** Returns the contents of every file in a directory. */
function contentsOf(directory: string): Map<string, string> {
  const names = readdirSync(directory).sort()
  return new Map(names.map((name) => [name, readFileSync(join(directory, name), 'hex')]))
}

describe("a cache's directory", () => {
  it('is refused by open, to read or to write, and is not changed', async () => {
    await withDirectory(async (directory) => {
      await fillCache(directory)
      const before = contentsOf(directory)

      for (const options of [{}, { readOnly: true }, { recovery: 'salvage' } as const]) {
        await expect(openStore(directory, options)).rejects.toThrow(
          expect.objectContaining({
            code: 'FIRKIN_OTHER_KIND',
            message: expect.stringContaining(`${directory} holds a cache`),
          }),
        )
      }

      expect(contentsOf(directory)).toEqual(before)
    })
  })

  it('is refused if a kill has left only the mark in it', async () => {
    await withDirectory(async (directory) => {
      await fillCache(directory)
      for (const name of readdirSync(directory)) {
        if (name !== 'CACHE') rmSync(join(directory, name))
      }
      writeFileSync(join(directory, 'CACHE'), '')

      await expect(openStore(directory)).rejects.toThrow(withCode('FIRKIN_OTHER_KIND'))

      expect(readdirSync(directory)).toEqual(['CACHE'])
    })
  })

  it.each(['to read', 'to write'])(
    'is opened %s with allowCache, and shows entries as they are stored',
    async (how) => {
      await withDirectory(async (directory) => {
        await fillCache(directory)

        const options = { allowCache: true, readOnly: how === 'to read', keydir: 'hash' } as const
        await using store = await openAny(directory, options)

        expect(store.count()).toBe(100)
        expect(store.get('key 7')?.toString('latin1')).toMatch(/\{"index":7\}$/)
      })
    },
  )

  it('numbers its entries again after a store has written there', async () => {
    await withDirectory(async (directory) => {
      await fillCache(directory)
      const store = await openAny(directory, { allowCache: true, keydir: 'hash' })
      for (let index = 0; index < 50; index++) await store.delete(`key ${index}`)
      await store.close()
      const hadOrder = existsSync(join(directory, 'CACHE-ORDER'))

      await using cache = await openCache<unknown>(directory, { ...OPTIONS, maxEntries: 30 })

      expect(hadOrder).toBe(false)
      expect(cache.stats().entries).toBe(30)
      expect(cache.get('key 99')).toEqual({ index: 99 })
    })
  })

  it('is refused by each adapter for stores', async () => {
    await withDirectory(async (directory) => {
      await fillCache(directory)
      const refused = withCode('FIRKIN_OTHER_KIND')

      await expect(new KeyvFirkin(directory).get('key 1')).rejects.toThrow(refused)
      await expect(firkinDriver({ base: directory }).hasItem('key 1', {})).rejects.toThrow(refused)
      await expect(new FirkinLevel(directory).open()).rejects.toMatchObject({
        cause: { code: 'FIRKIN_OTHER_KIND' },
      })
      await expect(
        new FirkinLevel(directory, { errorIfExists: true }).open(),
      ).rejects.toMatchObject({ cause: { code: 'FIRKIN_OTHER_KIND' } })
    })
  })

  it('has a backup that is a cache', async () => {
    await withDirectory(async (directory) => {
      const [source, target] = [join(directory, 'source'), join(directory, 'target')]
      await fillCache(source)
      const store = await openAny(source, { allowCache: true, readOnly: true })
      await store.backup(target)
      await store.close()

      await expect(openStore(target)).rejects.toThrow(withCode('FIRKIN_OTHER_KIND'))

      await using cache = await openCache<unknown>(target, OPTIONS)
      expect(cache.stats()).toMatchObject({ entries: 100, emptied: 0 })
      expect(cache.get('key 7')).toEqual({ index: 7 })
    })
  })

  it('is reported by a follower whose store it replaces', async () => {
    await withDirectory(async (above) => {
      const directory = join(above, 'data')
      await fillCache(join(above, 'other'))
      const store = await openStore(directory)
      await store.put('key', 'value')
      await store.close()
      await using reader = await openStore(directory, { readOnly: true })

      renameSync(directory, join(above, 'gone'))
      renameSync(join(above, 'other'), directory)

      await expect(reader.refresh()).rejects.toThrow(withCode('FIRKIN_OTHER_KIND'))
      expect(reader.get('key')).toBe('value')
    })
  })
})

describe("a store's directory", () => {
  it('is refused by openCache, and is not changed', async () => {
    await withDirectory(async (directory) => {
      const store = await openStore(directory)
      await store.put('precious', 'data')
      await store.close()
      const before = contentsOf(directory)

      await expect(openCache(directory, OPTIONS)).rejects.toThrow(withCode('FIRKIN_OTHER_KIND'))

      expect(contentsOf(directory)).toEqual(before)
    })
  })
})
