/** Read-only stores: what they show of their writer's work, and when. */

import { cp, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import type { StoreStats } from '../../src/index.ts'
import { withDirectory } from '../support/directory.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { Random } from '../support/random.ts'
import {
  DISK,
  idle,
  KIB,
  keysUpTo,
  openOn,
  openStore,
  type TextOptions,
  type TextStore,
  until,
  withCode,
} from '../support/store.ts'

/** Opens a writer, and a reader beside it on the same files. */
async function pair(
  options: TextOptions = {},
): Promise<{ files: FaultyFiles; writer: TextStore; reader: TextStore }> {
  const files = new FaultyFiles(1)
  const writer = await openOn(files, options)
  await writer.put('first', '1')
  const reader = await openOn(files, { ...options, readOnly: true })
  return { files, writer, reader }
}

async function fill(store: TextStore, text: string): Promise<void> {
  for (const key of keysUpTo(20)) await store.put(key, text.repeat(6 * KIB))
}

describe('a read-only store', () => {
  it('is refused if there is no store, and nothing is created', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'missing')

      await expect(openStore(path, { readOnly: true })).rejects.toThrow(
        withCode('FIRKIN_NOT_FOUND'),
      )
      await expect(openStore(directory, { readOnly: true })).rejects.toThrow(
        withCode('FIRKIN_NOT_FOUND'),
      )
      await expect(openStore(path, { createIfMissing: false })).rejects.toThrow(
        withCode('FIRKIN_NOT_FOUND'),
      )
    })
  })

  it('refuses writes', async () => {
    const { writer, reader } = await pair()
    const refused = withCode('FIRKIN_READ_ONLY')

    await expect(reader.put('a', '1')).rejects.toThrow(refused)
    await expect(reader.delete('first')).rejects.toThrow(refused)
    await expect(reader.batch().put('a', '1').commit()).rejects.toThrow(refused)
    await expect(reader.clear()).rejects.toThrow(refused)
    await expect(reader.merge()).rejects.toThrow(refused)
    await expect(reader.sync()).rejects.toThrow(refused)
    expect(() => reader.putSync('a', '1')).toThrow(refused)
    expect(() => reader.deleteSync('first')).toThrow(refused)
    expect(() => reader.batch().delete('a').commitSync()).toThrow(refused)
    await reader.close()
    await writer.close()
  })

  it('opens beside a writer that holds the lock, and writes nothing', async () => {
    await withDirectory(async (directory) => {
      await using writer = await openStore(directory)
      await writer.put('a', '1')

      await using reader = await openStore(directory, { readOnly: true })

      expect(reader.get('a')).toBe('1')
      await expect(openStore(directory)).rejects.toThrow(withCode('FIRKIN_LOCKED'))
    })
  })

  it('changes no file, whatever it finds', async () => {
    const { files, writer } = await pair()
    await fill(writer, 'a')
    const machine = files.restart(1)
    const torn = `${DISK}/0000000002.segment`
    machine.poke(torn, machine.peek(torn)?.subarray(0, -3))
    machine.poke(`${DISK}/MANIFEST.9.tmp`, Buffer.from('left over'))
    const before = machine.digest

    await using reader = await openOn(machine, { readOnly: true })
    expect([...reader.keys()]).toEqual(['first', ...keysUpTo(19)].sort())
    await reader.refresh()

    expect(machine.digest).toBe(before)
    await writer.close()
  })

  it('shows what was there when it was opened, until it is refreshed', async () => {
    const { writer, reader } = await pair()

    await writer.put('second', '2')
    await writer.delete('first')
    expect([...reader.keys()]).toEqual(['first'])

    expect(await reader.refresh()).toBe(true)
    expect([...reader.entries()]).toEqual([['second', '2']])
    expect(await reader.refresh()).toBe(false)
    await reader.close()
    await writer.close()
  })

  it('is the only kind that can be refreshed', async () => {
    await using store = await openOn(new FaultyFiles(1))

    await expect(store.refresh()).rejects.toThrow(TypeError)
  })

  it('shows a batch whole or not at all', async () => {
    const { files, writer, reader } = await pair()
    const path = `${DISK}/0000000001.segment`
    const before = files.peek(path) ?? Buffer.alloc(0)
    await writer.batch().put('a', '1').delete('first').put('b', '2').commit()
    const after = files.peek(path) ?? Buffer.alloc(0)
    await reader.close()

    for (let size = before.length; size <= after.length; size++) {
      const machine = files.restart(1)
      machine.poke(path, after.subarray(0, size))
      await using later = await openOn(machine, { readOnly: true })
      const expected = size < after.length ? ['first'] : ['a', 'b']
      expect([...later.keys()], `${size} bytes`).toEqual(expected)
    }
    await writer.close()
  })

  it('does not change a snapshot when it is refreshed', async () => {
    const { writer, reader } = await pair()
    await fill(writer, 'a')
    await reader.refresh()
    using snapshot = reader.snapshot()
    const before = [...snapshot.entries()]

    await fill(writer, 'b')
    await writer.delete('first')
    await reader.refresh()
    await writer.merge()
    await reader.refresh()

    expect([...snapshot.entries()]).toEqual(before)
    expect(reader.has('first')).toBe(false)
    await reader.close()
    await writer.close()
  })

  it('opens a store that was written with another kind of keydir', async () => {
    const { files, writer, reader } = await pair({ keydir: 'btree' })
    await reader.close()
    await writer.close()

    await using other = await openOn(files, { readOnly: true, keydir: 'hash' })

    expect(other.get('first')).toBe('1')
  })
})

