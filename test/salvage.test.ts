import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { segmentName } from '../src/format/names.ts'
import { systemFiles } from '../src/io/files.ts'
import { salvageStore } from '../src/salvage.ts'
import { verifyDirectory } from '../src/verify.ts'
import { withDirectory } from './support/directory.ts'
import { KIB, keysUpTo, openStore } from './support/store.ts'
import { flip } from './tools/damage.ts'

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
})
