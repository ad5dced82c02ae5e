import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  checkpointHeadSize,
  decodeCheckpointHead,
  encodeCheckpointHead,
} from '../src/format/checkpoint.ts'
import { decodeFileHeader } from '../src/format/file-header.ts'
import { CHECKPOINT_NAME, segmentName } from '../src/format/names.ts'
import { systemFiles } from '../src/io/files.ts'
import { salvageStore } from '../src/salvage.ts'
import { verifyDirectory } from '../src/verify.ts'
import { withDirectory } from './support/directory.ts'
import { KIB, keysUpTo, openStore } from './support/store.ts'
import { flip } from './tools/damage.ts'

/** Takes a checkpoint apart, and puts it together with its first chunk cut in two. */
function cutAnew(file: Buffer): Buffer {
  const header = decodeFileHeader(file)
  if ('fault' in header) throw new Error(header.fault)
  const { storeId, fileId } = header
  const head = decodeCheckpointHead(file.subarray(0, checkpointHeadSize(file)), storeId)
  if (head === undefined) throw new Error('The checkpoint is damaged')
  const [first, ...others] = head.chunks.map(({ offset, size }) =>
    file.subarray(offset, offset + size),
  )
  if (first === undefined) throw new Error('The checkpoint has no chunks')
  const middle = first.length >>> 1
  const chunks = [first.subarray(0, middle), first.subarray(middle), ...others]
  const [count = 0, ...counts] = head.summary.arenas
  const summary = { ...head.summary, arenas: [count + 1, ...counts] }
  const changed = encodeCheckpointHead(storeId, fileId, summary, chunks)
  return Buffer.concat([changed, ...chunks])
}

describe('salvage', () => {
  it('copies a segment into smaller ones', async () => {
    await withDirectory(async (directory) => {
      const store = await openStore(directory, { maxSegmentBytes: 1024 * KIB })
      for (const key of keysUpTo(400)) await store.put(key, 'v'.repeat(KIB))
      await store.close()
      await flip(join(directory, segmentName(1)), 100)

      const { damaged, keys } = await salvageStore(systemFiles, directory, {
        maxSegmentBytes: 64 * KIB,
        dryRun: false,
        nowMs: 0,
      })

      expect(damaged).toHaveLength(1)
      expect(keys.map(({ key }) => String(key))).toEqual(['key 000'])
      const { ok, segments, records } = await verifyDirectory(systemFiles, directory)
      expect([ok, records]).toEqual([true, 399])
      expect(segments).toBeGreaterThan(6)
    })
  })

  it('does without a checkpoint whose chunks are cut in another way', async () => {
    await withDirectory(async (directory) => {
      const store = await openStore(directory, { maxSegmentBytes: 4096 * KIB })
      for (const key of keysUpTo(300)) await store.put(key.padEnd(10_000, '.'), 'v')
      await store.close()
      const path = join(directory, CHECKPOINT_NAME)
      await flip(join(directory, segmentName(1)), 100)
      const salvage = () =>
        salvageStore(systemFiles, directory, { maxSegmentBytes: KIB, dryRun: true, nowMs: 0 })
      const known = await salvage()
      await writeFile(path, cutAnew(await readFile(path)))

      const unknown = await salvage()

      expect([known.keys.length, known.bytesUnknown]).toEqual([1, 0])
      expect([unknown.keys.length, unknown.bytesUnknown]).toEqual([0, known.bytesLost])
    })
  })
})
