/** Encodings of keys and values. */

import { describe, expect, it } from 'vitest'
import { openCache } from '../../src/cache/cache.ts'
import type { Store } from '../../src/index.ts'
import { withDirectory } from '../support/directory.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { DISK, openAny } from '../support/store.ts'

const onDisk = { lock: false, mapping: false } as const

describe('the encoding buffer', () => {
  it('accepts bytes of any kind and text, and returns bytes', async () => {
    await using store = await openAny(DISK, onDisk, new FaultyFiles(1))
    const part = new Uint8Array([9, 1, 2, 3, 9]).subarray(1, 4)

    await store.put('part', part)
    await store.put('text', 'é')
    await store.put('empty', new Uint8Array(0))

    expect(store.get('part')).toEqual(Buffer.from([1, 2, 3]))
    expect(store.get('text')).toEqual(Buffer.from([0xc3, 0xa9]))
    expect(store.get('empty')).toEqual(Buffer.alloc(0))
    expect([...store.values()]).toEqual([
      Buffer.alloc(0),
      Buffer.from([1, 2, 3]),
      Buffer.from([0xc3, 0xa9]),
    ])
  })
})

describe('the encoding utf8', () => {
  it.each(['', 'plain', 'é', '日本語', '😀', '\0', 'a'.repeat(300), 'é'.repeat(300)])(
    'returns %j unchanged',
    async (value) => {
      await using store = await openAny<string>(
        DISK,
        { ...onDisk, valueEncoding: 'utf8' },
        new FaultyFiles(1),
      )

      await store.put('key', value)

      expect(store.get('key')).toBe(value)
      expect([...store.values()]).toEqual([value])
    },
  )
})

describe('the encoding json', () => {
  it.each([[null], [0], [''], [false], [{ a: [1, 'two', null] }], [[]], ['\ud800']])(
    'returns %j unchanged',
    async (value) => {
      await using store = await openAny<unknown>(
        DISK,
        { ...onDisk, valueEncoding: 'json' },
        new FaultyFiles(1),
      )

      await store.put('key', value)

      expect(store.get('key')).toEqual(value)
      expect([...store.entries()]).toEqual([['key', value]])
    },
  )
})

describe('a codec', () => {
  const dates = {
    encode: (date: Date) => Buffer.from([date.getDate()]),
    decode: (bytes: Buffer) => new Date(2000, 0, bytes[0]),
  }

  it('converts values to bytes or text, and back', async () => {
    await using store = await openAny<Date>(
      DISK,
      { ...onDisk, valueEncoding: dates },
      new FaultyFiles(1),
    )

    await store.put('key', new Date(2024, 4, 17))
    await store
      .batch()
      .put('batch', new Date(2024, 4, 18))
      .commit()

    expect(store.get('key')).toEqual(new Date(2000, 0, 17))
    expect([...store.values()]).toEqual([new Date(2000, 0, 18), new Date(2000, 0, 17)])
  })

  it('may use the store that it encodes for', async () => {
    const files = new FaultyFiles(1)
    const store: Store<string> = await openAny<string>(
      DISK,
      {
        ...onDisk,
        valueEncoding: {
          encode(value: string): string {
            if (value === 'outer') store.putSync('inner key', 'inner')
            return value
          },
          decode(bytes): string {
            const value = bytes.toString()
            return value === 'outer' ? `outer, and ${store.get('inner key')}` : value
          },
        },
      },
      files,
    )

    await store.put('outer key', 'outer')

    expect(store.get('outer key')).toBe('outer, and inner')
    expect([...store.values()]).toEqual(['inner', 'outer, and inner'])
    await store.close()
  })

  it('is refused if it returns anything else, and nothing changes', async () => {
    await using store = await openAny<number>(
      DISK,
      {
        ...onDisk,
        valueEncoding: { encode: (value) => value as unknown as string, decode: () => 1 },
      },
      new FaultyFiles(1),
    )

    expect(() => store.put('key', 7)).toThrow('valueEncoding.encode returned a number')
    expect(() => store.batch().put('key', 7)).toThrow(TypeError)
    expect(store.has('key')).toBe(false)
  })

  it('passes on its own errors', async () => {
    const fail = (): never => {
      throw new Error('no codec')
    }
    const files = new FaultyFiles(1)
    const first = await openAny(DISK, onDisk, files)
    await first.put('key', 'value')
    await first.close()
    await using store = await openAny<string>(
      DISK,
      { ...onDisk, valueEncoding: { encode: fail, decode: fail } },
      files,
    )

    expect(() => store.put('other', '1')).toThrow('no codec')
    expect(() => store.get('key')).toThrow('no codec')
    expect([...store.keys()]).toEqual(['key'])
  })

  it('gets bytes that it may keep and change', async () => {
    const kept: Buffer[] = []
    await using store = await openAny<Buffer>(
      DISK,
      {
        ...onDisk,
        valueEncoding: {
          encode: (value) => value,
          decode(bytes) {
            kept.push(bytes)
            return bytes
          },
        },
      },
      new FaultyFiles(1),
    )
    await store.put('a', Buffer.from('one'))
    await store.put('b', Buffer.from('two'))

    store.get('a')?.fill(0)
    store.get('b')

    expect(store.get('a')?.toString()).toBe('one')
    expect(kept.map(String)).toEqual(['\0\0\0', 'two', 'one'])
  })
})