/** Fills a store, then overwrites keys, so that every segment has live and dead records. */
async function halfOld(store: TextStore): Promise<void> {
  await fill(store, 'a')
  for (const key of ['key 001', 'key 012']) await store.put(key, 'b')
}

describe('a reader beside a merge', () => {
  it('does not bring back what was deleted while the merge copied', async () => {
    const { writer, reader } = await pair()
    await halfOld(writer)
    await reader.refresh()
    const deleted = keysUpTo(20).slice(11)

    await writer.merge({
      onProgress() {
        for (const key of deleted) writer.deleteSync(key)
      },
    })
    await reader.refresh()

    expect([...reader.keys()]).toEqual([...writer.keys()])
    expect(reader.has('key 015')).toBe(false)
    await reader.close()
    await writer.close()
  })

  it('does not bring back what it has already seen deleted', async () => {
    const { writer, reader } = await pair()
    await halfOld(writer)
    await reader.refresh()
    let refreshed: Promise<boolean> | undefined

    await writer.merge({
      onProgress() {
        if (refreshed !== undefined) return
        writer.deleteSync('key 015')
        refreshed = reader.refresh()
      },
    })
    expect(await refreshed).toBe(true)
    expect(reader.has('key 015')).toBe(false)
    await reader.refresh()

    expect(reader.has('key 015')).toBe(false)
    expect([...reader.entries()]).toEqual([...writer.entries()])
    await reader.close()
    await writer.close()
  })

  it('closes the files of removed segments', async () => {
    const { files, writer, reader } = await pair()
    await fill(writer, 'a')
    await fill(writer, 'b')
    await reader.refresh()
    await writer.merge()
    await reader.refresh()
    await idle(writer)

    const paths = new Set(files.list(DISK)?.map((name) => join(DISK, name)))
    for (const path of files.openPaths) expect(paths).toContain(path)
    await reader.close()
    await writer.close()
    expect(files.openPaths).toEqual([])
  })

  it('closes what it has opened if it cannot open everything, and catches up later', async () => {
    const { files, writer, reader } = await pair()
    await halfOld(writer)
    await writer.merge()
    await fill(writer, 'c')
    await idle(writer)
    const before = files.openPaths

    for (let nth = 1; ; nth++) {
      const failed = files.faultCount
      files.fail({ kinds: ['open'], path: /segment$/, nth, code: 'EMFILE' })
      const outcome = await reader.refresh().catch((error: unknown) => error)
      if (files.faultCount === failed) break
      expect(outcome).toMatchObject({ code: 'FIRKIN_READ_FAILED' })
      expect(files.openPaths).toEqual(before)
    }

    files.heal()
    expect([...reader.entries()]).toEqual([...writer.entries()])
    await reader.close()
    await writer.close()
  })

  it('is right after the next refresh, whichever call of one has failed', async () => {
    let failures = 0
    for (let nth = 1; ; nth++) {
      const { files, writer, reader } = await pair()
      await halfOld(writer)
      await reader.refresh()
      for (const key of ['key 003', 'key 015']) await writer.delete(key)
      await writer.merge()
      await writer.put('last', 'l')
      await idle(writer)
      // Segments without hints are read record by record.
      for (const name of files.list(DISK) ?? []) {
        if (name.endsWith('.hint')) files.remove(join(DISK, name))
      }
      files.fail({ nth, code: 'EIO' })

      const outcome = await reader.refresh().catch((error) => error)
      const failed = files.faultCount > 0
      files.heal()
      if (outcome instanceof Error) {
        failures++
        expect(outcome).toMatchObject({ code: expect.stringMatching(/^FIRKIN_/) })
        await reader.refresh()
      }

      expect([...reader.entries()], `call ${nth} failed`).toEqual([...writer.entries()])
      const figures = ({ liveBytes, deadBytes, bytes }: StoreStats) => ({
        liveBytes,
        deadBytes,
        bytes,
      })
      expect(figures(reader.stats()), `call ${nth} failed`).toEqual(figures(writer.stats()))
      await reader.close()
      await writer.close()
      expect(files.openPaths).toEqual([])
      if (!failed) break
    }
    expect(failures).toBeGreaterThan(10)
  })

  it.each([1, 2, 3, 4])('agrees with the writer after every refresh, seed %i', async (seed) => {
    const random = new Random(seed)
    let nowMs = 1000
    const { files, writer, reader } = await pair({ clock: () => nowMs })
    const keys = keysUpTo(30)
    for (let step = 0; step < 300; step++) {
      const key = random.pick(keys)
      const kind = random.below(20)
      if (kind < 8) await writer.put(key, `${step} `.repeat(random.below(1200)))
      else if (kind < 11) await writer.delete(key)
      else if (kind < 13) await writer.put(key, 'soon gone', { ttlMs: 1 + random.below(50) })
      else if (kind < 15) await writer.batch().delete(key).put(random.pick(keys), 'b').commit()
      else if (kind < 16) nowMs += random.below(30)
      else if (kind < 17) {
        const refreshes: Promise<boolean>[] = []
        await writer.merge({
          onProgress() {
            writer.deleteSync(random.pick(keys))
            if (random.chance(0.5)) refreshes.push(reader.refresh())
          },
        })
        await Promise.all(refreshes)
      } else {
        if (random.chance(0.5)) await idle(writer)
        await reader.refresh()
        expect([...reader.entries()]).toEqual([...writer.entries()])
      }
    }
    await reader.close()
    await writer.close()
    expect(files.openPaths).toEqual([])
  })
})

