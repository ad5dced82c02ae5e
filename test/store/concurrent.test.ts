/** Operations that run at the same time never wait for each other forever. */

import { describe, expect, it } from 'vitest'
import { FaultyFiles } from '../support/faulty-files.ts'
import { keysUpTo, openOn, type TextStore } from '../support/store.ts'

/** The operations that take time, and may wait for what another holds. */
const operations: Record<string, (store: TextStore) => Promise<unknown>> = {
  put: (store) => store.put('key 000', 'put'),
  batch: (store) => store.batch().put('key 001', 'batch').delete('key 002').commit(),
  'a large put': (store) => store.put('large', 'x'.repeat(300_000)),
  clear: (store) => store.clear({ gte: 'key 030' }),
  sync: (store) => store.sync(),
  merge: (store) => store.merge(),
  verify: (store) => store.verify(),
  backup: (store) => store.backup('/disk/backup'),
  close: (store) => store.close(),
}
const names = Object.keys(operations)
/** The codes with which one operation may refuse another. */
const REASONS = ['FIRKIN_CLOSED', 'FIRKIN_MERGE_RUNNING', 'FIRKIN_EXISTS']

describe('operations that are started together', () => {
  it.each(names)('all end: %s and two others', async (first) => {
    for (const second of names) {
      for (const third of ['put', 'merge', 'close']) {
        const store = await openOn(new FaultyFiles(1), { sync: 'always' })
        await Promise.all(keysUpTo(40).map((key) => store.put(key, key.repeat(700))))
        await store.delete('key 010')

        const outcomes = await Promise.allSettled(
          [first, second, third].map(async (name) => await operations[name]?.(store)),
        )

        for (const outcome of outcomes) {
          if (outcome.status === 'rejected') expect(REASONS).toContain(outcome.reason.code)
        }
        await store.close()
      }
    }
  })
})
