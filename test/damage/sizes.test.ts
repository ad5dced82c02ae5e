/**
 * Sizes that are too large to be true, in files that have this size or do not: they cost neither
 * memory nor time.
 */

import { closeSync, cpSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs'
import { readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { CHECKPOINT_HEAD_SIZE } from '../../src/format/checkpoint.ts'
import { FILE_HEADER_SIZE } from '../../src/format/file-header.ts'
import { encodeManifest } from '../../src/format/manifest.ts'
import { StoreError } from '../../src/index.ts'
import { verifyDirectory } from '../../src/inspection/verify.ts'
import { systemFiles } from '../../src/io/files.ts'
import { salvageStore } from '../../src/salvage/salvage.ts'
import { readManifest } from '../../src/segment/manifest-file.ts'
import { withDirectory } from '../support/directory.ts'
import { withHeld } from '../support/held.ts'
import { openStore } from '../support/store.ts'

const MIB = 1024 * 1024
/** More than the largest record. The file is sparse after what was written. */
const SPARSE_SIZE = 1040 * MIB
/** The most that a small store allocates at once: a chunk of a keydir, or a window over a file. */
const BOUND = 2 * MIB
/** Sparse bytes are read at gigabytes a second, but not if each of them is looked at. */
const MOST_CPU_MS = 8000

const SEALED = '0000000001.segment'
const HINT = '0000000001.hint'
const TAIL = '0000000002.segment'
const HUGE = [0xffffffff, 2 ** 30]
/** The largest value that a record can have. */
const LARGEST_VALUE = [2 ** 30]

/** Makes a small store with a file of each kind. */
async function makeStore(directory: string): Promise<void> {
  const store = await openStore(directory, { lock: false })
  for (let index = 0; index < 60; index++) await store.put(`key ${index}`, 'x'.repeat(1200))
  await store.put('last', 'of the tail')
  await store.close()
  const names = await readdir(directory)
  expect(names.sort()).toEqual([HINT, SEALED, TAIL, 'CHECKPOINT', 'MANIFEST'].sort())
}

/** A field that holds a size, and its offset. */
interface SizeField {
  readonly file: string
  readonly name: string
  readonly at: number
  readonly values?: readonly number[]
}

const FIELDS: readonly SizeField[] = [
  { file: 'CHECKPOINT', name: 'size of the summary', at: FILE_HEADER_SIZE },
  { file: 'CHECKPOINT', name: 'count of chunks', at: FILE_HEADER_SIZE + 4 },
  { file: 'CHECKPOINT', name: 'size of a chunk', at: CHECKPOINT_HEAD_SIZE },
  { file: HINT, name: 'size of the segment', at: FILE_HEADER_SIZE },
  { file: HINT, name: 'count of entries', at: FILE_HEADER_SIZE + 4 },
  { file: HINT, name: 'size of a key', at: FILE_HEADER_SIZE + 12 + 6 },
  { file: HINT, name: 'size of a value', at: FILE_HEADER_SIZE + 12 + 8 },
  { file: 'MANIFEST', name: 'size of the tail', at: FILE_HEADER_SIZE + 4 },
  { file: 'MANIFEST', name: 'count of segments', at: FILE_HEADER_SIZE + 20 },
  { file: 'MANIFEST', name: 'size of a segment', at: FILE_HEADER_SIZE + 24 + 8 },
  { file: SEALED, name: 'size of a value', at: FILE_HEADER_SIZE + 8, values: LARGEST_VALUE },
  { file: TAIL, name: 'size of a value', at: FILE_HEADER_SIZE + 8, values: LARGEST_VALUE },
]

/** Records the largest allocation. */
function watchMemory(): { most: number } {
  const seen = { most: 0 }
  const note = (size: unknown): void => {
    if (typeof size === 'number') seen.most = Math.max(seen.most, size)
  }
  for (const name of ['alloc', 'allocUnsafe', 'allocUnsafeSlow'] as const) {
    const original = Buffer[name].bind(Buffer)
    vi.spyOn(Buffer, name).mockImplementation((size: number) => {
      note(size)
      return original(size)
    })
  }
  for (const name of ['Uint8Array', 'Uint32Array', 'Float64Array', 'ArrayBuffer'] as const) {
    const original: object = globalThis[name]
    const watched: object = new Proxy(original, {
      construct(target: new () => object, [first, ...rest], asked): object {
        note(first)
        return Reflect.construct(target, [first, ...rest], asked === watched ? target : asked)
      },
    })
    vi.stubGlobal(name, watched)
  }
  return seen
}

/** Returns everything that reads a store's files. Each may only fail by finding damage. */
function readersOf(directory: string): (() => Promise<void>)[] {
  const attempts: (() => Promise<unknown>)[] = [
    () => verifyDirectory(systemFiles, directory),
    () =>
      withHeld(systemFiles, directory, (held) =>
        salvageStore(held, { maxSegmentBytes: 64 * 1024, dryRun: true, nowMs: 0 }),
      ),
    ...[{ readOnly: true }, {}].map((options) => async () => {
      const store = await openStore(directory, { ...options, lock: false, mapping: false })
      store.on('error', () => undefined)
      for (const key of store.keys()) store.get(key)
      await store.close()
    }),
  ]
  return attempts.map((attempt) => async () => {
    await attempt().catch((error: unknown) => {
      if (!(error instanceof StoreError)) throw error
    })
  })
}

/** Puts a size into a file, and may extend the file. */
function damage(path: string, at: number, value: number, fileSize: number | undefined): void {
  const file = openSync(path, 'r+')
  try {
    const field = Buffer.alloc(4)
    field.writeUInt32LE(value)
    writeSync(file, field, 0, 4, at)
    if (fileSize !== undefined) ftruncateSync(file, fileSize)
  } finally {
    closeSync(file)
  }
}

/** Returns the processor time of `work`, in milliseconds. */
async function cpuMs(work: () => Promise<void>): Promise<number> {
  const before = process.cpuUsage()
  await work()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000
}

afterEach(() => {
  vi.restoreAllMocks()
  vi.unstubAllGlobals()
})

describe('a size that is too large to be true', () => {
  it.each(FIELDS)(
    'costs neither memory nor time: $file, $name',
    async ({ file, at, values = HUGE }) => {
      await withDirectory(async (parent) => {
        const sound = join(parent, 'sound')
        await makeStore(sound)
        let number = 0
        for (const value of values) {
          for (const fileSize of [undefined, SPARSE_SIZE]) {
            const directory = join(parent, `${number++}`)
            cpSync(sound, directory, { recursive: true })
            // Hints are read only if there is no checkpoint.
            if (file !== 'CHECKPOINT') await rm(join(directory, 'CHECKPOINT'))
            damage(join(directory, file), at, value, fileSize)
            for (const read of readersOf(directory)) {
              const memory = watchMemory()
              const took = await cpuMs(read)
              vi.restoreAllMocks()
              vi.unstubAllGlobals()
              const which = `${value} in ${fileSize ?? 'as many'} bytes`
              expect(memory.most, which).toBeLessThanOrEqual(BOUND)
              expect(took, which).toBeLessThan(MOST_CPU_MS)
            }
          }
        }
      })
    },
    240_000,
  )

  it('costs no memory even if the file has that size: MANIFEST', async () => {
    await withDirectory(async (directory) => {
      await makeStore(directory)
      const count = 1_500_000
      damage(join(directory, 'MANIFEST'), FILE_HEADER_SIZE + 20, count, 68 + count * 42 + 4)

      const memory = watchMemory()

      expect(() => readManifest(systemFiles, directory)).toThrow(StoreError)
      expect(memory.most).toBeLessThanOrEqual(BOUND)
    })
  })

  it('is accepted if the bytes are really there: a large manifest, and a large record', async () => {
    await withDirectory(async (directory) => {
      await makeStore(directory)
      const manifest = readManifest(systemFiles, directory)
      const [segment] = manifest?.segments ?? []
      if (manifest === undefined || segment === undefined) throw new Error('There is no segment')
      const segments = Array.from({ length: 5000 }, (_, index) => ({ ...segment, id: index + 1 }))
      const path = join(directory, 'MANIFEST')
      const before = readFileSync(path)
      await writeFile(path, encodeManifest({ ...manifest, segments }))
      expect(readManifest(systemFiles, directory)?.segments).toEqual(segments)
      await writeFile(path, before)

      const large = 'large '.repeat(MIB)
      const store = await openStore(directory, { lock: false })
      await store.put('large', large)
      await store.put('behind', 'it')
      await store.close()
      await writeFile(join(directory, 'CHECKPOINT'), '')
      for (const hints of [true, false]) {
        if (!hints) {
          for (const name of await readdir(directory)) {
            if (name.endsWith('.hint')) await writeFile(join(directory, name), '')
          }
        }
        const reopened = await openStore(directory, { lock: false, readOnly: true })
        reopened.on('error', () => undefined)
        expect(reopened.get('large')).toBe(large)
        expect(reopened.get('behind')).toBe('it')
        await reopened.close()
      }
      expect((await verifyDirectory(systemFiles, directory)).ok).toBe(true)
      const merging = await openStore(directory, { lock: false })
      merging.on('error', () => undefined)
      await merging.delete('key 1')
      await merging.merge()
      expect(merging.get('large')).toBe(large)
      await merging.close()
    })
  })
})
