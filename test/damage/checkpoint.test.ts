/**
 * Checkpoints with a damaged chunk, or that cannot be read, are replaced, whatever touches them
 * first.
 */

import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import {
  type ChunkPlace,
  checkpointHeadSize,
  decodeCheckpointHead,
} from '../../src/format/checkpoint.ts'
import type { KeydirKind } from '../../src/index.ts'
import { verifyDirectory } from '../../src/inspection/verify.ts'
import { readManifest } from '../../src/segment/manifest-file.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import {
  DISK,
  idle,
  KIB,
  keysUpTo,
  openOn,
  type TextOptions,
  type TextStore,
  withCode,
} from '../support/store.ts'

const PATH = join(DISK, 'CHECKPOINT')
const KINDS = ['btree', 'hash', 'skiplist'] as const
const MODES: Record<string, TextOptions> = {
  'a writer': {},
  'a reader': { readOnly: true },
  salvage: { recovery: 'salvage' },
  strict: { recovery: 'strict' },
}

type Entries = [string, string][]

function sorted(entries: Iterable<readonly [string, string]>): Entries {
  return [...new Map(entries)].sort(([a], [b]) => (a < b ? -1 : 1))
}

/** Makes a closed store of several segments. Returns the machine and the entries. */
async function closedStore(keydir: KeydirKind): Promise<{ files: FaultyFiles; entries: Entries }> {
  const files = new FaultyFiles(1)
  const store = await openOn(files, { keydir })
  for (const key of keysUpTo(200)) await store.put(key, `old ${key} ${'-'.repeat(KIB)}`)
  for (const key of keysUpTo(80)) await store.put(key, `new ${key}`)
  for (const key of keysUpTo(20)) await store.delete(key)
  const entries = sorted(store.entries())
  await store.close()
  return { files: files.restart(1), entries }
}

/** Writes to every part of the keydir: new keys, known keys, and deleted ones. */
async function writeMore(store: TextStore): Promise<Entries> {
  for (const key of keysUpTo(200)) {
    if (Number(key.slice(4)) % 3 === 0) await store.put(key, 'in the tail')
    if (Number(key.slice(4)) % 7 === 0) await store.put(`${key} is new`, 'in the tail')
    if (Number(key.slice(4)) % 11 === 0) await store.delete(key)
  }
  return sorted(store.entries())
}

/** Like {@link closedStore}, killed after it has written to every part of the keydir again. */
async function killedStore(keydir: KeydirKind): Promise<{ files: FaultyFiles; entries: Entries }> {
  const { files } = await closedStore(keydir)
  const store = await openOn(files, { keydir })
  const entries = await writeMore(store)
  const killed = files.restart(1)
  await store.close()
  return { files: killed, entries }
}

function chunksOf(files: FaultyFiles): ChunkPlace[] {
  const bytes = files.peek(PATH) ?? Buffer.alloc(0)
  const storeId = readManifest(files, DISK)?.storeId ?? Buffer.alloc(16)
  const head = bytes.subarray(0, checkpointHeadSize(bytes))
  return decodeCheckpointHead(head, storeId)?.chunks ?? []
}

/** A machine whose checkpoint is damaged in one place, and the expected error. */
interface Damage {
  readonly name: string
  readonly machine: FaultyFiles
  readonly told: object
}

/** Yields the same machine for each chunk with a flipped bit, and for each failing read of it. */
function* damages(files: FaultyFiles): Generator<Damage> {
  const chunks = chunksOf(files)
  expect(chunks.length).toBeGreaterThan(1)
  for (const { offset, size } of chunks) {
    const machine = files.restart(1)
    const bytes = files.peek(PATH) ?? Buffer.alloc(0)
    const at = offset + (size >> 1)
    bytes[at] = (bytes[at] ?? 0) ^ 0x10
    machine.poke(PATH, bytes)
    const told = expect.objectContaining({ code: 'FIRKIN_CORRUPT', file: PATH, offset })
    yield { name: `a bit at ${at}`, machine, told }
  }
  // The head takes two reads.
  for (let nth = 1; nth <= chunks.length + 2; nth++) {
    const machine = files.restart(1)
    machine.fail({ kinds: ['read'], path: /CHECKPOINT$/, nth, code: 'EIO' })
    yield { name: `read ${nth}`, machine, told: withCode('FIRKIN_READ_FAILED') }
  }
}

