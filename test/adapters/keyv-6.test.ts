/** Tests of the Keyv adapter with Keyv 6, and beside Keyv 5 on the same store. */

import { Keyv as Keyv5 } from 'keyv'
import { detectKeyvStorage, Keyv, KeyvMemoryAdapter } from 'keyv-6'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { KeyvFirkin } from '../../src/adapters/keyv.ts'
import { open, type Store } from '../../src/index.ts'
import { withDirectory } from '../support/directory.ts'

/** The adapter, and Keyv's own, which must return the same. */
const ADAPTERS = [
  ['KeyvFirkin', (store: Store<string>, _map: Map<string, unknown>) => new KeyvFirkin(store)],
  ['the memory of Keyv', (_store: Store<string>, map: Map<string, unknown>) => memoryOf(map)],
] as const

function memoryOf(map: Map<string, unknown>): KeyvMemoryAdapter {
  return new KeyvMemoryAdapter(map)
}

describe.each(ADAPTERS)('Keyv 6 over %s', (_, adapterOf) => {
  /** Returns a maker of Keyvs that share what they store. */
  async function withKeyvs(
    use: (make: (options?: object) => Keyv) => Promise<void>,
  ): Promise<void> {
    await withStore(async (store) => {
      const map = new Map<string, unknown>()
      await use((options = {}) => {
        const keyv = new Keyv({ store: adapterOf(store, map), ...options })
        keyv.on('error', (error: Error) => {
          throw error
        })
        return keyv
      })
    })
  }

  it('sets, gets, looks up and deletes', async () => {
    await withKeyvs(async (make) => {
      const keyv = make()
      for (const value of [1, 'text', ':colon', null, false, { list: [1, 2] }, '']) {
        expect(await keyv.set('key', value)).toBe(true)
        expect(await keyv.get('key')).toEqual(value)
      }
      expect(await keyv.has('key')).toBe(true)
      expect(await keyv.get('none')).toBeUndefined()
      expect(await keyv.has('none')).toBe(false)
      expect(await keyv.delete('key')).toBe(true)
      expect(await keyv.delete('key')).toBe(false)
      expect(await keyv.get('key')).toBeUndefined()
    })
  })

  it('sets, gets, looks up and deletes many', async () => {
    await withKeyvs(async (make) => {
      const keyv = make({ namespace: 'many' })
      const entries = ['a', 'b', 'c'].map((key, value) => ({ key, value }))

      expect(await keyv.setMany(entries)).toEqual([true, true, true])
      expect(await keyv.getMany(['a', 'none', 'c'])).toEqual([0, undefined, 2])
      expect(await keyv.get(['c', 'b'])).toEqual([2, 1])
      expect(await keyv.hasMany(['none', 'b'])).toEqual([false, true])
      expect(await keyv.deleteMany(['a', 'none', 'b'])).toEqual([true, false, true])
      expect(await keyv.getMany(['a', 'b', 'c'])).toEqual([undefined, undefined, 2])
      expect(await keyv.deleteMany([])).toEqual([])
    })
  })

  it('reads and writes values with their expiry', async () => {
    await withKeyvs(async (make) => {
      const keyv = make()
      const expires = Date.now() + 60_000
      await keyv.setRaw('key', { value: 1, expires })
      await keyv.setManyRaw([{ key: 'other', value: { value: 2, expires } }])

      expect(await keyv.getRaw('key')).toEqual({ value: 1, expires })
      expect(await keyv.getManyRaw(['other', 'none'])).toEqual([{ value: 2, expires }, undefined])
    })
  })

  it('separates namespaces, and clears and walks one of them', async () => {
    await withKeyvs(async (make) => {
      const [a, ab, none] = [make({ namespace: 'a' }), make({ namespace: 'a:b' }), make()]
      await a.set('key', 1)
      await ab.set('key', 2)
      await none.set('key', 3)
      await a.set('more', 4)

      expect(await Promise.all([a, ab, none].map((keyv) => keyv.get('key')))).toEqual([1, 2, 3])
      expect(await entriesOf(a)).toEqual([
        ['key', 1],
        ['more', 4],
      ])
      expect(await entriesOf(ab)).toEqual([['key', 2]])
      expect(await entriesOf(none)).toHaveLength(4)
      await a.clear()
      expect(await entriesOf(a)).toEqual([])
      expect(await ab.get('key')).toBe(2)
      expect(await none.get('key')).toBe(3)
      await none.clear()
      expect(await ab.get('key')).toBeUndefined()
    })
  })

  it('follows a namespace that is set later', async () => {
    await withKeyvs(async (make) => {
      const keyv = make()
      await keyv.set('key', 'none')
      keyv.namespace = 'later'
      expect(await keyv.get('key')).toBeUndefined()
      await keyv.set('key', 'later')
      expect(await entriesOf(keyv)).toEqual([['key', 'later']])

      expect(await make({ namespace: 'later' }).get('key')).toBe('later')
      expect(await make().get('key')).toBe('none')
    })
  })

  describe('and a clock', () => {
    beforeEach(() => {
      vi.useFakeTimers({ toFake: ['Date'], now: 1_000_000 })
    })
    afterEach(() => {
      vi.useRealTimers()
    })

    it.each([true, false])('keeps to lifetimes, checkExpired: %s', async (checkExpired) => {
      await withKeyvs(async (make) => {
        const keyv = make({ ttl: 200, checkExpired, namespace: 'ttl' })
        await keyv.set('default', 1)
        await keyv.set('brief', 2, 100)
        await keyv.setMany([
          { key: 'many', value: 3, ttl: 100 },
          { key: 'long', value: 4, ttl: 1000 },
        ])
        await keyv.set('forever', 5, 0)
        const keys = ['default', 'brief', 'many', 'long', 'forever']

        vi.setSystemTime(1_000_000 + 99)
        expect(await keyv.getMany(keys)).toEqual([1, 2, 3, 4, 5])
        vi.setSystemTime(1_000_000 + 101)
        expect(await keyv.getMany(keys)).toEqual([1, undefined, undefined, 4, 5])
        expect(await keyv.hasMany(keys)).toEqual([true, false, false, true, true])
        vi.setSystemTime(1_000_000 + 1001)
        expect(await keyv.getMany(keys)).toEqual([undefined, undefined, undefined, undefined, 5])
        expect(await entriesOf(keyv)).toEqual([['forever', 5]])
      })
    })
  })
})

