/** Merges of a store: what they give back, what they keep, when they start and how they end. */

import { setImmediate } from 'node:timers/promises'
import { describe, expect, it, vi } from 'vitest'
import type { MergeCallOptions, MergeEvent } from '../../src/index.ts'
import type { BackgroundWork } from '../../src/merge/thread.ts'
import { Store } from '../../src/store/store.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { copyingBy, inProcessWork } from '../support/in-process-work.ts'
import {
  DISK,
  idle,
  KIB,
  keysUpTo,
  openOn,
  type TextOptions,
  type TextStore,
  until,
  withCode,
} from '../support/store.ts'

const keys = keysUpTo(24)

/** Puts a value of some 7 KiB under each key, so that nine fill a segment. */
async function fill(store: TextStore, text: string, of = keys): Promise<void> {
  for (const key of of) await store.put(key, `${text} ${key} `.padEnd(7 * KIB, '-'))
}

/** Opens a store in which three segments have live and dead records, and tombstones. */
async function halfDead(
  options: TextOptions = {},
): Promise<{ files: FaultyFiles; store: TextStore }> {
  const files = new FaultyFiles(1)
  const store = await openOn(files, options)
  await fill(store, 'old')
  await fill(
    store,
    'new',
    keys.filter((_, index) => index % 2 === 0),
  )
  for (const key of keys.slice(0, 4)) await store.delete(key)
  await store.sync()
  await idle(store)
  return { files, store }
}

/** Lists the names of segments and hints: all files of a store except manifest and checkpoint. */
function segmentFiles(files: FaultyFiles): string[] {
  return (files.list(DISK) ?? []).filter((name) => /^\d/.test(name)).sort()
}

/** Returns the entries of the store when it is opened from its segments alone. */
async function shownBySegments(files: FaultyFiles): Promise<[string, string][]> {
  const machine = files.restart(1)
  for (const name of machine.list(DISK) ?? []) {
    if (/hint$|CHECKPOINT/.test(name)) machine.poke(`${DISK}/${name}`, undefined)
  }
  await using store = await openOn(machine)
  return [...store.entries()]
}

