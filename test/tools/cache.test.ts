/** The tool on a cache's directory: it shows the entries, and changes nothing. */

import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type CacheOptions, openCache } from '../../src/cache/cache.ts'
import { withDirectory } from '../support/directory.ts'
import { run } from './run.ts'

const codec = {
  name: 'text 2',
  encode: (value: unknown) => Buffer.from(String(value)),
  decode: (bytes: Buffer) => bytes.toString(),
}

async function withCache(
  valueEncoding: NonNullable<CacheOptions<unknown>['valueEncoding']>,
  use: (directory: string, above: string) => Promise<void>,
): Promise<void> {
  await withDirectory(async (above) => {
    const directory = join(above, 'cache')
    const cache = await openCache<unknown>(directory, { maxBytes: 2 ** 20, valueEncoding })
    cache.set('key', 'the value')
    cache.set('other', 'more')
    await cache.close()
    await use(directory, above)
  })
}

async function contentsOf(directory: string): Promise<string[]> {
  const names = (await readdir(directory)).sort()
  return await Promise.all(
    names.map(async (name) => `${name} ${await readFile(join(directory, name), 'hex')}`),
  )
}

describe("the tool on a cache's directory", () => {
  it('identifies it in inspect, with the encoding of its values', async () => {
    await withCache('json', async (directory) => {
      const { status, stdout } = await run(['inspect', directory])

      expect(status).toBe(0)
      expect(stdout).toMatch(/^cache +\/.*\/cache$/m)
      expect(stdout).toMatch(/^values +json$/m)
      expect(stdout).toMatch(/^keys +2$/m)
    })
    await withCache(codec, async (directory) => {
      const { stdout } = await run(['inspect', '--json', directory])

      expect(JSON.parse(stdout)).toMatchObject({ kind: 'cache', valueEncoding: 'text 2', keys: 2 })
    })
  })

  it.each([
    ['get', 'key'],
    ['count'],
    ['scan', '--keys'],
    ['export'],
    ['dump'],
    ['tail'],
    ['verify'],
    ['merge', '--dry-run'],
    ['repair', '--dry-run'],
  ])('reads it: %s', async (command, ...rest) => {
    await withCache('utf8', async (directory) => {
      const before = await contentsOf(directory)

      const { status } = await run([command, directory, ...rest])

      expect(status).toBe(0)
      expect(await contentsOf(directory)).toEqual(before)
    })
  })

  it('says that it shows values as they are stored', async () => {
    await withCache('utf8', async (directory) => {
      const { stdout, stderr } = await run(['get', directory, 'key'])

      expect(stdout).toMatch(/the value$/)
      expect(stderr).toContain("is a cache's: values are shown as they are stored")
    })
  })

  it.each([
    ['put', 'key', 'value'],
    ['delete', 'key'],
    ['import'],
    ['merge', '--all'],
    ['shell'],
    ['repair'],
    ['repair', '--to', 'target'],
  ])('does not change it: %s', async (command, ...rest) => {
    await withCache('utf8', async (directory, above) => {
      const before = await contentsOf(directory)
      const target = rest.map((each) => (each === 'target' ? join(above, each) : each))

      const { status, stderr } = await run([command, directory, ...target], {
        input: 'set key value\n',
      })

      expect(status).toBe(1)
      expect(stderr).toContain('holds a cache, which only its program changes')
      expect(await contentsOf(directory)).toEqual(before)
    })
  })

  it('makes a backup that is a cache too', async () => {
    await withCache('utf8', async (directory, above) => {
      const [backup, restored] = [join(above, 'backup'), join(above, 'restored')]

      const statuses = [
        (await run(['backup', directory, backup])).status,
        (await run(['restore', backup, restored])).status,
      ]

      expect(statuses).toEqual([0, 0])
      await using cache = await openCache<string>(restored, {
        maxBytes: 2 ** 20,
        valueEncoding: 'utf8',
        strict: true,
      })
      expect(cache.get('key')).toBe('the value')
    })
  })
})
