/** Writing and reading hint files. */

import { readdir } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { systemFiles } from '../../src/io/files.ts'
import { readHintFile, writeHintFile } from '../../src/segment/hint-file.ts'
import { withDirectory } from '../support/directory.ts'
import { FaultyFiles } from '../support/faulty-files.ts'

describe('a hint file', () => {
  it('leaves nothing behind if the disk is full', async () => {
    await withDirectory(async (directory) => {
      const full = Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' })
      const files = {
        ...systemFiles,
        write() {
          throw full
        },
      }

      expect(() => writeHintFile(files, directory, 1, Buffer.from('hint'))).toThrow(full)

      expect(await readdir(directory)).toEqual([])
    })
  })

  it('is read no further than its head if its size cannot be right', () => {
    const files = new FaultyFiles(1)
    files.makeDirectory('/disk')
    const read = [0, 1, 50, 1024 * 1024].map((size) => {
      files.poke('/disk/hint', Buffer.alloc(size))
      return readHintFile(files, '/disk/hint', 100)?.length
    })

    expect(read.slice(0, 3)).toEqual([0, 1, 50])
    expect(read[3]).toBeLessThan(1024)
  })
})
