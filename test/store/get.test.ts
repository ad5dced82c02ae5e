/** Reads: which keys they accept, what they return, and how they fail. */

import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { segmentName } from '../../src/format/names.ts'
import { CorruptionError } from '../../src/index.ts'
import { withDirectory } from '../support/directory.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { DISK, KIB, keysUpTo, openAny, openOn, openStore, withCode } from '../support/store.ts'
import { wrongKeys } from './wrong-keys.ts'

const text = (index: number): string => `value ${index} `.repeat(100 + index)

describe('get', () => {
  it.each(wrongKeys)('refuses the key %o', async (key, kind, message) => {
    await using store = await openOn(new FaultyFiles(1))

    for (const use of [
      () => store.get(key as string),
      () => store.has(key as string),
      () => store.expiresAt(key as string),
      () => store.getMany(['fine', key as string]),
      () => store.snapshot().get(key as string),
      () => store.snapshot().has(key as string),
    ]) {
      expect(use).toThrow(kind)
      expect(use).toThrow(message)
    }
  })

  it('returns undefined if the key is not there', async () => {
    await using store = await openOn(new FaultyFiles(1))
    await store.put('key', 'value')

    expect(store.get('ke')).toBeUndefined()
    expect(store.get('key ')).toBeUndefined()
    expect(store.has('ke')).toBe(false)
    expect(store.has('key')).toBe(true)
    expect(store.expiresAt('ke')).toBeUndefined()
  })

  it('finds values while they are staged, written and sealed, and after a restart', async () => {
    await withDirectory(async (directory) => {
      const keys = keysUpTo(150)
      const store = await openStore(directory)
      const puts = keys.map((key, index) => store.put(key, text(index)))
      for (const [index, key] of keys.entries()) expect(store.get(key)).toBe(text(index))
      await Promise.all(puts)
      for (const [index, key] of keys.entries()) expect(store.get(key)).toBe(text(index))
      expect(store.stats().segments.length).toBeGreaterThan(3)
      await store.close()

      for (const options of [{}, { mapping: false }, { readOnly: true }, { verifyReads: false }]) {
        await using reopened = await openStore(directory, options)
        for (const [index, key] of keys.entries()) expect(reopened.get(key)).toBe(text(index))
      }
    })
  })

  it('returns small values that nothing overwrites, aligned for any typed array', async () => {
    await using store = await openAny(DISK, { lock: false, mapping: false }, new FaultyFiles(1))
    const keys = keysUpTo(3000)
    for (const [index, key] of keys.entries()) {
      void store.put(key, `${key}!`.repeat(index % 40), index % 2 === 0 ? {} : { ttlMs: 1e6 })
    }
    await store.sync()

    const values = store.getMany(keys)

    expect(values.map(String)).toEqual(keys.map((key, index) => `${key}!`.repeat(index % 40)))
    expect(values.every((value) => (value?.byteOffset ?? 1) % 8 === 0)).toBe(true)
  })

  it('returns copies that the caller owns', async () => {
    await withDirectory(async (directory) => {
      await using store = await openAny(directory)
      await store.put('key', 'value')

      store.get('key')?.fill(0)

      expect(store.get('key')).toEqual(Buffer.from('value'))
      const first = store.get('key')
      await store.put('key', 'other')
      expect(first).toEqual(Buffer.from('value'))
    })
  })

  it('makes no file call for a missing key, and one to read a value', async () => {
    const files = new FaultyFiles(1)
    await using store = await openOn(files)
    await store.put('key', 'value')
    const before = files.calls.length

    store.has('key')
    store.get('missing')
    store.expiresAt('key')
    expect(files.calls.length).toBe(before)

    store.get('key')
    expect(files.calls.slice(before).map(({ kind }) => kind)).toEqual(['read'])
  })

  it('names the file and offset of a record that does not match its checksum', async () => {
    await withDirectory(async (directory) => {
      const store = await openStore(directory)
      await store.put('a', 'sound')
      await store.put('b', 'damaged')
      await store.close()
      const file = join(directory, segmentName(1))
      const bytes = await readFile(file)
      const at = bytes.indexOf('damaged')
      bytes[at] = 0
      await writeFile(file, bytes)

      for (const options of [{}, { mapping: false }]) {
        await using reopened = await openStore(directory, options)
        expect(reopened.get('a')).toBe('sound')
        expect(reopened.has('b')).toBe(true)
        expect(() => reopened.get('b')).toThrow(CorruptionError)
        expect(() => reopened.get('b')).toThrow(
          expect.objectContaining({ code: 'FIRKIN_CORRUPT', file, offset: at - 19 }),
        )
        expect(() => [...reopened.values()]).toThrow(withCode('FIRKIN_CORRUPT'))
        expect([...reopened.keys()]).toEqual(['a', 'b'])
      }
      await using unverified = await openStore(directory, { verifyReads: false })
      expect(unverified.get('b')).toBe('\0amaged')
    })
  })

  it('distinguishes a failed read from damage, and reads again', async () => {
    const files = new FaultyFiles(1)
    await using store = await openOn(files)
    await store.put('key', 'value')
    files.fail({ kinds: ['read'], nth: 1, code: 'EIO' })

    expect(() => store.get('key')).toThrow(
      expect.objectContaining({
        code: 'FIRKIN_READ_FAILED',
        cause: expect.objectContaining({ code: 'EIO' }),
      }),
    )
    expect(store.get('key')).toBe('value')
  })

  it('goes on if the operating system returns a part at a time', async () => {
    const files = new FaultyFiles(1)
    await using store = await openOn(files)
    await store.put('key', 'value '.repeat(1000))
    files.fail({ kinds: ['read'], nth: 1, code: 'SHORT', lasting: true })

    expect(store.get('key')).toBe('value '.repeat(1000))
    files.heal()
  })
})

describe('getMany', () => {
  it('refuses anything but an iterable', async () => {
    await using store = await openOn(new FaultyFiles(1))

    for (const keys of [undefined, null, 7, {}]) {
      expect(() => store.getMany(keys as unknown as string[])).toThrow(TypeError)
    }
  })

  it('returns values in the order of the keys, and undefined for missing keys', async () => {
    await using store = await openOn(new FaultyFiles(1))
    await store.put('a', '1')
    await store.put('b', '2')

    expect(store.getMany(['b', 'x', Buffer.from('a'), 'b'])).toEqual(['2', undefined, '1', '2'])
    expect(store.getMany([])).toEqual([])
    expect(store.getMany(new Set(['a', 'b']))).toEqual(['1', '2'])
    expect(store.snapshot().getMany(['b', 'x'])).toEqual(['2', undefined])
  })

  it('reads many large values', async () => {
    await withDirectory(async (directory) => {
      await using store = await openStore(directory)
      const keys = keysUpTo(60)
      await Promise.all(keys.map((key) => store.put(key, key.repeat(KIB))))

      expect(store.getMany(keys)).toEqual(keys.map((key) => key.repeat(KIB)))
    })
  })
})