describe('a reader that may have few files open', () => {
  /** Opens a reader of many segments, all of which its writer then merges. */
  async function merged() {
    const files = new FaultyFiles(1)
    // The close seals all segments except the last.
    for (const text of ['a', 'b']) {
      await using filled = await openOn(files, { merge: { automatic: false } })
      for (const key of keysUpTo(60)) await filled.put(key, text.repeat(6 * KIB))
    }
    const writer = await openOn(files, { merge: { automatic: false } })
    const reader = await openOn(files, { readOnly: true, maxOpenFiles: 1 })
    const snapshot = reader.snapshot()
    // A merge rewrites segments that hold dead bytes.
    for (const [index, key] of keysUpTo(60).entries()) {
      if (index % 2 === 0) await writer.put(key, 'b'.repeat(6 * KIB))
    }
    await writer.put('newer', 'n')
    await writer.merge()
    return { files, writer, reader, snapshot }
  }

  it('catches up if it finds a file gone, and reads what is there', async () => {
    const { writer, reader, snapshot } = await merged()

    for (const key of keysUpTo(60)) expect(reader.get(key)).toBe('b'.repeat(6 * KIB))

    expect(reader.get('newer')).toBe('n')
    expect(await reader.refresh()).toBe(false)
    snapshot.close()
    await reader.close()
    await writer.close()
  })

  it('does so in the middle of a refresh as well', async () => {
    const { writer, reader, snapshot } = await merged()
    const looked = reader.refresh()

    expect(reader.get('newer') ?? 'n').toBe('n')
    for (const key of keysUpTo(60)) expect(reader.get(key)).toBe('b'.repeat(6 * KIB))

    expect(await looked).toBe(true)
    snapshot.close()
    await reader.close()
    await writer.close()
  })

  it('reports why a view over removed segments cannot be read', async () => {
    const { writer, reader, snapshot } = await merged()

    const read = () => keysUpTo(60).map((key) => snapshot.get(key))

    expect(read).toThrow(withCode('FIRKIN_READ_FAILED'))
    expect(read).toThrow("the store's writer merged it")
    snapshot.close()
    await reader.close()
    await writer.close()
  })

  it('reports that a file is missing that somebody has deleted', async () => {
    const { files, writer, reader: before } = await merged()
    await before.close()
    for (const key of keysUpTo(60)) await writer.put(key, 'c'.repeat(6 * KIB))
    await writer.close()
    const reader = await openOn(files, { readOnly: true, maxOpenFiles: 1, checkpoint: false })
    for (const name of files.list(DISK) ?? []) {
      if (name.endsWith('.segment')) files.remove(join(DISK, name))
    }

    const read = () => keysUpTo(60).map((key) => reader.get(key))

    expect(read).toThrow(withCode('FIRKIN_READ_FAILED'))
    await reader.close()
  })
})

