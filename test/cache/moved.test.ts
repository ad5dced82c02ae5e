/** A cache whose directory is moved, removed or replaced while open leaves the new one alone. */

import { cpSync, existsSync, readdirSync, readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { openCache, type PersistentCache } from '../../src/cache/cache.ts'
import { removeUnderneath, withDirectory } from '../support/directory.ts'

const TEXT = { maxBytes: 2 ** 20, valueEncoding: 'utf8' } as const
const VALUE = 'x'.repeat(1000)
/** The next segment's file, which is created in advance. */
const NEXT_FILE = expect.stringMatching(/\.segment\.\d+\.tmp$/)

type TextCache = PersistentCache<string>

/** Opens a cache with some entries, and collects its errors. */
async function openFilled(directory: string): Promise<{ cache: TextCache; errors: Error[] }> {
  const cache = await openCache<string>(directory, TEXT)
  const errors: Error[] = []
  cache.on('error', (error) => errors.push(error))
  fill(cache, 'key', 100)
  await Promise.resolve()
  return { cache, errors }
}

function fill(cache: TextCache, prefix: string, count: number): void {
  for (let index = 0; index < count; index++) cache.set(`${prefix} ${index}`, VALUE)
}

/** Returns the contents of the files in a directory, except for the lock. */
function contentsOf(directory: string): Record<string, string> {
  const names = readdirSync(directory).filter((name) => name !== 'LOCK')
  return Object.fromEntries(
    names.map((name) => [name, readFileSync(join(directory, name)).toString('hex')]),
  )
}

/** Operations that create or remove files in a cache's directory. */
const OPERATIONS: readonly [name: string, (cache: TextCache) => void][] = [
  ['sets that begin a segment', (cache) => fill(cache, 'more', 200)],
  ['sets that clean', (cache) => fill(cache, 'more', 2000)],
  ['clear', (cache) => cache.clear()],
]

describe('a cache whose directory was replaced', () => {
  it.each(OPERATIONS)('changes nothing in that of a live cache by %s', async (_, operate) => {
    await withDirectory(async (above) => {
      const directory = join(above, 'cache')
      const { cache, errors } = await openFilled(directory)
      renameSync(directory, join(above, 'aside'))
      const { cache: other } = await openFilled(directory)
      await vi.waitFor(() => expect(readdirSync(directory)).toContainEqual(NEXT_FILE))
      const before = contentsOf(directory)

      operate(cache)
      await vi.waitFor(() => expect(errors).toHaveLength(1))
      fill(cache, 'later', 10)
      await cache.close()

      expect(errors[0]).toMatchObject({ code: 'FIRKIN_MOVED' })
      expect(contentsOf(directory)).toEqual(before)
      expect(other.get('key 7')).toBe(VALUE)
      await other.close()
    })
  })

  it('changes nothing there when it is closed', async () => {
    await withDirectory(async (above) => {
      const directory = join(above, 'cache')
      const { cache, errors } = await openFilled(directory)
      await cache.close()
      const { cache: second } = await openFilled(directory)
      // A thread creates it. It must not do so in the copy.
      await vi.waitFor(() => expect(readdirSync(directory)).toContainEqual(NEXT_FILE))
      cpSync(directory, join(above, 'copy'), { recursive: true })
      removeUnderneath(directory)
      renameSync(join(above, 'copy'), directory)
      const before = contentsOf(directory)

      await second.close()

      expect(errors).toEqual([])
      expect(contentsOf(directory)).toEqual(before)
      const { cache: third, errors: later } = await openFilled(directory)
      expect(third.get('key 7')).toBe(VALUE)
      expect(later).toEqual([])
      await third.close()
    })
  })

  it('does not empty the new one, and goes on with it once it is free', async () => {
    await withDirectory(async (above) => {
      const directory = join(above, 'cache')
      const { cache, errors } = await openFilled(directory)
      renameSync(directory, join(above, 'aside'))
      const { cache: other } = await openFilled(directory)
      other.set('of the other', VALUE)
      await other.close()

      fill(cache, 'more', 200)
      await vi.waitFor(() => expect(errors).toHaveLength(1))

      await vi.waitFor(() => expect(cache.get('of the other')).toBe(VALUE))
      expect(cache.stats().emptied).toBe(0)
      await cache.close()
    })
  })
})

describe('a cache whose directory was removed', () => {
  it('creates it again', async () => {
    await withDirectory(async (above) => {
      const directory = join(above, 'cache')
      const { cache, errors } = await openFilled(directory)
      removeUnderneath(directory)

      fill(cache, 'more', 200)
      await vi.waitFor(() => expect(errors).toHaveLength(1))

      await vi.waitFor(() => expect(cache.set('key', 'value')).toBe(true))
      expect(existsSync(directory)).toBe(true)
      await cache.close()
    })
  })
})

describe('a cache with strict whose directory was replaced', () => {
  it('throws from then on, and does not create it again when it is closed', async () => {
    await withDirectory(async (above) => {
      const directory = join(above, 'cache')
      const cache = await openCache<string>(directory, { ...TEXT, strict: true })
      cache.on('error', () => undefined)
      fill(cache, 'key', 10)
      removeUnderneath(directory)
      const moved = expect.objectContaining({ code: 'FIRKIN_MOVED' })

      expect(() => fill(cache, 'more', 200)).toThrow(moved)

      expect(() => cache.get('key 1')).toThrow(moved)
      await cache.close()
      expect(existsSync(directory)).toBe(false)
    })
  })
})
