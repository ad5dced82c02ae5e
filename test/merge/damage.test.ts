/** Merges of stores with segments that are damaged or cannot be read. */

import { describe, expect, it, vi } from 'vitest'
import { CorruptionError, type StoreError } from '../../src/errors.ts'
import { segmentName } from '../../src/format/names.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import {
  DISK,
  idle,
  KIB,
  keysUpTo,
  openOn,
  type TextOptions,
  type TextStore,
  until,
  withCode,
} from '../support/store.ts'

const keys = keysUpTo(24)
/** A byte of the first record's value. */
const FIRST_VALUE = 200

const pathOf = (id: number): string => `${DISK}/${segmentName(id)}`

async function fill(store: TextStore, text: string, of = keys): Promise<void> {
  for (const key of of) await store.put(key, `${text} ${key} `.padEnd(7 * KIB, '-'))
}

async function settle(store: TextStore): Promise<void> {
  await store.sync()
  await idle(store)
}

/** Flips a bit of a segment's file. */
function damage(files: FaultyFiles, id: number, at = FIRST_VALUE): void {
  const bytes = files.peek(pathOf(id)) ?? Buffer.alloc(0)
  bytes[at] = (bytes[at] ?? 0) ^ 1
  files.poke(pathOf(id), bytes)
}

/**
 * Opens a store of which every sealed segment is half dead, including the record at the beginning
 * of each.
 */
async function halfDead(
  options: TextOptions = {},
): Promise<{ files: FaultyFiles; store: TextStore; errors: Error[]; sealed: number[] }> {
  const files = new FaultyFiles(1)
  const first = await openOn(files)
  await fill(first, 'old')
  await fill(first, 'old', ['last'])
  await settle(first)
  const sealed = first
    .stats()
    .segments.filter(({ active }) => !active)
    .map(({ id }) => id)
  await fill(
    first,
    'new',
    keys.filter((_, index) => index % 9 < 5),
  )
  await settle(first)
  await first.close()
  const store = await openOn(files, options)
  const errors: Error[] = []
  store.on('error', (error) => errors.push(error))
  return { files, store, errors, sealed }
}

/** Counts the reads of a segment's file. */
function readsOf(files: FaultyFiles, id: number, from: number): number {
  return files.calls.slice(from).filter(({ kind, path }) => kind === 'read' && path === pathOf(id))
    .length
}