describe('a reader whose writer undoes what it has seen', () => {
  /** Fails groups of which a part reaches the file, until the reader has seen some of one. */
  async function takeBack(files: FaultyFiles, writer: TextStore, reader: TextStore): Promise<void> {
    // A refresh that takes longer than a slice may come too late.
    while (!(await loseOne(files, writer, reader)));
  }

  async function loseOne(
    files: FaultyFiles,
    writer: TextStore,
    reader: TextStore,
  ): Promise<boolean> {
    let refreshed: Promise<boolean> | undefined
    let writes = 0
    files.onCall = ({ kind, path }) => {
      if (kind !== 'write' || !path.endsWith('segment') || ++writes !== 2) return
      // The stopped clock makes the refresh one slice, so that it ends before the write goes on.
      const clock = vi.spyOn(performance, 'now').mockReturnValue(performance.now())
      refreshed = reader.refresh()
      clock.mockRestore()
    }
    files.fail({ kinds: ['write'], path: /segment$/, nth: 1, code: 'SHORT' })
    files.fail({ kinds: ['write'], path: /segment$/, nth: 2, code: 'ENOSPC' })
    const keys = keysUpTo(40).map((key) => `lost ${key}`)
    const puts = await Promise.allSettled(keys.map((key) => writer.put(key, 'x'.repeat(KIB))))
    await refreshed
    files.onCall = undefined
    files.heal()
    return keys.some((key, index) => puts[index]?.status === 'rejected' && reader.has(key))
  }

  it('shows what is there, and its snapshots show what was there', async () => {
    const { files, writer, reader } = await pair()
    await halfOld(writer)
    await idle(writer)
    await reader.refresh()
    using early = reader.snapshot()
    const shown = [...early.entries()]
    const walk = early.entries()
    walk.next()

    await takeBack(files, writer, reader)
    await writer.merge()
    await writer.put('after', '1')
    await reader.refresh()
    using late = reader.snapshot()
    const shownLate = [...late.entries()]
    await writer.put('key 005', 'later')
    await reader.refresh()

    expect([...reader.entries()]).toEqual([...writer.entries()])
    expect([...early.entries()]).toEqual(shown)
    expect(early.get('key 005')).toBe(shown.find(([key]) => key === 'key 005')?.[1])
    expect([...walk]).toEqual(shown.slice(1))
    expect([...late.entries()]).toEqual(shownLate)
    await reader.close()
    await writer.close()
    expect(files.openPaths).toEqual([])
  })

  it('keeps open only the files it needs, however often that happens', async () => {
    const { files, writer, reader } = await pair()
    await halfOld(writer)
    await writer.merge()
    await reader.refresh()
    await idle(writer)
    const writerFiles = files.openPaths.length - openBy(reader)

    for (let round = 0; round < 8; round++) {
      await takeBack(files, writer, reader)
      const snapshot = reader.snapshot()
      await reader.refresh()
      snapshot.close()
      await writer.put(`round ${round}`, 'x')
      await reader.refresh()
      await idle(writer)
      expect(files.openPaths).toHaveLength(writerFiles + openBy(reader))
    }

    expect([...reader.entries()]).toEqual([...writer.entries()])
    await reader.backup('/disk/copy')
    await reader.close()
    await writer.close()
    expect(files.openPaths).toEqual([])
  })

  it('shows in snapshots what was still unread in a checkpoint', async () => {
    const { files, writer, reader } = await pair()
    await reader.close()
    // These keys fill more than a chunk, so some of the checkpoint is never read.
    const long = keysUpTo(400).map((key) => key.padEnd(6 * KIB, '.'))
    for (const key of long) await writer.put(key, key.slice(0, 7))
    await writer.close()
    const again = await openOn(files)
    const later = await openOn(files, { readOnly: true })
    expect(later.stats().recovery.source).toBe('checkpoint')
    using snapshot = later.snapshot()

    // The checkpoint is read before anything in it changes. The undone group fits into the segment
    // that this put begins.
    await again.put('news', 'n'.repeat(7 * KIB))
    await later.refresh()
    await takeBack(files, again, later)
    await again.put('after', '1')
    await later.refresh()

    expect([...snapshot.values()].sort()).toEqual(['1', ...keysUpTo(400)])
    for (const key of long) expect(snapshot.get(key)).toBe(key.slice(0, 7))
    await later.close()
    await again.close()
    expect(files.openPaths).toEqual([])
  })
})

