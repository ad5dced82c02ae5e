import { existsSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  errorCode,
  type Files,
  readFully,
  readWhole,
  removeIfThere,
  systemFiles,
  writeFully,
} from '../../src/io/files.ts'
import { withDirectory } from '../support/directory.ts'

const files = systemFiles

/** Files that read and write a limited number of bytes at a time. */
function shortFiles(most: number): Files {
  return {
    ...systemFiles,
    read: (file, target, at, size, position) =>
      systemFiles.read(file, target, at, Math.min(size, most), position),
    write: (file, source, at, size, position) =>
      systemFiles.write(file, source, at, Math.min(size, most), position),
  }
}

/** Returns the code of the error that a call throws. */
function codeOf(call: () => unknown): string | undefined {
  try {
    call()
    return undefined
  } catch (error) {
    return errorCode(error)
  }
}

describe('a file of the system', () => {
  it('is created once, and never over another one', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'file')
      writeFileSync(path, 'kept')

      expect(codeOf(() => files.open(path, 'create'))).toBe('EEXIST')
      expect(codeOf(() => files.open(join(directory, 'other'), 'read'))).toBe('ENOENT')
      expect(codeOf(() => files.open(join(directory, 'other'), 'write'))).toBe('ENOENT')

      expect(readFileSync(path, 'utf8')).toBe('kept')
      expect(existsSync(join(directory, 'other'))).toBe(false)
    })
  })

  it('cannot be written if it was opened for reading', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'file')
      writeFileSync(path, 'kept')
      const file = files.open(path, 'read')

      expect(codeOf(() => files.write(file, Buffer.from('x'), 0, 1, 0))).toBe('EBADF')

      files.close(file)
      expect(readFileSync(path, 'utf8')).toBe('kept')
    })
  })

  it('is written and read at a position, and truncated', async () => {
    await withDirectory(async (directory) => {
      const file = files.open(join(directory, 'file'), 'create')
      const target = Buffer.alloc(6, '.')

      expect(files.write(file, Buffer.from('-hello-'), 1, 5, 3)).toBe(5)
      expect(files.size(file)).toBe(8)
      expect(files.read(file, target, 1, 4, 4)).toBe(4)
      expect(files.read(file, target, 0, 4, 8)).toBe(0)
      files.truncate(file, 4)

      expect(target.toString()).toBe('.ello.')
      expect(files.size(file)).toBe(4)
      files.close(file)
    })
  })

  it('is written and read beyond 4 GiB', async () => {
    await withDirectory(async (directory) => {
      const file = files.open(join(directory, 'file'), 'create')
      const position = 2 ** 32 + 5
      const target = Buffer.alloc(4)

      writeFully(files, file, Buffer.from('far'), 3, position)

      expect(files.size(file)).toBe(position + 3)
      expect(readFully(files, file, target, 4, position)).toBe(3)
      expect(target.toString('latin1', 0, 3)).toBe('far')
      files.close(file)
    })
  })

  it('is synced, now and later, and so is its directory', async () => {
    await withDirectory(async (directory) => {
      const file = files.open(join(directory, 'file'), 'create')
      files.sync(file)
      await files.syncLater(file)
      files.syncDirectory(directory)
      await files.syncDirectoryLater(directory)
      files.close(file)

      const missing = join(directory, 'missing')
      expect(codeOf(() => files.sync(file))).toBe('EBADF')
      await expect(files.syncLater(file)).rejects.toMatchObject({ code: 'EBADF' })
      expect(codeOf(() => files.syncDirectory(missing))).toBe('ENOENT')
      await expect(files.syncDirectoryLater(missing)).rejects.toMatchObject({ code: 'ENOENT' })
    })
  })

  it('is closed once: closing a file that is not open is a bug here', async () => {
    await withDirectory(async (directory) => {
      const file = files.open(join(directory, 'file'), 'create')
      files.close(file)
      const other = files.open(join(directory, 'other'), 'create')
      await files.closeLater(other)

      for (const closed of [file, other]) {
        expect(codeOf(() => files.close(closed))).toBe('EBADF')
        await expect(files.closeLater(closed)).rejects.toMatchObject({ code: 'EBADF' })
      }
    })
  })

  it('can be given other names', async () => {
    await withDirectory(async (directory) => {
      const [a, b, c] = ['a', 'b', 'c'].map((name) => join(directory, name)) as [
        string,
        string,
        string,
      ]
      writeFileSync(a, 'bytes')

      files.link(a, b)
      expect(codeOf(() => files.link(a, b))).toBe('EEXIST')
      files.rename(a, c)
      files.remove(b)

      expect(files.list(directory)).toEqual(['c'])
      expect(readFileSync(c, 'utf8')).toBe('bytes')
      expect(codeOf(() => files.remove(a))).toBe('ENOENT')
    })
  })
})

