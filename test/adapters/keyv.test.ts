/**
 * Tests of the Keyv adapter with Keyv 5: Keyv's own suite, what Firkin adds to it, and libraries
 * over Keyv.
 */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import keyvTestSuite, { keyvIteratorTests } from '@keyv/test-suite'
import { createCache } from 'cache-manager'
import { Cacheable } from 'cacheable'
import { Keyv } from 'keyv'
import * as vitest from 'vitest'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { KeyvFirkin } from '../../src/adapters/keyv.ts'
import { open, type Store } from '../../src/index.ts'
import { withDirectory } from '../support/directory.ts'

describe('the suite of Keyv', () => {
  let directory: string
  let store: Store<string>

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'firkin-keyv-'))
    store = await open(directory, { valueEncoding: 'utf8' })
  })

  const adapter = () => new KeyvFirkin(store)
  keyvTestSuite(vitest, Keyv, adapter)
  keyvIteratorTests(vitest, Keyv, adapter)

  afterAll(async () => {
    await store.close()
    await rm(directory, { recursive: true, force: true })
  })
})

describe('KeyvFirkin', () => {
  it('opens a directory, keeps entries over a restart, and closes on disconnect', async () => {
    await withDirectory(async (directory) => {
      const first = new Keyv({ store: new KeyvFirkin(directory) })
      await first.set('user', { name: 'Ada' })
      await first.disconnect()

      const second = new Keyv({ store: new KeyvFirkin(directory), throwOnErrors: true })

      expect(await second.get('user')).toEqual({ name: 'Ada' })
      await second.disconnect()
      await expect(second.get('user')).rejects.toMatchObject({ code: 'FIRKIN_CLOSED' })
    })
  })

  it('leaves a store open that it did not open itself', async () => {
    await withDirectory(async (directory) => {
      await using store = await open(directory, { valueEncoding: 'utf8' })
      const keyv = new Keyv({ store: new KeyvFirkin(store) })
      await keyv.set('key', 1)

      await keyv.disconnect()

      expect(store.get('keyv:key')).toBe('{"value":1}')
    })
  })

  it('reports by event that its directory cannot be opened', async () => {
    await withDirectory(async (directory) => {
      await using _ = await open(directory)
      const keyv = new Keyv({ store: new KeyvFirkin(directory) })
      const reported = new Promise((resolve) => keyv.on('error', resolve))

      expect(await keyv.get('key')).toBeUndefined()

      expect(await reported).toMatchObject({ code: 'FIRKIN_LOCKED' })
    })
  })

  it('sets, reads, looks up and deletes many entries at once', async () => {
    await withStore(async (store) => {
      const keyv = new Keyv({ store: new KeyvFirkin(store) })

      const set = await keyv.setMany([
        { key: 'a', value: 1 },
        { key: 'b', value: null },
        { key: 'c', value: 'text', ttl: 1000 },
      ])

      expect(set).toEqual([true, true, true])
      expect(await keyv.getMany(['a', 'missing', 'b', 'c'])).toEqual([1, undefined, null, 'text'])
      expect(await keyv.hasMany(['a', 'missing', 'c'])).toEqual([true, false, true])
      expect(await keyv.deleteMany(['a', 'b'])).toBe(true)
      expect(await keyv.deleteMany(['b', 'c'])).toBe(false)
      expect(store.count()).toBe(0)
    })
  })

  it('clears and iterates over one namespace, or over all entries without one', async () => {
    await withStore(async (store) => {
      const [users, posts, all] = ['users', 'posts', ''].map(
        (namespace) => new Keyv({ store: new KeyvFirkin(store), namespace }),
      ) as [Keyv, Keyv, Keyv]
      await users.set('b', 1)
      await users.set('a', 2)
      await posts.set('a', 3)

      expect(await entriesOf(users)).toEqual([
        ['a', 2],
        ['b', 1],
      ])
      await users.clear()
      expect(await entriesOf(users)).toEqual([])
      expect(await posts.get('a')).toBe(3)
      await all.clear()
      expect(store.count()).toBe(0)
    })
  })

  it('separates namespaces whatever colons and percent signs they contain', async () => {
    await withStore(async (store) => {
      const names = ['a', 'a:', 'a:b', 'a:b:c', 'a%3Ab', 'a%', 'a%3A', ':', '%', 'é:']
      const adapters = names.map((namespace) => {
        const adapter = new KeyvFirkin(store)
        return { namespace, adapter, keyv: new Keyv({ store: adapter, namespace }) }
      })
      for (const { namespace, keyv } of adapters) {
        expect(keyv.namespace).toBe(namespace)
        await keyv.set('key', namespace)
        await keyv.setMany([{ key: 'b:key', value: `${namespace} b` }])
      }

      for (const [index, { namespace, adapter, keyv }] of adapters.entries()) {
        expect(await keyv.get('key')).toBe(namespace)
        expect(await keyv.getMany(['b:key', 'none'])).toEqual([`${namespace} b`, undefined])
        expect(await keyv.has('b:key')).toBe(true)
        expect(await keyv.hasMany(['key', 'none'])).toEqual([true, false])
        const keys: string[] = []
        for await (const [key] of adapter.iterator()) keys.push(key)
        expect(keys.sort()).toEqual([`${namespace}:b:key`, `${namespace}:key`].sort())

        if (index % 2 === 0) await keyv.clear()
        else expect(await keyv.deleteMany(['key', 'b:key'])).toBe(true)

        expect(store.count()).toBe(2 * (names.length - index - 1))
        expect(await keyv.delete('key')).toBe(false)
      }
    })
  })

  it('stores keys unchanged, and iterates by their prefix, while no namespace is set', async () => {
    await withStore(async (store) => {
      const adapter = new KeyvFirkin(store)
      await adapter.set('a:b::key', 'value')
      await adapter.set('a::key', 'other')

      const keys: string[] = []
      for await (const [key] of adapter.iterator('a:b')) keys.push(key)

      expect(keys).toEqual(['a:b::key'])
    })
  })

  it('refuses a store whose encodings do not return what Keyv hands over', async () => {
    await withDirectory(async (directory) => {
      await using bytes = await open(directory)
      const make = (source: unknown, options?: object) => () =>
        new KeyvFirkin(source as Store<string>, options)

      expect(make(bytes)).toThrow(TypeError)
      expect(make(bytes)).toThrow('valueEncoding utf8 or json or a codec, not buffer')
      expect(make(directory, { valueEncoding: 'buffer' })).toThrow('a codec, not buffer')
      for (const none of [undefined, null, {}, open(`${directory}/b`), bytes.snapshot()]) {
        expect(make(none)).toThrow('KeyvFirkin needs an open store')
        if (none instanceof Promise) await (await none).close()
      }
    })
    await withDirectory(async (directory) => {
      const options = { keyEncoding: 'buffer', valueEncoding: 'utf8' } as const
      await using store = await open(directory, options)
      expect(() => new KeyvFirkin(store as unknown as Store<string>)).toThrow(
        'a store with keyEncoding utf8, not buffer',
      )
    })
    await withStore(async (store) => {
      expect(() => new KeyvFirkin(store, { ttlMs: 5 })).toThrow('options for a directory only')
    })
  })

  it('lets the event loop turn during a long iteration', async () => {
    await withStore(async (store) => {
      const batch = store.batch()
      for (let index = 0; index < 50_000; index++) batch.put(`keyv:${index}`, '{"value":1}')
      await batch.commit()
      let turns = 0
      const timer = setInterval(() => turns++, 1)

      expect(await entriesOf(new Keyv({ store: new KeyvFirkin(store) }))).toHaveLength(50_000)

      clearInterval(timer)
      expect(turns).toBeGreaterThan(2)
    })
  })

  it('has the store expire entries that nobody reads', async () => {
    let now = 1000
    const clock = () => now
    await withStore(
      async (store) => {
        const adapter = new KeyvFirkin(store)
        await adapter.set('brief', 'a', 50)
        await adapter.set('gone at once', 'b', -1)
        await adapter.set('kept', 'c')

        now += 50

        expect([...store.keys()]).toEqual(['kept'])
        expect(await adapter.has('brief')).toBe(false)
      },
      { clock },
    )
  })

  it('stores objects as JSON if Keyv does not serialize', async () => {
    await withDirectory(async (directory) => {
      const store = new KeyvFirkin<object>(directory, { valueEncoding: 'json' })
      const unserialized: object = { serialize: undefined, deserialize: undefined }
      const keyv = new Keyv({ store, ...unserialized })
      await keyv.set('key', { list: [1, 2] }, 5000)

      expect(await keyv.get('key')).toEqual({ list: [1, 2] })
      await keyv.disconnect()
    })
  })
})

