/** Tests of the abstract-level database: Level's own suite, and what Firkin adds to it. */

import { execFile } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
// @ts-expect-error The suite has no types.
import suite from 'abstract-level/test'
import { afterAll, describe, expect, it, vi } from 'vitest'
import {
  type FirkinClearOptions,
  FirkinLevel,
  type FirkinLevelOptions,
  type FirkinPutOptions,
} from '../../src/adapters/abstract-level.ts'
import { withDirectory } from '../support/directory.ts'
import { tapeTest } from './tape.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/** Assigns databases of the adapter to Level's own types, with the declarations of the build. */
const PROGRAM = `
import type { AbstractLevel } from '${join(ROOT, 'node_modules/abstract-level/index.js')}'
import type { FirkinLevel } from '${join(ROOT, 'dist/src/adapters/abstract-level.js')}'

type Format = string | Buffer | Uint8Array
export const ofText = (level: FirkinLevel): AbstractLevel<Format> => level
type Numbers = AbstractLevel<Format, Buffer, number>
export const ofBytes = (level: FirkinLevel<Buffer, number>): Numbers => level
`

describe('the suite of abstract-level', () => {
  // The suite makes databases while vitest collects it, and does not close all of them.
  const root = mkdtempSync(join(tmpdir(), 'firkin-level-'))
  const open = new Set<FirkinLevel>()
  let count = 0

  suite({
    test: tapeTest,
    factory(options?: FirkinLevelOptions<string, string>) {
      const database = new FirkinLevel(join(root, String(++count)), options)
      open.add(database)
      return database.once('closed', () => open.delete(database))
    },
  })

  afterAll(async () => {
    await Promise.allSettled(Array.from(open, (database) => database.close()))
    await rm(root, { recursive: true, force: true })
  })
})

