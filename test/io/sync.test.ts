import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { systemFiles } from '../../src/io/files.ts'
import { withDirectory } from '../support/directory.ts'

const { fdatasyncSync } = fs
/** The number of syncs made in the call. */
let inCallCount = 0
fs.fdatasyncSync = (file) => {
  inCallCount++
  fdatasyncSync(file)
}
syncBuiltinESMExports()

afterAll(() => {
  fs.fdatasyncSync = fdatasyncSync
  syncBuiltinESMExports()
})

it('syncs in the call if little was written, and in a thread while the disk has much to write', async () => {
  await withDirectory(async (directory) => {
    const file = systemFiles.open(join(directory, 'file'), 'create')
    const other = systemFiles.open(join(directory, 'other'), 'create')
    const write = (to: number, size: number): void => {
      systemFiles.write(to, Buffer.alloc(size), 0, size, 0)
    }
    write(file, 1000)
    await systemFiles.syncLater(file, 1000)
    expect(inCallCount).toBe(1)

    write(other, 2 ** 20)
    write(file, 1000)
    await systemFiles.syncLater(other, 2 ** 20)
    await systemFiles.syncLater(file, 1000)

    expect(inCallCount).toBe(1)
    systemFiles.close(file)
    systemFiles.close(other)
  })
})
