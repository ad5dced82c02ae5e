import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { encodeFileHeader } from '../../src/format/file-header.ts'
import { encodeManifest, type SealedSegment } from '../../src/format/manifest.ts'
import { segmentName } from '../../src/format/names.ts'
import { buildHint } from '../../src/segment/hint-file.ts'
import type { StoreStats } from '../../src/store/stats.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { directoryIdOf } from '../support/held.ts'
import { put, STORE_ID, tombstone } from '../support/records.ts'
import { DISK, openOn } from '../support/store.ts'

interface Part {
  readonly origin: 'appended' | 'merged'
  readonly records: readonly Buffer[]
  readonly figures: Pick<
    SealedSegment,
    'putCount' | 'tombstoneCount' | 'tombstoneBytes' | 'minSequence' | 'maxSequence'
  >
}

/** Makes a store of sealed segments with ids from 1 on. */
function storeOf(parts: readonly Part[]): FaultyFiles {
  const files = new FaultyFiles(1)
  files.makeDirectory(DISK)
  const segments = parts.map(({ origin, records, figures }, index): SealedSegment => {
    const id = index + 1
    const header = encodeFileHeader({ type: 'segment', storeId: STORE_ID, fileId: id, origin })
    const bytes = Buffer.concat([header, ...records])
    files.poke(join(DISK, segmentName(id)), bytes)
    return { id, origin, size: bytes.length, lastExpiryMs: 0, ...figures }
  })
  const manifest = encodeManifest({
    storeId: STORE_ID,
    generation: 1,
    tailId: parts.length + 1,
    tailSize: 0,
    nextSegmentId: parts.length + 1,
    nextSequence: 100,
    keydirKind: 'btree',
    closed: true,
    clockMs: 0,
    sweeps: [],
    segments,
  })
  files.poke(join(DISK, 'MANIFEST'), manifest)
  return files
}

const deleted = tombstone('deleted', 5)
const TOMBSTONE = { tombstoneCount: 1, tombstoneBytes: deleted.length, maxSequence: 5 }

/** Makes a store of one merged segment, in which an older put follows its key's tombstone. */
function mergedStore(): FaultyFiles {
  return storeOf([
    {
      origin: 'merged',
      records: [put('live', '1', 2), deleted, put('deleted', 'older', 3)],
      figures: { ...TOMBSTONE, putCount: 2, minSequence: 2 },
    },
  ])
}

describe('a tombstone', () => {
  it('hides an older put in the segment that is read next', async () => {
    await using store = await openOn(
      storeOf([
        {
          origin: 'appended',
          records: [put('live', '1', 1), put('deleted', 'old', 2), deleted],
          figures: { ...TOMBSTONE, putCount: 2, minSequence: 1 },
        },
        {
          origin: 'merged',
          records: [put('deleted', 'between', 3)],
          figures: {
            putCount: 1,
            tombstoneCount: 0,
            tombstoneBytes: 0,
            minSequence: 3,
            maxSequence: 3,
          },
        },
      ]),
    )

    expect([...store.entries()]).toEqual([['live', '1']])
  })
})

describe('a merged segment', () => {
  it.each(['hints', 'segments'])(
    'hides an older put that follows the tombstone, read from %s',
    async (source) => {
      const files = mergedStore()
      const { length: size } = files.peek(join(DISK, segmentName(1))) ?? { length: 0 }
      const directoryId = directoryIdOf(files, DISK)
      const job = { directoryId, storeId: STORE_ID, id: 1, origin: 'merged', size } as const
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
  it('restores everything, including the counts of dead bytes', async () => {
    const files = new FaultyFiles(1)
    const options = { checkpoint: false, maxSegmentBytes: 16 * 1024 * 1024 } as const
    const key = (index: number) => `${index} `.padEnd(60_000, 'k')
    const store = await openOn(files, options)
    for (let index = 0; index < 1250; index++) {
      // Most keys come again in the second batch. Some are deleted, and some of these for good.
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