describe('a merge of a store with a damaged segment', () => {
  it('leaves that segment out, reports it, and reclaims the dead bytes of the others', async () => {
    const { files: ground, store: probe, sealed } = await halfDead()
    await probe.close()
    expect(sealed.length).toBeGreaterThan(1)
    for (const id of sealed) {
      const files = ground.restart(1)
      damage(files, id)
      const store = await openOn(files)
      const errors: Error[] = []
      store.on('error', (error) => errors.push(error))
      const before = store.stats().segments

      const report = await store.merge()

      const fault = { code: 'FIRKIN_CORRUPT', file: pathOf(id), offset: expect.any(Number) }
      expect(errors).toEqual([expect.objectContaining(fault)])
      expect(errors[0]).toBeInstanceOf(CorruptionError)
      const leftOut = [
        { id, bytes: before.find((each) => each.id === id)?.bytes, error: errors[0] },
      ]
      expect(report.leftOut).toEqual(leftOut)
      expect(store.stats().merge).toMatchObject({ count: 1, leftOut, lastError: undefined })
      expect(report.segments.map((each) => each.id)).toEqual(
        before.filter((each) => each.id !== id && each.deadBytes > 0).map((each) => each.id),
      )
      for (const segment of store.stats().segments) {
        if (segment.id !== id) expect(segment.deadBytes).toBe(0)
      }
      for (const [index, key] of keys.entries()) {
        expect(store.get(key)?.startsWith(index % 9 < 5 ? 'new' : 'old')).toBe(true)
      }

      const calls = files.calls.length
      expect(await store.merge()).toMatchObject({ segments: [], leftOut })
      expect(await store.merge({ dryRun: true })).toMatchObject({ segments: [], leftOut })
      expect(readsOf(files, id, calls)).toBe(0)
      expect(errors).toHaveLength(1)
      await store.close()
    }
  })

  it('continues automatically, so that the store does not grow', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files, { merge: { automatic: true } })
    const errors: Error[] = []
    store.on('error', (error) => errors.push(error))
    await store.put('stays', 'here')
    await fill(store, 'round 0')
    await settle(store)
    damage(files, 1, 20 * KIB)
    const sizes: number[] = []

    for (let round = 1; round <= 10; round++) {
      await fill(store, `round ${round}`)
      await settle(store)
      sizes.push(store.stats().bytes)
    }

    expect(errors).toEqual([withCode('FIRKIN_CORRUPT')])
    // A segment may be in the middle of being written when its size is read.
    const most = Math.max(...sizes.slice(0, 5)) + 64 * KIB
    expect(Math.max(...sizes.slice(5))).toBeLessThanOrEqual(most)
    expect(store.stats().merge.leftOut.map(({ id }) => id)).toEqual([1])
    expect(store.get('stays')).toBe('here')
    expect(store.get(keys[3] ?? '')?.startsWith('round 10')).toBe(true)
    await store.close()
  })

  it.each([true, false])(
    'deletes the segment unread once all of it is dead, with automatic %s',
    async (automatic) => {
      const { files, store, errors, sealed } = await halfDead({ merge: { automatic } })
      const [first = 0] = sealed
      damage(files, first)
      if (!automatic) await store.merge()
      const calls = files.calls.length

      await fill(store, 'newer')
      await settle(store)
      if (automatic) await until(() => !store.stats().segments.some(({ id }) => id === first))
      else await store.merge()
      await idle(store)

      expect(files.list(DISK)).not.toContain(segmentName(first))
      if (!automatic) expect(readsOf(files, first, calls)).toBe(0)
      expect(errors.length).toBeLessThanOrEqual(1)
      expect(store.stats().merge.leftOut).toEqual([])
      await store.close()
    },
  )

  it("keeps tombstones of the segment's records, so that no deleted key returns", async () => {
    const { files, store, sealed } = await halfDead()
    const [first = 0] = sealed
    damage(files, first)
    // Some of the first segment's keys were live in it and are deleted now; the others were
    // overwritten.
    await store.delete(keys[6] ?? '')
    await store.delete(keys[0] ?? '')
    await store.merge()
    const shown = [...store.keys()]
    expect(shown).not.toContain(keys[0])
    expect(store.stats().segments.map(({ id }) => id)).toContain(first)
    await store.close()

    // Open from hints, which still list the deleted puts.
    files.poke(`${DISK}/CHECKPOINT`, undefined)
    const reopened = await openOn(files)
    expect([...reopened.keys()]).toEqual(shown)
    await reopened.close()
  })

  it('also leaves out a segment that the disk cannot read, and retries after an hour', async () => {
    const { files, store, errors, sealed } = await halfDead()
    const [first = 0] = sealed
    let nowMs = performance.now()
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => nowMs)
    try {
      files.fail({ kinds: ['read'], path: new RegExp(segmentName(first)), nth: 1, code: 'EIO' })

      const report = await store.merge()

      expect(errors).toEqual([withCode('FIRKIN_READ_FAILED')])
      expect(report.leftOut.map(({ id }) => id)).toEqual([first])
      expect(report.segments.length).toBeGreaterThan(0)
      nowMs += 3_599_000
      expect((await store.merge()).segments).toEqual([])
      nowMs += 2000
      expect((await store.merge()).segments.map(({ id }) => id)).toEqual([first])
      expect(store.stats().merge.leftOut).toEqual([])
    } finally {
      clock.mockRestore()
    }
    await store.close()
  })
})

describe('a merge that starts by itself', () => {
  it.each(['ENOSPC', 'EMFILE', 'EDQUOT'] as const)(
    'is retried within seconds after a passing failure ends, which is reported once: %s',
    async (code) => {
      const { files, store, errors } = await halfDead({ merge: { automatic: true } })
      let nowMs = performance.now()
      const clock = vi.spyOn(performance, 'now').mockImplementation(() => nowMs)
      try {
        files.fail({ kinds: ['open'], path: /hint.*tmp$/, nth: 1, code, lasting: true })
        const consider = async (): Promise<void> => {
          await store.put('more', 'x')
          await fill(store, 'filler', keys.slice(0, 10))
          await settle(store)
        }
        for (let second = 0; second < 60; second++) {
          nowMs += 1000
          await consider()
        }
        const told = errors.filter((error) => (error as StoreError).code === 'FIRKIN_MERGE_FAILED')
        expect(told).toHaveLength(1)
        expect(store.stats().merge).toMatchObject({ lastError: { cause: { code } } })
        expect(store.stats().merge.restMs).toBeLessThanOrEqual(8000)

        files.heal()
        nowMs += 8000
        await consider()
        expect(store.stats().merge).toMatchObject({ lastError: undefined, restMs: 0 })
        expect(store.stats().merge.count).toBeGreaterThan(0)
      } finally {
        clock.mockRestore()
      }
      await store.close()
    },
  )
})