describe('KeyvFirkin with Keyv 6', () => {
  it('is used by Keyv as it is, and has what its capabilities say', async () => {
    await withStore(async (store) => {
      const adapter = new KeyvFirkin(store)

      const keyv = new Keyv({ store: adapter })

      expect(keyv.store).toBe(adapter)
      expect(adapter.capabilities).toEqual({ ...detectKeyvStorage(adapter), expires: true })
    })
  })

  it('lets the store expire entries that nobody reads', async () => {
    let now = Date.now()
    await withStore(
      async (store) => {
        const keyv = new Keyv({ store: new KeyvFirkin(store), namespace: 'a' })
        await keyv.set('brief', 1, 50)
        await keyv.setMany([{ key: 'many', value: 2, ttl: 50 }])
        await keyv.set('kept', 3)

        now += 10_000

        expect([...store.keys()]).toEqual(['a:kept'])
      },
      { clock: () => now },
    )
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

  it('stores objects as JSON if Keyv does not serialize', async () => {
    await withDirectory(async (directory) => {
      const store = new KeyvFirkin<object>(directory, { valueEncoding: 'json' })
      const keyv = new Keyv({ store, serialization: false })
      await keyv.set('key', { list: [1, 2] }, 5000)

      expect(await keyv.get('key')).toEqual({ list: [1, 2] })
      await keyv.disconnect()
    })
  })

  it.each(['users', 'a:b', '%', 'é:'])(
    'shares the entries of namespace %s with Keyv 5',
    async (namespace) => {
      await withStore(async (store) => {
        const before = new Keyv5({ store: new KeyvFirkin(store), namespace })
        const after = new Keyv({ store: new KeyvFirkin(store), namespace })
        await before.set('old', { name: 'Ada' }, 60_000)
        await before.set('text', ':colon')
        await after.set('new', [1, 'two'], 60_000)
        await after.setMany([{ key: 'many', value: ':colon' }])

        const keys = ['old', 'text', 'new', 'many']
        const values = [{ name: 'Ada' }, ':colon', [1, 'two'], ':colon']
        expect(await before.getMany(keys)).toEqual(values)
        expect(await after.getMany(keys)).toEqual(values)
        expect(await after.getRaw('old')).toMatchObject({ expires: expect.any(Number) })
        expect(await after.delete('old')).toBe(true)
        expect(await before.deleteMany(['new', 'old'])).toBe(false)
        expect(await after.hasMany(keys)).toEqual([false, true, false, true])
        await before.clear()
        expect(store.count()).toBe(0)
      })
    },
  )

  it('reads what a Keyv 5 without a namespace has written, as the namespace keyv', async () => {
    await withStore(async (store) => {
      await new Keyv5({ store: new KeyvFirkin(store) }).set('key', 1)

      const keyv = new Keyv({ store: new KeyvFirkin(store), namespace: 'keyv' })

      expect(await keyv.get('key')).toBe(1)
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

/** Returns the entries of a Keyv, sorted by key. */
async function entriesOf(keyv: Keyv): Promise<unknown[]> {
  const entries: [string, unknown][] = []
  for await (const entry of keyv.iterator()) entries.push(entry)
  return entries.sort(([a], [b]) => (a < b ? -1 : 1))
}
