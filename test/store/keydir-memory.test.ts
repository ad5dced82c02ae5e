/** The memory of removed keys is freed, and with it their space in the checkpoint. */

import { describe, expect, it } from 'vitest'
import type { KeydirKind } from '../../src/index.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { RefusedMemory } from '../support/memory.ts'
import { DISK, idle, KIB, openOn, type TextStore } from '../support/store.ts'

const KINDS = ['btree', 'hash', 'skiplist', 'bplustree'] as const
const COUNT = 30_000
const PATH = `${DISK}/CHECKPOINT`

function keyOf(index: number): string {
  return `key ${String(index).padStart(8, '0')}`
}

async function fill(store: TextStore): Promise<void> {
  for (let index = 0; index < COUNT; ) {
    const batch = store.batch()
    for (const end = index + 1000; index < end; index++) batch.put(keyOf(index), `${index}`)
    await batch.commit()
  }
}

/** Deletes all keys except every `every`th. */
async function thin(store: TextStore, every: number): Promise<void> {
  let batch = store.batch()
  for (let index = 0; index < COUNT; index++) {
    if (index % every !== 0) batch.delete(keyOf(index))
    if (batch.byteSize < 64 * KIB) continue
    await batch.commit()
    batch = store.batch()
  }
  await batch.commit()
}

function left(every: number): [string, string][] {
  const entries: [string, string][] = []
  for (let index = 0; index < COUNT; index += every) entries.push([keyOf(index), `${index}`])
  return entries
}

function open(files: FaultyFiles, keydir: KeydirKind): Promise<TextStore> {
  return openOn(files, { keydir, maxSegmentBytes: 1024 * KIB })
}

it('a keydir is not shrunk if there is no memory for it, and no error is reported', async () => {
  const store = await openOn(new FaultyFiles(1), { maxSegmentBytes: 1024 * KIB })
  const errors: unknown[] = []
  store.on('error', (error) => errors.push(error))
  await fill(store)
  await thin(store, 3)
  await store.sync()
  await idle(store)
  {
    using memory = new RefusedMemory({ nth: 1, lasting: true })
    await store.close()
    expect(memory.refused).toBeGreaterThan(0)
  }
  expect(errors).toEqual([])
})

describe.each(KINDS)('the memory of a keydir of kind %s', (keydir) => {
  it('is freed by a merge once all keys are gone', async () => {
    const files = new FaultyFiles(1)
    const store = await open(files, keydir)
    await fill(store)
    const { bytes } = store.stats().keydir
    expect(bytes).toBeGreaterThan(COUNT * 24)
    await store.clear()

    await store.merge()

    expect(store.stats().keydir.bytes).toBeLessThan(64 * KIB)
    await store.put('after', '1')
    expect([...store.entries()]).toEqual([['after', '1']])
    await store.close()
    expect(files.peek(PATH)?.length ?? 0).toBeLessThan(64 * KIB)
    await using reopened = await open(files, keydir)
    expect(reopened.stats().keydir.bytes).toBeLessThan(64 * KIB)
    expect([...reopened.entries()]).toEqual([['after', '1']])
  })

  it('is freed by close, however many keys are left', async () => {
    const files = new FaultyFiles(1)
    const store = await open(files, keydir)
    await fill(store)
    const { bytes } = store.stats().keydir
    await thin(store, 3)

    await store.close()

    if (keydir !== 'bplustree') expect(files.peek(PATH)?.length ?? 0).toBeLessThan(bytes / 2)
    const reopened = await open(files, keydir)
    expect(reopened.stats().keydir.bytes).toBeLessThan(bytes / 1.9)
    expect([...reopened.entries()]).toEqual(left(3))
    // Free memory is known after a reopen: it is used, or freed once it exceeds the rest.
    await thin(reopened, 30)
    await reopened.close()
    await using last = await open(files, keydir)
    expect(last.stats().keydir.bytes).toBeLessThan(bytes / 10)
    expect([...last.entries()]).toEqual(left(30))
  })

  it('is freed while views are open, and they do not change', async () => {
    const files = new FaultyFiles(1)
    await using store = await open(files, keydir)
    await fill(store)
    await thin(store, 30)
    using snapshot = store.snapshot()
    const walk = store.entries()
    const first = [walk.next().value, walk.next().value]
    await store.delete(keyOf(60))
    await store.put(keyOf(61), 'new')
    const { bytes } = store.stats().keydir

    await store.merge()

    expect(store.stats().keydir.bytes).toBeLessThan(bytes / 4)
    expect([...first, ...walk]).toEqual(left(30))
    expect([...snapshot.entries()]).toEqual(left(30))
    expect(snapshot.get(keyOf(60))).toBe('60')
    expect(store.has(keyOf(60))).toBe(false)
    expect(store.get(keyOf(61))).toBe('new')
  })
})

describe('the memory of a keydir', () => {
  it('is not moved while most of it is in use', async () => {
    const files = new FaultyFiles(1)
    const store = await open(files, 'btree')
    await fill(store)
    await store.close()
    const before = files.peek(PATH)?.length ?? 0
    await using reopened = await open(files, 'btree')
    for (let index = 0; index < 100; index++) await reopened.delete(keyOf(index))
    await reopened.close()

    expect(files.peek(PATH)?.length).toBeGreaterThanOrEqual(before)
  })

  it('is freed without making a running sweep miss a key', async () => {
    let nowMs = 1000
    const files = new FaultyFiles(1)
    const store = await openOn(files, {
      clock: () => nowMs,
      expiryIntervalMs: 10,
      maxSegmentBytes: 1024 * KIB,
    })
    await fill(store)
    for (let index = 0; index < COUNT; index += 30) {
      await store.put(keyOf(index), 'expires', { ttlMs: index % 60 === 0 ? 10 : 100_000 })
    }
    await thin(store, 30)
    await store.merge()
    nowMs += 1000
    await store.merge()

    expect([...store.keys()]).toHaveLength(COUNT / 60)
    await store.close()
  })
})
