import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { dirname, join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { systemFiles } from '../../src/io/files.ts'
import { withDirectory } from '../support/directory.ts'

const { fsyncSync } = fs

/** Records which paths are synced from now on. */
function noteSyncs(): string[] {
  const synced: string[] = []
  fs.fsyncSync = (file) => {
    synced.push(fs.readlinkSync(`/proc/self/fd/${file}`))
    fsyncSync(file)
  }
  syncBuiltinESMExports()
  return synced
}

describe.runIf(process.platform === 'linux')('the files of this machine', () => {
  afterEach(() => {
    fs.fsyncSync = fsyncSync
    syncBuiltinESMExports()
  })

  it('sync each directory in which creating another one has added a name', () =>
    withDirectory(async (directory) => {
      const synced = noteSyncs()

      systemFiles.makeDirectory(join(directory, 'a', 'b', 'c'))

      const parents = [join(directory, 'a', 'b'), join(directory, 'a'), directory]
      expect(synced.slice(0, 3)).toEqual(parents)
    }))

  it('sync the names that lead to an existing directory, within its file system', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'a', 'b')
      fs.mkdirSync(path, { recursive: true })
      const synced = noteSyncs()

      systemFiles.makeDirectory(path)

      expect(synced.slice(0, 3)).toEqual([join(directory, 'a'), directory, dirname(directory)])
      const { dev } = fs.statSync(directory)
      for (const parent of synced) expect(fs.statSync(parent).dev).toBe(dev)
    }))

  it('do not sync names in a directory that may not be read, unless they have created them', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'a', 'b')
      fs.mkdirSync(path, { recursive: true })
      const synced = noteSyncs()
      const openSync = fs.openSync
      fs.openSync = (opened, ...rest) => {
        if (opened === directory) throw Object.assign(new Error('EACCES'), { code: 'EACCES' })
        return openSync(opened, ...rest)
      }
      syncBuiltinESMExports()
      try {
        systemFiles.makeDirectory(path)

        expect(synced.slice(0, 2)).toEqual([join(directory, 'a'), dirname(directory)])
        expect(() => systemFiles.makeDirectory(join(directory, 'c'))).toThrow('EACCES')
      } finally {
        fs.openSync = openSync
        syncBuiltinESMExports()
      }
    }))

  it('sync a directory itself', () =>
    withDirectory(async (directory) => {
      const synced = noteSyncs()

      systemFiles.syncDirectory(directory)

      expect(synced).toEqual([directory])
    }))
})
