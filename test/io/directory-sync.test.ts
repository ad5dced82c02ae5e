import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { systemFiles } from '../../src/io/files.ts'
import { withDirectory } from '../support/directory.ts'

const { fsyncSync } = fs

/** Notes which paths are synced from now on. */
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

  it('sync each directory that was given a name by making another one', () =>
    withDirectory(async (directory) => {
      const synced = noteSyncs()

      systemFiles.makeDirectory(join(directory, 'a', 'b', 'c'))

      const parents = [directory, join(directory, 'a'), join(directory, 'a', 'b')]
      expect(synced.sort()).toEqual(parents)
    }))

  it('sync nothing for a directory that is there', () =>
    withDirectory(async (directory) => {
      const synced = noteSyncs()

      systemFiles.makeDirectory(directory)

      expect(synced).toEqual([])
    }))

  it('sync a directory itself', () =>
    withDirectory(async (directory) => {
      const synced = noteSyncs()

      systemFiles.syncDirectory(directory)

      expect(synced).toEqual([directory])
    }))
})
