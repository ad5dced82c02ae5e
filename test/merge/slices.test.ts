/** The work of a merge on the store's own thread, which others wait for. */

import { describe, expect, it, vi } from 'vitest'
import { open } from '../../src/index.ts'
import { withDirectory } from '../support/directory.ts'

const COUNT = 40_000
/** The most entries that one call may sort within a slice of a millisecond. */
const MOST_AT_ONCE = 8192

const typedArray = Object.getPrototypeOf(Uint32Array.prototype) as Uint32Array

describe('a merge of many small records', () => {
  it("sorts no list that grows with their number on the store's thread", async () => {
    await withDirectory(async (directory) => {
      const store = await open(directory, {
        sync: 'never',
        merge: { automatic: false },
        maxSegmentBytes: 1024 ** 2,
      })
      // In another order than that of the keys, so that offsets have to be sorted.
      for (let i = 0; i < COUNT; i++) void store.put(`key ${(i * 7919) % COUNT}`, 'x')
      await store.sync()
      for (let i = 0; i < COUNT; i += 2) void store.delete(`key ${i}`)
      await store.sync()
      const sort = vi.spyOn(typedArray, 'sort')
      try {
        const { segments } = await store.merge()
        expect(segments.length).toBeGreaterThan(0)
        const lengths = sort.mock.contexts.map((list) => (list as Uint32Array).length)
        expect(Math.max(0, ...lengths)).toBeLessThanOrEqual(MOST_AT_ONCE)
      } finally {
        vi.restoreAllMocks()
      }
      expect(store.count()).toBe(COUNT / 2)
      await store.close()
    })
  })
})
