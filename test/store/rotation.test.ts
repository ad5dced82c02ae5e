/** Segments that fill faster than one sync takes. */

import { setImmediate } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import type { BackgroundWork } from '../../src/merge/thread.ts'
import { Store } from '../../src/store/store.ts'
import { FakeLoop } from '../support/event-loop.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { inProcessWork } from '../support/in-process-work.ts'
import { DISK, idle, KIB, keysUpTo, openOn } from '../support/store.ts'

describe('segments that fill faster than a sync', () => {
  it('are still sealed and merged, and get hints', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files, { merge: { automatic: true } })
    let mostSegments = 0

    // Each put fills a segment, and a sync takes up to three turns.
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

  it('keep a bounded number of files open, because writes wait for seals', async () => {
    const files = new FaultyFiles(1)
    const sync = files.syncLater.bind(files)
    files.syncLater = async (...args) => {
      for (let turn = 0; turn < 50; turn++) await setImmediate()
      await sync(...args)
    }
    const store = await openOn(files, { merge: { automatic: false }, maxOpenFiles: 4 })
    let mostOpen = 0

    for (let round = 0; round < 100; round++) {
      await store.put(`key ${round}`, `${round} `.padEnd(40 * KIB, '-'))
      mostOpen = Math.max(mostOpen, files.openPaths.length)
    }

    expect(store.stats().segments.length).toBeGreaterThan(90)
    // 16 of the tail, the active one, 4 sealed ones, those being synced, and a few of the store's.
    expect(mostOpen).toBeLessThan(30)
    await store.close()
  })

  it('keep no write waiting if they cannot be sealed', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files, { merge: { automatic: false }, sync: 'never' })
    store.on('error', () => undefined)
    files.fail({ kinds: ['rename'], path: /MANIFEST$/, nth: 1, code: 'EACCES', lasting: true })
    for (const key of keysUpTo(20)) await store.put(key, key.padEnd(40 * KIB))
    await idle(store)

    await store.put('small', 'in the last segment')

    expect(store.stats().segments).toHaveLength(20)
    files.heal()
    await store.close()
  })

  it('keep no write waiting once a call has sealed them', async () => {
    const files = new FaultyFiles(1)
    const loop = new FakeLoop()
    const options = { lock: false, mapping: false, maxSegmentBytes: 64 * KIB } as const
    const store = await Store.open(
      DISK,
      { ...options, sync: 'never', merge: { automatic: false } },
      { files, backgroundWork: inProcessWork(files), loop },
    )
    const waiting: Promise<void>[] = []
    for (const key of keysUpTo(20)) {
      waiting.push(store.put(key, key.padEnd(40 * KIB)))
      await Promise.resolve()
    }

    loop.now = 1000
    for (const key of keysUpTo(40)) store.putSync(key, '')
    loop.letGo()

    await Promise.all(waiting)
    expect(store.count()).toBe(40)
    await store.close()
  })

  it('are synced by few calls if nobody merges and the event loop does not turn', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files, { merge: { automatic: false } })
    const endsAt = performance.now() + 80
    let count = 0

    while (performance.now() < endsAt || count < 60) {
      store.putSync(`key ${count++ % 50}`, 'x'.repeat(40 * KIB))
    }
    const before = files.calls.length
    for (let each = 0; each < 100; each++) store.putSync('small', 'y')

    expect(files.calls.slice(before).filter(({ kind }) => kind === 'sync').length).toBeLessThan(25)
    await store.close()
  })

  it('get their hints from few threads when the store is closed', async () => {
    const files = new FaultyFiles(1)
    const inProcess = inProcessWork(files)
    const jobCounts: number[] = []
    const backgroundWork: BackgroundWork = {
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
      { files, backgroundWork },
    )
    for (const key of keysUpTo(60)) await store.put(key, key.padEnd(40 * KIB))

    await store.close()

    const made = jobCounts.reduce((sum, count) => sum + count, 0)
    expect(made).toBe(59)
    expect(jobCounts.length).toBeLessThan(20)
    const hints = (files.list(DISK) ?? []).filter((name) => name.endsWith('.hint'))
    expect(hints).toHaveLength(59)
  })

  it('get their hints if one of them cannot be made, which is reported', async () => {
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

  it('keep the crash contract, whichever call the process or the power ends at', async () => {
    /** Writes; returns the machine at call `stopAt`, and what was written and durable by then. */
    const run = async (
      stopAt: number,
    ): Promise<{ machine: FaultyFiles | undefined; written: number; durable: number }> => {
      const files = new FaultyFiles(1)
      let machine: FaultyFiles | undefined
      let [written, durable, writtenThen, durableThen] = [0, 0, 0, 0]
      files.onCall = ({ number }, crash) => {
        if (number !== stopAt) return
        machine = crash()
        writtenThen = written
        durableThen = durable
      }
      const store = await openOn(files, { merge: { automatic: true }, sync: 'never' })
      for (let round = 1; round <= 14; round++) {
        await store.put(`key ${round % 3}`, `${round} `.padEnd(40 * KIB, '-'))
        written = round
        if (round % 5 === 0) {
          void store.sync().then(() => {
            durable = Math.max(durable, round)
          })
        }
        await setImmediate()
      }
      await store.close()
      return { machine, written: writtenThen, durable: durableThen }
    }
    const newestIn = async (machine: FaultyFiles): Promise<number> => {
      await using store = await openOn(machine)
      const rounds = [...store.values()].map((value) => Number(value.split(' ')[0]))
      const newest = Math.max(0, ...rounds)
      // The store holds the newest write of each key, up to some write.
      const expected = [newest - 2, newest - 1, newest].filter((round) => round > 0)
      expect(rounds.sort((a, b) => a - b)).toEqual(expected)
      return newest
    }

    let stops = 0
    for (let stopAt = 1; ; stopAt += 3) {
      const { machine, written, durable } = await run(stopAt)
      if (machine === undefined) break
      stops++
      expect(await newestIn(machine.restart(1)), `killed at ${stopAt}`).toBeGreaterThanOrEqual(
        written,
      )
      for (const entries of ['dropped', 'scattered'] as const) {
        const after = machine.afterPowerLoss({ files: ['dropped'], entries }, stopAt)
        expect(await newestIn(after), `without power at ${stopAt}`).toBeGreaterThanOrEqual(durable)
      }
    }
    expect(stops).toBeGreaterThan(40)
  })
})
