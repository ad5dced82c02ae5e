/** Where a store is created, and where not. */

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

describe('a directory with files of others', () => {
  it('gets no store, and is left as it is; the error names some of them', async () => {
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

  it('gets one where that is allowed', async () => {
    await withDirectory(async (directory) => {
      writeFileSync(join(directory, 'notes.txt'), 'mine')

      await (await openStore(directory, { allowNonEmpty: true })).close()

      await (await openStore(directory)).close()
      expect(readFileSync(join(directory, 'notes.txt'), 'utf8')).toBe('mine')
    })
  })

  it.each(['.gitkeep', 'lost+found'])('is as good as empty with %s alone', async (name) => {
    await withDirectory(async (directory) => {
      mkdirSync(join(directory, name))

      await (await openStore(directory)).close()

      expect(existsSync(join(directory, name))).toBe(true)
    })
  })

  it('is none where a kill has left a lock, and a manifest that was not whole', async () => {
    await withDirectory(async (directory) => {
      writeFileSync(join(directory, 'LOCK'), 'process 7 on elsewhere since\n')
      writeFileSync(join(directory, 'MANIFEST.1.tmp'), 'part')

      await (await openStore(directory)).close()
    })
  })

  it('is opened where a store is there, whatever else is', async () => {
    await withDirectory(async (directory) => {
      await (await openStore(directory)).close()
      writeFileSync(join(directory, 'notes.txt'), 'mine')
      mkdirSync(join(directory, 'folder'))

      await using store = await openStore(directory)

      expect((await store.verify()).ok).toBe(true)
    })
  })

  it('keeps a file of the name LOCK, also where opening fails for another reason', async () => {
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

  it('keeps what a link of the name LOCK leads to', async () => {
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

  it('is a LevelDB: it gets no store and no cache, and is left as it is', async () => {
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