describe('merge', () => {
  it.each([
    [7, 'must be an object'],
    [{ dry: true }, 'Unknown merge option dry'],
    [{ dryRun: 'yes' }, 'Option dryRun must be a boolean'],
    [{ byPolicy: 1 }, 'Option byPolicy must be a boolean'],
    [{ onProgress: 'tell' }, 'Option onProgress must be a function'],
    [{ ifRunning: 'join' }, 'Option ifRunning'],
  ])('refuses the options %j, and merges nothing', async (options, text) => {
    const { files, store } = await halfDead()
    const before = segmentFiles(files)

    await expect(store.merge(options as MergeCallOptions)).rejects.toThrow(TypeError)
    await expect(store.merge(options as MergeCallOptions)).rejects.toThrow(text)

    expect(segmentFiles(files)).toEqual(before)
    await store.close()
  })

  it('frees the space at once, and changes no entry', async () => {
    const { files, store } = await halfDead()
    const before = [...store.entries()]
    const usedBefore = files.usedSize
    const { segments: idsBefore } = store.stats()

    const report = await store.merge()

    expect([...store.entries()]).toEqual(before)
    expect(usedBefore - files.usedSize).toBeGreaterThan(100 * KIB)
    expect(report.bytesGained).toBeGreaterThan(100 * KIB)
    const { segments, deadBytes, tombstoneBytes, merge } = store.stats()
    expect({ deadBytes, tombstoneBytes }).toEqual({ deadBytes: 0, tombstoneBytes: 0 })
    expect(merge).toMatchObject({ running: false, count: 1, bytesGained: report.bytesGained })
    const ids = segments.map(({ id }) => id)
    expect(report.created.every((id) => ids.includes(id))).toBe(true)
    for (const { id } of report.segments) {
      expect(ids).not.toContain(id)
      expect(idsBefore.map((segment) => segment.id)).toContain(id)
    }
    expect(await shownBySegments(files)).toEqual(before)
    await store.close()
  })

  it('reports the bytes that it read, wrote and gained, as measured on disk', async () => {
    const { files, store } = await halfDead()
    const sizeOf = (id: number): number =>
      files.peek(`${DISK}/${String(id).padStart(10, '0')}.segment`)?.length ?? 0
    const { segments: sources } = await store.merge({ dryRun: true })
    const bytesRead = sources.reduce((sum, { id }) => sum + sizeOf(id), 0)

    const report = await store.merge()

    const bytesWritten = report.created.reduce((sum, id) => sum + sizeOf(id), 0)
    expect(report).toMatchObject({
      dryRun: false,
      bytesRead,
      bytesWritten,
      bytesGained: bytesRead - bytesWritten,
    })
    await store.close()
  })

  it('does nothing if nothing is dead, and keeps the active segment', async () => {
    const files = new FaultyFiles(1)
    await using store = await openOn(files)
    await fill(store, 'once')
    await store.sync()
    await idle(store)
    const before = segmentFiles(files)

    const report = await store.merge()

    expect(report).toMatchObject({ segments: [], created: [], bytesRead: 0, bytesGained: 0 })
    expect(segmentFiles(files)).toEqual(before)
  })

  it('waits for a running merge, and then merges what that has left', async () => {
    const { store } = await halfDead()
    const first = store.merge({ onProgress: () => void store.deleteSync('key 005') })
    const second = store.merge()
    const third = store.merge()

    expect((await first).bytesGained).toBeGreaterThan(0)
    expect((await second).bytesGained).toBeGreaterThan(7 * KIB)
    expect((await third).segments).toEqual([])
    await store.close()
  })

  it('stops waiting when its signal fires, or when the store is closed', async () => {
    const { store } = await halfDead()
    const first = store.merge()
    const abort = new AbortController()

    const aborted = store.merge({ signal: abort.signal })
    const waiting = store.merge()
    abort.abort(new Error('of the signal'))
    const closing = store.close()

    const outcomes = await Promise.allSettled([aborted, waiting, first])
    expect(outcomes.map((outcome) => outcome.status === 'rejected' && outcome.reason)).toEqual([
      new Error('of the signal'),
      withCode('FIRKIN_CLOSED'),
      withCode('FIRKIN_CLOSED'),
    ])
    await closing
  })

  it("rejects while another merge runs if ifRunning is 'reject'", async () => {
    const { store } = await halfDead()

    const first = store.merge()
    await expect(store.merge({ ifRunning: 'reject' })).rejects.toThrow(
      withCode('FIRKIN_MERGE_RUNNING'),
    )
    // A dry run changes nothing that could get in the way.
    expect((await store.merge({ dryRun: true })).dryRun).toBe(true)

    expect((await first).bytesGained).toBeGreaterThan(0)
    expect((await store.merge()).segments).toEqual([])
    await store.close()
  })

  it('chooses segments by the policy with byPolicy', async () => {
    const { store } = await halfDead({ merge: { automatic: false, triggerDeadRatio: 0.6 } })
    const dead = store.stats().segments.filter(({ bytes, deadBytes }) => deadBytes > 0.6 * bytes)

    const all = await store.merge({ dryRun: true })
    const byPolicy = await store.merge({ byPolicy: true, dryRun: true })

    expect(all.segments.map(({ reason }) => reason)).toContain('asked')
    expect(dead.length).toBeLessThan(all.segments.length)
    expect(byPolicy.segments.length).toBeLessThan(all.segments.length)
    await store.close()
  })
})

describe('a dry run', () => {
  it('reports for each segment the reason and the gain, and changes nothing', async () => {
    const { files, store } = await halfDead()
    const { digest } = files
    const { segments } = store.stats()
    const told: MergeEvent[] = []
    store.on('merge', (event) => told.push(event))

    const report = await store.merge({ dryRun: true })

    expect(files.digest).toBe(digest)
    expect(told).toEqual([])
    const withGain = segments.filter(({ deadBytes, tombstoneBytes }) => deadBytes + tombstoneBytes)
    expect(report).toMatchObject({ dryRun: true, created: [] })
    expect(report.segments).toEqual(
      withGain.map(({ id, bytes, deadBytes, tombstoneBytes }) => ({
        id,
        reason: 'asked',
        bytes,
        bytesGained: deadBytes + tombstoneBytes,
      })),
    )
    await store.close()
  })

  it('predicts what the merge then gains, except for the headers of new files', async () => {
    const { store } = await halfDead()

    const planned = await store.merge({ dryRun: true })
    const done = await store.merge()

    const headers = (done.segments.length - done.created.length) * 44
    expect(done.bytesGained).toBe(planned.bytesGained + headers)
    expect(done.segments).toEqual(planned.segments)
    await store.close()
  })
})