/** Returns how many files a reader needs: one per segment. */
function openBy(reader: TextStore): number {
  return reader.stats().segments.length
}

describe('follow', () => {
  it('catches up by itself', async () => {
    const files = new FaultyFiles(1)
    const writer = await openOn(files)
    await writer.put('a', '1')
    const reader = await openOn(files, { readOnly: true, follow: 1 })

    await writer.put('b', '2')
    await until(() => reader.has('b'))
    await fill(writer, 'x')
    await writer.delete('a')
    await until(() => !reader.has('a'))

    expect([...reader.entries()]).toEqual([...writer.entries()])
    await reader.close()
    await writer.close()
  })

  it('reports a failure as an error event, and goes on', async () => {
    const files = new FaultyFiles(1)
    const writer = await openOn(files)
    await writer.put('a', '1')
    const reader = await openOn(files, { readOnly: true, follow: 1 })
    const errors: Error[] = []
    reader.on('error', (error) => errors.push(error))

    files.fail({ kinds: ['list'], nth: 1, code: 'EIO' })
    await until(() => errors.length > 0)
    await writer.put('b', '2')
    await until(() => reader.has('b'))

    expect(errors[0]).toMatchObject({ code: 'FIRKIN_IO_FAILED', cause: { code: 'EIO' } })
    await reader.close()
    await writer.close()
  })
})

describe('a refresh', () => {
  it('sees everything written before its call, even if another one is running', async () => {
    const { files, writer, reader } = await pair()
    await writer.put('second', '2')
    // The running refresh has read the segment when the next write comes.
    let asked: Promise<boolean> | undefined
    const first = reader.refresh()
    writer.putSync('third', '3')
    asked = reader.refresh()

    expect(await asked).toBe(true)
    expect(reader.get('third')).toBe('3')
    expect(await first).toBe(true)

    // The same many times, with several calls at once.
    for (let index = 0; index < 50; index++) {
      const before = reader.refresh()
      writer.putSync('key', `${index}`)
      const [one, other] = [reader.refresh(), reader.refresh()]
      expect(await one).toBe(true)
      expect(reader.get('key')).toBe(`${index}`)
      await Promise.all([before, other])
    }
    asked = reader.refresh()
    await reader.close()
    await asked
    await writer.close()
    expect(files.openPaths).toEqual([])
  })
})

/** Replaces the files of a store with those of another. */
function putInPlace(files: FaultyFiles, from: FaultyFiles): void {
  for (const name of files.list(DISK) ?? []) files.poke(join(DISK, name), undefined)
  for (const name of from.list(DISK) ?? [])
    files.poke(join(DISK, name), from.peek(join(DISK, name)))
}

