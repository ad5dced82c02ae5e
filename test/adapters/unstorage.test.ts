/** Tests of the unstorage driver, through a storage of unstorage. */

import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { createStorage, prefixStorage, restoreSnapshot, type Storage, snapshot } from 'unstorage'
import { describe, expect, it, vi } from 'vitest'
import loaded, { type FirkinDriverOptions, firkinDriver } from '../../src/adapters/unstorage.ts'
import { open, type Store } from '../../src/index.ts'
import { withDirectory } from '../support/directory.ts'

/** A clock that only moves when a test moves it. */
class Clock {
  nowMs = Date.parse('2024-05-17T12:00Z')
  readonly read = (): number => this.nowMs
}

describe('firkinDriver', () => {
  it.each([
    ['neither base nor store', {}],
    ['both base and store', { base: './data', store: {} as Store }],
    ['missing options', undefined],
    ['an empty path', { base: '' }],
    ['a path that is not a string', { base: 5 }],
    ['an option of the store among its own', { base: './data', sync: 'always' }],
    ['an unknown option of the store', { base: './data', options: { snyc: 'always' } }],
    [
      'an encoding among the options of the store',
      { base: './data', options: { valueEncoding: 'json' } },
    ],
    ['a store that is not one', { store: {} }],
    ['a promise of a store', { store: Promise.resolve() }],
  ])('refuses %s', (_, options) => {
    expect(() => firkinDriver(options as FirkinDriverOptions)).toThrow(TypeError)
  })

  it.each([
    [{ valueEncoding: 'json' }, 'valueEncoding buffer or a codec, not json'],
    [{ valueEncoding: 'utf8' }, 'valueEncoding buffer or a codec, not utf8'],
    [{ keyEncoding: 'buffer' }, 'keyEncoding utf8, not buffer'],
  ] as const)('refuses a store with %j', async (options, message) => {
    await withDirectory(async (directory) => {
      await using store = await open(directory, options as object)

      expect(() => firkinDriver({ store })).toThrow(message)
    })
  })

  it('refuses to read as an item what something else has put', async () => {
    await withDirectory(async (directory) => {
      await using store = await open(directory)
      const storage = createStorage({ driver: firkinDriver({ store }) })
      for (const foreign of ['{"name":"Ada"}', 'text with spaces', 'brief', '', 'grün\n\n']) {
        await store.put('foreign', foreign)

        for (const read of [
          () => storage.getItem('foreign'),
          () => storage.getItemRaw('foreign'),
          () => storage.getItems(['foreign']),
          () => storage.getMeta('foreign'),
        ]) {
          await expect(read()).rejects.toThrow("under foreign is not a driver's item")
        }
      }
    })
  })

  it('stays in its directory when the working directory changes', async () => {
    await withDirectory(async (directory) => {
      vi.spyOn(process, 'cwd').mockReturnValue(directory)
      const driver = firkinDriver({ base: 'data' })
      vi.restoreAllMocks()

      const store = await driver.getInstance?.()

      expect(store?.directory).toBe(join(directory, 'data'))
      await driver.dispose?.()
    })
  })

  it('is the default export, for loading a driver by name', () => {
    expect(loaded).toBe(firkinDriver)
    expect(firkinDriver({ base: './data' })).toMatchObject({ name: 'firkin', flags: { ttl: true } })
  })

  it('opens its directory at the first use, keeps items over a restart, and closes', async () => {
    await withDirectory(async (base) => {
      const first = createStorage({ driver: firkinDriver({ base }) })
      await first.setItem('users:7', { name: 'Ada' })
      await expect(open(base)).rejects.toMatchObject({ code: 'FIRKIN_LOCKED' })
      await first.dispose()
      await first.dispose()

      const second = createStorage({ driver: firkinDriver({ base }) })

      expect(await second.getItem('users:7')).toEqual({ name: 'Ada' })
      await second.dispose()
      await expect(second.getItem('users:7')).rejects.toMatchObject({ code: 'FIRKIN_CLOSED' })
    })
  })

  it('leaves an open store open, and returns it as its instance', async () => {
    await withDirectory(async (directory) => {
      await using store = await open(directory)
      const driver = firkinDriver({ store })
      const storage = createStorage({ driver })
      await storage.setItem('key', 'text')

      await storage.dispose()

      expect(store.get('key')?.toString('utf8', 6)).toBe('text')
      expect(await firkinDriver({ store }).getInstance?.()).toBe(store)
    })
  })

  it('rejects operations while its directory cannot be opened, and tries again', async () => {
    await withDirectory(async (base) => {
      const other = await open(base)
      const storage = createStorage({ driver: firkinDriver({ base }) })

      await expect(storage.getItem('key')).rejects.toMatchObject({ code: 'FIRKIN_LOCKED' })
      await expect(storage.setItem('key', 1)).rejects.toMatchObject({ code: 'FIRKIN_LOCKED' })
      await other.close()
      await storage.setItem('key', 1)

      expect(await storage.getItem('key')).toBe(1)
      await storage.dispose()
    })
  })

  it('opens nothing after dispose', async () => {
    await withDirectory(async (base) => {
      const driver = firkinDriver({ base })
      await driver.dispose?.()

      await expect(driver.getItem('key')).rejects.toMatchObject({ code: 'FIRKIN_CLOSED' })
      expect(await readdir(base)).toEqual([])
    })
  })

  it('opens its store with its options, such as readOnly beside a writer', async () => {
    await withDirectory(async (base) => {
      const writer = createStorage({ driver: firkinDriver({ base, options: { sync: 'always' } }) })
      await writer.setItem('key', 'text')

      const reader = createStorage({ driver: firkinDriver({ base, options: { readOnly: true } }) })

      expect(await reader.getItem('key')).toBe('text')
      await expect(reader.setItem('key', 1)).rejects.toMatchObject({ code: 'FIRKIN_READ_ONLY' })
      await reader.dispose()
      await writer.dispose()
    })
  })
})