describe('text with a lone surrogate', () => {
  const texts = ['\ud800', 'é\udfff', `${'x'.repeat(70_000)}\ud83d`, '\ude00\ud83d', '😀\ud83d']
  const encodings = {
    buffer: 'buffer',
    utf8: 'utf8',
    'a codec that returns text': { encode: (value: string) => value, decode: String },
  } as const

  it.each(Object.entries(encodings))('is refused as a value by %s', async (_, valueEncoding) => {
    await using store = await openAny<string>(
      DISK,
      { ...onDisk, valueEncoding: valueEncoding as 'utf8' },
      new FaultyFiles(1),
    )
    await store.put('key', 'as it was')

    for (const text of texts) {
      const batch = store.batch()
      const calls = [
        () => store.put('key', text),
        () => store.putSync('key', text),
        () => batch.put('key', text),
        () => store.batch([{ type: 'put', key: 'key', value: text }]),
      ]
      for (const call of calls) {
        expect(call).toThrow(new TypeError('The value has a lone surrogate'))
      }
      expect(batch.length).toBe(0)
    }

    expect(String(store.get('key'))).toBe('as it was')
  })

  it.each(Object.entries(encodings))(
    'is refused as a value of a cache by %s',
    async (_, valueEncoding) => {
      await withDirectory(async (directory) => {
        await using cache = await openCache<string>(directory, {
          maxBytes: 8 * 2 ** 20,
          valueEncoding: valueEncoding as 'utf8',
        })

        for (const text of texts) {
          for (const options of [{}, { tags: ['tag'] }]) {
            expect(() => cache.set('key', text, options)).toThrow('The value has a lone surrogate')
          }
          await expect(cache.getOrSet('key', () => text)).rejects.toThrow(TypeError)
        }

        expect(cache.has('key')).toBe(false)
      })
    },
  )

  it('is accepted if each surrogate is part of a pair', async () => {
    await using store = await openAny<string>(
      DISK,
      { ...onDisk, valueEncoding: 'utf8' },
      new FaultyFiles(1),
    )

    await store.put('key', '\ud83d\ude00')

    expect(store.get('key')).toBe('😀')
  })
})

describe('the key encoding', () => {
  const bytes = Buffer.from([0xff, 0x00, 0x80])

  it('buffer returns keys as bytes that the caller owns', async () => {
    await using store = await openAny(
      DISK,
      { ...onDisk, keyEncoding: 'buffer' },
      new FaultyFiles(1),
    )
    await store.put(bytes, '1')
    await store.put('text', '2')

    for (const key of store.keys()) key.fill(0)

    expect([...store.keys()]).toEqual([Buffer.from('text'), bytes])
    expect([...store.entries()]).toEqual([
      [Buffer.from('text'), Buffer.from('2')],
      [bytes, Buffer.from('1')],
    ])
  })

  it('utf8 returns keys as text, even if they are not UTF-8', async () => {
    await using store = await openAny(DISK, onDisk, new FaultyFiles(1))
    await store.put(bytes, '1')
    await store.put('é', '2')

    expect([...store.keys()]).toEqual(['é', '\ufffd\0\ufffd'])
  })
})
