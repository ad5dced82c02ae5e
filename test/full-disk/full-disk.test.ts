/** Stores on a full disk: a small file system, and a limit on the size of files. */

import { execFile, execFileSync } from 'node:child_process'
import { closeSync, fstatSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { withDirectory } from '../support/directory.ts'
import { cannotClose, cannotMerge, type ElasticSpace, fillsUp, freesSpace } from './scenarios.ts'

const run = promisify(execFile)
const LIMITED = join(import.meta.dirname, '../../dist/test/full-disk/limited.js')
const KIB = 1024
const DISK_SIZE = 640 * KIB
const RESERVE_SIZE = 64 * KIB

/** Whether this process may mount a file system. Root may, as in CI. */
const mayMount = await withDirectory(async (directory) => {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', directory], { stdio: 'pipe' })
    execFileSync('umount', [directory])
    return true
  } catch {
    console.warn(
      'This process may not mount a file system: only a limit on the size of files is tested.',
    )
    return false
  }
})

/** Runs `use` with a file system of `size` bytes. */
async function withDisk(size: number, use: (space: ElasticSpace) => Promise<void>): Promise<void> {
  const mountPoint = await mkdtemp(join(tmpdir(), 'firkin-disk-'))
  const options = `size=${size},mode=0700`
  execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', mountPoint])
  const filler = join(mountPoint, 'filler')
  const reserve = join(mountPoint, 'reserve')
  writeFileSync(reserve, Buffer.alloc(RESERVE_SIZE))
  try {
    await use({
      directory: join(mountPoint, 'store'),
      code: 'ENOSPC',
      // A group fills a segment.
      groupSize: 15,
      tooMuch: 30,
      lend: () => rmSync(reserve),
      takeBack: () => writeFileSync(reserve, Buffer.alloc(RESERVE_SIZE)),
      takeAll: () => writeAll(filler),
      giveBack: () => rmSync(filler),
    })
  } finally {
    // Lazily, because mappings keep it busy until they are collected.
    execFileSync('umount', ['-l', mountPoint])
    await rm(mountPoint, { recursive: true })
  }
}

/** Writes a file until the disk is full. */
function writeAll(path: string): void {
  const file = openSync(path, 'w')
  const bytes = Buffer.alloc(4 * KIB)
  try {
    for (;;) writeSync(file, bytes)
  } catch (error) {
    expect(error).toMatchObject({ code: 'ENOSPC' })
    expect(fstatSync(file).size).toBeGreaterThan(0)
  } finally {
    closeSync(file)
  }
}

/** Runs a scenario in a process whose files may have up to `size` bytes. */
async function runLimited(name: string, size: number): Promise<void> {
  await withDirectory(async (directory) => {
    const command = `ulimit -f ${size / 512} && exec "$0" "$@"`
    const store = join(directory, 'store')
    // A process that hangs must not outlive the test.
    const limits = { timeout: 50_000, killSignal: 'SIGKILL' } as const
    await run('sh', ['-c', command, process.execPath, LIMITED, store, name], limits)
  })
}

if (mayMount) {
  describe('a full file system', () => {
    it('refuses writes, and takes them again after a delete and a merge', async () => {
      await withDisk(DISK_SIZE, fillsUp)
    })

    it('leaves deletes, merges and a close possible if another program has filled it', async () => {
      await withDisk(DISK_SIZE, freesSpace)
    })

    it('makes a merge fail, which leaves everything as it was', async () => {
      await withDisk(DISK_SIZE, cannotMerge)
    })

    it.each(['never', 'always'] as const)(
      'lets a store close without losing anything, sync %s',
      async (sync) => {
        await withDisk(DISK_SIZE, (space) => cannotClose(space, sync))
      },
    )
  })
}

describe('a limit on the size of files', () => {
  it('refuses writes, and takes them again after a delete and a merge', async () => {
    await runLimited('fillsUp', 48 * KIB)
  })

  it('makes a merge fail, which leaves everything as it was', async () => {
    await runLimited('cannotMerge', 48 * KIB)
  })

  it('lets a store close without a checkpoint', async () => {
    await runLimited('cannotCheckpoint', 80 * KIB)
  })
})
