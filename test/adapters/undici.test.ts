/** Tests of the cache store for undici, without the network. */

import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { finished, pipeline } from 'node:stream/promises'
import { setImmediate } from 'node:timers/promises'
import type { cacheStores } from 'undici'
import { describe, expect, it } from 'vitest'
import { FirkinCacheStore, type FirkinCacheStoreOptions } from '../../src/adapters/undici.ts'
import { openCache, type PersistentCache } from '../../src/cache/cache.ts'
import { open } from '../../src/index.ts'
import { withDirectory } from '../support/directory.ts'

type MemoryCacheStore = InstanceType<typeof cacheStores.MemoryCacheStore>
type CacheKey = Parameters<MemoryCacheStore['get']>[0]
type CacheValue = Parameters<MemoryCacheStore['createWriteStream']>[1]

const MIB = 2 ** 20
const BODY = ['as', 'd123']

/** A clock that only moves when a test moves it. */
class Clock {
  nowMs = Date.parse('2024-05-17T12:00Z')
  readonly read = (): number => this.nowMs
}

function keyOf(path: string, headers: Record<string, string | string[]> = {}, method = 'GET') {
  return { origin: 'http://localhost', path, method, headers } satisfies CacheKey
}

function valueAt(nowMs: number, changes: Partial<CacheValue> = {}): CacheValue {
  return {
    statusCode: 200,
    statusMessage: 'OK',
    headers: { 'content-type': 'text/plain', 'set-cookie': ['a=1', 'b=2'] },
    cacheControlDirectives: { 'max-age': 10, private: ['x-name'] },
    cachedAt: nowMs,
    staleAt: nowMs + 10_000,
    deleteAt: nowMs + 20_000,
    ...changes,
  }
}

