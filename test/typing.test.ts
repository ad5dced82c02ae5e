/** The types of stores and caches. */

import { join } from 'node:path'
import { describe, expect, expectTypeOf, it } from 'vitest'
import { type CacheOptions, openCache, type PersistentCache } from '../src/cache/cache.ts'
import {
  type KeyEncoding,
  open,
  type Store,
  type StoreOptions,
  type ValueCodec,
} from '../src/index.ts'
import { withDirectory } from './support/directory.ts'

interface User {
  readonly name: string
}

/** Stores dates as text. */
const DATES = {
  encode: (value: Date) => value.toISOString(),
  decode: (bytes: Buffer) => new Date(bytes.toString()),
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
      await using dates = await openCache(join(directory, 'e'), { maxBytes, valueEncoding: DATES })
      json.set('key', { name: 'Ada' })
      dates.set('key', new Date(7))
      users.set('key', { name: 'Ada' })

      expectTypeOf(bytes.get('key')).toEqualTypeOf<Buffer | undefined>()
      expectTypeOf(text.get('key')).toEqualTypeOf<string | undefined>()
      expectTypeOf(json.get('key')).toEqualTypeOf<unknown>()
      expectTypeOf(users.get('key')).toEqualTypeOf<User | undefined>()
      expectTypeOf(dates.get('key')).toEqualTypeOf<Date | undefined>()
      expect(dates.get('key')).toEqual(new Date(7))
      expect([json.get('key'), users.get('key')?.name]).toEqual([{ name: 'Ada' }, 'Ada'])
    })
  })

  it('follow from each pair of keyEncoding and valueEncoding', () => {
    // The compiler checks these calls; nothing runs them.
    const calls = async (directory: string, keyEncoding: KeyEncoding) => {
      const key = { keyEncoding: 'buffer' } as const
      const text = { keyEncoding: 'utf8' } as const
      expectTypeOf(await open(directory, text)).toEqualTypeOf<Store>()
      expectTypeOf(await open(directory, key)).toEqualTypeOf<Store<Buffer, 'buffer'>>()
      const bytes = await open(directory, { ...key, valueEncoding: 'buffer' })
      expectTypeOf(bytes).toEqualTypeOf<Store<Buffer, 'buffer'>>()
      const texts = await open(directory, { ...key, valueEncoding: 'utf8' })
      expectTypeOf(texts).toEqualTypeOf<Store<string, 'buffer'>>()
      const json = await open(directory, { ...key, valueEncoding: 'json' })
      expectTypeOf(json).toEqualTypeOf<Store<unknown, 'buffer'>>()
      const dates = await open(directory, { ...key, valueEncoding: DATES })
      expectTypeOf(dates).toEqualTypeOf<Store<Date, 'buffer'>>()
      const either = await open(directory, { keyEncoding, valueEncoding: 'json' })
      expectTypeOf(either).toEqualTypeOf<Store<unknown, KeyEncoding>>()
    }

    expect(calls).toBeTypeOf('function')
  })

  it('may be named, with each encoding that returns them', () => {
    // The compiler checks these calls; nothing runs them.
    const calls = async (directory: string, settings: StoreOptions | undefined) => {
      const key = { keyEncoding: 'buffer' } as const
      expectTypeOf(await open<Buffer>(directory)).toEqualTypeOf<Store>()
      expectTypeOf(await open(directory, settings)).toEqualTypeOf<Store>()
      expectTypeOf(await open<Uint8Array>(directory)).toEqualTypeOf<Store<Uint8Array>>()
      expectTypeOf(await open<unknown>(directory, {})).toEqualTypeOf<Store<unknown>>()
      const texts = await open<string>(directory, { ...key, valueEncoding: 'utf8' })
      expectTypeOf(texts).toEqualTypeOf<Store<string, 'buffer'>>()
      const users = await open<User>(directory, { ...key, valueEncoding: 'json' })
      expectTypeOf(users).toEqualTypeOf<Store<User, 'buffer'>>()
      const both = await open<User, 'buffer'>(directory, { ...key, valueEncoding: 'json' })
      expectTypeOf(both).toEqualTypeOf<Store<User, 'buffer'>>()
      const dates = await open<Date>(directory, { ...key, valueEncoding: DATES })
      expectTypeOf(dates).toEqualTypeOf<Store<Date, 'buffer'>>()
      const options: StoreOptions<User> = { valueEncoding: 'json' }
      expectTypeOf(await open(directory, options)).toEqualTypeOf<Store<User>>()
      expectTypeOf(await open<User>(directory, options)).toEqualTypeOf<Store<User>>()
    }

    expect(calls).toBeTypeOf('function')
  })

  it('may be those of a generic function', () => {
    // The compiler checks these functions; nothing runs them.
    const withCodec = <V>(codec: ValueCodec<V>): Promise<Store<V>> =>
      open('store', { valueEncoding: codec })
    const asJson = <V>(): Promise<Store<V, 'buffer'>> =>
      open<V>('store', { keyEncoding: 'buffer', valueEncoding: 'json' })
    const withOptions = <V>(options: StoreOptions<V>): Promise<Store<V>> => open('store', options)
    const cacheOf = <V>(codec: ValueCodec<V>): Promise<PersistentCache<V>> =>
      openCache('cache', { maxBytes: 2 ** 20, valueEncoding: codec })

    for (const call of [withCodec, asJson, withOptions, cacheOf]) {
      expect(call).toBeTypeOf('function')
    }
  })

  it('refuse a type of values without an encoding that returns it', () => {
    // The compiler checks these calls; nothing runs them.
    const calls = async (directory: string) => {
      // @ts-expect-error Values are bytes.
      await open<User>(directory)
      // @ts-expect-error Values are bytes.
      await open<User>(directory, { sync: 'never' })
      // @ts-expect-error Values are bytes, whatever the keys are.
      await open<User>(directory, { keyEncoding: 'buffer' })
      // @ts-expect-error Values are bytes, not text.
      await open<string>(directory)
      // @ts-expect-error A user is not text.
      await open<User>(directory, { valueEncoding: 'utf8' })
      // @ts-expect-error Keys are text.
      await open<Buffer, 'buffer'>(directory, {})
      // @ts-expect-error Values are bytes.
      const options: StoreOptions<User> = {}
      // @ts-expect-error Nor does a cache without an encoding hold users.
      await openCache<User>(directory, { maxBytes: 2 ** 20 })
      // @ts-expect-error Nor text.
      await openCache<string>(directory, { maxBytes: 2 ** 20 })
      // @ts-expect-error A user is not text.
      await openCache<User>(directory, { maxBytes: 2 ** 20, valueEncoding: 'utf8' })
      return options
    }

    expect(calls).toBeTypeOf('function')
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
