/**
 * The merge thread. On Node 20 a thread cannot load TypeScript, so these tests run against the
 * build.
 */

import { execFile } from 'node:child_process'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it, vi } from 'vitest'
import { FILE_HEADER_SIZE } from '../../src/format/file-header.ts'
import { hintName, segmentName } from '../../src/format/names.ts'
import { systemFiles } from '../../src/io/files.ts'
import type { CopyJob, CopyProgress } from '../../src/merge/copy.ts'
import { keepAlive, threadWork } from '../../src/merge/thread.ts'
import { withDirectory } from '../support/directory.ts'
import { directoryIdOf } from '../support/held.ts'
import { put, STORE_ID, segmentHeader, tombstone } from '../support/records.ts'

const run = promisify(execFile)
const KIB = 1024
const { signal: never } = new AbortController()
const BUILT = new URL('../../dist/src/index.js', import.meta.url).href

/** Writes a segment with id 1, and returns the job that copies it; every put is live. */
async function jobIn(
  directory: string,
  puts: readonly Buffer[],
  tombstones: readonly Buffer[] = [],
): Promise<CopyJob> {
  const header = segmentHeader(1)
  const bytes = Buffer.concat([header, ...puts, ...tombstones])
  await writeFile(join(directory, segmentName(1)), bytes)
  let at = FILE_HEADER_SIZE
  const starts = puts.map(({ length }) => {
    at += length
    return at - length
  })
  return {
    directoryId: directoryIdOf(systemFiles, directory),
    storeId: STORE_ID,
    sources: [{ id: 1, size: bytes.length, live: Uint32Array.from(starts) }],
    targetIds: [2, 3, 4, 5, 6, 7, 8],
    maxSegmentBytes: 2048 * KIB,
    dropBelow: Number.POSITIVE_INFINITY,
    maxBytesPerSecond: 0,
  }
}

/** Makes puts of 100 KiB. */
function large(count: number): Buffer[] {
  return Array.from({ length: count }, (_, index) =>
    put(`key ${index}`, 'x'.repeat(100 * KIB), index + 1),
  )
}

