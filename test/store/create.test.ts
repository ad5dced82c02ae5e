/** Where a store may be created, and where not. */

import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openCache } from '../../src/cache/cache.ts'
import { withDirectory } from '../support/directory.ts'
import { openStore, withCode } from '../support/store.ts'

describe('a directory with other files', () => {
  it('gets no store, and is not changed; the error names some of the files', async () => {
    await withDirectory(async (directory) => {
      const names = ['a.txt', 'b.txt', 'c.txt', 'd.txt', 'e.txt', 'f.txt', 'g.txt']
      for (const name of names) writeFileSync(join(directory, name), name)

      await expect(openStore(directory)).rejects.toThrow(
        expect.objectContaining({
          code: 'FIRKIN_NOT_EMPTY',
          message: expect.stringContaining('a.txt, b.txt, c.txt, d.txt, e.txt, and 2 more;'),
        }),
      )

      expect(readdirSync(directory).sort()).toEqual(names)
    })
  })

  it('gets a store with allowNonEmpty', async () => {
    await withDirectory(async (directory) => {
      writeFileSync(join(directory, 'notes.txt'), 'mine')

      await (await openStore(directory, { allowNonEmpty: true })).close()

      await (await openStore(directory)).close()
      expect(readFileSync(join(directory, 'notes.txt'), 'utf8')).toBe('mine')
    })
  })

  it.each(['.gitkeep', 'lost+found'])('counts as empty with only %s', async (name) => {
    await withDirectory(async (directory) => {
      mkdirSync(join(directory, name))

      await (await openStore(directory)).close()

      expect(existsSync(join(directory, name))).toBe(true)
    })
  })

  it('gets a store if they are the lock and part of a manifest after a kill', async () => {
    await withDirectory(async (directory) => {
      writeFileSync(join(directory, 'LOCK'), 'process 7 on elsewhere since\n')
      writeFileSync(join(directory, 'MANIFEST.1.tmp'), 'part')

      await (await openStore(directory)).close()
    })
  })

  it('is opened if it holds a store, whatever else it holds', async () => {
    await withDirectory(async (directory) => {
      await (await openStore(directory)).close()
      writeFileSync(join(directory, 'notes.txt'), 'mine')
      mkdirSync(join(directory, 'folder'))

      await using store = await openStore(directory)

      expect((await store.verify()).ok).toBe(true)
    })
  })

  it('keeps a file named LOCK that is not a lock', async () => {
    await withDirectory(async (directory) => {
      writeFileSync(join(directory, 'LOCK'), 'of another program')

      for (const allowNonEmpty of [false, true]) {
        await expect(openStore(directory, { allowNonEmpty })).rejects.toThrow(
          withCode('FIRKIN_LOCK_UNAVAILABLE'),
        )
      }

      expect(readdirSync(directory)).toEqual(['LOCK'])
      expect(readFileSync(join(directory, 'LOCK'), 'utf8')).toBe('of another program')
    })
  })

  it('keeps the target of a link named LOCK', async () => {
    await withDirectory(async (above) => {
      const directory = join(above, 'store')
      await (await openStore(directory)).close()
      writeFileSync(join(above, 'precious'), 'data')
      const linked = join(above, 'linked')
      mkdirSync(linked)
      symlinkSync(join(above, 'precious'), join(linked, 'LOCK'))

      await expect(openStore(linked)).rejects.toThrow(withCode('FIRKIN_LOCK_UNAVAILABLE'))

      expect(readFileSync(join(above, 'precious'), 'utf8')).toBe('data')
    })
  })

  it('gets no store and no cache if it holds a LevelDB, and is not changed', async () => {
    await withDirectory(async (directory) => {
      const names = ['000003.log', 'CURRENT', 'LOCK', 'LOG', 'MANIFEST-000002']
      for (const name of names) writeFileSync(join(directory, name), '')

      await expect(openStore(directory)).rejects.toThrow(withCode('FIRKIN_NOT_EMPTY'))
      await expect(openCache(directory, { maxBytes: 2 ** 20, strict: true })).rejects.toThrow(
        withCode('FIRKIN_NOT_EMPTY'),
      )

      expect(readdirSync(directory).sort()).toEqual(names)
    })
  })
})
