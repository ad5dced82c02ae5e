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
  it('opens a directory, keeps entries over a restart, and closes it with disconnect', async () => {
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

  it('leaves a store open that it was given', async () => {
    await withDirectory(async (directory) => {
      await using store = await open(directory, { valueEncoding: 'utf8' })
      const keyv = new Keyv({ store: new KeyvFirkin(store) })
      await keyv.set('key', 1)

      await keyv.disconnect()

      expect(store.get('keyv:key')).toBe('{"value":1}')
    })
  })

  it('tells by event that its directory cannot be opened', async () => {
    await withDirectory(async (directory) => {
      await using _ = await open(directory)
      const keyv = new Keyv({ store: new KeyvFirkin(directory) })
      const told = new Promise((resolve) => keyv.on('error', resolve))

      expect(await keyv.get('key')).toBeUndefined()

      expect(await told).toMatchObject({ code: 'FIRKIN_LOCKED' })
    })
  })

  it('sets, reads, looks up and deletes many', async () => {
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

  it('clears and iterates over one namespace, or over all where there is none', async () => {
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

  it('lets the store forget what has expired, though nobody reads it', async () => {
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

  it('keeps objects as JSON where Keyv does not serialize', async () => {
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
  it('finds in its second layer, after a restart, what its first has lost', async () => {
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
