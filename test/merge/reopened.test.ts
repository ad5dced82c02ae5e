/** Merges of a store that is never open for long. */

import { describe, expect, it } from 'vitest'
import { open } from '../../src/index.ts'
import { withDirectory } from '../support/directory.ts'
import { KIB, keysUpTo } from '../support/store.ts'

const ROUNDS = 20
const OPTIONS = { valueEncoding: 'utf8', maxSegmentBytes: 64 * KIB, reserveBytes: 0 } as const

/** Opens, writes and closes a store again and again; returns its size at the last opening. */
async function bytesAfter(directory: string): Promise<number> {
  let bytes = 0
  for (let round = 0; round < ROUNDS; round++) {
    await using store = await open(directory, OPTIONS)
    bytes = store.stats().bytes
    for (const key of keysUpTo(20)) await store.put(key, String(round).padEnd(10 * KIB, '.'))
  }
  return bytes
}

describe('a store that is never open for long', () => {
  it('does not grow if it is closed at once', async () => {
    await withDirectory(async (directory) => {
      expect(await bytesAfter(directory)).toBeLessThan(4 * 200 * KIB)
    })
  })
})