describe('the merge thread', () => {
  it('copies, and reports its progress and what it wrote', async () => {
    await withDirectory(async (directory) => {
      const job = await jobIn(directory, large(30), [tombstone('gone', 99)])
      const told: CopyProgress[] = []

      const targets = await threadWork.copy(job, (progress) => told.push(progress), never).done

      expect(targets.map(({ sealed }) => [sealed.id, sealed.putCount])).toEqual([
        [2, 20],
        [3, 10],
      ])
      expect(told.at(-1)?.bytesRead).toBe(job.sources[0]?.size)
      expect(told.length).toBeGreaterThan(2)
      for (const { sealed, hint } of targets) {
        const { length } = await readFile(join(directory, segmentName(sealed.id)))
        expect(length).toBe(sealed.size)
        expect(await readFile(join(directory, hintName(sealed.id)))).toEqual(Buffer.from(hint))
      }
    })
  })

  it('reads no faster than maxBytesPerSecond', async () => {
    await withDirectory(async (directory) => {
      const job = await jobIn(directory, large(30))
      const beganAt = performance.now()

      await threadWork.copy({ ...job, maxBytesPerSecond: 12 * 1024 * KIB }, () => {}, never).done

      // 2.9 MiB, at 12 MiB a second.
      expect(performance.now() - beganAt).toBeGreaterThan(240)
    })
  })

  it('ends as soon as its signal fires, with the reason, and leaves no file', async () => {
    await withDirectory(async (directory) => {
      const job = await jobIn(directory, large(60))
      const abort = new AbortController()
      const reason = new Error('enough')

      const copied = threadWork.copy(
        { ...job, maxBytesPerSecond: 10 * KIB },
        () => abort.abort(reason),
        abort.signal,
      )

      await expect(copied.done).rejects.toBe(reason)
      expect(await readdir(directory)).toEqual([segmentName(1)])
    })
  })

  it('does not begin if its signal has fired', async () => {
    await withDirectory(async (directory) => {
      const job = await jobIn(directory, large(1))

      const copy = () => threadWork.copy(job, () => {}, AbortSignal.abort(new Error('before')))

      expect(copy).toThrow('before')
      expect(await readdir(directory)).toEqual([segmentName(1)])
    })
  })

  it('reports file and offset of a damaged record, as on the main thread', async () => {
    await withDirectory(async (directory) => {
      const job = await jobIn(directory, large(3))
      const path = join(directory, segmentName(1))
      const bytes = await readFile(path)
      bytes[bytes.length - 1] = 0
      await writeFile(path, bytes)
      const offset = bytes.length - (large(3)[2]?.length ?? 0)

      const failed = {
        name: 'CorruptionError',
        code: 'FIRKIN_CORRUPT',
        message: `The record does not match its checksum (${path}, offset ${offset})`,
        file: path,
        offset,
      }
      await expect(threadWork.copy(job, () => {}, never).done).rejects.toMatchObject(failed)
      const { storeId, directoryId } = job
      const hint = { directoryId, storeId, id: 1, origin: 'appended', size: bytes.length } as const
      await expect(threadWork.hint(hint)).rejects.toMatchObject(failed)
      expect(await readdir(directory)).toEqual([segmentName(1)])
    })
  })

  it('makes hints', async () => {
    await withDirectory(async (directory) => {
      const { directoryId, storeId, sources } = await jobIn(directory, large(3))
      const size = sources[0]?.size ?? 0

      await threadWork.hint({ directoryId, storeId, id: 1, origin: 'appended', size })

      expect(await readdir(directory)).toEqual([hintName(1), segmentName(1)])
    })
  })
})

describe('keepAlive', () => {
  it('uses a timer within the longest delay that timers allow', async () => {
    const warned = vi.spyOn(process, 'emitWarning').mockReturnValue()

    const answer = await keepAlive(Promise.resolve('answer'))

    expect(answer).toBe('answer')
    expect(warned).not.toHaveBeenCalled()
    warned.mockRestore()
  })
})

/** Ways in which the thread dies when it writes for the third time. */
const DEATHS = {
  'ends by itself': 'process.exit(7)',
  'runs out of memory': 'for (const kept = []; ; ) kept.push(new Array(100_000).fill(0.5))',
  'throws what nobody catches': "throw new RangeError('out of the blue')",
} as const

/** Is loaded into the process and its threads before anything else. */
const preload = (death: string): string => `
  const fs = require('node:fs')
  const { isMainThread, workerData } = require('node:worker_threads')
  if (!isMainThread && workerData.task.kind === 'copy' && !fs.existsSync('died')) {
    const { writeSync } = fs
    let left = 3
    fs.writeSync = (...args) => {
      if (--left > 0) return writeSync(...args)
      fs.closeSync(fs.openSync('died', 'w'))
      ${death}
    }
    require('node:module').syncBuiltinESMExports()
  }
`

