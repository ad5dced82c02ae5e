/** Times to live beyond the format's limit mean forever, in each interface. */

import Keyv from 'keyv'
import { describe, expect, it } from 'vitest'
import { FirkinLevel } from '../src/adapters/abstract-level.ts'
import { KeyvFirkin } from '../src/adapters/keyv.ts'
import { firkinDriver } from '../src/adapters/unstorage.ts'
import { openCache } from '../src/cache/cache.ts'
import { open } from '../src/index.ts'
import { withDirectory } from './support/directory.ts'

/** The last time that the format can hold. */
const LAST = 2 ** 48 - 1
const LONG = [LAST, Number.MAX_SAFE_INTEGER, Number.MAX_VALUE, Number.POSITIVE_INFINITY]
const MIB = 2 ** 20

describe.each(LONG)('a time to live of %d ms means forever', (ttlMs) => {
  it('as the option of a store', async () => {
    await withDirectory(async (directory) => {
      await using store = await open(directory, { ttlMs })
      await store.put('put', 'value')
      await store.batch().put('batch', 'value').commit()
      await store.put('brief', 'value', { ttlMs: 60_000 })

      expect(store.expiresAt('put')).toBe(Number.POSITIVE_INFINITY)
      expect(store.expiresAt('batch')).toBe(Number.POSITIVE_INFINITY)
      expect(store.expiresAt('brief')).toBeLessThan(LAST)
    })
  })

  it('as the option of a put, and of a batch', async () => {
    await withDirectory(async (directory) => {
      await using store = await open(directory, { ttlMs: 60_000 })
      await store.put('ttl', 'value', { ttlMs })
      store.putSync('until', 'value', { expiresAt: ttlMs + 1 })
      await store.batch().put('batch', 'value', { ttlMs }).commit()
      await store.batch([{ type: 'put', key: 'list', value: 'value', ttlMs }]).commit()

      for (const key of ['ttl', 'until', 'batch', 'list']) {
        expect(store.expiresAt(key), key).toBe(Number.POSITIVE_INFINITY)
      }
    })
  })

  it('in a cache', async () => {
    await withDirectory(async (directory) => {
      const options = { maxBytes: MIB, valueEncoding: 'utf8', strict: true } as const
      await using cache = await openCache<string>(directory, {
        ...options,
        ttlMs,
        staleMs: ttlMs,
        errorTtlMs: ttlMs,
      })
      cache.set('option', 'value')
      cache.set('own', 'value', { ttlMs, staleMs: ttlMs })
      cache.set('stale', 'value', { ttlMs: 60_000, staleMs: ttlMs })
      const failing = cache.getOrSet('failed', () => {
        throw new Error('no')
      })
      await expect(failing).rejects.toThrow('no')

      expect(['option', 'own', 'stale'].map((key) => cache.get(key))).toEqual(
        Array(3).fill('value'),
      )
      await expect(cache.getOrSet('failed', () => 'loaded')).rejects.toThrow('no')
    })
  })

  it('in Keyv, unstorage and abstract-level', async () => {
    await withDirectory(async (directory) => {
      const keyv = new Keyv({ store: new KeyvFirkin(`${directory}/keyv`) })
      expect(await keyv.set('key', 'value', ttlMs)).toBe(true)
      expect(await keyv.get('key')).toBe('value')
      await keyv.disconnect()

      const driver = firkinDriver({ base: `${directory}/unstorage` })
      await driver.setItem?.('key', 'value', { ttl: ttlMs })
      expect(await driver.getItem('key')).toBe('value')
      expect(await driver.getMeta?.('key', {})).not.toHaveProperty('ttl')
      await driver.dispose?.()

      const level = new FirkinLevel(`${directory}/level`)
      await level.put('key', 'value', { ttlMs })
      expect(await level.get('key')).toBe('value')
      await level.close()
    })
  })
})

it('a put that expires at the last time of the format does expire', async () => {
  await withDirectory(async (directory) => {
    await using store = await open(directory)
    await store.put('last', 'value', { expiresAt: LAST })
    await store.put('ever', 'value', { expiresAt: LAST + 1 })

    expect(store.expiresAt('last')).toBe(LAST)
    expect(store.expiresAt('ever')).toBe(Number.POSITIVE_INFINITY)
  })
})
