/** The figures of a store. */

import { setImmediate } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { FILE_HEADER_SIZE } from '../../src/format/file-header.ts'
import { BATCH_END_SIZE, recordSize } from '../../src/format/record.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { Random } from '../support/random.ts'
import { DISK, idle, KIB, keysUpTo, openOn, type TextStore } from '../support/store.ts'

/** Returns the figures that depend only on what is stored. */
function figuresOf(store: TextStore) {
  const { keys, bytes, liveBytes, deadBytes, tombstoneBytes, nextSequence } = store.stats()
  return { keys, bytes, liveBytes, deadBytes, tombstoneBytes, nextSequence }
}

describe('stats', () => {
  it('of a new store are zero', async () => {
    await using store = await openOn(new FaultyFiles(1))

    expect(store.stats()).toMatchObject({
      keys: 0,
      keydir: { kind: 'btree' },
      bytes: 0,
      liveBytes: 0,
      segments: [],
      nextSequence: 1,
      openViews: 0,
      expiredKeys: 0,
      merge: { running: false, count: 0, bytesRead: 0, bytesGained: 0 },
      mapping: false,
      cachedBytes: 0,
      recovery: { source: 'new', closed: true, torn: [], leftovers: [], unhinted: [] },
    })
  })

  it('count live bytes, dead bytes and tombstones', async () => {
    await using store = await openOn(new FaultyFiles(1))
    await store.put('a', 'one')
    await store.put('a', 'three')
    await store.put('b', 'two')
    await store.delete('b')
    await store.batch().put('c', '').delete('missing').commit()

    const [segment] = store.stats().segments
    const live = recordSize(1, 5, false) + recordSize(1, 0, false)
    const dead = 2 * recordSize(1, 3, false) + BATCH_END_SIZE
    const tombstones = recordSize(1, 0, false) + recordSize(7, 0, false)
    expect(segment).toEqual({
      id: 1,
      origin: 'appended',
      active: true,
      bytes: FILE_HEADER_SIZE + live + dead + tombstones,
      liveBytes: live,
      deadBytes: dead,
      tombstoneBytes: tombstones,
      livePuts: 2,
      deadPuts: 2,
      tombstones: 2,
      minSequence: 1,
      maxSequence: 7,
      lastExpiryMs: 0,
    })
    expect(figuresOf(store)).toEqual({
      keys: 2,
      bytes: FILE_HEADER_SIZE + live + dead + tombstones,
      liveBytes: live,
      deadBytes: dead,
      tombstoneBytes: tombstones,
      nextSequence: 8,
    })
  })

  it('count as live what keys point to, throughout a merge with writes', async () => {
    const random = new Random(1)
    await using store = await openOn(new FaultyFiles(1), { maxSegmentBytes: 1024 * KIB })
    const size = recordSize(9, 4, false)
    const key = (): string => `key ${String(random.below(40_000)).padStart(5, '0')}`
    const batch = store.batch()
    for (let index = 0; index < 40_000; index++) batch.put(key(), 'one.')
    await batch.commit()
    for (let index = 0; index < 30_000; index++) void store.put(key(), 'two.')
    await store.sync()

    const merge = store.merge()
    let isOver = false
    void merge.finally(() => {
      isOver = true
    })
    let looks = 0
    for (; !isOver; looks++) {
      for (let count = 0; count < 20; count++) {
        if (random.chance(0.3)) void store.delete(key())
        else void store.put(key(), 'more')
      }
      const { keys, bytes, liveBytes, deadBytes, tombstoneBytes, segments } = store.stats()
      expect(liveBytes).toBe(keys * size)
      const headers = segments.length * FILE_HEADER_SIZE
      expect(liveBytes + deadBytes + tombstoneBytes + headers).toBe(bytes)
      await setImmediate()
    }
    await merge
    expect(looks).toBeGreaterThan(20)
    expect(store.stats().liveBytes).toBe(store.stats().keys * size)
  })

  it('agree with the files', async () => {
    const files = new FaultyFiles(1)
    await using store = await openOn(files)
    for (const round of ['a', 'b']) {
      for (const key of keysUpTo(20)) await store.put(key, round.repeat(5 * KIB))
    }

    for (const { id, bytes } of store.stats().segments) {
      const name = `${String(id).padStart(10, '0')}.segment`
      expect(files.peek(`${DISK}/${name}`)?.length, name).toBe(bytes)
    }
  })

  it('report when the last put expires', async () => {
    await using store = await openOn(new FaultyFiles(1), { clock: () => 1000 })
    await store.put('a', '1', { ttlMs: 10 })
    await store.put('b', '1', { ttlMs: 20 })
    expect(store.stats().segments[0]?.lastExpiryMs).toBe(1020)

    await store.put('c', '1')
    expect(store.stats().segments[0]?.lastExpiryMs).toBe(0)
  })

  it.each(['btree', 'hash', 'skiplist', 'bplustree'] as const)(
    'are the same however a %s is loaded',
    async (keydir) => {
      const files = new FaultyFiles(1)
      const store = await openOn(files, { keydir })
      for (const round of ['a', 'b']) {
        for (const key of keysUpTo(25)) await store.put(key, round.repeat(4 * KIB))
        await store.batch().put('y', round).delete('nothing').commit()
      }
      for (const key of keysUpTo(5)) await store.delete(key)
      await store.batch().delete('key 010').put('x', '1').delete('nothing').commit()
      await store.sync()
      await idle(store)
      const expected = figuresOf(store)
      const hintless = files.restart(1)
      await store.close()

      const sources: string[] = []
      for (const machine of [files, files.restart(1), hintless]) {
        if (machine !== files) machine.poke(`${DISK}/CHECKPOINT`, undefined)
        if (machine === hintless) {
          for (const name of machine.list(DISK) ?? []) {
            if (name.endsWith('.hint')) machine.poke(`${DISK}/${name}`, undefined)
          }
        }
        await using reopened = await openOn(machine, { keydir })
        expect(figuresOf(reopened)).toEqual(expected)
        sources.push(reopened.stats().recovery.source)
      }
      const first = keydir === 'bplustree' ? 'hints' : 'checkpoint'
      expect(sources).toEqual([first, 'hints', 'segments'])
    },
  )

  it('count merges', async () => {
    await using store = await openOn(new FaultyFiles(1))
    for (const round of ['a', 'b']) {
      for (const key of keysUpTo(20)) await store.put(key, round.repeat(5 * KIB))
    }

    const { bytesRead, bytesGained } = await store.merge()

    expect(store.stats().merge).toEqual({
      running: false,
      count: 1,
      bytesRead,
      bytesGained,
      leftOut: [],
      lastError: undefined,
      restMs: 0,
    })
  })
})