/** A merge whose thread dies; then the store is used and merged once more. */
const PROGRAM = `
  import { readdirSync } from 'node:fs'
  const { open } = await import(${JSON.stringify(BUILT)})
  const options = { maxSegmentBytes: 2 ** 20, merge: { automatic: false }, valueEncoding: 'utf8' }
  const store = await open('data', options)
  const keys = Array.from({ length: 40 }, (_, index) => 'key ' + String(index).padStart(2, '0'))
  for (const key of keys) await store.put(key, ('old ' + key).padEnd(100_000, '-'))
  for (let index = 0; index < 40; index += 2) {
    await store.put(keys[index], ('new ' + keys[index]).padEnd(100_000, '-'))
  }
  for (const key of keys.slice(0, 10)) await store.delete(key)
  await store.sync()
  const shown = () => JSON.stringify([...store.entries()])
  const before = shown()
  const outcome = await store.merge().then(() => 'merged', ({ code, cause }) => code + ': ' + cause.message)
  const intact = shown() === before
  const ids = new Set(store.stats().segments.map(({ id }) => id))
  const leftovers = readdirSync('data').filter((name) => /^[0-9]/.test(name) && !ids.has(parseInt(name)))
  await store.put('after', 'the death')
  const { bytesGained } = await store.merge()
  await store.close()
  const reopened = await open('data', { ...options, checkpoint: false })
  const { ok } = await reopened.verify()
  console.log(JSON.stringify({
    outcome, intact, leftovers, ok, gained: bytesGained > 2_900_000,
    kept: reopened.count() === 31 && reopened.get('after') === 'the death' && reopened.get('key 10')?.slice(0, 10) === 'new key 10',
  }))
  await reopened.close()
`

describe('a merge whose thread dies', () => {
  it.each(Object.entries(DEATHS))(
    'fails, and leaves the store as it was, if the thread %s',
    { timeout: 60_000 },
    async (name, death) => {
      await withDirectory(async (directory) => {
        await writeFile(join(directory, 'preload.cjs'), preload(death))
        await writeFile(join(directory, 'program.mjs'), PROGRAM)

        const { stdout } = await run(process.execPath, ['program.mjs'], {
          cwd: directory,
          env: { ...process.env, NODE_OPTIONS: '--max-old-space-size=64 --require ./preload.cjs' },
        })

        const reasons = {
          'ends by itself': 'The merge thread ended with code 7',
          'runs out of memory': expect.stringContaining('memory'),
          'throws what nobody catches': 'out of the blue',
        }
        const { outcome, ...rest } = JSON.parse(stdout)
        expect(outcome.replace(/^FIRKIN_MERGE_FAILED: /, '')).toEqual(
          reasons[name as keyof typeof DEATHS],
        )
        expect(outcome).toMatch(/^FIRKIN_MERGE_FAILED/)
        expect(rest).toEqual({
          intact: true,
          leftovers: [],
          ok: true,
          gained: true,
          kept: true,
        })
      })
    },
  )
})

/** Ends each thread that makes hints, in order, before it has made one. */
const ENDING_HINTS = `
  const fs = require('node:fs')
  const { isMainThread, workerData } = require('node:worker_threads')
  if (!isMainThread && workerData.task.kind === 'hint') {
    fs.writeSync = () => process.exit(0)
    require('node:module').syncBuiltinESMExports()
  }
`

/** A store that is closed while its hints are made. */
const CLOSING = `
  const { open } = await import(${JSON.stringify(BUILT)})
  const warnings = []
  process.on('warning', ({ message }) => warnings.push(message))
  const options = { maxSegmentBytes: 2 ** 20, valueEncoding: 'utf8' }
  const store = await open('data', options)
  for (let index = 0; index < 40; index++) await store.put('key ' + index, 'x'.repeat(100_000))
  await store.close()
  const reopened = await open('data', { ...options, checkpoint: false })
  const { ok } = await reopened.verify()
  console.log(JSON.stringify({ warnings, ok, count: reopened.count() }))
  await reopened.close()
`

describe('hints whose thread ends with the process', () => {
  it('are missing, and nothing is reported', { timeout: 60_000 }, async () => {
    await withDirectory(async (directory) => {
      await writeFile(join(directory, 'preload.cjs'), ENDING_HINTS)
      await writeFile(join(directory, 'program.mjs'), CLOSING)

      const { stdout } = await run(process.execPath, ['program.mjs'], {
        cwd: directory,
        env: { ...process.env, NODE_OPTIONS: '--require ./preload.cjs' },
      })

      expect(JSON.parse(stdout)).toEqual({ warnings: [], ok: true, count: 40 })
    })
  })
})
