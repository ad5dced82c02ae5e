/** Merges of records that have expired. */

import { describe, expect, it } from 'vitest'
import { open } from '../../src/index.ts'
import { systemFiles } from '../../src/io/files.ts'
import { Store } from '../../src/store/store.ts'
import { withDirectory } from '../support/directory.ts'
import { inProcessWork } from '../support/in-process-work.ts'

const environment = { files: systemFiles, backgroundWork: inProcessWork(systemFiles) }

describe('merge', () => {
  it('reclaims expired records that nobody has read from an otherwise live segment', async () => {
    await withDirectory(async (directory) => {
      let nowMs = 1000
      const options = { clock: () => nowMs, expiryIntervalMs: 2 ** 31 - 1 }
      const store = await Store.open(directory, options, environment)
      await store.put('stays', 'a')
      await store.put('goes', Buffer.alloc(10_000), { ttlMs: 5 })

      const early = await store.merge()
      nowMs += 5
      const planned = await store.merge({ dryRun: true })
      const report = await store.merge()
      await store.close()

      expect(early.bytesGained).toBe(0)
      expect(planned.bytesGained).toBeGreaterThan(10_000)
      expect(report.bytesGained).toBeGreaterThan(10_000)
      await using reopened = await open(directory, { clock: () => 1000 })
      expect([...reopened.keys()]).toEqual(['stays'])
    })
  })
})
