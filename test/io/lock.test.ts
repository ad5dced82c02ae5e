import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { lockHolder, takeLock } from '../../src/io/lock.ts'
import { withDirectory } from '../support/directory.ts'

/** How many files this process has open. */
function openCount(): number {
  return readdirSync('/proc/self/fd').length
}

describe('a lock', () => {
  it('is held once, and names its holder to the others', async () => {
    await withDirectory(async (directory) => {
      const lock = takeLock(directory)

      expect(() => takeLock(directory)).toThrow(
        expect.objectContaining({
          code: 'FIRKIN_LOCKED',
          message: expect.stringMatching(
            `^The store in ${directory} is open for writing by process ${process.pid} on ${hostname()} since `,
          ),
        }),
      )
      lock.release()
      takeLock(directory).release()
    })
  })

  it('is given up once, however often that is asked for', async () => {
    await withDirectory(async (directory) => {
      const first = takeLock(directory)
      first.release()
      const second = takeLock(directory)

      first.release()

      expect(() => takeLock(directory)).toThrow(expect.objectContaining({ code: 'FIRKIN_LOCKED' }))
      second.release()
    })
  })

  it('is not held by a file that is left, whatever it says', async () => {
    await withDirectory(async (directory) => {
      writeFileSync(join(directory, 'LOCK'), `process 1 on ${'elsewhere'.repeat(50)}\n`)

      const lock = takeLock(directory)

      expect(readFileSync(join(directory, 'LOCK'), 'utf8')).toMatch(`process ${process.pid} on`)
      expect(readFileSync(join(directory, 'LOCK'), 'utf8')).not.toMatch('elsewhere')
      lock.release()
    })
  })

  it('says why it cannot be asked for', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'LOCK')
      mkdirSync(path)

      expect(() => takeLock(directory)).toThrow(
        expect.objectContaining({
          code: 'FIRKIN_LOCK_UNAVAILABLE',
          message: expect.stringMatching(`^Cannot lock ${path}: EISDIR`),
          cause: expect.objectContaining({ code: 'EISDIR' }),
        }),
      )
    })
  })

  it('leaves no file open where it is refused', async () => {
    await withDirectory(async (directory) => {
      const lock = takeLock(directory)
      const before = openCount()

      for (let attempt = 0; attempt < 5; attempt++) expect(() => takeLock(directory)).toThrow()

      expect(openCount()).toBe(before)
      lock.release()
      expect(openCount()).toBe(before - 1)
    })
  })
})

describe('the holder of a lock', () => {
  it('is who holds it, and nobody once it is given up', async () => {
    await withDirectory(async (directory) => {
      expect(lockHolder(directory)).toBeUndefined()
      const lock = takeLock(directory)

      expect(lockHolder(directory)).toMatch(`process ${process.pid} on ${hostname()} since `)
      lock.release()
      expect(lockHolder(directory)).toBeUndefined()
    })
  })

  it('is looked at without taking the lock', async () => {
    await withDirectory(async (directory) => {
      takeLock(directory).release()

      lockHolder(directory)

      takeLock(directory).release()
    })
  })
})