describe('FirkinCacheStore', () => {
  it.each([
    ['a missing size', {}, TypeError],
    ['a size that is too small', { maxSize: 1000 }, RangeError],
    ['bodies larger than the size allows', { maxSize: MIB, maxEntrySize: MIB / 8 }, RangeError],
    ['a body of a negative size', { maxSize: MIB, maxEntrySize: -1 }, RangeError],
    ['a count of 0', { maxSize: MIB, maxCount: 0 }, RangeError],
    ['an unknown option', { maxSize: MIB, location: 'here' }, TypeError],
  ])('refuses %s', async (_, options, kind) => {
    await withDirectory(async (directory) => {
      const opening = FirkinCacheStore.open(directory, options as FirkinCacheStoreOptions)

      await expect(opening).rejects.toBeInstanceOf(kind)
    })
  })

  it('accepts each of its options', async () => {
    await withDirectory(async (directory) => {
      await writeFile(join(directory, 'other'), '')
      const options: Required<FirkinCacheStoreOptions> = {
        maxSize: MIB,
        maxEntrySize: 1000,
        maxCount: 10,
        policy: 'lru',
        strict: true,
        allowNonEmpty: true,
        localOnly: true,
        mapping: false,
        clock: Date.now,
      }

      await using store = await FirkinCacheStore.open(directory, options)

      expect(store.get(keyOf('/'))).toBeUndefined()
    })
  })

  it('is empty at first, and then returns each response with its body', async () => {
    await withStore(async (store, clock) => {
      const value = valueAt(clock.nowMs, { etag: '"one"' })
      expect(store.get(keyOf('/'))).toBeUndefined()

      await write(store, keyOf('/'), value, BODY)

      expect(await read(store, keyOf('/'))).toEqual({ ...value, body: 'asd123' })
      expect(store.get(keyOf('/asd'))).toBeUndefined()
      expect(store.get({ ...keyOf('/'), origin: 'http://localhost:81' })).toBeUndefined()
      await write(store, keyOf('/asd'), value, ['other'])
      expect(await read(store, keyOf('/asd'))).toMatchObject({ body: 'other' })
      expect(await read(store, keyOf('/'))).toMatchObject({ body: 'asd123' })
    })
  })

  it('shows a response only once its body is complete', async () => {
    await withStore(async (store, clock) => {
      const stream = store.createWriteStream(keyOf('/'), valueAt(clock.nowMs))
      stream.write('as')
      expect(store.get(keyOf('/'))).toBeUndefined()
      stream.write(Buffer.from('d123'))
      stream.end()
      await finished(stream)

      expect(await read(store, keyOf('/'))).toMatchObject({ body: 'asd123' })
    })
  })

  it('stores a response without a body and without a status text', async () => {
    await withStore(async (store, clock) => {
      await write(
        store,
        keyOf('/'),
        valueAt(clock.nowMs, { statusCode: 204, statusMessage: '' }),
        [],
      )

      expect(await read(store, keyOf('/'))).toMatchObject({
        statusCode: 204,
        statusMessage: '',
        body: '',
      })
    })
  })

  it('returns a stale response up to the last millisecond before deleteAt', async () => {
    await withStore(async (store, clock) => {
      const value = valueAt(clock.nowMs)
      await write(store, keyOf('/'), value, BODY)

      clock.nowMs = value.staleAt + 1
      expect(await read(store, keyOf('/'))).toEqual({ ...value, body: 'asd123' })
      clock.nowMs = value.deleteAt - 1
      expect(store.get(keyOf('/'))).toBeDefined()
      clock.nowMs = value.deleteAt
      expect(store.get(keyOf('/'))).toBeUndefined()
    })
  })

  it('does not store a response whose deleteAt has passed when its body ends', async () => {
    await withStore(async (store, clock) => {
      const stream = store.createWriteStream(keyOf('/'), valueAt(clock.nowMs))
      clock.nowMs += 20_000
      stream.end('late')
      await finished(stream)

      clock.nowMs -= 20_000
      expect(store.get(keyOf('/'))).toBeUndefined()
      expect(store.cache.stats().entries).toBe(0)
    })
  })

  it('replaces a response by a newer one to the same request, with its own deleteAt', async () => {
    await withStore(async (store, clock) => {
      await write(store, keyOf('/'), valueAt(clock.nowMs), BODY)
      clock.nowMs += 15_000
      const newer = valueAt(clock.nowMs, { headers: { foo: 'baz' } })

      await write(store, keyOf('/'), newer, ['foo123'])

      clock.nowMs += 15_000
      expect(await read(store, keyOf('/'))).toEqual({ ...newer, body: 'foo123' })
    })
  })

  it('keeps a response until its successor is complete, or if that is cut short', async () => {
    await withStore(async (store, clock) => {
      await write(store, keyOf('/'), valueAt(clock.nowMs), ['old'])
      const stream = store.createWriteStream(keyOf('/'), valueAt(clock.nowMs))
      stream.write('new')

      stream.destroy()
      await once(stream, 'close')

      expect(await read(store, keyOf('/'))).toMatchObject({ body: 'old' })
    })
  })

  it('survives a restart', async () => {
    const clock = new Clock()
    await withDirectory(async (directory) => {
      const options = { maxSize: MIB, clock: clock.read }
      const first = await FirkinCacheStore.open(directory, options)
      const value = valueAt(clock.nowMs, { vary: { accept: 'text/plain' } })
      await write(first, keyOf('/', { accept: 'text/plain' }), value, BODY)
      await first.close()

      await using second = await FirkinCacheStore.open(directory, options)

      const found = await read(second, keyOf('/', { accept: 'text/plain' }))
      expect(found).toEqual({ ...value, body: 'asd123' })
      expect(second.get(keyOf('/', { accept: 'text/html' }))).toBeUndefined()
    })
  })

  it('separates URLs that are too long for a key', async () => {
    await withStore(async (store, clock) => {
      const path = `/${'x'.repeat(70_000)}`
      await write(store, keyOf(`${path}1`), valueAt(clock.nowMs), ['one'])
      await write(store, keyOf(`${path}2`), valueAt(clock.nowMs), ['two'])

      expect(await read(store, keyOf(`${path}1`))).toMatchObject({ body: 'one' })
      store.delete(keyOf(`${path}2`))
      expect(store.get(keyOf(`${path}2`))).toBeUndefined()
      expect(await read(store, keyOf(`${path}1`))).toMatchObject({ body: 'one' })
    })
  })

  it('refuses malformed keys and values', async () => {
    await withStore(async (store, clock) => {
      const wrong = [
        undefined,
        null,
        'key',
        {},
        { ...keyOf('/'), path: 1 },
      ] as unknown as CacheKey[]
      for (const key of wrong) {
        expect(() => store.get(key)).toThrow(TypeError)
        expect(() => store.createWriteStream(key, valueAt(clock.nowMs))).toThrow(TypeError)
        expect(() => store.delete(key)).toThrow(TypeError)
      }
      expect(() => store.get({ ...keyOf('/'), method: 1 as never })).toThrow(TypeError)
      for (const value of [undefined, null, {}] as unknown as CacheValue[]) {
        expect(() => store.createWriteStream(keyOf('/'), value)).toThrow(TypeError)
      }
    })
  })
})