describe('cache-manager', () => {
  it('reads, wraps and clears through the adapter', async () => {
    await withStore(async (store) => {
      const cache = createCache({ stores: [new Keyv({ store: new KeyvFirkin(store) })] })
      let loads = 0
      const load = async () => ({ loads: ++loads })

      expect(await cache.wrap('key', load, 60_000)).toEqual({ loads: 1 })
      expect(await cache.wrap('key', load, 60_000)).toEqual({ loads: 1 })
      await cache.mset([{ key: 'a', value: 1 }])
      expect(await cache.mget(['a', 'missing'])).toEqual([1, undefined])
      await cache.clear()

      expect(await cache.get('key')).toBeUndefined()
      expect(store.count()).toBe(0)
    })
  })
})

describe('cacheable', () => {
  it('finds in its second layer, after a restart, what the first has lost', async () => {
    await withDirectory(async (directory) => {
      const first = new Cacheable({ secondary: new Keyv({ store: new KeyvFirkin(directory) }) })
      await first.set('key', { name: 'Ada' }, '1h')
      await first.setMany([{ key: 'other', value: 2 }])
      await first.disconnect()

      const second = new Cacheable({ secondary: new Keyv({ store: new KeyvFirkin(directory) }) })

      expect(await second.get('key')).toEqual({ name: 'Ada' })
      expect(await second.getMany(['other', 'missing'])).toEqual([2, undefined])
      await second.deleteMany(['key', 'other'])
      expect(await second.has('key')).toBe(false)
      await second.disconnect()
    })
  })
})

async function withStore(
  use: (store: Store<string>) => Promise<void>,
  options: { clock?: () => number } = {},
): Promise<void> {
  await withDirectory(async (directory) => {
    await using store = await open(directory, { valueEncoding: 'utf8', ...options })
    await use(store)
  })
}

async function entriesOf(keyv: Keyv): Promise<unknown[]> {
  const entries: unknown[] = []
  for await (const entry of keyv.iterator?.(undefined) ?? []) entries.push(entry)
  return entries
}