describe('a merge during writes', () => {
  /**
   * Merges a half-dead store, and acts at the nth file operation of the merge. Returns whether the
   * merge got that far.
   */
  async function mergeAndDo(
    nth: number,
    act: (store: TextStore) => void,
  ): Promise<{ files: FaultyFiles; store: TextStore; done: boolean }> {
    const { files, store } = await halfDead()
    let left = nth
    let acting = false
    files.onCall = () => {
      if (acting || --left !== 0) return
      acting = true
      act(store)
      acting = false
    }
    await store.merge()
    files.onCall = undefined
    return { files, store, done: left <= 0 }
  }

  it.each<[string, (store: TextStore) => void]>([
    ['a put of a key that is moved', (store) => store.putSync('key 005', 'meanwhile')],
    ['a delete of a key that is moved', (store) => store.deleteSync('key 005')],
    ['a put of a key that was deleted', (store) => store.putSync('key 000', 'meanwhile')],
    [
      'a batch',
      (store) =>
        store.batch().put('key 005', 'meanwhile').delete('key 007').put('more', '1').commitSync(),
    ],
  ])('keeps %s, at whichever step of the merge it comes', async (_, act) => {
    const plain = await halfDead()
    act(plain.store)
    const expected = [...plain.store.entries()]
    await plain.store.close()

    let steps = 0
    for (let nth = 1; ; nth++) {
      const { files, store, done } = await mergeAndDo(nth, act)
      if (!done) {
        await store.close()
        break
      }
      steps++
      expect([...store.entries()], `at step ${nth}`).toEqual(expected)
      expect(await shownBySegments(files), `at step ${nth}`).toEqual(expected)
      // A second merge knows what the first one left dead.
      await store.merge()
      expect(store.stats()).toMatchObject({ deadBytes: 0 })
      expect([...store.entries()], `at step ${nth}`).toEqual(expected)
      await store.close()
    }
    expect(steps).toBeGreaterThan(20)
  })

  it('keeps a batch that is staged when the merge begins', async () => {
    const { files, store } = await halfDead()

    const batch = store.batch().put('key 005', 'staged').put('more', 'staged').commit()
    await Promise.all([store.merge(), batch])

    expect([store.get('key 005'), store.get('more')]).toEqual(['staged', 'staged'])
    expect(new Map(await shownBySegments(files)).get('more')).toBe('staged')
    await store.close()
  })

  it('counts records that died meanwhile as dead', async () => {
    const { store } = await halfDead()

    await store.merge({ onProgress: () => void store.deleteSync('key 005') })

    const { deadBytes, segments } = store.stats()
    expect(deadBytes).toBeGreaterThan(7 * KIB)
    const dead = segments.find(({ deadPuts }) => deadPuts === 1)
    expect(dead).toMatchObject({ origin: 'merged' })
    expect((await store.merge()).bytesGained).toBeGreaterThan(7 * KIB)
    await store.close()
  })
})

describe('a merge of records that an unsynced write has superseded', () => {
  it('makes the write durable before it drops the records', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files, { sync: 'never', merge: { automatic: true } })
    await fill(store, 'old')
    await store.sync()
    await idle(store)
    let overwritten = false
    files.onCall = ({ kind, path }) => {
      // The manifest lists segments that are half dead by now. They are merged next.
      if (overwritten || kind !== 'rename' || !path.endsWith('MANIFEST')) return
      overwritten = true
      store.putSync('key 005', 'not synced')
    }
    await fill(
      store,
      'new',
      keys.filter((_, index) => index % 2 === 0),
    )
    await store.sync()
    await until(() => store.stats().merge.count > 0)
    const oldest = store.stats().segments.find(({ id }) => id === 1)

    const machine = files.afterPowerLoss({ files: ['dropped'], entries: 'kept' }, 1)
    await using after = await openOn(machine)

    expect(oldest).toBeUndefined()
    expect(after.get('key 005')).toBe('not synced')
    await store.close()
  })
})