describe('vary', () => {
  it('separates the responses to one URL', async () => {
    await withStore(async (store, clock) => {
      const plain = valueAt(clock.nowMs, { vary: { accept: 'text/plain' } })
      const html = valueAt(clock.nowMs, { vary: { accept: 'text/html' } })
      await write(store, keyOf('/', { accept: 'text/plain' }), plain, ['plain'])
      expect(store.get(keyOf('/', { accept: 'text/html' }))).toBeUndefined()
      await write(store, keyOf('/', { accept: 'text/html' }), html, ['html'])

      const found = await read(store, keyOf('/', { accept: 'text/plain', other: '1' }))
      expect(found).toEqual({ ...plain, body: 'plain' })
      expect(await read(store, keyOf('/', { accept: 'text/html' }))).toMatchObject({ body: 'html' })
      expect(store.get(keyOf('/'))).toBeUndefined()
    })
  })

  it.each([
    ['a missing header and null', null, undefined, true],
    ['a missing header and text', 'a', undefined, false],
    ['null and text', null, 'a', false],
    ['null and an empty text', null, '', false],
    ['lists of the same', ['a', 'b'], ['a', 'b'], true],
    ['lists in another order', ['a', 'b'], ['b', 'a'], false],
    ['a list and its only text', ['a'], 'a', false],
    ['text in another case', 'a', 'A', false],
  ])('compares %s', async (_, stored, asked, matches) => {
    await withStore(async (store, clock) => {
      const value = valueAt(clock.nowMs, { vary: { 'x-name': stored as string } })
      await write(store, keyOf('/', stored === null ? {} : { 'x-name': stored }), value, BODY)

      const found = store.get(keyOf('/', asked === undefined ? {} : { 'x-name': asked }))

      expect(found !== undefined).toBe(matches)
    })
  })

  it('may change: a response replaces the one that its request would have found', async () => {
    await withStore(async (store, clock) => {
      const ofAda = { accept: 'a', cookie: 'ada' }
      await write(store, keyOf('/', ofAda), valueAt(clock.nowMs), ['for all'])

      const vary = { cookie: 'ada', accept: 'a' }
      await write(store, keyOf('/', ofAda), valueAt(clock.nowMs, { vary }), ['for Ada'])

      expect(await read(store, keyOf('/', ofAda))).toMatchObject({ body: 'for Ada' })
      expect(store.get(keyOf('/', { accept: 'a', cookie: 'bob' }))).toBeUndefined()
      await write(store, keyOf('/', ofAda), valueAt(clock.nowMs), ['for all again'])
      expect(await read(store, keyOf('/', ofAda))).toMatchObject({ body: 'for all again' })
    })
  })

  it('returns the newest of several responses that fit', async () => {
    await withStore(async (store, clock) => {
      const byCookie = valueAt(clock.nowMs, { vary: { cookie: 'ada' } })
      await write(store, keyOf('/', { cookie: 'ada', accept: 'b' }), byCookie, ['old'])
      const byAccept = valueAt(clock.nowMs + 1, { vary: { accept: 'a' } })
      await write(store, keyOf('/', { cookie: 'bob', accept: 'a' }), byAccept, ['new'])

      expect(await read(store, keyOf('/', { cookie: 'ada', accept: 'a' }))).toMatchObject({
        body: 'new',
      })
      expect(await read(store, keyOf('/', { cookie: 'ada', accept: 'b' }))).toMatchObject({
        body: 'old',
      })
    })
  })

  it('keeps the newest eight sets of header names', async () => {
    await withStore(async (store, clock) => {
      for (let index = 0; index < 9; index++) {
        const headers = { [`x-${index}`]: '1' }
        await write(store, keyOf('/', headers), valueAt(clock.nowMs, { vary: headers }), BODY)
      }

      expect(store.get(keyOf('/', { 'x-0': '1' }))).toBeUndefined()
      for (let index = 1; index < 9; index++) {
        expect(store.get(keyOf('/', { [`x-${index}`]: '1' }))).toBeDefined()
      }
    })
  })
})

