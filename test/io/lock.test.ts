import { execFileSync, spawnSync } from 'node:child_process'
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { lockHolder, takeLock } from '../../src/io/lock.ts'
import { withDirectory } from '../support/directory.ts'

const { tryLock }: { tryLock(file: number, options?: { shared: boolean }): boolean } =
  createRequire(import.meta.url)('fs-native-extensions')

const UNAVAILABLE = 'FIRKIN_LOCK_UNAVAILABLE'
const BUILT = new URL('../../dist/src/index.js', import.meta.url).href
/** Opens a store and closes it, in another process: a thread has no umask of its own. */
const UNDER_UMASK = `
const [built, directory, mask] = process.argv.slice(1)
process.umask(Number(mask))
const { open } = await import(built)
const store = await open(directory)
await store.put('key', 'value')
await store.close()
`

/** Matches the error that no lock is available, with this message. */
function unavailable(message: string): object {
  return expect.objectContaining({ code: UNAVAILABLE, message })
}

/** Returns how many files this process has open. */
function openCount(): number {
  return readdirSync('/proc/self/fd').length
}

/** Runs `act` in place of each wait for another process; the function returned counts them. */
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
  it('is held once, and names its holder to other processes', async () => {
    await withDirectory(async (directory) => {
      const lock = takeLock(directory)

      expect(() => takeLock(directory)).toThrow(
        expect.objectContaining({
          code: 'FIRKIN_LOCKED',
          message: expect.stringMatching(
            `^The store in ${directory} is open for writing by this process since `,
          ),
        }),
      )
      lock.release()
      takeLock(directory).release()
    })
  })

  it('is given up once, however often it is released', async () => {
    await withDirectory(async (directory) => {
      const first = takeLock(directory)
      first.release()
      const second = takeLock(directory)

      first.release()

      expect(() => takeLock(directory)).toThrow(expect.objectContaining({ code: 'FIRKIN_LOCKED' }))
      second.release()
    })
  })

  it('is not held by a file that was left, whatever its text says', async () => {
    await withDirectory(async (directory) => {
      writeFileSync(join(directory, 'LOCK'), `process 1 on ${'elsewhere'.repeat(50)}\n`)

      const lock = takeLock(directory)

      expect(readFileSync(join(directory, 'LOCK'), 'utf8')).toMatch(`process ${process.pid} on`)
      expect(readFileSync(join(directory, 'LOCK'), 'utf8')).not.toMatch('elsewhere')
      lock.release()
    })
  })

  it('says why the kernel cannot be asked for it', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'LOCK')
      mkdirSync(path)

      expect(() => takeLock(directory)).toThrow(
        unavailable(`Cannot lock ${path}: it is not a regular file`),
      )
    })
  })

  it('is not taken on a file that a link leads to, and leaves that file as it is', async () => {
    await withDirectory(async (directory) => {
      const precious = join(directory, 'precious')
      writeFileSync(precious, 'data')
      const path = join(directory, 'LOCK')
      symlinkSync(precious, path)

      expect(() => takeLock(directory)).toThrow(
        unavailable(`Cannot lock ${path}: it is a symbolic link`),
      )

      expect(readFileSync(precious, 'utf8')).toBe('data')
      expect(lockHolder(directory)).toBeUndefined()
    })
  })

  it('creates no file if a link leads to none', async () => {
    await withDirectory(async (directory) => {
      symlinkSync(join(directory, 'nothing'), join(directory, 'LOCK'))

      expect(() => takeLock(directory)).toThrow(expect.objectContaining({ code: UNAVAILABLE }))

      expect(readdirSync(directory)).toEqual(['LOCK'])
    })
  })

  it.skipIf(process.platform === 'win32')('does not wait for the other end of a pipe', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'LOCK')
      execFileSync('mkfifo', [path])

      expect(() => takeLock(directory)).toThrow(
        unavailable(`Cannot lock ${path}: it is not a regular file`),
      )
      expect(lockHolder(directory)).toBeUndefined()
    })
  })

  it.each([
    'a lock of another program\n',
    'process seven on',
    'processes 7 on',
    `process 7 on ${'x'.repeat(5000)}`,
  ])('neither truncates nor writes a file that is not a lock: %s', async (text) => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'LOCK')
      writeFileSync(path, text)
      const before = openCount()

      expect(() => takeLock(directory)).toThrow(
        unavailable(`Cannot lock ${path}: it is a file of another program`),
      )

      expect(readFileSync(path, 'utf8')).toBe(text)
      expect(openCount()).toBe(before)
    })
  })

  it.each(['', '\0'.repeat(60), 'process 7', 'process 7 on elsewhere since\0\0'])(
    'is taken on the remains of a lock that was held: %j',
    async (text) => {
      await withDirectory(async (directory) => {
        writeFileSync(join(directory, 'LOCK'), text)

        takeLock(directory).release()

        expect(readFileSync(join(directory, 'LOCK'), 'utf8')).toBe('')
      })
    },
  )

  it.each([0o002, 0o022, 0o077])('creates its file as the umask says: %o', async (mask) => {
    await withDirectory(async (directory) => {
      const { status, stderr } = spawnSync(
        process.execPath,
        ['--input-type=module', '-e', UNDER_UMASK, BUILT, directory, String(mask)],
        { encoding: 'utf8' },
      )

      expect([status, stderr]).toEqual([0, ''])
      const { mode } = statSync(join(directory, 'LOCK'))
      expect(mode & 0o777).toBe(0o666 & ~mask)
      for (const name of readdirSync(directory)) {
        expect(statSync(join(directory, name)).mode & 0o777).toBe(0o666 & ~mask)
      }
    })
  })

  it('is not refused while another process only looks at it', async () => {
    await withDirectory(async (directory) => {
      const file = openSync(join(directory, 'LOCK'), 'w+')
      expect(tryLock(file, { shared: true })).toBe(true)
      const pauses = pausing(() => closeSync(file))

      takeLock(directory).release()

      expect(pauses()).toBe(1)
    })
  })

  it('is refused with the name of a holder that has just taken it and not written its name yet', async () => {
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

  it('is refused without a name if none appears', async () => {
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

  it('leaves no file open if it is refused', async () => {
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
  it('is named while it holds the lock, and not afterwards', async () => {
    await withDirectory(async (directory) => {
      expect(lockHolder(directory)).toBeUndefined()
      const lock = takeLock(directory)

      expect(lockHolder(directory)).toMatch(`process ${process.pid} on ${hostname()} since `)
      lock.release()
      expect(lockHolder(directory)).toBeUndefined()
    })
  })

  it('is looked up without taking the lock', async () => {
    await withDirectory(async (directory) => {
      takeLock(directory).release()

      lockHolder(directory)

      takeLock(directory).release()
    })
  })
})
