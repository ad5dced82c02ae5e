import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { openCache, type PersistentCache } from '../../src/cache/cache.ts'
import { open } from '../../src/index.ts'
import { withDirectory } from '../support/directory.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { DIRECTORY, MIB, openInMemory } from './support.ts'

const TEXT = { maxBytes: MIB, valueEncoding: 'utf8' } as const

/** Collects the errors of a cache. */
function listen(cache: PersistentCache<string>): Error[] {
  const errors: Error[] = []
  cache.on('error', (error) => errors.push(error))
  return errors
}

describe('a cache whose directory is in trouble', () => {
  it.each(['MANIFEST', 'segment', 'CACHE'])(
    'is emptied and goes on if its %s is damaged at open, and emits an error',
    async (which) => {
      const files = new FaultyFiles(1)
      const first = await openInMemory<string>(files, TEXT)
      for (let index = 0; index < 3000; index++) first.set(`key ${index}`, 'x'.repeat(100))
      await first.close()
      const name = files.list(DIRECTORY)?.find((each) => each.endsWith(which)) ?? which
      files.poke(join(DIRECTORY, name), Buffer.from('not what was here'))

      const cache = await openInMemory<string>(files, TEXT)
      const errors = listen(cache)
      await vi.waitFor(() => expect(errors).toHaveLength(1))

      expect(['FIRKIN_CORRUPT', 'FIRKIN_VERSION']).toContain((errors[0] as { code?: string }).code)
      expect(cache.stats()).toMatchObject({ entries: 0, emptied: 1 })
      expect(cache.set('key', 'value')).toBe(true)
      expect(cache.get('key')).toBe('value')
      await cache.close()
    },
  )

  it('is emptied if a damaged record is found while it is open', async () => {
    const files = new FaultyFiles(1)
    const first = await openInMemory<string>(files, TEXT)
    for (let index = 0; index < 3000; index++) first.set(`key ${index}`, 'x'.repeat(100))
    await first.close()
    const name = files.list(DIRECTORY)?.find((each) => each.endsWith('.segment')) ?? ''
    const bytes = files.peek(join(DIRECTORY, name)) ?? Buffer.alloc(0)
    files.poke(join(DIRECTORY, name), bytes.fill(0, 1000, 2000))

    const cache = await openInMemory<string>(files, TEXT)
    const errors = listen(cache)
    const read = Array.from({ length: 3000 }, (_, index) => cache.get(`key ${index}`))
    await Promise.resolve()

    expect(read.every((value) => value === undefined || value === 'x'.repeat(100))).toBe(true)
    expect(errors).toHaveLength(1)
    expect(errors[0]).toMatchObject({ code: 'FIRKIN_CORRUPT' })
    await vi.waitFor(() => expect(cache.set('key', 'value')).toBe(true))
    expect(cache.get('key')).toBe('value')
    expect(cache.stats()).toMatchObject({ entries: 1, emptied: 1 })
    await cache.close()
  })

  it('is emptied if the disk is full, returns no old values, and takes new entries', async () => {
    const files = new FaultyFiles(1)
    const cache = await openInMemory<string>(files, TEXT)
    const errors = listen(cache)
    cache.set('key', 'old')
    for (let index = 0; index < 500; index++) cache.set(`other ${index}`, 'x'.repeat(100))
    await Promise.resolve()

    files.capacity = files.usedSize + 10
    cache.set('key', 'new')
    await vi.waitFor(() => expect(errors.length).toBeGreaterThan(0))

    expect(errors[0]).toMatchObject({ code: 'FIRKIN_WRITE_FAILED' })
    expect(cache.get('key')).toBeUndefined()
    await vi.waitFor(() => expect(cache.set('key', 'newer')).toBe(true))
    await Promise.resolve()
    expect(cache.get('key')).toBe('newer')
    await cache.close()
  })

  it('emits one error if what was set right before a close cannot be written', async () => {
    const files = new FaultyFiles(1)
    const cache = await openInMemory<string>(files, TEXT)
    const errors = listen(cache)
    cache.set('first', 'begins the segment')
    await Promise.resolve()
    files.fail({ kinds: ['write'], path: /segment$/, nth: 1, code: 'ENOSPC' })
    for (const key of ['a', 'b', 'c']) cache.set(key, 'value')
    await cache.close()

    expect(errors).toMatchObject([{ code: 'FIRKIN_WRITE_FAILED' }])
  })

  it('works without a directory that it cannot use, and still loads', async () => {
    const files = new FaultyFiles(1)
    files.fail({ kinds: ['makeDirectory'], nth: 1, code: 'EACCES', lasting: true })

    const cache = await openInMemory<string>(files, TEXT)
    const errors = listen(cache)
    await vi.waitFor(() => expect(errors).toHaveLength(1))

    expect(cache.set('key', 'value')).toBe(false)
    expect(cache.get('key')).toBeUndefined()
    expect(cache.delete('key')).toBe(false)
    cache.clear()
    cache.invalidateTags('a')
    expect(await cache.getOrSet('key', () => 'loaded')).toBe('loaded')
    expect(cache.stats()).toMatchObject({ entries: 0, refused: 1 })
    await cache.close()
  })

  it.each(['EMFILE', 'EACCES'] as const)(
    'loses nothing if %s is in the way for a moment',
    async (code) => {
      const files = new FaultyFiles(1)
      const first = await openInMemory<string>(files, TEXT)
      first.set('key', 'value')
      await first.close()
      files.fail({ kinds: ['open'], path: /MANIFEST$/, nth: 1, code })

      const cache = await openInMemory<string>(files, TEXT)
      const errors = listen(cache)
      await vi.waitFor(() => expect(errors).toHaveLength(1))

      expect(errors[0]?.cause).toMatchObject({ code })
      expect(cache.get('key')).toBe('value')
      expect(cache.stats().emptied).toBe(0)
      await cache.close()
    },
  )

  it('never touches a store that is not a cache', async () => {
    await withDirectory(async (directory) => {
      const store = await open(directory, { valueEncoding: 'utf8' })
      await store.put('precious', 'data')
      await store.close()

      const cache = await openCache<string>(directory, TEXT)
      const errors = listen(cache)
      await vi.waitFor(() => expect(errors).toHaveLength(1))
      cache.set('key', 'value')
      cache.clear()
      await cache.close()

      expect(errors[0]).toMatchObject({ code: 'FIRKIN_OTHER_KIND' })
      await using again = await open(directory, { valueEncoding: 'utf8' })
      expect([...again.entries()]).toEqual([['precious', 'data']])
    })
  })

  it('leaves the files of others alone, even when it is emptied', async () => {
    await withDirectory(async (directory) => {
      await mkdir(join(directory, 'folder'))
      await writeFile(join(directory, 'notes.txt'), 'mine')
      const first = await openCache<string>(directory, { ...TEXT, allowNonEmpty: true })
      first.set('key', 'value')
      await first.close()
      await writeFile(join(directory, 'MANIFEST'), 'damaged')

      const second = await openCache<string>(directory, TEXT)
      listen(second)
      await second.close()

      expect(await readFile(join(directory, 'notes.txt'), 'utf8')).toBe('mine')
      expect(await readdir(directory)).toContain('folder')
    })
  })

  it('works without a directory that another cache has open, and leaves it intact', async () => {
    await withDirectory(async (directory) => {
      const first = await openCache<string>(directory, TEXT)
      first.set('key', 'value')

      const second = await openCache<string>(directory, TEXT)
      const errors = listen(second)
      await vi.waitFor(() => expect(errors).toHaveLength(1))
      expect(second.get('key')).toBeUndefined()
      await second.close()

      expect(errors[0]).toMatchObject({ code: 'FIRKIN_LOCKED' })
      expect(first.get('key')).toBe('value')
      await first.close()
    })
  })

  it('is emptied if it was written with another valueEncoding', async () => {
    const files = new FaultyFiles(1)
    const first = await openInMemory<string>(files, TEXT)
    first.set('key', 'no JSON')
    await first.close()

    const cache = await openInMemory<string>(files, { ...TEXT, valueEncoding: 'json' })
    const errors = listen(cache)
    await vi.waitFor(() => expect(errors).toHaveLength(1))

    expect(errors[0]).toMatchObject({ code: 'FIRKIN_VERSION' })
    expect(cache.get('key')).toBeUndefined()
    await cache.close()
  })

  it('is emptied if it was written with another codec, by name or by source text', async () => {
    const plain = { encode: (text: string) => text, decode: (bytes: Buffer) => bytes.toString() }
    const shouting = { ...plain, decode: (bytes: Buffer) => bytes.toString().toUpperCase() }
    const cases = [
      [plain, { ...plain }, 'value'],
      [plain, shouting, undefined],
      [plain, { ...plain, name: 'plain' }, undefined],
      [{ ...plain, name: 'plain' }, { ...plain, name: 'plain' }, 'value'],
      [{ ...plain, name: 'plain' }, { ...shouting, name: 'plain' }, 'VALUE'],
      [{ ...plain, name: 'plain 1' }, { ...plain, name: 'plain 2' }, undefined],
      [plain, 'utf8', undefined],
    ] as const

    for (const [index, [written, read, found]] of cases.entries()) {
      const files = new FaultyFiles(1)
      const first = await openInMemory<string>(files, { valueEncoding: written })
      first.set('key', 'value')
      await first.close()

      const cache = await openInMemory<string>(files, { valueEncoding: read })
      const errors = listen(cache)
      await new Promise((resolve) => setImmediate(resolve))

      expect(cache.get('key'), `case ${index}`).toBe(found)
      const codes = errors.map((error) => (error as { code?: string }).code)
      expect(codes, `case ${index}`).toEqual(found === undefined ? ['FIRKIN_VERSION'] : [])
      await cache.close()
    }
    const longest = { ...plain, name: '"'.repeat(100) }
    const files = new FaultyFiles(1)
    await (await openInMemory<string>(files, { valueEncoding: longest })).close()
    const named = await openInMemory<string>(files, { valueEncoding: longest, strict: true })
    await named.close()
    const tooLong = { ...plain, name: 'x'.repeat(101) }
    await expect(openInMemory<string>(undefined, { valueEncoding: tooLong })).rejects.toThrow(
      'Option valueEncoding.name has 101 characters; the limit is 100',
    )
    const misnamed = { ...plain, name: 1 as never }
    await expect(openInMemory<string>(undefined, { valueEncoding: misnamed })).rejects.toThrow(
      'Option valueEncoding.name must be a string',
    )
  })

  it('emits a warning of the process if nobody listens, and does not crash', async () => {
    const warnings: Error[] = []
    const collect = (warning: Error): void => void warnings.push(warning)
    process.on('warning', collect)
    const files = new FaultyFiles(1)
    files.fail({ kinds: ['makeDirectory'], nth: 1, code: 'EIO', lasting: true })

    const cache = await openInMemory<string>(files, TEXT)
    await vi.waitFor(() => expect(warnings.map(String).join()).toContain('EIO'))

    process.off('warning', collect)
    await cache.close()
  })
})