describe('a reader whose store is replaced', () => {
  it.each(['another store', 'an older state'])('shows what is there now: %s', async (which) => {
    const { files, writer, reader } = await pair()
    await writer.put('kept', 'old')
    await writer.close()
    const backup = files.restart(1)
    const again = await openOn(files)
    await again.put('kept', 'new')
    await again.put('later', 'gone')
    await again.close()
    await reader.refresh()
    expect(reader.get('kept')).toBe('new')
    const snapshot = reader.snapshot()
    const walk = reader.entries()
    walk.next()
    let other = backup
    if (which === 'another store') {
      other = new FaultyFiles(2)
      const store = await openOn(other)
      await store.put('other', 'store')
      await store.close()
    }
    putInPlace(files, other)

    expect(await reader.refresh()).toBe(true)

    const expected =
      which === 'another store'
        ? [['other', 'store']]
        : [
            ['first', '1'],
            ['kept', 'old'],
          ]
    expect([...reader.entries()]).toEqual(expected)
    for (const [key, value] of expected) expect(reader.get(key ?? '')).toBe(value)
    expect(await reader.refresh()).toBe(false)
    const ended = withCode('FIRKIN_READ_FAILED')
    expect(() => snapshot.get('kept')).toThrow(ended)
    expect(() => [...snapshot.keys()]).toThrow(ended)
    expect(() => walk.next()).toThrow(ended)
    snapshot.close()
    walk.return()
    const next = await openOn(files)
    await next.put('next', 'write')
    expect(await reader.refresh()).toBe(true)
    expect(reader.get('next')).toBe('write')
    await next.close()
    await reader.close()
    expect(files.openPaths).toEqual([])
  })

  it.each(['a copy of the same age', 'a copy that was written since'])(
    'shows what is written to %s',
    async (which) => {
      const { files, writer, reader } = await pair()
      await writer.put('kept', 'old')
      await writer.close()
      const copy = files.restart(1)
      const again = await openOn(files)
      await fill(again, 'seen ')
      await again.close()
      await reader.refresh()
      const snapshot = reader.snapshot()
      const other = which === 'a copy of the same age' ? files.restart(2) : copy
      if (other === copy) {
        // The same segment ids and a higher generation, with other records.
        const store = await openOn(other)
        for (let round = 0; round < 3; round++) await fill(store, 'other')
        await store.close()
        const next = await openOn(other)
        await next.put('more', '1')
        await next.close()
      }
      putInPlace(files, other)

      expect(await reader.refresh()).toBe(true)

      const next = await openOn(files)
      await next.put('kept', 'new')
      expect(await reader.refresh()).toBe(true)
      expect(reader.get('kept')).toBe('new')
      expect([...reader.entries()]).toEqual([...next.entries()])
      expect(await reader.refresh()).toBe(false)
      expect(() => snapshot.get('kept')).toThrow(withCode('FIRKIN_READ_FAILED'))
      snapshot.close()
      await next.merge()
      await reader.refresh()
      expect([...reader.entries()]).toEqual([...next.entries()])
      await next.close()
      await reader.close()
      expect(files.openPaths).toEqual([])
    },
  )

  it('shows what is written to a copy that replaced it on a real disk', async () => {
    await withDirectory(async (above) => {
      const [directory, copy] = [join(above, 'store'), join(above, 'copy')]
      const writer = await openStore(directory)
      await writer.put('key', 'old')
      await writer.close()
      await cp(directory, copy, { recursive: true })
      const reader = await openStore(directory, { readOnly: true })

      await rm(directory, { recursive: true })
      await rename(copy, directory)
      const next = await openStore(directory)
      await next.put('key', 'new')

      expect(await reader.refresh()).toBe(true)
      expect(reader.get('key')).toBe('new')
      expect(await reader.refresh()).toBe(false)
      await next.put('key', 'newer')
      expect(await reader.refresh()).toBe(true)
      expect(reader.get('key')).toBe('newer')
      await reader.close()
      await next.close()
    })
  })

  it('reports once that there is no store, and once that there is one again', async () => {
    const { files, writer, reader: unfollowing } = await pair()
    await unfollowing.close()
    await writer.close()
    const other = new FaultyFiles(2)
    await (await openOn(other)).close()
    const reader = await openOn(files, { readOnly: true, follow: 1 })
    const told: unknown[] = []
    reader.on('error', (error) => told.push(error))
    reader.on('resume', () => told.push('resumed'))
    const looks = (): number => files.calls.filter(({ path }) => /MANIFEST$/.test(path)).length
    const lookOften = async (): Promise<void> => {
      const from = looks()
      await until(() => looks() > from + 20)
    }
    for (const name of files.list(DISK) ?? []) files.poke(join(DISK, name), undefined)

    await lookOften()
    expect(told).toEqual([withCode('FIRKIN_NOT_FOUND')])
    expect(reader.get('first')).toBe('1')
    await expect(reader.refresh()).rejects.toThrow(withCode('FIRKIN_NOT_FOUND'))

    files.fail({ kinds: ['open'], path: /MANIFEST$/, nth: 1, code: 'EACCES', lasting: true })
    await lookOften()
    files.heal()
    expect(told.slice(1)).toEqual([withCode('FIRKIN_READ_FAILED')])

    putInPlace(files, other)
    await until(() => told.length > 2)
    await lookOften()
    expect(told.slice(2)).toEqual(['resumed'])
    const next = await openOn(files)
    await next.put('next', 'write')
    await until(() => reader.has('next'))
    await next.close()
    await reader.close()
    expect(files.openPaths).toEqual([])
  })
})