describe('items', () => {
  it('are null and absent if nothing was set', async () => {
    await withStorage(async (storage) => {
      expect(await storage.hasItem('a:b')).toBe(false)
      expect(await storage.getItem('a:b')).toBeNull()
      expect(await storage.getItemRaw('a:b')).toBeNull()
      expect(await storage.getMeta('a:b')).toEqual({})
      expect(await storage.getKeys()).toEqual([])
      await storage.removeItem('a:b')
      await storage.clear()
    })
  })

  it.each([
    ['text', 'grün'],
    ['an empty text', ''],
    ['zero', 0],
    ['false', false],
    ['null', null],
    ['an object', { list: [1, { deep: null }] }],
  ])('are read as they were set: %s', async (_, value) => {
    await withStorage(async (storage) => {
      await storage.setItem('key', value)

      expect(await storage.hasItem('key')).toBe(true)
      expect(await storage.getItem('key')).toEqual(value)
    })
  })

  it('are found under every spelling of their key', async () => {
    await withStorage(async (storage) => {
      await storage.setItem('/folder/file.json?query=1', 'text')

      expect(await storage.getItem('folder:file.json')).toBe('text')
      expect(await storage.getItem('folder\\file.json')).toBe('text')
      expect(await storage.getKeys()).toEqual(['folder:file.json'])
    })
  })

  it('are gone when they are removed or set to undefined', async () => {
    await withStorage(async (storage) => {
      await storage.setItem('a', 1)
      await storage.setItem('b', 1)

      await storage.removeItem('a')
      await storage.setItem('b', undefined as never)

      expect(await storage.getKeys()).toEqual([])
    })
  })

  it.each([
    ['a Uint8Array', new Uint8Array([0, 255, 1]), Buffer.from([0, 255, 1])],
    ['a view of a part', new Uint8Array([9, 1, 2, 9]).subarray(1, 3), Buffer.from([1, 2])],
    ['an ArrayBuffer', new Uint8Array([1, 2]).buffer, Buffer.from([1, 2])],
    ['words', new Uint16Array([258]), Buffer.from([2, 1])],
    ['text', 'grün', Buffer.from('grün')],
    ['nothing', new Uint8Array(0), Buffer.alloc(0)],
  ])('are read as bytes if they are raw: %s', async (_, value, expected) => {
    await withStorage(async (storage) => {
      await storage.setItemRaw('raw.bin', value)

      const raw = await storage.getItemRaw('raw.bin')

      expect(raw).toBeInstanceOf(Buffer)
      expect(raw).toEqual(expected)
      raw.fill(7)
      expect(await storage.getItemRaw('raw.bin')).toEqual(expected)
    })
  })

  it('refuse text with a lone surrogate', async () => {
    await withStorage(async (storage) => {
      const refused = new TypeError('The value has a lone surrogate')
      const items = [{ key: 'key', value: 'a\ud800' }]

      await expect(storage.setItem('key', '\ud800')).rejects.toThrow(refused)
      await expect(storage.setItemRaw('key', 'é\udfff')).rejects.toThrow(refused)
      await expect(storage.setItems(items)).rejects.toThrow(refused)
      expect(await storage.hasItem('key')).toBe(false)
    })
  })

  it('refuse a raw value that is neither text nor bytes', async () => {
    await withStorage(async (storage) => {
      await expect(storage.setItemRaw('raw', { a: 1 })).rejects.toThrow(TypeError)
      expect(await storage.hasItem('raw')).toBe(false)
    })
  })

  it('are read many at a time, in the order of the request', async () => {
    await withStorage(async (storage) => {
      await storage.setItem('a:1', { n: 1 })
      await storage.setItem('b:2', 'two')

      expect(await storage.getItems(['b:2', { key: 'a:1?q=1' }, 'missing'])).toEqual([
        { key: 'b:2', value: 'two' },
        { key: 'a:1', value: { n: 1 } },
        { key: 'missing', value: null },
      ])
    })
  })

  it('are set many at a time, all or none, each with its own ttl or the common one', async () => {
    const clock = new Clock()
    await withStorage(
      async (storage) => {
        await storage.setItems(
          [
            { key: 'a', value: 1, options: { ttl: 10 } },
            { key: 'b', value: 2 },
          ],
          { ttl: 20 },
        )

        expect(await storage.getMeta('a')).toMatchObject({ ttl: 10 })
        expect(await storage.getMeta('b')).toMatchObject({ ttl: 20 })
        const wrong = storage.setItems([
          { key: 'c', value: 3 },
          { key: 'd', value: 4, options: { ttl: -1 } },
        ])
        await expect(wrong).rejects.toThrow(RangeError)
        expect(await storage.getKeys()).toEqual(['a', 'b'])
      },
      { options: { clock: clock.read } },
    )
  })
})

