import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { lockHolder, takeLock } from '../../src/io/lock.ts'
import { withDirectory } from '../support/directory.ts'

const { tryLock }: { tryLock(file: number, options?: { shared: boolean }): boolean } =
  createRequire(import.meta.url)('fs-native-extensions')

/** How many files this process has open. */
function openCount(): number {
  return readdirSync('/proc/self/fd').length
}

/** Does something in each pause that is made for others, in place of waiting; answers how many there were. */
function pausing(act: (count: number) => void): () => number {
  let count = 0
  const spy = vi.spyOn(Atomics, 'wait').mockImplementation(() => {
    act(++count)
    return 'timed-out'
  })
  onTestFinished(() => spy.mockRestore())
  return () => count
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

  it('is not refused for one who only looks at it', async () => {
    await withDirectory(async (directory) => {
      const file = openSync(join(directory, 'LOCK'), 'w+')
      expect(tryLock(file, { shared: true })).toBe(true)
      const pauses = pausing(() => closeSync(file))

      takeLock(directory).release()

      expect(pauses()).toBe(1)
    })
  })

  it('is refused by the name of a holder that has just taken it, and not written it yet', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'LOCK')
      const file = openSync(path, 'w+')
      expect(tryLock(file)).toBe(true)
      const pauses = pausing((count) => {
        if (count === 3) writeFileSync(path, 'process 7 on another machine\n')
      })

      expect(() => takeLock(directory)).toThrow(
        `The store in ${directory} is open for writing by process 7 on another machine`,
      )

      expect(pauses()).toBe(3)
      closeSync(file)
    })
  })

  it('is refused without a name where none comes', async () => {
    await withDirectory(async (directory) => {
      const file = openSync(join(directory, 'LOCK'), 'w+')
      expect(tryLock(file)).toBe(true)
      const pauses = pausing(() => undefined)

      expect(() => takeLock(directory)).toThrow(
        new RegExp(`^The store in ${directory} is open for writing$`),
      )

      expect(pauses()).toBe(20)
      closeSync(file)
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
