/** When a segment's file is mapped. */

import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { canMap } from '../../src/io/mapping.ts'
import { withDirectory } from '../support/directory.ts'
import { KIB, openStore } from '../support/store.ts'

describe.skipIf(!canMap() || process.platform !== 'linux')('a segment', () => {
  it('is mapped after it was read often enough for its size', async () => {
    await withDirectory(async (directory) => {
      const isMapped = (): boolean => readFileSync('/proc/self/maps', 'utf8').includes(directory)
      const store = await openStore(directory, { maxSegmentBytes: 2048 * KIB })
      for (let index = 0; index < 100; index++) store.putSync(`key ${index}`, 'x'.repeat(KIB))
      await store.sync()

      for (let index = 0; index < 8; index++) expect(store.get(`key ${index}`)).toHaveLength(KIB)
      expect(isMapped()).toBe(false)

      expect(store.get('key 8')).toHaveLength(KIB)
      expect(isMapped()).toBe(true)
      expect(store.get('key 99')).toBe('x'.repeat(KIB))
      await store.close()
    })
  })
})