describe('meta', () => {
  it('holds when an item was set, its size, and how long it has left', async () => {
    const clock = new Clock()
    await withStorage(
      async (storage) => {
        await storage.setItem('brief', 'grün', { ttl: 90 })
        const setAt = new Date(clock.nowMs)
        clock.nowMs += 60_000
        await storage.setItem('kept', 'text')

        expect(await storage.getMeta('brief')).toEqual({ mtime: setAt, size: 5, ttl: 30 })
        expect(await storage.getMeta('kept')).toEqual({ mtime: new Date(clock.nowMs), size: 4 })
        clock.nowMs += 30_000
        expect(await storage.getMeta('brief')).toEqual({})
        expect(await storage.getItem('brief')).toBeNull()
        expect(await storage.getKeys()).toEqual(['kept'])
      },
      { options: { clock: clock.read } },
    )
  })

  it('rounds the time left down to whole seconds', async () => {
    const clock = new Clock()
    await withStorage(
      async (storage) => {
        await storage.setItem('key', 'text', { ttl: 60 })

        const left: unknown[] = []
        for (const passedMs of [1, 999, 1, 57_999, 1, 998]) {
          clock.nowMs += passedMs
          left.push((await storage.getMeta('key')).ttl)
        }

        expect(left).toEqual([59, 59, 58, 1, 0, 0])
      },
      { options: { clock: clock.read } },
    )
  })

  it('shows the ttl of the driver if an item sets none, and no ttl if it sets 0', async () => {
    const clock = new Clock()
    await withStorage(
      async (storage) => {
        await storage.setItem('usual', 1)
        await storage.setItem('longer', 1, { ttl: 60.5 })
        await storage.setItem('for ever', 1, { ttl: 0 })

        expect(await storage.getMeta('usual')).toMatchObject({ ttl: 10 })
        expect(await storage.getMeta('longer')).toMatchObject({ ttl: 60 })
        expect(await storage.getMeta('for ever')).not.toHaveProperty('ttl')
      },
      { ttl: 10, options: { clock: clock.read } },
    )
  })

  it('includes what was set as meta, which is not an item of its own', async () => {
    await withStorage(async (storage) => {
      await storage.setItem('key', 'text')
      await storage.setMeta('key', { owner: 'Ada', mtime: new Date(5) })

      expect(await storage.getMeta('key')).toEqual({ mtime: new Date(5), size: 4, owner: 'Ada' })
      expect(await storage.getMeta('key', { nativeOnly: true })).not.toHaveProperty('owner')
      expect(await storage.getKeys()).toEqual(['key'])
      await storage.removeItem('key', { removeMeta: true })
      expect(await storage.getMeta('key')).toEqual({})
    })
  })
})