describe('delete', () => {
  it('evicts nothing, however many other URLs are deleted', async () => {
    await withStore(
      async (store, clock) => {
        const value = valueAt(clock.nowMs)
        const body = Buffer.alloc(20_000)
        for (let index = 0; index < 100; index++)
          await write(store, keyOf(`/${index}`), value, [body])
        let hits = 0

        for (let round = 0; round < 1500; round++) {
          if (store.get(keyOf(`/${round % 100}`)) !== undefined) hits++
          for (let other = 0; other < 100; other++) {
            store.delete(keyOf(`/deleted/${round}/${other}`, {}, 'POST'))
          }
          if (round % 10 === 0) await setImmediate()
        }

        expect(hits).toBe(1500)
        expect(store.cache.stats()).toMatchObject({ tags: 0, entries: 200, evictions: { size: 0 } })
      },
      { maxSize: 8 * MIB },
    )
  })

  it('does not store a response that the clock deletes while it is being stored', async () => {
    await withDirectory(async (directory) => {
      let reads = 0
      let deletedAt = 0
      const clock = (): number => {
        if (++reads === deletedAt) store.delete(keyOf('/'))
        return 1_000_000
      }
      const store: FirkinCacheStore = await FirkinCacheStore.open(directory, {
        maxSize: MIB,
        clock,
      })

      for (let at = 1; at <= 6; at++) {
        reads = 0
        deletedAt = at
        await write(store, keyOf('/'), valueAt(1_000_000), BODY)
        // If the clock was read fewer times than this, nothing was deleted.
        expect(store.get(keyOf('/')) === undefined, `${at} of ${reads}`).toBe(at <= reads)
        store.delete(keyOf('/'))
      }
      await store.close()
    })
  })

  it('deletes the responses to one URL for all methods and headers, and no others', async () => {
    await withStore(async (store, clock) => {
      const vary = { accept: 'a' }
      await write(store, keyOf('/a'), valueAt(clock.nowMs), BODY)
      await write(store, keyOf('/a', {}, 'HEAD'), valueAt(clock.nowMs), [])
      await write(store, keyOf('/a', vary), valueAt(clock.nowMs, { vary }), BODY)
      await write(store, keyOf('/b'), valueAt(clock.nowMs), BODY)

      store.delete(keyOf('/a', {}, 'POST'))

      expect(store.get(keyOf('/a'))).toBeUndefined()
      expect(store.get(keyOf('/a', {}, 'HEAD'))).toBeUndefined()
      expect(store.get(keyOf('/a', vary))).toBeUndefined()
      expect(store.get(keyOf('/b'))).toBeDefined()
      await write(store, keyOf('/a'), valueAt(clock.nowMs), ['again'])
      expect(await read(store, keyOf('/a'))).toMatchObject({ body: 'again' })
      expect(store.get(keyOf('/a', {}, 'HEAD'))).toBeUndefined()
    })
  })

  it('drops a response that is being written, but not one that is begun afterwards', async () => {
    await withStore(async (store, clock) => {
      const before = store.createWriteStream(keyOf('/'), valueAt(clock.nowMs))
      const idle = store.createWriteStream(keyOf('/'), valueAt(clock.nowMs))
      before.write('old')
      store.delete(keyOf('/'))
      before.write('er')
      idle.end()
      await once(idle, 'close')

      expect(before.destroyed).toBe(true)
      expect(store.get(keyOf('/'))).toBeUndefined()
      await write(store, keyOf('/'), valueAt(clock.nowMs), ['new'])
      expect(await read(store, keyOf('/'))).toMatchObject({ body: 'new' })
    })
  })
})

