/** The lock on a file, through each of the packages that take it. */

import { closeSync, openSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import type { TryLock } from '../../src/io/kernel-lock.ts'
import { loadKoffi } from '../../src/io/koffi.ts'
import { withDirectory } from '../support/directory.ts'

/** Loads the lock as it is with `koffi` or without. */
async function lockWith(isInstalled: boolean): Promise<TryLock> {
  vi.resetModules()
  if (!isInstalled) vi.doMock('../../src/io/koffi.ts', () => ({ loadKoffi: () => undefined }))
  try {
    const { kernelLock } = await import('../../src/io/kernel-lock.ts')
    return kernelLock()
  } finally {
    vi.doUnmock('../../src/io/koffi.ts')
  }
}

describe.runIf(loadKoffi() !== undefined)('the lock on a file', () => {
  it.each([
    ['koffi', 'koffi'],
    ['koffi', 'fs-native-extensions'],
    ['fs-native-extensions', 'koffi'],
  ])('taken by %s excludes that by %s', async (mine, other) => {
    const lock = await lockWith(mine === 'koffi')
    const otherLock = await lockWith(other === 'koffi')
    await withDirectory(async (directory) => {
      const path = join(directory, 'file')
      writeFileSync(path, '')
      const open = () => openSync(path, 'r+')
      const [first, second, third] = [open(), open(), open()]

      expect(lock(first)).toBe(true)
      expect(otherLock(second)).toBe(false)
      expect(otherLock(second, { shared: true })).toBe(false)

      closeSync(first)
      expect(lock(third, { shared: true })).toBe(true)
      expect(otherLock(second)).toBe(false)
      expect(otherLock(second, { shared: true })).toBe(true)

      closeSync(second)
      closeSync(third)
    })
  })

  it('is refused, with the code of the system, on a file that is not open', async () => {
    const lock = await lockWith(true)

    expect(() => lock(12_345)).toThrow(expect.objectContaining({ code: 'EBADF' }))
  })
})
