/** The events of a store: when they are emitted, and with what. */

import { setImmediate } from 'node:timers/promises'
import { describe, expect, it, vi } from 'vitest'
import type { MergeEvent, RecoveryReport } from '../../src/index.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { DISK, idle, KIB, keysUpTo, openOn, type TextStore } from '../support/store.ts'

async function fill(store: TextStore, text: string): Promise<void> {
  for (const key of keysUpTo(20)) await store.put(key, text.repeat(6 * KIB))
}

describe('an event', () => {
  it('reaches every listener until it is removed', async () => {
    await using store = await openOn(new FaultyFiles(1))
    const heard: string[] = []
    const every = (): number => heard.push('every')

    expect(store.on('rotate', every).once('rotate', () => heard.push('once'))).toBe(store)
    await fill(store, 'a')
    expect(heard).toEqual(['every', 'once', 'every'])

    expect(store.off('rotate', every)).toBe(store)
    await fill(store, 'b')
    expect(heard).toHaveLength(3)
  })

  it('allows its listener to call any method, whatever operation caused it', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    store.on('rotate', ({ segment }) => {
      store.get('some other key, and a longer one')
      store.putSync(`rotated to ${segment}`, String(segment))
      void store.delete(`rotated to ${segment - 1}`)
    })

    for (const key of keysUpTo(30)) await store.put(key, key.repeat(800))
    await idle(store)

    for (const key of keysUpTo(30)) expect(store.get(key)).toBe(key.repeat(800))
    const last = store.stats().segments.at(-1)?.id
    expect([...store.keys({ prefix: 'rotated' })]).toEqual([`rotated to ${last}`])
    await store.close()
    await using reopened = await openOn(files, { checkpoint: false })
    expect(reopened.count()).toBe(31)
  })
})

describe('the event rotate', () => {
  it('names each segment that is begun', async () => {
    await using store = await openOn(new FaultyFiles(1))
    const begun: number[] = []
    store.on('rotate', ({ segment }) => begun.push(segment))

    await fill(store, 'a')

    expect(begun).toEqual([1, 2])
    expect(store.stats().segments.map(({ id }) => id)).toEqual(begun)
  })
})

describe('the event merge', () => {
  it('reports the plan, the progress, and the report', async () => {
    await using store = await openOn(new FaultyFiles(1))
    // Each segment holds something live, because one without is deleted unread.
    await store.put('before', 'lives')
    await fill(store, 'a')
    await store.put('between', 'lives')
    await fill(store, 'b')
    const events: MergeEvent[] = []
    store.on('merge', (event) => events.push(event))

    const report = await store.merge()

    const [start, ...between] = events
    const end = between.pop()
    expect(start).toMatchObject({ phase: 'start', plan: { inputs: report.segments } })
    expect(end).toEqual({ phase: 'end', ...report })
    let bytesRead = 0
    for (const event of between) {
      expect(event).toMatchObject({ phase: 'progress', bytesTotal: report.bytesRead })
      if (event.phase !== 'progress') continue
      expect(event.bytesRead).toBeGreaterThan(bytesRead)
      bytesRead = event.bytesRead
    }
    expect(bytesRead).toBe(report.bytesRead)
  })
})

describe('the event recover', () => {
  it('is emitted after open, with what was found', async () => {
    const files = new FaultyFiles(1)
    const first = await openOn(files)
    await fill(first, 'a')
    await first.put('last', 'torn')
    const machine = files.restart(1)
    const torn = `${DISK}/0000000002.segment`
    const bytes = machine.peek(torn) ?? Buffer.alloc(0)
    machine.poke(torn, bytes.subarray(0, -2))

    await using store = await openOn(machine)
    const reports: RecoveryReport[] = []
    store.on('recover', (report) => reports.push(report))
    await setImmediate()

    expect(reports).toEqual([store.stats().recovery])
    expect(reports[0]).toMatchObject({
      closed: false,
      torn: [{ file: torn, offset: bytes.length - 26, bytes: 24 }],
    })
    expect(store.has('last')).toBe(false)
    await first.close()
  })
})

describe('the event error', () => {
  it('reports a failure that no caller waits for', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files, { sync: 'interval', syncIntervalMs: 1 })
    const error = new Promise<Error>((resolve) => store.on('error', resolve))
    files.fail({ kinds: ['sync'], nth: 1, code: 'EIO' })

    await store.put('a', '1')

    expect(await error).toMatchObject({ code: 'FIRKIN_POISONED', cause: { code: 'EIO' } })
    await store.close().catch(() => undefined)
  })

  it('is a process warning if nobody listens', async () => {
    const emitWarning = vi.spyOn(process, 'emitWarning').mockReturnValue()
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    await store.put('a', '1')
    files.fail({ kinds: ['open'], path: /CHECKPOINT/, nth: 1, code: 'EIO' })

    await store.close()

    expect(emitWarning).toHaveBeenCalledExactlyOnceWith(
      expect.objectContaining({ code: 'FIRKIN_IO_FAILED' }),
    )
    emitWarning.mockRestore()
  })
})
