/**
 * Values and errors of another realm than this one's, as Jest and `node:vm` have them: their
 * classes are not those of this realm.
 */

import { runInNewContext } from 'node:vm'
import { describe, expect, it } from 'vitest'
import { isError, isErrorOf } from '../src/errors.ts'
import { errorCode } from '../src/io/files.ts'
import { open } from '../src/store/store.ts'
import { withDirectory } from './support/directory.ts'
import { FaultyFiles } from './support/faulty-files.ts'
import { openOn } from './support/store.ts'

const other = (code: string) => runInNewContext(code)

describe('another realm', () => {
  it('has keys, values, ranges and times that a store takes', async () => {
    await withDirectory(async (directory) => {
      await using store = await open(directory)
      const key = other('new Uint8Array([1, 2])')
      expect(key).not.toBeInstanceOf(Uint8Array)

      await store.put(key, other('new Uint8Array([3])'), {
        expiresAt: other('new Date(Date.now() + 1e6)'),
      })
      await store.batch().put('b', other('new Uint8Array([4])')).commit()

      expect(store.get(Uint8Array.of(1, 2))).toEqual(Buffer.of(3))
      expect(store.get(key)).toEqual(Buffer.of(3))
      expect(store.get('b')).toEqual(Buffer.of(4))
      expect([...store.keys({ gt: key })]).toEqual(['b'])
      expect(() => store.getMany(key)).toThrow('Keys must be an iterable of keys')
    })
  })

  it('has errors that are told apart as ours are', () => {
    for (const kind of ['RangeError', 'SyntaxError', 'TypeError'] as const) {
      const error = other(`new ${kind}('text')`)
      expect(error).not.toBeInstanceOf(Error)

      expect(isError(error)).toBe(true)
      expect(isErrorOf(kind, error)).toBe(true)
      expect(isErrorOf(kind, other("new Error('text')"))).toBe(false)
    }
    expect(isErrorOf('TypeError', new (class extends TypeError {})())).toBe(true)
    expect(isError(other('({ name: "Error", message: "" })'))).toBe(false)
    expect(isErrorOf('TypeError', { name: 'TypeError' })).toBe(false)
    expect(errorCode(other('Object.assign(new Error(""), { code: "ENOENT" })'))).toBe('ENOENT')
  })

  it('may be that of the errors of the operating system', async () => {
    const files = new FaultyFiles(1)
    const { open: openFile } = files
    files.open = (path, mode) => {
      try {
        return openFile.call(files, path, mode)
      } catch (error) {
        throw Object.assign(other('new Error("no such file")'), { code: errorCode(error) })
      }
    }

    const store = await openOn(files)
    await store.put('key', 'value')
    await store.close()

    await using again = await openOn(files)
    expect(again.get('key')).toBe('value')
  })
})