describe('FirkinLevel', () => {
  it('keeps empty keys and keys with leading zero bytes distinct and in order', async () => {
    await withDirectory(async (directory) => {
      const keys = ['', '\0', '\0\0', '\0a', '\u0001', 'a']
      const level = new FirkinLevel(directory)
      for (const key of [...keys].reverse()) await level.put(key, `<${key}>`)
      await level.close()

      await level.open()

      expect(await level.iterator().all()).toEqual(keys.map((key) => [key, `<${key}>`]))
      expect(await level.keys({ gt: '', lte: '\0a' }).all()).toEqual(['\0', '\0\0', '\0a'])
      expect(await level.keys({ reverse: true, lt: '\0\0' }).all()).toEqual(['\0', ''])
      await level.close()
    })
  })

  it('refuses a lone surrogate in a key or a value, and accepts it in a bound', async () => {
    await withDirectory(async (directory) => {
      await using level = new FirkinLevel(directory)
      await level.put('a\ufffd', 'value')
      const invalidKey = expect.objectContaining({ code: 'LEVEL_INVALID_KEY' })
      const invalidValue = expect.objectContaining({ code: 'LEVEL_INVALID_VALUE' })

      await expect(level.put('a\ud800', '')).rejects.toThrow(invalidKey)
      await expect(level.put('b', 'b\ud800')).rejects.toThrow(invalidValue)
      await expect(level.batch([{ type: 'put', key: '\udfff', value: '' }])).rejects.toThrow(
        invalidKey,
      )
      expect(() => level.batch().put('b', '\udfff')).toThrow(invalidValue)
      await level.del('a\ud800')

      expect(await level.get('a\ud800')).toBeUndefined()
      expect(await level.keys({ gte: 'a\ud800', lt: 'b\udfff' }).all()).toEqual(['a\ufffd'])
    })
  })

  it('finds nothing under a key that is too long, and refuses to put it', async () => {
    await withDirectory(async (directory) => {
      await using level = new FirkinLevel<string | Buffer>(directory)
      const longest = 'x'.repeat(65_535)
      const refused = { code: 'LEVEL_INVALID_KEY', message: expect.stringContaining('65535') }
      const tooLong = ['x'.repeat(65_536), '\0'.repeat(65_535), 'é'.repeat(32_768)]
      await level.put(longest, 'longest')
      const view = { keyEncoding: 'buffer' } as const

      for (const key of tooLong) {
        const bytes = Buffer.from(key)
        expect(await level.get(key)).toBeUndefined()
        expect(await level.get(bytes, view)).toBeUndefined()
        expect(level.getSync(key)).toBeUndefined()
        expect(await level.has(key)).toBe(false)
        expect(await level.getMany([key, longest])).toEqual([undefined, 'longest'])
        expect(await level.hasMany([key, longest])).toEqual([false, true])
        await level.del(key)
        await level.batch([{ type: 'del', key }])
        await level.batch().del(key).write()
        await expect(level.put(key, '')).rejects.toMatchObject(refused)
        await expect(level.put(bytes, '', view)).rejects.toMatchObject(refused)
        await expect(level.batch([{ type: 'put', key, value: '' }])).rejects.toMatchObject(refused)
        expect(() => level.batch().put(key, '')).toThrow(expect.objectContaining(refused))
      }

      expect(await level.keys().all()).toEqual([longest])
      expect(await level.keys({ gte: 'x'.repeat(70_000) }).all()).toEqual([])
      expect(await level.keys({ lt: 'x'.repeat(70_000) }).all()).toEqual([longest])
      const keys = level.keys()
      keys.seek('x'.repeat(70_000))
      expect(await keys.all()).toEqual([])
    })
  })

  it('goes to the end on a seek to before the range, in both directions', async () => {
    await withDirectory(async (directory) => {
      await using level = new FirkinLevel(directory)
      for (const key of ['a', 'b', 'c', 'd']) await level.put(key, key)
      const forward = level.keys({ gt: 'a', lte: 'c' })
      const backward = level.keys({ gt: 'a', lte: 'c', reverse: true })

      forward.seek('0')
      backward.seek('d')
      expect(await forward.next()).toBeUndefined()
      expect(await backward.next()).toBeUndefined()
      forward.seek('b0')
      backward.seek('b0')

      expect(await forward.all()).toEqual(['c'])
      expect(await backward.all()).toEqual(['b'])
    })
  })

  it.each([
    [{ gt: '5' }, '5', []],
    [{ gt: '5' }, '50', ['6', '7']],
    [{ gte: '5' }, '5', ['5', '6', '7']],
    [{ gte: '5', gt: '5' }, '5', ['5', '6', '7']],
    [{ lt: '7' }, '7', []],
    [{ lt: '5', reverse: true }, '5', []],
    [{ lt: '5', reverse: true }, '49', ['4', '3']],
    [{ lte: '5', reverse: true }, '5', ['5', '4', '3']],
    [{ gt: '5', reverse: true }, '5', []],
    [{ gt: '' }, '', []],
    [{}, '', ['3', '4', '5', '6', '7']],
  ])('over %j, after a seek to %j, returns %j', async (range, target, expected) => {
    await withDirectory(async (directory) => {
      await using level = new FirkinLevel(directory)
      for (const key of ['3', '4', '5', '6', '7']) await level.put(key, key)
      const keys = level.keys(range)
      const values = level.values(range)
      const entries = level.iterator(range)

      for (const iterator of [keys, values, entries]) iterator.seek(target)

      expect(await keys.all()).toEqual(expected)
      expect(await values.all()).toEqual(expected)
      expect(await entries.all()).toEqual(expected.map((key) => [key, key]))
    })
  })

  it('clears what a snapshot shows of a range, and nothing put after it', async () => {
    await withDirectory(async (directory) => {
      await using level = new FirkinLevel(directory)
      await level.batch(['a', 'b', 'c'].map((key) => ({ type: 'put', key, value: key })))
      await using snapshot = level.snapshot()
      await level.put('bb', 'bb')

      await level.clear({ gte: 'b', snapshot })

      expect(await level.keys().all()).toEqual(['a', 'bb'])
      expect(await level.keys({ snapshot }).all()).toEqual(['a', 'b', 'c'])
    })
  })

  it.each([
    ['without hooks', () => undefined],
    ['through a hook', (level: FirkinLevel) => level.hooks.prewrite.add(() => undefined)],
  ])('expires what is put with a lifetime in any way, %s', async (_, prepare) => {
    await withDirectory(async (directory) => {
      let now = 1000
      await using level = new FirkinLevel(directory, { store: { clock: () => now } })
      prepare(level)
      const brief: FirkinPutOptions = { ttlMs: 50 }
      await level.put('a', '1', { ttlMs: 50 })
      await level.put('b', '2', { expiresAt: new Date(now + 50), keyEncoding: 'utf8' })
      await level.batch([{ type: 'put', key: 'c', value: '3', ttlMs: 50 }])
      const operations = [
        { type: 'put', key: 'd', value: '4' } as const,
        { type: 'put', key: 'e', value: '5', ttlMs: 100 } as const,
        { type: 'put', key: 'f', value: '6', expiresAt: now + 100 } as const,
      ]
      await level.batch(operations, { ttlMs: 50 })
      const later = [{ type: 'put', key: 'g', value: '7', ttlMs: 100 } as const]
      await level.batch(later, { expiresAt: now + 50 })
      await level.batch().put('h', '8', { ttlMs: 50 }).put('i', '9').write()
      await level.sublevel('sub').put('j', '10', brief)
      expect(level.store.count()).toBe(10)

      now += 50

      expect(await level.keys().all()).toEqual(['e', 'f', 'g', 'i'])
      expect(level.getSync('a')).toBeUndefined()
    })
  })

  const writes: [string, (level: FirkinLevel, sync: boolean) => Promise<void>][] = [
    ['a put', (level, sync) => level.put('key', '', { sync })],
    ['a del', (level, sync) => level.del('other', { sync })],
    ['a clear', (level, sync) => level.clear({ gte: 'a', sync })],
    ['a batch', (level, sync) => level.batch([{ type: 'put', key: 'k', value: '' }], { sync })],
    ['a chained batch', (level, sync) => level.batch().put('key', '').write({ sync })],
    [
      'a clear of a sublevel',
      (level, sync) => {
        const durable: FirkinClearOptions = { sync }
        return level.sublevel('sub').clear(durable)
      },
    ],
  ]

  it.each(writes)('syncs %s if it is asked to', async (_, write) => {
    await withDirectory(async (directory) => {
      await using level = new FirkinLevel(directory, { store: { sync: 'never' } })
      await level.put('other', '')
      const sync = vi.spyOn(level.store, 'sync')

      await write(level, false)
      expect(sync).toHaveBeenCalledTimes(0)
      await write(level, true)

      expect(sync).toHaveBeenCalledTimes(1)
    })
  })

  it('refuses a batch whose own options set two lifetimes', async () => {
    await withDirectory(async (directory) => {
      await using level = new FirkinLevel(directory)
      const operations = [{ type: 'put', key: 'key', value: '' } as const]

      const written = level.batch(operations, { ttlMs: 50, expiresAt: 50 })

      await expect(written).rejects.toThrow('Options ttlMs and expiresAt exclude each other')
    })
  })

  it('refuses by type an option that a write would ignore', () => {
    // The compiler checks these calls; nothing runs them.
    const calls = async (level: FirkinLevel) => {
      // @ts-expect-error The option is ttlMs.
      await level.put('key', '', { ttl: 50 })
      // @ts-expect-error A boolean, unlike the option of the store.
      await level.put('key', '', { sync: 'always' })
      // @ts-expect-error A batch is synced as a whole.
      await level.batch([{ type: 'put', key: 'key', value: '', sync: true }])
      // @ts-expect-error A delete has no lifetime.
      await level.batch([{ type: 'del', key: 'key', ttlMs: 50 }])
      // @ts-expect-error A batch is synced when it is written.
      level.batch().put('key', '', { sync: true })
      // @ts-expect-error The lifetimes are those of the puts.
      await level.batch().write({ ttlMs: 50 })
      // @ts-expect-error The value is text.
      await level.put('key', 7)
    }

    expect(calls).toBeTypeOf('function')
  })

  it('exposes its store while it is open, and passes the options on', async () => {
    await withDirectory(async (directory) => {
      const level = new FirkinLevel(directory, { store: { keydir: 'hash', sync: 'never' } })
      expect(() => level.store).toThrow(expect.objectContaining({ code: 'FIRKIN_CLOSED' }))

      await level.put('key', 'value', { sync: true })

      expect(level.store.stats().keydir.kind).toBe('hash')
      expect(level.store.get('key')?.toString()).toBe('value')
      await level.close()
      await level.close()
    })
  })

  it.each([
    ['an option of the store among its own', { sync: 'always' }, 'store: { sync }'],
    ['a lifetime of the store among its own', { ttlMs: 5 }, 'store: { ttlMs }'],
    [
      'an unknown option of the store',
      { store: { keydri: 'hash' } },
      'keydri; did you mean keydir?',
    ],
    [
      'an encoding among the options of the store',
      { store: { valueEncoding: 'json' } },
      'valueEncoding belongs to the database',
    ],
    [
      'createIfMissing among the options of the store',
      { store: { createIfMissing: false } },
      'createIfMissing belongs',
    ],
    [
      'options of the store that are not an object',
      { store: 'hash' },
      'Option store must be an object',
    ],
  ])('refuses %s, in the constructor and in open', async (_, options, message) => {
    await withDirectory(async (directory) => {
      const wrong = options as FirkinLevelOptions<string, string>
      expect(() => new FirkinLevel(directory, wrong)).toThrow(TypeError)
      expect(() => new FirkinLevel(directory, wrong)).toThrow(message)

      const level = new FirkinLevel(directory)
      const opening = level.open(wrong)

      await expect(opening).rejects.toMatchObject({
        cause: { message: expect.stringContaining(message) },
      })
    })
  })

  it('refuses a location that is not a path, and ignores options of other databases', async () => {
    await withDirectory(async (directory) => {
      for (const location of ['', undefined, 5]) {
        expect(() => new FirkinLevel(location as string)).toThrow(TypeError)
      }
      const others = { cacheSize: 8, compression: false } as FirkinLevelOptions<string, string>

      await using level = new FirkinLevel(directory, others)

      await level.open()
    })
  })

  it('stays in its directory when the working directory changes', async () => {
    await withDirectory(async (directory) => {
      const before = process.cwd()
      vi.spyOn(process, 'cwd').mockReturnValue(directory)
      const level = new FirkinLevel('data')
      vi.spyOn(process, 'cwd').mockReturnValue(join(directory, 'elsewhere'))
      try {
        await level.open()
      } finally {
        vi.restoreAllMocks()
      }

      expect(process.cwd()).toBe(before)
      expect(level.location).toBe('data')
      expect(level.store.directory).toBe(join(directory, 'data'))
      await level.close()
    })
  })

  // A thread syncs this much, which takes a while.
  const long = 'x'.repeat(2 ** 20)
  const durable = { sync: true }
  const slowWrites: [string, (level: FirkinLevel) => Promise<void>][] = [
    ['a put', (level) => level.put('key', long, durable)],
    ['a batch', (level) => level.batch([{ type: 'put', key: 'key', value: long }], durable)],
    ['a chained batch', (level) => level.batch().put('key', long).write(durable)],
    ['a del', (level) => level.del('other', durable)],
    ['a put without sync', (level) => level.put('key', long)],
  ]

  it.each(slowWrites)('settles %s before it closes', async (name, write) => {
    await withDirectory(async (directory) => {
      for (const sync of ['always', 'interval', 'never'] as const) {
        const level = new FirkinLevel(directory, { store: { sync } })
        await level.put('other', '')

        const written = write(level)
        const closed = level.close()

        await Promise.all([written, closed])
        await level.open()
        if (name === 'a del') expect(await level.has('other')).toBe(false)
        else expect(await level.get('key')).toBe(long)
        await level.clear()
        await level.close()
      }
    })
  })

  it('finishes a clear before it closes', async () => {
    await withDirectory(async (directory) => {
      const level = new FirkinLevel(directory)
      await level.batch(numbered(50_000))

      const cleared = level.clear()
      const closed = level.close()

      await Promise.all([cleared, closed])
      await level.open()
      expect(await level.keys({ limit: 1 }).all()).toEqual([])
      await level.close()
    })
  })

  it("fails with Level's codes, and with the store's error as the cause", async () => {
    await withDirectory(async (directory) => {
      const level = new FirkinLevel(directory, { store: { mapping: false } })
      await level.batch(numbered(3))
      const open = (options: object) => new FirkinLevel(directory, options).open()
      const failure = (code: string, cause: string) => ({
        code: 'LEVEL_DATABASE_NOT_OPEN',
        cause: { code, cause: { code: cause } },
      })
      const readOnly = new FirkinLevel(directory, { store: { readOnly: true } })

      await expect(open({})).rejects.toMatchObject(failure('LEVEL_LOCKED', 'FIRKIN_LOCKED'))
      await expect(open({ errorIfExists: true })).rejects.toMatchObject({
        cause: { code: 'FIRKIN_EXISTS' },
      })
      await expect(readOnly.put('key', '')).rejects.toMatchObject({
        code: 'LEVEL_READONLY',
        cause: { code: 'FIRKIN_READ_ONLY' },
      })
      await readOnly.close()

      await flipEnd(join(directory, '0000000001.segment'))
      const corrupt = { code: 'LEVEL_CORRUPTION', cause: { code: 'FIRKIN_CORRUPT' } }
      const last = 'key 000002'
      await expect(level.get(last)).rejects.toMatchObject(corrupt)
      expect(() => level.getSync(last)).toThrow(expect.objectContaining({ code: corrupt.code }))
      await expect(level.getMany([last])).rejects.toMatchObject(corrupt)
      await expect(level.iterator().all()).rejects.toMatchObject(corrupt)
      await expect(level.values({ reverse: true }).next()).rejects.toMatchObject(corrupt)
      await level.close()
      await writeFile(join(directory, 'MANIFEST'), 'nothing')
      await expect(open({})).rejects.toMatchObject(failure('LEVEL_CORRUPTION', 'FIRKIN_CORRUPT'))
      await rm(directory, { recursive: true })
      await expect(open({ createIfMissing: false })).rejects.toMatchObject({
        cause: { code: 'FIRKIN_NOT_FOUND' },
      })
      await writeFile(directory, 'a file')
      await expect(open({})).rejects.toMatchObject(failure('LEVEL_IO_ERROR', 'FIRKIN_IO_FAILED'))
    })
  })

  it('lets the event loop turn during long reads and clears', async () => {
    await withDirectory(async (directory) => {
      await using level = new FirkinLevel(directory)
      const count = 50_000
      await level.batch(numbered(count))
      await using snapshot = level.snapshot()
      const keys = (await level.keys().all()).slice()
      const works: [string, () => Promise<unknown>][] = [
        ['for await', () => drain(level.iterator())],
        ['for await of keys', () => drain(level.keys())],
        ['all', () => level.iterator().all()],
        ['all values', () => level.values().all()],
        ['nextv', () => level.iterator().nextv(count)],
        ['getMany', () => level.getMany(keys)],
        ['hasMany', () => level.hasMany(keys)],
        ['clear', () => level.clear({ gte: 'key 020000' })],
        ['clear of a snapshot', () => level.clear({ snapshot })],
      ]

      for (const [name, work] of works) {
        let turns = 0
        const count = () => {
          turns++
          immediate = setImmediate(count)
        }
        let immediate = setImmediate(count)
        await work()
        clearImmediate(immediate)
        expect(turns, name).toBeGreaterThan(2)
      }

      expect(await level.keys().all()).toEqual([])
    })
  })

  it('reads many keys as they were at the call', async () => {
    await withDirectory(async (directory) => {
      await using level = new FirkinLevel(directory)
      const operations = numbered(20_000)
      await level.batch(operations)
      const keys = operations.map(({ key }) => key)

      const values = level.getMany(keys)
      const present = level.hasMany(keys)
      await level.clear()

      expect(await values).toEqual(keys)
      expect(await present).toEqual(keys.map(() => true))
      expect(level.store.stats().openViews).toBe(0)
    })
  })

  it('is assignable to the types of abstract-level', async () => {
    await withDirectory(async (directory) => {
      // A program of its own, because what the compiler says of such a deep type depends on what it
      // has checked before.
      const program = join(directory, 'program.mts')
      await writeFile(program, PROGRAM)
      const { compilerOptions } = JSON.parse(await readFile(join(ROOT, 'tsconfig.json'), 'utf8'))
      const { rootDir, outDir, ...options } = compilerOptions
      const typeRoots = [join(ROOT, 'node_modules/@types')]
      const config = { compilerOptions: { ...options, noEmit: true, typeRoots }, files: [program] }
      await writeFile(join(directory, 'tsconfig.json'), JSON.stringify(config))

      const compiling = promisify(execFile)(join(ROOT, 'node_modules/.bin/tsc'), ['-p', directory])

      await expect(compiling.catch((error: unknown) => error)).resolves.toMatchObject({
        stdout: '',
      })
    })
  })
})

function numbered(count: number): { type: 'put'; key: string; value: string }[] {
  return Array.from({ length: count }, (_, index) => {
    const key = `key ${String(index).padStart(6, '0')}`
    return { type: 'put', key, value: key }
  })
}

async function drain(items: AsyncIterable<unknown>): Promise<void> {
  for await (const item of items) expect(item).toBeDefined()
}

/** Damages the last record of a file. */
async function flipEnd(path: string): Promise<void> {
  const bytes = await readFile(path)
  bytes[bytes.length - 30] = (bytes.at(-30) ?? 0) ^ 1
  await writeFile(path, bytes)
}
