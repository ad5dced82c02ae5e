/** Catching up with a lot, which goes in slices. */

import { setImmediate } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { FaultyFiles } from '../support/faulty-files.ts'
import { idle, KIB, openOn, type TextStore } from '../support/store.ts'

const KEY_COUNT = 20_000
const OPTIONS = { maxSegmentBytes: 512 * KIB, merge: { automatic: false } } as const
/** Catching up takes more turns than this in slices, and one or two without. */
const FEWEST_TURNS = 8

describe('a reader that has much to catch up with', () => {
  it('lets the event loop turn, and shows a state that the writer was in', async () => {
    const { writer, reader } = await pair()
    await write(writer, 0, KEY_COUNT)
    let seen = 0

    const turns = await turnsOf(reader.refresh(), () => {
      const count = countOf(reader)
      expect(count).toBeGreaterThanOrEqual(seen)
      seen = count
      expect(reader.get(`pair ${count - 1}`)).toBe(reader.get(`key ${count - 1}`))
      expect(reader.has(`key ${Math.floor(count / 2)}`)).toBe(count > 0)
    })

    expect(turns).toBeGreaterThan(FEWEST_TURNS)
    expect(countOf(reader)).toBe(KEY_COUNT)
    await reader.close()
    await writer.close()
  })

  it('lets the event loop turn while it takes over what a merge has moved', async () => {
    const { writer, reader } = await pair()
    await write(writer, 0, KEY_COUNT)
    for (let index = 0; index < KEY_COUNT; index += 2) void writer.put(`key ${index}`, 'newer')
    await idle(writer)
    await reader.refresh()
    using snapshot = reader.snapshot()
    const shown = [...snapshot.entries()]
    await writer.merge()
    await idle(writer)
    const before = reader.stats().segments.map(({ id }) => id)

    const turns = await turnsOf(reader.refresh(), () => {
      expect(reader.get('key 7')).toBe('7')
      expect(reader.get('key 8')).toBe('newer')
      expect(reader.count()).toBe(shown.length)
    })

    expect(turns).toBeGreaterThan(FEWEST_TURNS)
    expect(reader.stats().segments.map(({ id }) => id)).not.toEqual(before)
    expect([...reader.entries()]).toEqual(shown)
    expect([...snapshot.entries()]).toEqual(shown)
    await reader.close()
    await writer.close()
  })

  it('shows no half-applied state if a merge has rewritten what it had not seen', async () => {
    const { writer, reader } = await pair()
    await write(writer, 0, KEY_COUNT)
    await reader.refresh()
    // The deletes come before the put, and the merge drops their tombstones.
    for (let index = 0; index < KEY_COUNT; index += 2) void writer.delete(`key ${index}`)
    await writer.put('afterwards', '1')
    await writer.merge()
    await idle(writer)

    await turnsOf(reader.refresh(), () => {
      const hasLast = reader.has(`key ${KEY_COUNT - 2}`)
      if (reader.has('afterwards')) expect(hasLast).toBe(false)
      if (!hasLast) expect(reader.has('key 0')).toBe(false)
    })

    expect([...reader.entries()]).toEqual([...writer.entries()])
    await reader.close()
    await writer.close()
  })
})

async function pair(): Promise<{ writer: TextStore; reader: TextStore }> {
  const files = new FaultyFiles(1)
  const writer = await openOn(files, OPTIONS)
  return { writer, reader: await openOn(files, { ...OPTIONS, readOnly: true }) }
}

/** Puts pairs of keys, in order. */
async function write(store: TextStore, from: number, to: number): Promise<void> {
  for (let index = from; index < to; index++) {
    void store.batch().put(`key ${index}`, `${index}`).put(`pair ${index}`, `${index}`).commit()
    if (index % 1000 === 0) await setImmediate()
  }
  await idle(store)
}

/** Returns how many of the keys are there; they arrive in order. */
function countOf(store: TextStore): number {
  let [from, to] = [0, KEY_COUNT]
  while (from < to) {
    const middle = (from + to) >> 1
    if (store.has(`key ${middle}`)) from = middle + 1
    else to = middle
  }
  return from
}

/** Returns how often the event loop turns until `work` is over; calls `look` at each turn. */
async function turnsOf(work: Promise<unknown>, look: () => void): Promise<number> {
  let turns = 0
  let isOver = false
  const done = work.finally(() => {
    isOver = true
  })
  while (!isOver) {
    await setImmediate()
    look()
    turns++
  }
  await done
  return turns
}