describe('a strict cache', () => {
  it.each([
    ['a write fails', false],
    ['all writes fail from then on', true],
  ])('reports a failed write, and no damage, if it moves entries and %s', async (_, lasting) => {
    const codes = new Set<string | undefined>()
    for (let nth = 103; nth < 121; nth++) {
      const files = new FaultyFiles(1)
      const cache = await openInMemory<string>(files, { ...TEXT, strict: true })
      const errors = listen(cache)
      files.fail({ kinds: ['write'], path: /segment$/, nth, code: 'ENOSPC', lasting })
      try {
        for (let index = 0; index < 12_000; index++) {
          cache.set(`key ${(index * 7919) % 5000}`, 'x'.repeat(300))
          cache.get(`key ${(index * 31) % 500}`)
          if (index % 500 === 0) await Promise.resolve()
        }
      } catch (error) {
        errors.push(error as Error)
      }
      await Promise.resolve()
      for (const error of errors) codes.add((error as { code?: string }).code)
      await cache.close()
    }

    expect([...codes]).toEqual(['FIRKIN_WRITE_FAILED'])
  })

  it('throws at open if a file is damaged, and leaves that as it is', async () => {
    const files = new FaultyFiles(1)
    const first = await openInMemory<string>(files, TEXT)
    first.set('key', 'value')
    await first.close()
    const damaged = Buffer.from('damaged')
    files.poke(join(DIRECTORY, 'MANIFEST'), damaged)

    const opening = openInMemory<string>(files, { ...TEXT, strict: true })

    await expect(opening).rejects.toMatchObject({ code: 'FIRKIN_CORRUPT' })
    expect(files.peek(join(DIRECTORY, 'MANIFEST'))).toEqual(damaged)
  })

  it('throws from the operation that fails to read, and from every later one', async () => {
    const files = new FaultyFiles(1)
    const cache = await openInMemory<string>(files, { ...TEXT, strict: true })
    const errors = listen(cache)
    cache.set('key', 'value')
    await Promise.resolve()
    files.fail({ kinds: ['read'], nth: 1, code: 'EIO' })

    expect(() => cache.get('key')).toThrow(expect.objectContaining({ code: 'FIRKIN_READ_FAILED' }))

    expect(() => cache.set('key', 'value')).toThrow(
      expect.objectContaining({ code: 'FIRKIN_READ_FAILED' }),
    )
    await Promise.resolve()
    expect(errors).toHaveLength(1)
    await cache.close()
  })
})
