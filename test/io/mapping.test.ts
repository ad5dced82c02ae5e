import { execFile } from 'node:child_process'
import { appendFileSync, openSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { systemFiles } from '../../src/io/files.ts'
import { canMap, MAX_MAPPING_SIZE, mapFile } from '../../src/io/mapping.ts'
import { withDirectory } from '../support/directory.ts'

const run = promisify(execFile)
const built = new URL('../../dist/src/io/mapping.js', import.meta.url).href

describe.runIf(canMap())('a mapping', () => {
  it('shows the bytes of its file', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'file')
      writeFileSync(path, 'mapped bytes')
      const file = openSync(path, 'r')

      expect(mapFile(file, 12)?.toString()).toBe('mapped bytes')
      expect(mapFile(file, 6)?.toString()).toBe('mapped')
      systemFiles.close(file)
    })
  })

  it('that is longer than its file shows what is appended later', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'file')
      writeFileSync(path, 'first')
      const file = openSync(path, 'r')
      const mapped = mapFile(file, 64 * 1024)

      appendFileSync(path, ' second')

      expect(mapped?.length).toBe(64 * 1024)
      expect(mapped?.toString('utf8', 0, 12)).toBe('first second')
      systemFiles.close(file)
    })
  })

  it('outlives the descriptor that it was created from', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'file')
      writeFileSync(path, 'still here')
      const file = openSync(path, 'r')
      const mapped = mapFile(file, 10)

      systemFiles.close(file)

      expect(mapped?.toString()).toBe('still here')
    })
  })
})

describe('no mapping', () => {
  it.each([
    ['of nothing', 0],
    ['of 2 GiB or more', MAX_MAPPING_SIZE + 1],
  ])('is made %s', async (_, size) => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'file')
      writeFileSync(path, 'bytes')
      const file = openSync(path, 'r')

      expect(mapFile(file, size)).toBeUndefined()
      systemFiles.close(file)
    })
  })

  it('is made of a file that is not open, without an error', () => {
    expect(mapFile(2 ** 20, 4096)).toBeUndefined()
  })

  it('is made with FIRKIN_MMAP=off', async () => {
    const code = `console.log((await import(${JSON.stringify(built)})).canMap())`
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', code], {
      env: { ...process.env, FIRKIN_MMAP: 'off' },
    })

    expect(stdout).toBe('false\n')
  })
})
