/** Errors of the store: their messages give the operating system's reason. */

import { unlinkSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { asStoreError } from '../src/engine/open-engine.ts'
import { CorruptionError, type ErrorCode, StoreError } from '../src/errors.ts'
import { withDirectory } from './support/directory.ts'
import { type CallKind, type FaultCode, FaultyFiles } from './support/faulty-files.ts'
import { DISK, KIB, keysUpTo, openOn, type TextStore } from './support/store.ts'

/** An error of the operating system. */
function systemError(path: string): Error {
  try {
    unlinkSync(path)
  } catch (error) {
    if (error instanceof Error) return error
  }
  throw new Error(`${path} was there`)
}

/** Makes a closed store of several segments. */
async function filled(): Promise<FaultyFiles> {
  const files = new FaultyFiles(1)
  const store = await openOn(files)
  for (const value of ['old', 'new']) {
    await Promise.all(keysUpTo(40).map((key) => store.put(key, value.repeat(KIB))))
  }
  await store.close()
  return files
}

describe('an error of the store', () => {
  it('gives the reason if its cause is an error of the operating system', async () => {
    await withDirectory(async (directory) => {
      const cause = systemError(join(directory, 'missing'))
      const message = `Cannot do it: ${cause.message}`

      expect(new StoreError('FIRKIN_IO_FAILED', 'Cannot do it', { cause }).message).toBe(message)
      expect(asStoreError(cause, 'Cannot do it').message).toBe(message)
    })
  })

  it('gives the reason once', async () => {
    await withDirectory(async (directory) => {
      const cause = systemError(join(directory, 'missing'))
      const message = `Undone, for ${cause.message}; try again`

      expect(new StoreError('FIRKIN_WRITE_FAILED', message, { cause }).message).toBe(message)
    })
  })

  it('gives no reason for damage, or of other causes', async () => {
    await withDirectory(async (directory) => {
      const cause = systemError(join(directory, 'missing'))

      const damage = new CorruptionError('The segment is missing', '/a', 0, { cause })
      const other = new StoreError('FIRKIN_IO_FAILED', 'No', { cause: new Error('own') })

      expect(damage.message).toBe('The segment is missing (/a, offset 0)')
      expect(other.message).toBe('No')
    })
  })
})

describe('every message about a file', () => {
  it.each<[CallKind, FaultCode, (store: TextStore) => unknown]>([
    ['read', 'EIO', (store) => store.get('key 001')],
    ['open', 'EACCES', (store) => store.merge()],
    ['sync', 'EIO', (store) => store.put('key', 'value').then(() => store.sync())],
    ['rename', 'EIO', (store) => store.merge()],
    ['write', 'ENOSPC', (store) => store.put('key', 'value')],
    ['list', 'EACCES', (store) => store.backup('/disk/backup')],
    ['makeDirectory', 'EACCES', (store) => store.backup('/disk/backup')],
    ['read', 'EIO', (store) => store.verify()],
  ])('gives the reason if %s fails with %s', async (kind, code, act) => {
    const files = await filled()
    const store = await openOn(files)
    store.on('error', () => undefined)
    files.fail({ kinds: [kind], nth: 1, code, lasting: true })

    const error = await (async () => await act(store))().catch((reason: unknown) => reason)
    files.heal()
    await store.close().catch(() => undefined)

    expect(error).toBeInstanceOf(StoreError)
    expect((error as StoreError).message).toContain(`${code}: ${kind} '/disk`)
  })

  it.each<[RegExp, CallKind, ErrorCode]>([
    [/segment$/, 'open', 'FIRKIN_READ_FAILED'],
    [/MANIFEST$/, 'open', 'FIRKIN_READ_FAILED'],
  ])('gives the reason if an open cannot open %s', async (path, kind, code) => {
    const files = await filled()
    files.fail({ kinds: [kind], path, nth: 1, code: 'EACCES', lasting: true })

    await expect(openOn(files)).rejects.toMatchObject({
      code,
      message: expect.stringContaining(`EACCES: open '${DISK}`),
    })
  })
})