describe('keys and bases', () => {
  it('are listed in slices, so that the event loop turns', async () => {
    await withDirectory(async (directory) => {
      await using store = await open(directory)
      const batch = store.batch()
      for (let index = 0; index < 100_000; index++) batch.put(`key ${index}`, '')
      await batch.commit()
      const driver = firkinDriver({ store })
      let turns = 0
      const timer = setInterval(() => turns++, 1)

      expect(await driver.getKeys('', {})).toHaveLength(100_000)

      clearInterval(timer)
      expect(turns).toBeGreaterThan(2)
    })
  })

  it('are listed below a base only', async () => {
    await withStorage(async (storage) => {
      for (const key of ['a:1', 'a:b:2', 'a', 'ab:3', 'c']) await storage.setItem(key, 1)

      expect((await storage.getKeys()).sort()).toEqual(['a', 'a:1', 'a:b:2', 'ab:3', 'c'])
      expect(await storage.getKeys('a')).toEqual(['a:1', 'a:b:2'])
      expect(await storage.getKeys('a:b:')).toEqual(['a:b:2'])
      expect(await storage.getKeys('none')).toEqual([])
    })
  })

  it.each([
    [0, ['top']],
    [1, ['a:one', 'top']],
    [2, ['a:b:two', 'a:one', 'top']],
  ])('are listed to a depth of %i', async (maxDepth, keys) => {
    await withStorage(async (storage) => {
      for (const key of ['top', 'a:one', 'a:b:two', 'a:b:c:three']) await storage.setItem(key, 1)

      expect((await storage.getKeys('', { maxDepth })).sort()).toEqual(keys)
    })
  })

  it.each(['a', 'a:'])('are cleared below the base %s by the driver alone', async (base) => {
    await withStorage(async (storage) => {
      for (const key of ['a:1', 'a:b:2', 'ab:3', 'c']) await storage.setItem(key, 1)
      const { driver } = storage.getMount()

      // A storage of unstorage 1 clears whole mounts, not a base within one.
      await storage.clear('a')
      expect(await storage.getKeys()).toHaveLength(4)
      await driver.clear?.(base, {})
      expect(await storage.getKeys()).toEqual(['ab:3', 'c'])
      await storage.clear()

      expect(await storage.getKeys()).toEqual([])
    })
  })

  it('are separated by mounts and prefixes, and survive being restored', async () => {
    await withStorage(async (root) => {
      await withDirectory(async (base) => {
        root.mount('cache', firkinDriver({ base }))
        const users = prefixStorage(root, 'users')
        await users.setItem('7', 'Ada')
        await root.setItem('cache:page', 'html')

        expect((await root.getKeys()).sort()).toEqual(['cache:page', 'users:7'])
        expect(await users.getKeys()).toEqual(['7'])
        expect(await root.getKeys('cache', { maxDepth: 1 })).toEqual(['cache:page'])
        const saved = await snapshot(root, '')
        await root.clear()
        await restoreSnapshot(root, saved)

        expect(await root.getItem('cache:page')).toBe('html')
        await root.unmount('cache')
        expect(await root.getKeys()).toEqual(['users:7'])
      })
    })
  })
})

describe('watchers', () => {
  it('are told of every change through the driver, and of none after unwatch', async () => {
    await withStorage(async (storage) => {
      const heard: string[] = []
      const others: string[] = []
      const unwatch = await storage.watch((event, key) => heard.push(`${event} ${key}`))
      await storage.watch((event, key) => others.push(`${event} ${key}`))

      await storage.setItem('a:1', 1)
      await storage.setItemRaw('a:2', 'raw')
      await storage.setItems([{ key: 'b', value: 1 }])
      await storage.removeItem('b')
      await storage.removeItem('missing')
      await storage.getMount().driver.clear?.('a', {})
      await unwatch()
      await storage.setItem('c', 1)
      await storage.unwatch()
      await storage.setItem('d', 1)

      const all = ['update a:1', 'update a:2', 'update b', 'remove b', 'remove a:1', 'remove a:2']
      expect(heard).toEqual(all)
      expect(others).toEqual([...all, 'update c'])
    })
  })

  it('are separate even if the same function watches twice', async () => {
    await withStorage(async (storage) => {
      const { driver } = storage.getMount()
      const heard: string[] = []
      const listen = (event: string, key: string): number => heard.push(`${event} ${key}`)
      const unwatch = await driver.watch?.(listen)
      await driver.watch?.(listen)

      await unwatch?.()
      await driver.setItem?.('a', '1', {})

      expect(heard).toEqual(['update a'])
    })
  })

  it('are not told of a refused change', async () => {
    await withStorage(async (storage) => {
      const heard: string[] = []
      await storage.watch((event, key) => heard.push(`${event} ${key}`))

      await expect(storage.setItem('a', 1, { ttl: -1 })).rejects.toThrow(RangeError)

      expect(heard).toEqual([])
    })
  })
})

async function withStorage(
  use: (storage: Storage) => Promise<void>,
  options: Omit<FirkinDriverOptions, 'base' | 'store'> = {},
): Promise<void> {
  await withDirectory(async (base) => {
    const storage = createStorage({ driver: firkinDriver({ base, ...options }) })
    try {
      await use(storage)
    } finally {
      await storage.dispose()
    }
  })
}
