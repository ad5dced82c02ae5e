/** A few rounds of torture, and its check itself. */

import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { canMap } from '../../src/io/mapping.ts'
import { withDirectory } from '../support/directory.ts'
import { History } from '../support/history.ts'
import { openStore } from '../support/store.ts'
import { type CheckOptions, check } from './check.ts'
import { Torture } from './torture.ts'

/** `SEED=…` draws the same rounds again. A failure names the round and the place of the store. */
const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
const writer = join(import.meta.dirname, '../../dist/test/torture/writer.js')
/** The time for rounds, and their least and greatest number. */
const ROUNDS_MS = 18_000
const LEAST_ROUNDS = 12
const MOST_ROUNDS = 100
/** A file system in memory, if there is one: a kill leaves the same on any file system. */
const memory = '/dev/shm'

describe('a killed writer', () => {
  it(`leaves all settled commits and a prefix of the others, from seed ${seed}`, async () => {
    const directory = mkdtempSync(join(existsSync(memory) ? memory : tmpdir(), 'firkin-torture-'))
    const torture = new Torture({ directory, seed, writer, mappings: [canMap()] })
    const beganAt = performance.now()
    try {
      for (let round = 0; round < MOST_ROUNDS; round++) {
        if (round >= LEAST_ROUNDS && performance.now() - beganAt > ROUNDS_MS) break
        await torture.round()
      }
    } finally {
      await torture.end()
    }
    // Only after success: a failed round keeps its store for inspection.
    rmSync(directory, { recursive: true })

    const { tally } = torture
    const kills = Object.values(tally.kills).reduce((sum, count) => sum + count, 0)
    expect(tally.rounds).toBeGreaterThanOrEqual(LEAST_ROUNDS)
    expect(kills).toBeGreaterThan(tally.rounds / 2)
    expect(tally.settled).toBeGreaterThan(20 * tally.rounds)
  }, 120_000)
})

const OPTIONS = {
  removed: 'nothing',
  checkedWith: 'btree',
  reopens: true,
  nowMs: 0,
} as const satisfies CheckOptions

describe('the check of a store whose writer was killed', () => {
  it.each([
    ['lacks a settled commit', 'k1', undefined, /k1: shows nothing; was written by commits 1/],
    ['shows a deleted value', 'k2', 'old', /k2: shows 'old'/],
    ['shows a value that was never written', 'k3', 'made up', /k3: shows 'made up'/],
  ])('fails if the store %s', async (_, key, value, message) => {
    await withDirectory(async (directory) => {
      const history = new History()
      history.begin(() => [{ key: 'k1', value: '1', expiresAtMs: 0 }]).fate = 'settled'
      history.begin(() => [{ key: 'k2', value: 'old', expiresAtMs: 0 }]).fate = 'settled'
      history.begin(() => [{ key: 'k2', value: undefined, expiresAtMs: 0 }]).fate = 'settled'
      const store = await openStore(directory)
      await store.put('k1', '1')
      if (value === undefined) await store.delete(key)
      else await store.put(key, value)
      await store.close()

      await expect(check(directory, history, OPTIONS)).rejects.toThrow(message)
    })
  })

  it('fails if a file is left over', async () => {
    await withDirectory(async (directory) => {
      const store = await openStore(directory)
      await store.close()
      writeFileSync(join(directory, 'something'), '')

      await expect(check(directory, new History(), OPTIONS)).rejects.toThrow('Left over: something')
    })
  })
})