describe('a merge with open snapshots', () => {
  it('keeps the old segments until no snapshot reads them, and then deletes them', async () => {
    const { files, store } = await halfDead()
    const early = store.snapshot()
    const shown = [...early.entries()]

    const { segments, created } = await store.merge()
    const late = store.snapshot()
    await fill(store, 'later')

    expect([...early.entries()]).toEqual(shown)
    expect([...late.entries()]).toEqual(shown)
    const nameOf = (id: number): string => `${String(id).padStart(10, '0')}.segment`
    const gone = segments.map(({ id }) => nameOf(id))
    expect(segmentFiles(files)).toEqual(expect.arrayContaining(gone))
    expect(store.stats().segments.map(({ id }) => nameOf(id))).not.toContain(gone[0])

    early.close()
    await store.merge({ byPolicy: true })
    expect(segmentFiles(files).filter((name) => gone.includes(name))).toEqual([])
    for (const id of created) expect(segmentFiles(files)).toContain(nameOf(id))
    expect([...late.entries()]).toEqual(shown)
    late.close()
    await store.close()
    expect(files.openPaths).toEqual([])
  })
})

describe('a merge that is ended early', () => {
  it('does not begin if its signal has fired', async () => {
    const { files, store } = await halfDead()
    const { digest } = files
    const reason = new Error('before')

    await expect(store.merge({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason)

    expect(files.digest).toBe(digest)
    expect(store.stats().merge.running).toBe(false)
    await store.close()
  })

  it('leaves the store as it was, whenever its signal fires before the commit', async () => {
    const reason = new Error('enough')
    let ended = 0
    for (let nth = 1; ; nth++) {
      const { files, store } = await halfDead()
      const before = [...store.entries()]
      const abort = new AbortController()
      let left = nth
      let wasCopying = false
      files.onCall = ({ kind, path }) => {
        if (--left !== 0) return
        wasCopying = kind !== 'remove' && path.includes('.hint')
        abort.abort(reason)
      }

      const outcome = await store.merge({ signal: abort.signal }).then(
        () => 'merged',
        (error: unknown) => error,
      )

      expect([...store.entries()]).toEqual(before)
      const { segments } = store.stats()
      const ids = segments.map(({ id }) => String(id).padStart(10, '0'))
      expect(segmentFiles(files).filter((name) => !ids.includes(name.slice(0, 10)))).toEqual([])
      const isMerged = segments.some(({ origin }) => origin === 'merged')
      if (outcome === reason) ended++
      if (wasCopying) expect(outcome).toBe(reason)
      expect([outcome, isMerged]).toEqual(outcome === reason ? [reason, false] : ['merged', true])
      await store.close()
      expect(files.openPaths).toEqual([])
      if (left > 0) break
    }
    expect(ended).toBeGreaterThan(10)
  })

  it('rejects with the error that onProgress throws, and leaves the store as it was', async () => {
    const { files, store } = await halfDead()
    const before = [...store.entries()]
    const reason = new Error('of the caller')

    const merged = store.merge({
      onProgress() {
        throw reason
      },
    })

    await expect(merged).rejects.toBe(reason)
    expect([...store.entries()]).toEqual(before)
    expect(store.stats().merge).toMatchObject({ running: false, count: 0 })
    expect((await store.merge()).bytesGained).toBeGreaterThan(0)
    await store.close()
    expect(files.openPaths).toEqual([])
  })

  it('is over when close resolves, at whichever step that is called', async () => {
    let steps = 0
    for (let nth = 1; ; nth++) {
      const { files, store } = await halfDead()
      const before = [...store.entries()]
      let left = nth
      let closed: Promise<void> | undefined
      files.onCall = () => {
        if (--left === 0) closed = store.close()
      }

      let isOver = false
      store.merge().then(
        () => (isOver = true),
        () => (isOver = true),
      )
      await until(() => isOver || closed !== undefined)
      files.onCall = undefined
      if (closed === undefined) {
        await store.close()
        break
      }
      await closed
      steps++

      expect(isOver).toBe(true)
      expect(files.openPaths).toEqual([])
      await using reopened = await openOn(files)
      expect([...reopened.entries()], `closed at step ${nth}`).toEqual(before)
      expect(reopened.stats().recovery.leftovers).toEqual([])
    }
    expect(steps).toBeGreaterThan(20)
  })
})

describe('close', () => {
  it('waits until the merge thread has ended, and only then closes the files', async () => {
    const { files, store: filled } = await halfDead()
    await filled.close()
    let copying = false
    let end: () => void = () => undefined
    const ended = new Promise<void>((resolve) => {
      end = resolve
    })
    const backgroundWork: BackgroundWork = {
      ...inProcessWork(files),
      copy(_job, _onProgress, signal) {
        copying = true
        return copyingBy(
          ended.then(() => {
            signal.throwIfAborted()
            return []
          }),
        )
      },
    }
    const options = { lock: false, mapping: false, merge: { automatic: false } } as const
    const store = await Store.open(DISK, options, { files, backgroundWork })
    const merged = store.merge().catch((error: unknown) => error)
    await until(() => copying)

    const closed = store.close()
    const isClosed = vi.fn()
    void closed.then(isClosed)
    for (let turn = 0; turn < 50; turn++) await setImmediate()

    expect(isClosed).not.toHaveBeenCalled()
    expect(files.openPaths).not.toEqual([])
    end()
    expect(await merged).toEqual(withCode('FIRKIN_CLOSED'))
    await closed
    expect(files.openPaths).toEqual([])
  })
})

describe('a merge that starts by itself', () => {
  const automatic = { automatic: true }

  /** Fills a store twice, and waits until what that triggers is over. */
  async function overwrite(store: TextStore): Promise<void> {
    await fill(store, 'old')
    await fill(store, 'new')
    await store.sync()
    await idle(store)
  }

  it('starts when too much of a segment is dead, and emits events', async () => {
    const files = new FaultyFiles(1)
    await using store = await openOn(files, { merge: automatic })
    const told: string[] = []
    store.on('merge', ({ phase }) => told.push(phase))

    await overwrite(store)

    expect(store.stats().merge.count).toBeGreaterThan(0)
    expect(told[0]).toBe('start')
    expect(told.at(-1)).toBe('end')
    const dead = store
      .stats()
      .segments.filter(({ active, bytes, deadBytes }) => !active && deadBytes >= bytes / 2)
    expect(dead).toEqual([])
  })

  it('does not start with automatic false, not even at close', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files, { merge: { automatic: false } })

    await overwrite(store)

    expect(store.stats().merge.count).toBe(0)
    expect(store.stats().deadBytes).toBeGreaterThan(100 * KIB)
    const before = segmentFiles(files).filter((name) => name.endsWith('.segment'))
    await store.close()
    expect(segmentFiles(files)).toEqual(expect.arrayContaining(before))
  })

  it.each([
    [[0, 24], 13, true],
    [[13, 14], 13, true],
    [[14, 20], 13, false],
    [[8, 13], 13, false],
    [[22, 4], 23, true],
    [[22, 4], 3, true],
    [[22, 4], 4, false],
    [[22, 4], 13, false],
  ] as const)('starts only in its window: %j at %d hours, %s', async (window, hour, merges) => {
    const clock = (): number => new Date(2030, 0, 1, hour, 30).getTime()
    await using store = await openOn(new FaultyFiles(1), {
      clock,
      merge: { automatic: true, window },
    })

    await overwrite(store)

    expect(store.stats().merge.count > 0).toBe(merges)
    // A caller that asks for a merge gets it at any time.
    await store.merge()
    expect(store.stats().deadBytes).toBe(0)
  })

  it('deletes a segment unread if everything in it has expired', async () => {
    let nowMs = 1_000_000
    const files = new FaultyFiles(1)
    const options = {
      clock: () => nowMs,
      merge: { automatic: true },
      expiryIntervalMs: 2 ** 31 - 1,
    }
    await using store = await openOn(files, { ...options, ttlMs: 50 })
    await fill(store, 'short-lived')
    await store.sync()
    await idle(store)
    const sealed = store.stats().segments.filter(({ active }) => !active)
    expect(sealed.length).toBeGreaterThan(1)

    nowMs += 50
    const before = files.calls.length
    await fill(store, 'next', keys.slice(0, 10))
    await store.sync()
    await until(() => store.stats().merge.count > 0)
    await idle(store)

    const paths = sealed.map(({ id }) => `${DISK}/${String(id).padStart(10, '0')}.segment`)
    const later = files.calls.slice(before).filter(({ path }) => paths.includes(path))
    expect(later.filter(({ kind }) => kind === 'remove')).toHaveLength(paths.length)
    expect(later.filter(({ kind }) => kind === 'read')).toEqual([])
    expect(store.count()).toBe(10)
  })

  it('rests after a failure, longer each time, and reports each failure as an error', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files, { merge: automatic })
    let nowMs = 0
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => nowMs)
    try {
      const errors: Error[] = []
      store.on('error', (error) => errors.push(error))
      let starts = 0
      // Segments that are all dead by then are deleted unread first.
      store.on('merge', (event) => {
        if (event.phase === 'start' && event.plan.inputs.length > 0) starts++
      })
      /** Seals a segment, upon which a merge is considered. */
      const seal = async (): Promise<void> => {
        await fill(store, 'again', keys.slice(0, 10))
        await store.sync()
        await idle(store)
      }
      // Hints are opened under the same names; the targets of the merge are created and synced.
      files.fail({ kinds: ['write'], path: /hint.*tmp$/, nth: 1, code: 'EIO', lasting: true })
      await overwrite(store)
      const mergeErrors = (): Error[] =>
        errors.filter((error) => 'code' in error && error.code === 'FIRKIN_MERGE_FAILED')
      expect(mergeErrors()).toHaveLength(1)
      expect(starts).toBe(1)

      for (const [restMs, expected] of [
        [9_999, 1],
        [1, 2],
        [19_999, 2],
        [1, 3],
      ] as const) {
        nowMs += restMs
        await seal()
        expect([starts, mergeErrors().length]).toEqual([expected, expected])
      }
      expect(mergeErrors()[0]).toMatchObject({ cause: { code: 'EIO' } })

      // A merge that succeeds ends the rests.
      files.heal()
      nowMs += 40_000
      await seal()
      await seal()
      expect(store.stats().merge.count).toBeGreaterThan(1)
      expect(mergeErrors()).toHaveLength(3)
    } finally {
      clock.mockRestore()
    }
    await store.close()
  })
})

