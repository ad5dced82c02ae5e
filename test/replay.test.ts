import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { encodeFileHeader } from '../src/format/file-header.ts'
import { encodeManifest } from '../src/format/manifest.ts'
import { segmentName } from '../src/format/names.ts'
import { buildHint } from '../src/segment/hint-file.ts'
import type { StoreStats } from '../src/stats.ts'
import { FaultyFiles } from './support/faulty-files.ts'
import { placeOf } from './support/held.ts'
import { put, STORE_ID, tombstone } from './support/records.ts'
import { DISK, openOn } from './support/store.ts'

/** A store of one merged segment, in which an older put stands behind its key's tombstone. */
function mergedStore(): FaultyFiles {
  const files = new FaultyFiles(1)
  files.makeDirectory(DISK)
  const header = encodeFileHeader({
    type: 'segment',
    storeId: STORE_ID,
    fileId: 1,
    origin: 'merged',
  })
  const deleted = tombstone('deleted', 5)
  const bytes = Buffer.concat([header, put('live', '1', 2), deleted, put('deleted', 'older', 3)])
  const sealed = {
    id: 1,
    origin: 'merged',
    size: bytes.length,
    putCount: 2,
    tombstoneCount: 1,
    tombstoneBytes: deleted.length,
    minSequence: 2,
    maxSequence: 5,
    lastExpiryMs: 0,
  } as const
  const manifest = encodeManifest({
    storeId: STORE_ID,
    generation: 1,
    tailId: 2,
    tailSize: 0,
    nextSegmentId: 2,
    nextSequence: 6,
    keydirKind: 'btree',
    closed: true,
    clockMs: 0,
    sweeps: [],
    segments: [sealed],
  })
  files.poke(join(DISK, 'MANIFEST'), manifest)
  files.poke(join(DISK, segmentName(1)), bytes)
  return files
}

describe('a merged segment', () => {
  it.each(['hints', 'segments'])(
    'hides an older put that stands behind the tombstone, read from %s',
    async (source) => {
      const files = mergedStore()
      const { length: size } = files.peek(join(DISK, segmentName(1))) ?? { length: 0 }
      const place = placeOf(files, DISK)
      const job = { place, storeId: STORE_ID, id: 1, origin: 'merged', size } as const
      if (source === 'hints') buildHint(files, job)

      await using store = await openOn(files)

      expect(store.stats().recovery.source).toBe(source)
      expect([...store.entries()]).toEqual([['live', '1']])
      expect(store.stats().segments).toMatchObject([{ livePuts: 1, deadPuts: 1 }])
    },
  )
})

function figures({ keys, segments }: StoreStats): object {
  return {
    keys,
    segments: segments.map(({ id, liveBytes, deadBytes, livePuts, deadPuts }) => ({
      id,
      liveBytes,
      deadBytes,
      livePuts,
      deadPuts,
    })),
  }
}

describe('a load that takes several batches', () => {
  it('makes what was there before, dead bytes and all', async () => {
    const files = new FaultyFiles(1)
    const options = { checkpoint: false, maxSegmentBytes: 16 * 1024 * 1024 } as const
    const key = (index: number) => `${index} `.padEnd(60_000, 'k')
    const store = await openOn(files, options)
    for (let index = 0; index < 1250; index++) {
      // Most keys come again in the other batch; some are deleted, and some of these for good.
      void store.put(key(index % 700), String(index))
      if (index % 5 === 0) void store.delete(key((index * 3) % 700))
      if (index % 100 === 0) await store.sync()
    }
    await store.sync()
    const before = figures(store.stats())
    const entries = [...store.entries()]
    await store.close()

    await using again = await openOn(files, options)

    expect(again.stats().recovery.source).not.toBe('checkpoint')
    expect(figures(again.stats())).toEqual(before)
    expect([...again.entries()]).toEqual(entries)
  })
})
