/** Compares a store with a map, through random operations. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { KeydirKind } from '../../src/index.ts'
import { withDirectory } from '../support/directory.ts'
import { commands, liveEntries, type Model, Subject } from './commands.ts'

/** `SEED=… npm test` draws the same operations again. A failure prints its seed. */
const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
const RUNS = Number(process.env.MODEL_RUNS ?? 25)

describe.each<KeydirKind>(['btree', 'hash', 'skiplist', 'bplustree'])('a store on %s', (kind) => {
  it(`agrees with a map through random operations, from seed ${seed}`, async () => {
    await fc.assert(
      fc.asyncProperty(commands, async (drawn) => {
        await withDirectory(async (directory) => {
          const model: Model = { entries: new Map(), nowMs: 1_000_000 }
          const subject = await Subject.open(directory, kind, () => model.nowMs)
          await fc.asyncModelRun(() => ({ model, real: subject }), drawn)

          expect([...subject.store.entries()]).toEqual(liveEntries(model))
          await subject.reopen()
          expect([...subject.store.entries()]).toEqual(liveEntries(model))
          const { findings } = await subject.store.verify()
          expect(findings.filter(({ severity }) => severity === 'damage')).toEqual([])
          await subject.store.close()
        })
      }),
      { seed, numRuns: RUNS, endOnFailure: false, timeout: 50_000 },
    )
  })
})