describe('a directory of the system', () => {
  it('is created with its ancestors, and may exist already', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'a', 'b', 'c')

      files.makeDirectory(path)
      files.makeDirectory(path)

      expect(statSync(path).isDirectory()).toBe(true)
    })
  })

  it('may be reached through a symbolic link', async () => {
    await withDirectory(async (directory) => {
      files.makeDirectory(join(directory, 'real'))
      symlinkSync(join(directory, 'real'), join(directory, 'link'))

      files.makeDirectory(join(directory, 'link', 'below'))

      expect(files.list(join(directory, 'real'))).toEqual(['below'])
    })
  })

  it('has no list if it is missing; listing a file is an error', async () => {
    await withDirectory(async (directory) => {
      writeFileSync(join(directory, 'file'), '')

      expect(files.list(join(directory, 'missing'))).toBeUndefined()
      expect(codeOf(() => files.list(join(directory, 'file')))).toBe('ENOTDIR')
      expect(codeOf(() => files.makeDirectory(join(directory, 'file')))).toBe('EEXIST')
    })
  })
})

describe('bytes', () => {
  it.each([1, 2, 3, 7, 100])('are written and read completely, %i at a time', async (most) => {
    await withDirectory(async (directory) => {
      const short = shortFiles(most)
      const bytes = Buffer.from('seven and forty bytes, and not one more or less')
      const file = short.open(join(directory, 'file'), 'create')
      const target = Buffer.alloc(bytes.length + 10)

      writeFully(short, file, bytes, bytes.length, 4)

      expect(readFully(short, file, target, bytes.length, 4)).toBe(bytes.length)
      expect(readFully(short, file, target.subarray(0), target.length, 4)).toBe(bytes.length)
      expect(target.subarray(0, bytes.length)).toEqual(bytes)
      expect(readWhole(short, join(directory, 'file'))?.subarray(4)).toEqual(bytes)
      short.close(file)
    })
  })

  it('that a file does not accept are an error, and are not retried for ever', async () => {
    await withDirectory(async (directory) => {
      const file = files.open(join(directory, 'file'), 'create')
      const full = { ...files, write: () => 0 }

      expect(codeOf(() => writeFully(full, file, Buffer.from('abc'), 3, 0))).toBe('EIO')

      files.close(file)
    })
  })

  it('of a missing file are none; any other reason is an error', async () => {
    await withDirectory(async (directory) => {
      expect(readWhole(files, join(directory, 'missing'))).toBeUndefined()
      expect(codeOf(() => readWhole(files, directory))).toBe('EISDIR')
    })
  })
})

describe('a file that may be missing', () => {
  it('is removed if it exists', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'file')
      writeFileSync(path, '')

      removeIfThere(files, path)
      removeIfThere(files, path)

      expect(existsSync(path)).toBe(false)
      expect(codeOf(() => removeIfThere(files, join(path, '..')))).toMatch(/EISDIR|EPERM|ENOTEMPTY/)
    })
  })
})

describe('the code of an error', () => {
  it.each<[unknown, string | undefined]>([
    [Object.assign(new Error(), { code: 'ENOSPC' }), 'ENOSPC'],
    [new Error('plain'), undefined],
    [Object.assign(new Error(), { code: 7 }), undefined],
    [{ code: 'ENOSPC' }, undefined],
    [undefined, undefined],
  ])('of %o is %o', (error, code) => {
    expect(errorCode(error)).toBe(code)
  })
})