/** Whether the next open uses the checkpoint and reports no error. */
async function expectGoodCheckpoint(machine: FaultyFiles, keydir: KeydirKind, entries: Entries) {
  const told: Error[] = []
  const store = await openOn(machine, { keydir, readOnly: true })
  store.on('error', (error) => told.push(error))
  expect(store.stats().recovery).toMatchObject({ source: 'checkpoint', checkpointFault: undefined })
  expect(sorted(store.entries())).toEqual(entries)
  await store.close()
  await setImmediate()
  expect(told).toEqual([])
}

describe.each(KINDS)('a damaged checkpoint of %s', (keydir) => {
  it.each(Object.keys(MODES))('with a tail after it is replaced by %s', async (mode) => {
    const { files, entries } = await killedStore(keydir)
    let count = 0
    for (const { name, machine, told } of damages(files)) {
      const errors: Error[] = []
      const store = await openOn(machine, { keydir, ...MODES[mode] })
      store.on('error', (error) => errors.push(error))

      expect(sorted(store.entries()), name).toEqual(entries)
      for (const [key, value] of entries) expect(store.get(key), name).toBe(value)
      await setImmediate()
      expect(errors, name).toEqual(name.startsWith('read') && errors.length === 0 ? [] : [told])
      const { recovery } = store.stats()
      if (recovery.source !== 'checkpoint') {
        count++
        expect([recovery.checkpointFault], name).toEqual([told])
        expect(recovery.lost).toBeUndefined()
      }
      await store.close()
      expect(machine.openPaths).toEqual([])
      machine.heal()
      if (mode !== 'a reader') await expectGoodCheckpoint(machine, keydir, entries)
    }
    expect(count).toBeGreaterThan(2)
  })

  it('is replaced by a close that touches it first', async () => {
    const { files, entries } = await closedStore(keydir)
    for (const { name, machine } of damages(files)) {
      const errors: Error[] = []
      const store = await openOn(machine, { keydir })
      store.on('error', (error) => errors.push(error))
      await store.put('z', 'last')
      const before = errors.length

      await store.close()

      for (const error of errors.slice(before)) {
        expect(error, name).toMatchObject({ code: expect.stringMatching(/CORRUPT|READ_FAILED/) })
      }
      machine.heal()
      await expectGoodCheckpoint(machine, keydir, [...entries, ['z', 'last']])
    }
  })

  it('is replaced by a range with bounds that touches it first', async () => {
    const { files, entries } = await closedStore(keydir)
    const [gte, lt] = ['key 050', 'key 150']
    const wanted = entries.filter(([key]) => key >= gte && key < lt)
    for (const { name, machine } of damages(files)) {
      const store = await openOn(machine, { keydir })
      store.on('error', () => undefined)

      expect([...store.entries({ gte, lt })], name).toEqual(wanted)

      await store.close()
    }
  })

  it('leaves a snapshot as it was, whatever is deleted for good once it is replaced', async () => {
    const { files, entries } = await closedStore(keydir)
    for (const { name, machine } of damages(files)) {
      const store = await openOn(machine, { keydir })
      store.on('error', () => undefined)
      const snapshot = store.snapshot()
      expect(sorted(store.entries()), name).toEqual(entries)

      for (const [key] of entries) store.deleteSync(key)
      await store.merge()
      for (const [key] of entries) store.putSync(key.replace('key', 'new'), 'of another key')

      expect(sorted(snapshot.entries()), name).toEqual(entries)
      snapshot.close()
      await store.close()
    }
  })

  it('is removed if no other one replaces it', async () => {
    const { files, entries } = await killedStore(keydir)
    for (const { machine } of damages(files)) {
      const store = await openOn(machine, { keydir, checkpoint: false })
      store.on('error', () => undefined)
      expect(sorted(store.entries())).toEqual(entries)
      const wasDamaged = store.stats().recovery.checkpointFault !== undefined
      await store.close()
      if (wasDamaged) expect(machine.peek(PATH)).toBeUndefined()
    }
  })

  it('is replaced in a reader that catches up, and in its snapshots', async () => {
    const { files, entries } = await closedStore(keydir)
    const untouched = keysUpTo(200).at(-1) ?? ''
    for (const withView of [false, true]) {
      for (const { name, machine, told } of damages(files)) {
        const errors: Error[] = []
        const reader = await openOn(machine, { keydir, readOnly: true })
        reader.on('error', (error) => errors.push(error))
        const snapshot = withView ? reader.snapshot() : undefined
        const writer = await openOn(machine, { keydir })
        writer.on('error', () => undefined)
        let expected = await writeMore(writer)

        expect(await reader.refresh(), name).toBe(true)
        expect(sorted(reader.entries()), name).toEqual(expected)
        expect(await reader.refresh(), name).toBe(false)
        if (snapshot !== undefined) {
          expect(sorted(snapshot.entries()), name).toEqual(entries)
          expect(snapshot.get(untouched)).toBe(entries.at(-1)?.[1])
        }
        await writer.merge()
        await writer.put('z', 'last')
        expected = sorted(writer.entries())
        expect(await reader.refresh(), name).toBe(true)
        expect(sorted(reader.entries()), name).toEqual(expected)
        if (snapshot !== undefined) expect(sorted(snapshot.entries()), name).toEqual(entries)
        expect(errors.length, name).toBeLessThanOrEqual(1)
        if (!name.startsWith('read')) expect(errors, name).toEqual([told])
        await reader.close()
        await writer.close()
        expect(machine.openPaths).toEqual([])
      }
    }
  })

  it('does not disturb a reader that finds nothing new', async () => {
    const { files } = await closedStore(keydir)
    await using reader = await openOn(files, { keydir, readOnly: true })
    const before = files.calls.length

    expect(await reader.refresh()).toBe(false)

    expect(files.calls.slice(before).filter(({ path }) => path === PATH)).toEqual([])
  })

  it('is replaced when a group that cannot be written is undone', async () => {
    const { files, entries } = await closedStore(keydir)
    for (const { name, machine } of damages(files)) {
      const store = await openOn(machine, { keydir })
      store.on('error', () => undefined)
      machine.fail({ kinds: ['write'], path: /segment$/, nth: 1, code: 'ENOSPC' })
      const lost = [
        store.delete('key 150'),
        store.put('key 151', 'x'.repeat(8 * KIB)),
        store.put('new', '1'),
        store.delete('key 152'),
      ]
      for (const result of await Promise.allSettled(lost)) expect(result.status).toBe('rejected')

      expect(sorted(store.entries()), name).toEqual(entries)
      await store.put('key 150', 'again')
      expect(store.get('key 150')).toBe('again')
      await store.close()
    }
  })

  it('is found by verify, with its file and place', async () => {
    const { files } = await killedStore(keydir)
    for (const { offset, size } of chunksOf(files)) {
      const machine = files.restart(1)
      const bytes = files.peek(PATH) ?? Buffer.alloc(0)
      bytes[offset + size - 1] = (bytes[offset + size - 1] ?? 0) ^ 1
      machine.poke(PATH, bytes)

      const { findings } = await verifyDirectory(machine, DISK)

      expect(findings).toEqual([
        {
          severity: 'notice',
          kind: 'checkpoint',
          file: PATH,
          offset,
          message: 'A chunk does not match its checksum',
        },
      ])
    }
  })
})

describe('a checkpoint whose head is damaged', () => {
  it('is reported and replaced', async () => {
    const { files, entries } = await killedStore('btree')
    const bytes = files.peek(PATH) ?? Buffer.alloc(0)
    const headSize = checkpointHeadSize(bytes)
    for (let at = 0; at < headSize; at += at < 56 ? 1 : 23) {
      const machine = files.restart(1)
      const damaged = Buffer.from(bytes)
      damaged[at] = (damaged[at] ?? 0) ^ 0x20
      machine.poke(PATH, damaged)
      const errors: Error[] = []
      const store = await openOn(machine)
      store.on('error', (error) => errors.push(error))

      expect(sorted(store.entries()), `byte ${at}`).toEqual(entries)
      await setImmediate()
      expect(errors, `byte ${at}`).toEqual([expect.objectContaining({ file: PATH })])
      await idle(store)
      await store.close()
      await expectGoodCheckpoint(machine, 'btree', entries)
    }
  })
})
