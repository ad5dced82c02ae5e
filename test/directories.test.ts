/** The directories that public functions take: paths, and `file:` URLs of any realm. */

import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { runInNewContext } from 'node:vm'
import { describe, expect, it, vi } from 'vitest'
import { FirkinLevel } from '../src/adapters/abstract-level.ts'
import { KeyvFirkin } from '../src/adapters/keyv.ts'
import { FirkinCacheStore } from '../src/adapters/undici.ts'
import { firkinDriver } from '../src/adapters/unstorage.ts'
import { openCache } from '../src/cache/cache.ts'
import { open } from '../src/index.ts'
import { withDirectory } from './support/directory.ts'

const CACHE = { maxBytes: 2 ** 20, strict: true }

/** Each public function that takes a directory: it makes something there, and closes it. */
const OPENERS: [string, (directory: string | URL) => Promise<void>][] = [
  [
    'open',
    async (directory) => {
      await using store = await open(directory)
      await store.put('key', 'value')
    },
  ],
  ['openCache', async (directory) => await (await openCache(directory, CACHE)).close()],
  [
    'store.backup',
    async (directory) => {
      await withDirectory(async (source) => {
        await using store = await open(source)
        await store.backup(directory)
      })
    },
  ],
  ['KeyvFirkin', async (directory) => await new KeyvFirkin(directory).disconnect()],
  [
    'FirkinLevel',
    async (directory) => {
      const level = new FirkinLevel(directory)
      await level.open()
      await level.close()
    },
  ],
  [
    'firkinDriver',
    async (base) => {
      const driver = firkinDriver({ base })
      await driver.setItem?.('key', 'value', {})
      await driver.dispose?.()
    },
  ],
  [
    'FirkinCacheStore.open',
    async (directory) => {
      await (await FirkinCacheStore.open(directory, { maxSize: 2 ** 20, strict: true })).close()
    },
  ],
]

/** Returns a URL whose class is of another realm than this one's. */
function ofAnotherRealm(url: URL): URL {
  const { href, protocol, hostname, pathname } = url
  return runInNewContext('Object.assign(new (class URL {})(), parts)', {
    parts: { href, protocol, hostname, pathname },
  })
}

describe.each(OPENERS)('the directory of %s', (_, use) => {
  it('may be a file: URL, with what a URL escapes', async () => {
    await withDirectory(async (directory) => {
      await use(new URL('a%20directory%23/', `${pathToFileURL(directory)}/`))

      expect(readdirSync(directory)).toEqual(['a directory#'])
      expect(readdirSync(join(directory, 'a directory#'))).toContain('MANIFEST')
    })
  })

  it('may be a URL of another realm', async () => {
    await withDirectory(async (directory) => {
      const url = ofAnotherRealm(new URL('data', `${pathToFileURL(directory)}/`))
      expect(url).not.toBeInstanceOf(URL)

      await use(url)

      expect(readdirSync(directory)).toEqual(['data'])
    })
  })

  it.each([
    ['https://a.org/data', 'https://a.org/data; it must be a path or a file: URL'],
    ['file:///a%2Fb', 'file:///a%2Fb; it must be a path or a file: URL'],
    ['file:///a%00b', 'file:///a%00b; it must be a path or a file: URL'],
    ['data:,data', 'data:,data; it must be a path or a file: URL'],
  ])('is refused if it is the URL %s', async (url, message) => {
    await expect((async () => await use(new URL(url)))()).rejects.toThrow(
      new TypeError(`The directory is ${message}`),
    )
  })

  it('is refused, and nothing is made, if it is the text of a URL', async () => {
    await withDirectory(async (directory) => {
      vi.spyOn(process, 'cwd').mockReturnValue(directory)
      try {
        await expect((async () => await use('file:///data'))()).rejects.toThrow(
          new TypeError('The directory is the text of a URL; pass new URL("file:///data")'),
        )
      } finally {
        vi.restoreAllMocks()
      }
      expect(readdirSync(directory)).toEqual([])
    })
  })

  it.each([undefined, null, 5, '', 'a\0b', {}])('is refused if it is %j', async (directory) => {
    await expect((async () => await use(directory as string))()).rejects.toThrow(TypeError)
  })
})

describe('a directory that is a URL', () => {
  it('is told as a path', async () => {
    await withDirectory(async (directory) => {
      const url = pathToFileURL(directory)
      await using store = await open(url)
      const keyv = new KeyvFirkin(new URL('keyv', `${url}/`))

      expect(store.directory).toBe(directory)
      expect(new FirkinLevel(url).location).toBe(directory)
      expect(keyv.opts.url).toBe(join(directory, 'keyv'))
      await keyv.disconnect()
    })
  })
})