describe('after a merge', () => {
  it('deleted keys and overwritten values do not return, however the store is opened', async () => {
    const { files, store } = await halfDead()
    const expected = [...store.entries()]
    for (let round = 0; round < 3; round++) {
      await store.merge()
      expect(await shownBySegments(files)).toEqual(expected)
    }
    await store.close()
    expect(await shownBySegments(files)).toEqual(expected)
  })

  it('tombstones are kept as long as an older record is, and no longer', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files, { merge: { automatic: false, maxInputBytes: 64 * KIB } })
    await fill(store, 'old')
    await store.sync()
    await idle(store)
    // Each segment has a dead record that the tombstones of the last one hide.
    for (const key of ['key 001', 'key 010', 'key 019']) await store.delete(key)
    await fill(store, 'new', keys.slice(0, 8))
    await store.sync()
    await idle(store)
    const expected = [...store.entries()]

    for (let merges = 0; merges < 12; merges++) {
      await store.merge({ byPolicy: true })
      expect(await shownBySegments(files), `after ${merges} merges`).toEqual(expected)
    }
    await store.merge()
    expect(store.stats()).toMatchObject({ deadBytes: 0, tombstoneBytes: 0 })
    expect(await shownBySegments(files)).toEqual(expected)
    await store.close()
  })

  it('a checkpoint that cannot be removed is reported, and does no harm', async () => {
    const { files, store } = await halfDead()
    await store.close()
    const reopened = await openOn(files)
    const expected = [...reopened.entries()]
    const told: Error[] = []
    reopened.on('error', (error) => told.push(error))
    files.fail({ kinds: ['remove'], path: /CHECKPOINT$/, nth: 1, code: 'EACCES' })

    const report = await reopened.merge()
    await setImmediate()

    expect(report.bytesGained).toBeGreaterThan(0)
    expect(told).toEqual([
      expect.objectContaining({ cause: expect.objectContaining({ code: 'EACCES' }) }),
    ])
    await using after = await openOn(files.restart(1))
    expect([...after.entries()]).toEqual(expected)
    await reopened.close()
  })
})
