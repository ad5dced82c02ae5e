import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { encodeFileHeader } from '../src/format/file-header.ts'
import { encodeManifest } from '../src/format/manifest.ts'
import { segmentName } from '../src/format/names.ts'
import { buildHint } from '../src/segment/hint-file.ts'
import { FaultyFiles } from './support/faulty-files.ts'
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
      const job = { directory: DISK, storeId: STORE_ID, id: 1, origin: 'merged', size } as const
      if (source === 'hints') buildHint(files, job)

      await using store = await openOn(files)

      expect(store.stats().recovery.source).toBe(source)
      expect([...store.entries()]).toEqual([['live', '1']])
      expect(store.stats().segments).toMatchObject([{ livePuts: 1, deadPuts: 1 }])
    },
  )
})
