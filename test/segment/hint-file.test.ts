import { readdir } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { systemFiles } from '../../src/io/files.ts'
import { writeHintFile } from '../../src/segment/hint-file.ts'
import { withDirectory } from '../support/directory.ts'

describe('a hint file', () => {
  it('leaves nothing behind where the disk is full', async () => {
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
})