describe('a size-limited FirkinCacheStore', () => {
  it('stores a body of maxEntrySize, and cuts off a longer one', async () => {
    await withStore(
      async (store, clock) => {
        await write(store, keyOf('/fits'), valueAt(clock.nowMs), ['x'.repeat(60), 'x'.repeat(40)])
        const stream = store.createWriteStream(keyOf('/long'), valueAt(clock.nowMs))
        const long = pipeline(Readable.from(['x'.repeat(100), 'x', 'never read']), stream)

        await expect(long).rejects.toMatchObject({ code: 'ERR_STREAM_PREMATURE_CLOSE' })
        expect(store.get(keyOf('/fits'))).toBeDefined()
        expect(store.get(keyOf('/long'))).toBeUndefined()
      },
      { maxEntrySize: 100 },
    )
  })

  it('refuses a response whose head is too large', async () => {
    await withStore(async (store, clock) => {
      const headers = { 'x-long': 'x'.repeat(200_000) }
      await write(store, keyOf('/'), valueAt(clock.nowMs, { headers }), BODY)

      expect(store.get(keyOf('/'))).toBeUndefined()
      expect(store.cache.stats()).toMatchObject({ refused: 1, entries: 0 })
    })
  })

  it('evicts the oldest responses beyond maxSize and maxCount', async () => {
    await withStore(
      async (store, clock) => {
        for (let index = 0; index < 300; index++) {
          await write(store, keyOf(`/${index}`), valueAt(clock.nowMs), ['x'.repeat(10_000)])
        }

        const { entries, evictions, bytes } = store.cache.stats()
        expect(entries).toBeLessThanOrEqual(40)
        expect(evictions.size + evictions.count).toBeGreaterThan(500)
        expect(bytes).toMatchObject({ limit: MIB })
        expect(store.get(keyOf('/299'))).toBeDefined()
        expect(store.get(keyOf('/0'))).toBeUndefined()
      },
      { maxCount: 40 },
    )
  })

  it('uses an open cache, with bodies of up to 5 MiB by default', async () => {
    await withDirectory(async (directory) => {
      await using cache = await openCache(directory, { maxBytes: 64 * MIB, maxEntryBytes: 8 * MIB })
      const store = new FirkinCacheStore(cache)
      const body = Buffer.alloc(5 * MIB, 'v')
      await write(store, keyOf('/'), valueAt(Date.now()), [
        body.subarray(0, 1000),
        body.subarray(1000),
      ])

      const kept = store.get(keyOf('/'))?.body as readonly Buffer[]

      expect(Buffer.concat(kept).equals(body)).toBe(true)
      expect(() => new FirkinCacheStore(cache, { maxEntrySize: 1.5 })).toThrow(TypeError)
      expect(() => new FirkinCacheStore(cache, { maxEntrySize: -1 })).toThrow(RangeError)
    })
  })

  it.each([true, false])(
    'returns bodies of any size in small pieces that the caller owns, with mapping %s',
    async (mapping) => {
      await withStore(
        async (store, clock) => {
          for (const size of [0, 1, 65_535, 65_536, 65_537, 200_000, 3_000_000, 100_000]) {
            const body = Buffer.from(Array.from({ length: size }, (_, index) => index % 251))
            await write(store, keyOf(`/${size}`), valueAt(clock.nowMs), [body])
            const first = store.get(keyOf(`/${size}`))?.body as Buffer[]
            const second = store.get(keyOf(`/${size}`))?.body as Buffer[]

            for (const piece of first) piece.fill(0)

            expect(Buffer.concat(second).equals(body)).toBe(true)
            // Small pieces share the runtime's memory for them, which Node 26 aligns.
            expect(second.every(({ buffer }) => buffer.byteLength <= 65_600)).toBe(true)
          }
          expect(store.cache.stats()).toMatchObject({ hits: 32, misses: 8 })
        },
        { maxSize: 64 * MIB, mapping },
      )
    },
  )

  it.each([
    [undefined, TypeError, 'Options must be an object'],
    [{}, TypeError, 'Option maxSize is undefined; it must be an integer'],
    [{ maxSize: '5' }, TypeError, 'Option maxSize is "5"; it must be an integer'],
    [{ maxSize: 5 }, RangeError, 'Option maxSize is 5; it must be from 1048576 to 549755813888'],
    [{ maxSize: MIB, maxEntrySize: '5' }, TypeError, 'Option maxEntrySize is "5"; it must be'],
    [{ maxSize: MIB, maxEntrySize: -1 }, RangeError, 'Option maxEntrySize is -1; it must be'],
    [{ maxSize: MIB, maxEntrySize: 65_537 }, RangeError, 'it must be from 0 to 65536'],
    [{ maxSize: MIB, maxCount: 0 }, RangeError, 'Option maxCount is 0; it must be from 1'],
    [{ maxSize: MIB, maxCount: '5' }, TypeError, 'Option maxCount is "5"; it must be an integer'],
    [{ maxSize: MIB, maxsize: 5 }, TypeError, 'Unknown option maxsize; did you mean maxSize?'],
    [{ maxBytes: MIB }, TypeError, 'Unknown option maxBytes'],
    [{ maxSize: MIB, policy: 'lfu' }, TypeError, 'Option policy is lfu; it must be one of'],
  ])('refuses the options %j, and names the option', async (options, kind, message) => {
    await withDirectory(async (directory) => {
      const opening = FirkinCacheStore.open(directory, options as FirkinCacheStoreOptions)

      await expect(opening).rejects.toThrow(kind)
      await expect(opening).rejects.toThrow(message)
    })
  })

  it('refuses a cache whose values are not bytes, and anything else', async () => {
    await withDirectory(async (directory) => {
      await using store = await open(join(directory, 'store'), { valueEncoding: 'utf8' })
      const codec = { encode: (value: unknown) => String(value), decode: String }
      for (const [index, valueEncoding] of (['json', 'utf8', codec] as const).entries()) {
        const path = join(directory, String(index))
        await using cache = await openCache<unknown>(path, { maxBytes: MIB, valueEncoding })
        const name = valueEncoding === codec ? 'a codec' : valueEncoding
        expect(() => new FirkinCacheStore(cache as PersistentCache<Buffer>)).toThrow(
          `a cache with valueEncoding buffer, not ${name}`,
        )
      }
      for (const none of [undefined, {}, Promise.resolve(), store]) {
        expect(() => new FirkinCacheStore(none as PersistentCache<Buffer>)).toThrow(TypeError)
      }
    })
  })
})

async function withStore(
  use: (store: FirkinCacheStore, clock: Clock) => Promise<void>,
  options: Partial<FirkinCacheStoreOptions> = {},
): Promise<void> {
  await withDirectory(async (directory) => {
    const clock = new Clock()
    await using store = await FirkinCacheStore.open(directory, {
      maxSize: MIB,
      clock: clock.read,
      ...options,
    })
    await use(store, clock)
  })
}

async function write(
  store: FirkinCacheStore,
  key: CacheKey,
  value: CacheValue,
  body: readonly (string | Buffer)[],
): Promise<void> {
  await pipeline(Readable.from(body), store.createWriteStream(key, value))
}

/** Returns the response to a request, with its body as text. */
async function read(store: FirkinCacheStore, key: CacheKey): Promise<unknown> {
  const found = store.get(structuredClone(key))
  if (found === undefined) return undefined
  let body = ''
  for await (const chunk of Readable.from(found.body ?? [])) body += chunk
  return { ...found, body }
}
