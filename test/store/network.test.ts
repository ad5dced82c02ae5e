/** Stores and caches in directories that may be on another machine. */

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it, type MockInstance, vi } from 'vitest'
import { PersistentCache } from '../../src/cache/cache.ts'
import { type Files, systemFiles } from '../../src/io/files.ts'
import { canMap } from '../../src/io/mapping.ts'
import { withDirectory } from '../support/directory.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { inProcessWork } from '../support/in-process-work.ts'
import { DISK, openAny, openOn, withCode } from '../support/store.ts'

const NFS = 0x6969
const FUSE = 0x65735546
const EXT4 = 0xef53

/** The system's files, on a file system of another type. */
interface TypedFiles extends Files {
  /** How often a file was read. */
  readCount: number
}

function ofType(type: number): TypedFiles {
  const files: TypedFiles = {
    ...systemFiles,
    readCount: 0,
    fileSystemType(directory) {
      // That of the system, so that it fails where that does.
      systemFiles.fileSystemType(directory)
      return type
    },
    read(...call) {
      files.readCount++
      return systemFiles.read(...call)
    },
  }
  return files
}

async function openCacheOn(
  files: Files,
  directory: string,
  options: { localOnly?: boolean; strict?: boolean },
): Promise<PersistentCache<Buffer>> {
  const environment = { files, lock: false, backgroundWork: inProcessWork(files) }
  return await PersistentCache.open(directory, { maxBytes: 2 ** 20, ...options }, environment)
}

let emitWarning: MockInstance<typeof process.emitWarning>

beforeEach(() => {
  emitWarning = vi.spyOn(process, 'emitWarning').mockReturnValue()
})
afterEach(() => {
  emitWarning.mockRestore()
})

describe('a store on a network file system', () => {
  it('is not mapped, whether it is written or read, unlike one on a local disk', async () => {
    await withDirectory(async (directory) => {
      const store = await openAny(directory)
      await store.put('a', '1')
      await store.put('b', '2')
      await store.close()

      for (const [type, readOnly] of [
        [EXT4, false],
        [NFS, false],
        [FUSE, false],
        [NFS, true],
      ] as const) {
        const files = ofType(type)
        await using reopened = await openAny(directory, { readOnly }, files)
        const isMapped = canMap() && type === EXT4
        reopened.get('a')
        files.readCount = 0
        for (let count = 0; count < 10; count++) reopened.get('b')

        expect(files.readCount).toBe(isMapped ? 0 : 10)
        expect(reopened.stats().mapping).toBe(isMapped)
      }
    })
  })

  it('warns once of each directory, and only who writes', async () => {
    await withDirectory(async (directory) => {
      const [first, second] = [join(directory, 'first'), join(directory, 'second')]
      for (const path of [first, first, second]) {
        await (await openAny(path, {}, ofType(path === first ? NFS : FUSE))).close()
      }
      await (await openAny(first, { readOnly: true }, ofType(NFS))).close()

      const lacks =
        'a lock there may not keep out a writer on another host, and what is synced may not ' +
        'survive a power loss. Files are read by position, not through mappings'
      expect(emitWarning.mock.calls).toEqual([
        [`${first} is on NFS, a network file system: ${lacks}`, { code: 'FIRKIN_NOT_LOCAL' }],
        [
          `${second} is on FUSE, which may be a network file system: ${lacks}`,
          { code: 'FIRKIN_NOT_LOCAL' },
        ],
      ])
    })
  })

  it('does not warn who only reads', async () => {
    await withDirectory(async (directory) => {
      await (await openAny(directory)).close()

      await (await openAny(directory, { readOnly: true }, ofType(NFS))).close()

      expect(emitWarning).not.toHaveBeenCalled()
    })
  })

  it.each([
    [NFS, 'NFS, a network file system'],
    [FUSE, 'FUSE, which may be a network file system'],
  ])('is refused with localOnly before anything is made: type %i', async (type, words) => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'a', 'b')

      await expect(openAny(path, { localOnly: true }, ofType(type))).rejects.toMatchObject({
        name: 'StoreError',
        code: 'FIRKIN_NOT_LOCAL',
        message: `${path} is on ${words}; the option localOnly refuses it`,
      })

      expect(existsSync(join(directory, 'a'))).toBe(false)
      expect(emitWarning).not.toHaveBeenCalled()
    })
  })

  it('is refused with localOnly to who reads, too', async () => {
    await withDirectory(async (directory) => {
      await (await openAny(directory)).close()

      const opening = openAny(directory, { localOnly: true, readOnly: true }, ofType(NFS))

      await expect(opening).rejects.toThrow(withCode('FIRKIN_NOT_LOCAL'))
    })
  })
})

describe('a store with localOnly', () => {
  it('opens on a local disk', async () => {
    await withDirectory(async (directory) => {
      await using store = await openAny(directory, { localOnly: true }, ofType(EXT4))

      expect(store.stats().mapping).toBe(canMap())
    })
  })

  it('opens if the system does not say what it is on', async () => {
    const files = new FaultyFiles(1)
    files.fail({ kinds: ['fileSystemType'], nth: 1, code: 'EACCES', lasting: true })

    await using store = await openOn(files, { localOnly: true })
    await store.put('key', 'value')

    expect(files.faultCount).toBe(1)
    expect(emitWarning).not.toHaveBeenCalled()
  })

  it('is refused as text', async () => {
    const opening = openAny('/none', { localOnly: 'yes' as unknown as boolean })

    await expect(opening).rejects.toThrow(new TypeError('Option localOnly must be a boolean'))
  })
})

describe('a cache on a network file system', () => {
  it('is served, not mapped, and warned of', async () => {
    await withDirectory(async (directory) => {
      for (const [type, isLocal] of [
        [EXT4, true],
        [NFS, false],
      ] as const) {
        const path = join(directory, String(type))
        const files = ofType(type)
        await using cache = await openCacheOn(files, path, {})
        cache.set('key', Buffer.alloc(8192))
        await setImmediate()
        for (let count = 0; count < 10; count++) cache.get('key')
        files.readCount = 0
        for (let count = 0; count < 10; count++) cache.get('key')

        expect(files.readCount).toBe(isLocal && canMap() ? 0 : 10)
        expect(emitWarning).toHaveBeenCalledTimes(isLocal ? 0 : 1)
      }
    })
  })

  it('is refused with localOnly and strict before anything is made', async () => {
    const files = new FaultyFiles(1)
    files.type = NFS

    const opening = openCacheOn(files, DISK, { localOnly: true, strict: true })

    await expect(opening).rejects.toThrow(withCode('FIRKIN_NOT_LOCAL'))
    expect(files.list(DISK)).toBeUndefined()
  })

  it('works without the disk with localOnly, and leaves what is there', async () => {
    const files = new FaultyFiles(1)
    const before = await openCacheOn(files, DISK, {})
    before.set('key', Buffer.from('value'))
    await before.close()
    const digest = files.digestOf(DISK)
    files.type = NFS

    const cache = await openCacheOn(files, DISK, { localOnly: true })
    const errors: unknown[] = []
    cache.on('error', (error) => void errors.push(error))
    await setImmediate()

    expect(errors).toEqual([withCode('FIRKIN_NOT_LOCAL')])
    expect(cache.get('key')).toBeUndefined()
    await cache.close()
    expect(files.digestOf(DISK)).toBe(digest)
  })
})
