/** Puts: what they accept, when they are visible, and that they last. */

import { describe, expect, it } from 'vitest'
import { encodeManifest } from '../../src/format/manifest.ts'
import { MAX_KEY_SIZE, MAX_SEQUENCE, MAX_VALUE_SIZE } from '../../src/format/record.ts'
import { readManifest } from '../../src/segment/manifest-file.ts'
import { withDirectory } from '../support/directory.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { DISK, KIB, openAny, openOn, openStore, withCode } from '../support/store.ts'
import { wrongKeys } from './wrong-keys.ts'

const allBytes = Buffer.from(Uint8Array.from({ length: 256 }, (_, index) => index))

describe('put', () => {
  it.each(wrongKeys)('refuses the key %o', async (key, kind, text) => {
    const files = new FaultyFiles(1)
    await using store = await openOn(files)
    const before = files.digest

    expect(() => store.put(key as string, 'value')).toThrow(kind)
    expect(() => store.put(key as string, 'value')).toThrow(text)
    expect(() => store.putSync(key as string, 'value')).toThrow(text)
    expect(() => store.batch().put(key as string, 'value')).toThrow(text)

    expect(store.count()).toBe(0)
    expect(files.digest).toBe(before)
  })

  it.each([
    ['buffer', 7, 'A value must be a string or a Uint8Array, not a number'],
    ['buffer', null, 'not null'],
    ['buffer', new ArrayBuffer(1), 'not an object'],
    ['utf8', new Uint8Array(1), 'With valueEncoding utf8 a value must be a string, not an object'],
    ['utf8', undefined, 'not undefined'],
    ['json', undefined, 'JSON cannot hold undefined'],
    ['json', () => 1, 'JSON cannot hold a function'],
    ['json', 1n, 'BigInt'],
  ] as const)('with encoding %s refuses the value %o', async (valueEncoding, value, text) => {
    await using store = await openAny<unknown>(
      DISK,
      { valueEncoding: valueEncoding as 'json', lock: false },
      new FaultyFiles(1),
    )

    expect(() => store.put('key', value)).toThrow(TypeError)
    expect(() => store.put('key', value)).toThrow(text)
    expect(() => store.putSync('key', value)).toThrow(text)
    expect(() => store.batch().put('key', value)).toThrow(text)
    expect(store.has('key')).toBe(false)
  })

  it('refuses a value beyond the limit', async () => {
    await using store = await openAny(DISK, { lock: false }, new FaultyFiles(1))
    // Untouched memory takes no space.
    const value = new Uint8Array(MAX_VALUE_SIZE + 1)

    expect(() => store.put('key', value)).toThrow(RangeError)
    expect(() => store.put('key', value)).toThrow(
      'Value is 1073741825 bytes; the limit is 1073741824',
    )
    expect(() => store.batch().put('key', value)).toThrow('the limit is 1073741824')
  })

  it.each([
    [{ ttl: 1 }, 'Unknown put option ttl; did you mean ttlMs?'],
    [{ ttlMs: '1' }, 'Option ttlMs is "1"; it must be a number'],
    [{ ttlMs: 0 }, 'Option ttlMs is 0; the least is 1'],
    [{ ttlMs: -5 }, 'the least is 1'],
    [{ ttlMs: Number.NaN }, 'it must be a number'],
    [{ expiresAt: '2030' }, 'it must be a Date or a number'],
    [{ expiresAt: new Date('never') }, 'it must be a Date or a number'],
    [{ ttlMs: 1, expiresAt: 1 }, 'exclude each other'],
    [[], 'must be an object'],
    ['soon', 'must be an object'],
  ])('refuses the options %o', async (options, text) => {
    await using store = await openOn(new FaultyFiles(1))

    expect(() => store.put('key', 'value', options as object)).toThrow(text)
    expect(() => store.putSync('key', 'value', options as object)).toThrow(text)
    expect(() => store.batch().put('key', 'value', options as object)).toThrow(text)
    expect(store.has('key')).toBe(false)
  })

  it('is visible at once, before it settles', async () => {
    await using store = await openOn(new FaultyFiles(1))

    const put = store.put('key', 'value')

    expect(store.get('key')).toBe('value')
    expect([...store.entries()]).toEqual([['key', 'value']])
    await expect(put).resolves.toBeUndefined()
  })

  it('replaces an earlier value', async () => {
    await using store = await openOn(new FaultyFiles(1))

    await store.put('key', 'a long value')
    store.putSync('key', 'short')
    await store.put('key', '')

    expect(store.get('key')).toBe('')
    expect(store.count()).toBe(1)
  })

  it('treats a string and its bytes as the same key', async () => {
    await using store = await openOn(new FaultyFiles(1))

    await store.put('schlüssel', 'by text')
    await store.put(Buffer.from('schlüssel'), 'by bytes')

    expect([...store.entries()]).toEqual([['schlüssel', 'by bytes']])
    expect(store.get(new TextEncoder().encode('schlüssel'))).toBe('by bytes')
  })

  it('copies key and value before it returns', async () => {
    await using store = await openAny(
      DISK,
      { lock: false, maxSegmentBytes: 1024 * KIB },
      new FaultyFiles(1),
    )
    const key = Buffer.from('key')
    const small = Buffer.from('value')
    const large = Buffer.alloc(300 * KIB, 'a')

    const puts = [store.put(key, small), store.put('large', large)]
    key.fill(0)
    small.fill(0)
    large.fill(0)
    await Promise.all(puts)

    expect(store.get('key')).toEqual(Buffer.from('value'))
    expect(store.get('large')?.toString()).toBe('a'.repeat(300 * KIB))
  })

  it('survives a kill after putSync returns', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)

    store.putSync('key', 'value')

    await using after = await openOn(files.restart(1))
    expect(after.get('key')).toBe('value')
    await store.close()
  })

  it.each([1, 7, 18, 63, 64, 65, 255, 256, 4096, MAX_KEY_SIZE])(
    'accepts keys of %i bytes, with any byte values',
    async (size) => {
      await withDirectory(async (directory) => {
        const keys = [0, 127, 255].map((first) =>
          Buffer.from(Uint8Array.from({ length: size }, (_, index) => first + index * 7)),
        )
        const store = await openStore(directory)
        for (const key of keys) await store.put(key, `value of ${key[0]}`)
        for (const key of keys) expect(store.get(key)).toBe(`value of ${key[0]}`)
        await store.close()

        await using reopened = await openAny(directory, { keyEncoding: 'buffer' })
        expect([...reopened.keys()].map(String)).toEqual(keys.map(String))
      })
    },
  )

  it.each([0, 1, 299, 300, 65_536, 262_000, 262_144, 600_000])(
    'accepts values of %i bytes, with any byte values',
    async (size) => {
      await withDirectory(async (directory) => {
        const value = Buffer.alloc(size, allBytes)
        const store = await openAny(directory)
        await store.put('before', 'small')
        await store.put('key', value)
        await store.put('after', 'small')
        store.putSync('again', value)
        expect(store.get('key')?.equals(value)).toBe(true)
        await store.close()

        await using reopened = await openAny(directory, { checkpoint: false })
        for (const key of ['key', 'again']) {
          expect(reopened.get(key)?.equals(value)).toBe(true)
        }
        expect(reopened.get('after')).toEqual(Buffer.from('small'))
        expect((await reopened.verify()).ok).toBe(true)
        const sizes = reopened.stats().segments.map(({ bytes }) => bytes)
        for (const bytes of sizes) expect(bytes).toBeLessThan(Math.max(64 * KIB, size + 100))
      })
    },
  )

  it('is refused, as is any write, once all sequences are used up', async () => {
    const files = new FaultyFiles(1)
    const begun = await openOn(files)
    await begun.put('key', 'value')
    await begun.close()
    const manifest = readManifest(files, DISK)
    if (manifest === undefined) throw new Error('The store has no manifest')
    const nextSequence = MAX_SEQUENCE - 3
    files.poke(`${DISK}/MANIFEST`, encodeManifest({ ...manifest, nextSequence }))
    const store = await openOn(files)

    // The batch takes a sequence for its end, too.
    await store.batch().put('a', '1').put('b', '2').commit()

    const usedUp = withCode('FIRKIN_WRITE_FAILED')
    await expect(store.put('c', '3')).rejects.toThrow(usedUp)
    expect(() => store.putSync('c', '3')).toThrow('All sequences are used up')
    await expect(store.delete('key')).rejects.toThrow(usedUp)
    await expect(store.batch().put('c', '3').commit()).rejects.toThrow(usedUp)
    await expect(store.clear()).rejects.toThrow(usedUp)
    expect([...store.keys()]).toEqual(['a', 'b', 'key'])
    await store.close()
    await using reopened = await openOn(files)
    expect([...reopened.keys()]).toEqual(['a', 'b', 'key'])
    await expect(reopened.put('c', '3')).rejects.toThrow(usedUp)
    expect((await reopened.verify()).findings).toEqual([])
  })
})
