/** Segments that fill faster than one sync takes, and what happens to them. */

import { setImmediate } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import type { Labour } from '../../src/merge/thread.ts'
import { Store } from '../../src/store.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { inProcessLabour } from '../support/labour.ts'
import { DISK, idle, KIB, keysUpTo, openOn } from '../support/store.ts'

describe('segments that fill faster than a sync', () => {
  it('are sealed, merged and given hints all the same', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files, { merge: { automatic: true } })
    let mostSegments = 0

    // A segment each, and a sync takes up to three turns.
    for (let round = 0; round < 300; round++) {
      await store.put(`key ${round % 4}`, `${round} `.padEnd(40 * KIB, '-'))
      for (let turn = 0; turn < 3; turn++) await setImmediate()
      mostSegments = Math.max(mostSegments, store.stats().segments.length)
    }

    expect(store.stats().merge.count).toBeGreaterThan(1)
    expect(mostSegments).toBeLessThan(150)
    await idle(store)
    await store.close()
    await using reopened = await openOn(files.restart(1))
    expect([...reopened.values()].map((value) => value.split(' ')[0])).toEqual([
      '296',
      '297',
      '298',
      '299',
    ])
  })

  it('get their hints from few threads when the store is closed', async () => {
    const files = new FaultyFiles(1)
    const inProcess = inProcessLabour(files)
    const jobCounts: number[] = []
    const labour: Labour = {
      ...inProcess,
      async hint(...jobs) {
        jobCounts.push(jobs.length)
        await inProcess.hint(...jobs)
      },
    }
    const options = { valueEncoding: 'utf8', lock: false, mapping: false } as const
    const store = await Store.open<string>(
      DISK,
      { ...options, maxSegmentBytes: 64 * KIB, merge: { automatic: false } },
      { files, labour },
    )
    for (const key of keysUpTo(60)) await store.put(key, key.padEnd(40 * KIB))

    await store.close()

    const made = jobCounts.reduce((sum, count) => sum + count, 0)
    expect(made).toBe(59)
    expect(jobCounts.length).toBeLessThan(10)
    const hints = (files.list(DISK) ?? []).filter((name) => name.endsWith('.hint'))
    expect(hints).toHaveLength(59)
  })

  it('are given hints where one of several cannot be made, and say which', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    const errors: string[] = []
    store.on('error', (error) => errors.push(error.message))
    files.fail({ kinds: ['open'], path: /2\.hint/, nth: 1, code: 'EACCES', lasting: true })
    for (const key of keysUpTo(6)) store.putSync(key, key.padEnd(40 * KIB))
    await store.sync()
    await idle(store)
    await idle(store)

    const hints = (files.list(DISK) ?? []).filter((name) => name.endsWith('.hint'))
    expect(hints.map((name) => Number.parseInt(name, 10))).toEqual([1, 3, 4, 5])
    expect(errors).toEqual([expect.stringContaining('The hint of segment 2 cannot be made')])
    await store.close()
  })
})
