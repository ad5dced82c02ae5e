import { mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
// @ts-expect-error The suite comes without types.
import suite from 'abstract-level/test'
import { afterAll, describe, expect, it } from 'vitest'
import {
  FirkinLevel,
  type FirkinLevelOptions,
  type FirkinPutOptions,
} from '../../src/adapters/abstract-level.ts'
import { withDirectory } from '../support/directory.ts'
import { tapeTest } from './tape.ts'

describe('the suite of abstract-level', () => {
  // The suite makes databases while it is being collected, and does not close all of them.
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
  it('keeps keys that are empty or begin with zero bytes apart, in their order, over a restart', async () => {
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

  it('takes strings with lone surrogates as Level does', async () => {
    await withDirectory(async (directory) => {
      await using level = new FirkinLevel(directory)

      await level.put('a\ud800', 'value')

      expect(await level.keys().all()).toEqual(['a\ufffd'])
      expect(await level.get('a\ufffd')).toBe('value')
    })
  })

  it('seeks to the end from a target before the range, in both directions', async () => {
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

  it('clears a range of a snapshot, and nothing that came after it', async () => {
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

  it('forgets what was put with ttlMs, alone, in a batch and in a chained batch', async () => {
    await withDirectory(async (directory) => {
      let now = 1000
      await using level = new FirkinLevel(directory, { store: { clock: () => now } })
      const brief: FirkinPutOptions = { ttlMs: 50 }
      await level.put('a', '1', brief)
      await level.batch([{ type: 'put', key: 'b', value: '2', ...brief }])
      await level.batch().put('c', '3', brief).put('d', '4').write()
      expect(await level.keys().all()).toEqual(['a', 'b', 'c', 'd'])

      now += 50

      expect(await level.keys().all()).toEqual(['d'])
      expect(level.getSync('a')).toBeUndefined()
    })
  })

  it('gives the store beneath while it is open, and checks its options', async () => {
    await withDirectory(async (directory) => {
      const level = new FirkinLevel(directory, { store: { keydir: 'hash', sync: 'never' } })
      expect(() => level.store).toThrow(expect.objectContaining({ code: 'FIRKIN_CLOSED' }))

      await level.put('key', 'value', { sync: true } as FirkinPutOptions)

      expect(level.store.stats().keydir.kind).toBe('hash')
      expect(level.store.get('key')?.toString()).toBe('value')
      await level.close()
      await level.close()
      const wrong = new FirkinLevel(directory, { store: { keydri: 'hash' } as object })
      await expect(wrong.open()).rejects.toMatchObject({
        cause: { message: 'Unknown option keydri; did you mean keydir?' },
      })
    })
  })
})
