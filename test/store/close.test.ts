/** Closing: what it ends, writes, waits for and reports. */

import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { withDirectory } from '../support/directory.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { DISK, idle, KIB, keysUpTo, openOn, openStore, until, withCode } from '../support/store.ts'

describe('close', () => {
  it('keeps the active segment, even if nothing in it is live', async () => {
    const files = new FaultyFiles(1)
    const options = { merge: { automatic: true } }
    const first = await openOn(files, options)
    await first.put('a', '1')
    await first.close()
    const second = await openOn(files, options)
    await second.delete('a')
    await second.close()

    await using third = await openOn(files, options)
    expect(third.count()).toBe(0)
    await third.put('b', '2')
    expect(third.get('b')).toBe('2')
  })

  it('settles what waits until the full segments are sealed', async () => {
    const store = await openOn(new FaultyFiles(1), { sync: 'never', maxSegmentBytes: 64 * KIB })
    // In one turn of the event loop, so that no segment is sealed meanwhile.
    const puts = keysUpTo(100).map((key) => store.put(key, 'x'.repeat(32 * KIB)))
    let settledCount = 0
    for (const put of puts) void put.then(() => settledCount++)

    await store.close()

    await setImmediate()
    expect(settledCount).toBe(100)
  })

  it('ends every method', async () => {
    const store = await openOn(new FaultyFiles(1))
    await store.put('a', '1')
    const snapshot = store.snapshot()
    const iterator = store.entries()
    const batch = store.batch().put('b', '2')
    await store.close()

    const closed = withCode('FIRKIN_CLOSED')
    for (const use of [
      () => store.get('a'),
      () => store.getMany(['a']),
      () => store.has('a'),
      () => store.expiresAt('a'),
      () => store.putSync('a', '1'),
      () => store.deleteSync('a'),
      () => store.batch(),
      () => batch.commitSync(),
      () => store.entries(),
      () => store.keys(),
      () => store.values(),
      () => store[Symbol.iterator](),
      () => store.count(),
      () => store.snapshot(),
      () => store.stats(),
      () => snapshot.get('a'),
      () => snapshot.has('a'),
      () => snapshot.count(),
      () => snapshot.keys(),
      () => iterator.next(),
    ]) {
      expect(use).toThrow(closed)
    }
    for (const use of [
      store.put('a', '1'),
      store.delete('a'),
      batch.commit(),
      store.clear(),
      store.merge(),
      store.sync(),
      store.verify(),
      store.backup('/disk/backup'),
      store.refresh(),
    ]) {
      await expect(use).rejects.toThrow(closed)
    }
    expect(store.closed).toBe(true)
    expect(() => snapshot.close()).not.toThrow()
    expect(iterator.return()).toEqual({ done: true, value: undefined })
  })

  it('is idempotent: every call returns the same promise', async () => {
    const store = await openOn(new FaultyFiles(1))
    expect(store.closed).toBe(false)

    const first = store.close()
    const second = store.close()

    expect(second).toBe(first)
    expect(store.closed).toBe(true)
    await first
    expect(store.close()).toBe(first)
  })

  it('is called at the end of a block with await using', async () => {
    const files = new FaultyFiles(1)
    let store: Awaited<ReturnType<typeof openOn>> | undefined
    {
      await using used = await openOn(files)
      store = used
      await used.put('a', '1')
    }

    expect(store.closed).toBe(true)
    expect(files.openPaths).toEqual([])
  })

  it('writes what is staged, and settles it', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)

    const put = store.put('a', '1')
    const batch = store.batch().put('b', '2').commit()
    const closed = store.close()

    await Promise.all([put, batch, closed])
    await using reopened = await openOn(files)
    expect([...reopened.entries()]).toEqual([
      ['a', '1'],
      ['b', '2'],
    ])
  })

  it.each(['never', 'interval', 'always'] as const)(
    'makes everything durable with sync %s',
    async (sync) => {
      const files = new FaultyFiles(1)
      const store = await openOn(files, { sync })
      await Promise.all(keysUpTo(100).map((key) => store.put(key, key.repeat(200))))

      await store.close()

      const machine = files.afterPowerLoss({ files: ['dropped'], entries: 'dropped' }, 1)
      await using reopened = await openOn(machine)
      expect([...reopened.keys()]).toEqual(keysUpTo(100))
      expect(reopened.stats().recovery).toMatchObject({ closed: true, source: 'checkpoint' })
    },
  )

  it('writes nothing if nothing was written since the open', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    await Promise.all(keysUpTo(50).map((key) => store.put(key, 'x'.repeat(3 * KIB))))
    await idle(store)
    await store.close()
    const before = files.calls.length

    const reopened = await openOn(files)
    reopened.get('key 001')
    await reopened.close()

    const writing = ['write', 'truncate', 'rename', 'remove', 'sync']
    expect(files.calls.slice(before).filter(({ kind }) => writing.includes(kind))).toEqual([])
  })

  it('leaves only files of the store, even if snapshots were open', async () => {
    await withDirectory(async (directory) => {
      const store = await openStore(directory)
      for (const round of [1, 2]) {
        for (const key of keysUpTo(40)) await store.put(key, `${round}`.repeat(4 * KIB))
      }
      store.snapshot()
      store.keys().next()
      await store.merge()
      await store.close()

      const names = (await readdir(directory)).sort()
      const { segments } = await openStore(directory).then(async (reopened) => {
        const stats = reopened.stats()
        expect(stats.recovery.leftovers).toEqual([])
        await reopened.close()
        return stats
      })
      const expected = segments.flatMap(({ id, active }) => {
        const number = String(id).padStart(10, '0')
        return active ? [`${number}.segment`] : [`${number}.segment`, `${number}.hint`]
      })
      expect(names).toEqual(['CHECKPOINT', 'LOCK', 'MANIFEST', ...expected].sort())
    })
  })

  it('ends a running merge, and reports no error', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files, { merge: { automatic: true } })
    const errors: Error[] = []
    store.on('error', (error) => errors.push(error))
    const started = new Promise<void>((resolve) => {
      store.on('merge', ({ phase }) => phase === 'start' && resolve())
    })
    for (const round of ['a', 'b', 'c']) {
      for (const key of keysUpTo(20)) await store.put(key, round.repeat(7 * KIB))
    }
    await store.sync()
    await started

    await store.close()
    await setImmediate()

    expect(errors).toEqual([])
    expect(files.openPaths).toEqual([])
    expect(files.list(DISK)?.filter((name) => name.endsWith('.tmp'))).toEqual([])
  })

  it('rejects a merge that a caller has started', async () => {
    const store = await openOn(new FaultyFiles(1))
    for (const round of ['a', 'b']) {
      for (const key of keysUpTo(20)) await store.put(key, round.repeat(7 * KIB))
    }

    const merge = store.merge()
    const closed = store.close()

    await expect(merge).rejects.toThrow(withCode('FIRKIN_CLOSED'))
    await closed
  })

  it.each([true, false])(
    'ends a backup before the files are closed, with readOnly %s',
    async (readOnly) => {
      await withDirectory(async (directory) => {
        const path = join(directory, 'store')
        const target = join(directory, 'copy')
        await using writer = await openStore(path, { maxSegmentBytes: 8192 * KIB })
        for (const key of keysUpTo(40)) await writer.put(key, 'x'.repeat(100 * KIB))
        const store = readOnly ? await openStore(path, { readOnly }) : writer
        let started = false

        const backup = store.backup(target, { onProgress: () => (started = true) })
        await until(() => started)
        const closed = store.close()

        await expect(backup).rejects.toThrow(withCode('FIRKIN_CLOSED'))
        await closed
        expect(await readdir(target)).toEqual([])
      })
    },
  )

  it('makes the hint of every sealed segment, however many are missing', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    // Without a turn of the event loop, nothing is sealed before the close.
    for (const key of keysUpTo(60)) store.putSync(key, 'x'.repeat(5 * KIB))
    const { segments } = store.stats()
    expect(segments.length).toBeGreaterThan(4)

    await store.close()

    files.poke(`${DISK}/CHECKPOINT`, undefined)
    await using reopened = await openOn(files)
    expect(reopened.stats().recovery).toMatchObject({ source: 'hints', unhinted: [] })
    expect([...reopened.keys()]).toEqual(keysUpTo(60))
  })

  it('makes the hint of a segment that a merge has sealed but not rewritten', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    for (const round of ['a', 'b']) {
      for (const key of keysUpTo(10)) await store.put(key, round.repeat(6 * KIB))
    }
    await store.merge()
    await store.put('more', '1')
    await store.close()

    files.poke(`${DISK}/CHECKPOINT`, undefined)
    await using reopened = await openOn(files)
    expect(reopened.stats().recovery).toMatchObject({ source: 'hints', unhinted: [] })
  })

  it('reports a hint that cannot be made, and closes in good order', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    const errors: Error[] = []
    store.on('error', (error) => errors.push(error))
    for (const key of keysUpTo(30)) store.putSync(key, 'x'.repeat(5 * KIB))
    files.fail({ kinds: ['write'], path: /01\.hint/, nth: 1, code: 'ENOSPC', lasting: true })

    await store.close()
    await setImmediate()

    files.heal()
    expect(errors).toEqual([withCode('FIRKIN_IO_FAILED')])
    await using reopened = await openOn(files)
    expect(reopened.stats().recovery).toMatchObject({ closed: true, unhinted: [1] })
    await idle(reopened)
    expect(files.peek(`${DISK}/0000000001.hint`)).toBeDefined()
  })

  it('waits for a manifest that is being written, even if the close fails', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    store.on('error', () => undefined)
    for (const key of keysUpTo(20)) await store.put(key, 'x'.repeat(6 * KIB))
    let closed: Promise<void> | undefined
    files.onCall = ({ kind, path }) => {
      if (closed !== undefined || kind !== 'sync' || !path.includes('MANIFEST')) return
      store.putSync('more', '1')
      files.fail({ kinds: ['sync'], path: /segment$/, nth: 1, code: 'EIO' })
      closed = store.close()
    }
    await store.sync()
    await until(() => closed !== undefined)

    await expect(closed).rejects.toThrow(withCode('FIRKIN_POISONED'))

    files.onCall = undefined
    expect(files.openPaths).toEqual([])
    const calls = files.calls.length
    for (let turn = 0; turn < 20; turn++) await setImmediate()
    expect(files.calls.slice(calls)).toEqual([])
  })

  it('waits for a running sync, even if the close fails', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    await store.put('a', '1')

    const synced = store.sync().catch((error: unknown) => error)
    const put = store.put('b', '2').catch((error: unknown) => error)
    files.fail({ kinds: ['write'], path: /segment$/, nth: 1, code: 'SHORT' })
    files.fail({ kinds: ['write'], path: /segment$/, nth: 2, code: 'EIO' })
    // The bytes that the failed write has left cannot be cut off.
    files.fail({ kinds: ['truncate'], nth: 1, code: 'EIO', lasting: true })
    const closed = store.close()

    await expect(closed).rejects.toThrow(withCode('FIRKIN_POISONED'))
    expect(await put).toEqual(withCode('FIRKIN_POISONED'))
    const calls = files.calls.length
    expect(await synced).toEqual(withCode('FIRKIN_POISONED'))
    expect(files.calls.slice(calls)).toEqual([])
    expect(files.openPaths).toEqual([])
  })

  it('ends a verification before the lock is released', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    for (const key of keysUpTo(60)) await store.put(key, 'x'.repeat(6 * KIB))

    const verified = store.verify().catch((error: unknown) => error)
    await store.close()

    expect(await verified).toEqual(withCode('FIRKIN_CLOSED'))
    expect(files.openPaths).toEqual([])
  })

  it('closes every file even if it fails, and rejects with the reason', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    await store.put('a', '1')
    files.fail({ kinds: ['rename'], path: /MANIFEST$/, nth: 1, code: 'EIO' })

    await expect(store.close()).rejects.toMatchObject({
      code: 'FIRKIN_IO_FAILED',
      cause: { code: 'EIO' },
    })

    expect(files.openPaths).toEqual([])
    await using reopened = await openOn(files)
    expect(reopened.get('a')).toBe('1')
  })
})
