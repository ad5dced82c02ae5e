/** The types of stores and caches. */

import { join } from 'node:path'
import { describe, expect, expectTypeOf, it } from 'vitest'
import { type CacheOptions, openCache } from '../src/cache/cache.ts'
import { open, type Store, type StoreOptions } from '../src/index.ts'
import { withDirectory } from './support/directory.ts'

interface User {
  readonly name: string
}

describe('the types of a store', () => {
  it('are of bytes by default, and accept text or any bytes', async () => {
    await withDirectory(async (directory) => {
      await using store = await open(directory)

      await store.put('text', 'é')
      await store.put('bytes', new Uint8Array([1]))
      await store.batch([{ type: 'put', key: 'batch', value: 'b' }]).commit()

      expectTypeOf(store.get('text')).toEqualTypeOf<Buffer | undefined>()
      expect(store.get('text')).toEqual(Buffer.from('é'))
      expect(store.get('bytes')).toEqual(Buffer.from([1]))
      expect(store.get('batch')).toEqual(Buffer.from('b'))
    })
  })

  it('follow from valueEncoding and keyEncoding', async () => {
    await withDirectory(async (directory) => {
      await using store = await open(directory, { valueEncoding: 'utf8', keyEncoding: 'buffer' })

      await store.put('key', 'value')

      expectTypeOf(store).toEqualTypeOf<Store<string, 'buffer'>>()
      expect([...store.entries()]).toEqual([[Buffer.from('key'), 'value']])
    })
  })

  it('follow from a codec', async () => {
    await withDirectory(async (directory) => {
      await using store = await open(directory, {
        valueEncoding: {
          encode: (value: Date) => value.toISOString(),
          decode: (bytes) => new Date(bytes.toString()),
        },
      })

      await store.put('key', new Date(7))

      expectTypeOf(store.get('key')).toEqualTypeOf<Date | undefined>()
      expect(store.get('key')).toEqual(new Date(7))
    })
  })

  it('are unknown for JSON unless they are given', async () => {
    await withDirectory(async (directory) => {
      await using unnamed = await open(join(directory, 'a'), { valueEncoding: 'json' })
      await using named = await open<User>(join(directory, 'b'), { valueEncoding: 'json' })

      await named.put('key', { name: 'Ada' })

      expectTypeOf(unnamed.get('key')).toEqualTypeOf<unknown>()
      expectTypeOf(named.get('key')).toEqualTypeOf<User | undefined>()
      expect(named.get('key')?.name).toBe('Ada')
    })
  })

  it('of a cache follow from its valueEncoding in the same way', async () => {
    await withDirectory(async (directory) => {
      const maxBytes = 2 ** 20
      await using bytes = await openCache(join(directory, 'a'), { maxBytes })
      await using text = await openCache(join(directory, 'b'), { maxBytes, valueEncoding: 'utf8' })
      await using json = await openCache(join(directory, 'c'), { maxBytes, valueEncoding: 'json' })
      await using users = await openCache<User>(join(directory, 'd'), {
        maxBytes,
        valueEncoding: 'json',
      })
      json.set('key', { name: 'Ada' })
      users.set('key', { name: 'Ada' })

      expectTypeOf(bytes.get('key')).toEqualTypeOf<Buffer | undefined>()
      expectTypeOf(text.get('key')).toEqualTypeOf<string | undefined>()
      expectTypeOf(json.get('key')).toEqualTypeOf<unknown>()
      expectTypeOf(users.get('key')).toEqualTypeOf<User | undefined>()
      expect([json.get('key'), users.get('key')?.name]).toEqual([{ name: 'Ada' }, 'Ada'])
    })
  })

  it('refuse a value that the encoding does not accept, as the store does', async () => {
    await withDirectory(async (directory) => {
      await using store = await open(directory, { valueEncoding: 'utf8' })

      // @ts-expect-error Text is not bytes.
      expect(() => store.put('key', new Uint8Array(1))).toThrow(TypeError)
    })
  })

  it('refuse an encoding that does not return the type', () => {
    // @ts-expect-error A user is not text.
    expectTypeOf<{ valueEncoding: 'utf8' }>().toExtend<StoreOptions<User>>()
    // @ts-expect-error A user is not bytes.
    expectTypeOf<{ valueEncoding: 'buffer' }>().toExtend<StoreOptions<User>>()
    expectTypeOf<{ valueEncoding: 'json' }>().toExtend<StoreOptions<User>>()
    // @ts-expect-error Nor can a cache hold a user as text.
    expectTypeOf<{ maxBytes: number; valueEncoding: 'utf8' }>().toExtend<CacheOptions<User>>()
    expectTypeOf<{ maxBytes: number; valueEncoding: 'json' }>().toExtend<CacheOptions<User>>()
  })
})
