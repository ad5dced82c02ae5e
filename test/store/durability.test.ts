/** When writes are synced, and which of them survive a power loss. */

import { setImmediate } from 'node:timers/promises'
import { describe, expect, it, vi } from 'vitest'
import type { SyncOption } from '../../src/index.ts'
import { type CallKind, FaultyFiles } from '../support/faulty-files.ts'
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
import { fakeOwnTimers } from '../support/timers.ts'

const SYNCS: readonly CallKind[] = ['sync', 'syncDirectory']

/** Opens a store with a durable active segment; `callsSince` returns the file calls made since. */
async function openSettled(options: TextOptions): Promise<{
  files: FaultyFiles
  store: TextStore
  callsSince: (kinds?: readonly CallKind[]) => string[]
}> {
  const files = new FaultyFiles(1)
  const store = await openOn(files, options)
  await store.put('first', '')
  await store.sync()
  await idle(store)
  const before = files.calls.length
  return {
    files,
    store,
    callsSince: (kinds = ['write', ...SYNCS]) =>
      files.calls.slice(before).flatMap(({ kind }) => (kinds.includes(kind) ? [kind] : [])),
  }
}

/** Whether a key is there after a power loss that drops everything that is not durable. */
async function survives(files: FaultyFiles, key: string): Promise<boolean> {
  await using store = await openOn(
    files.afterPowerLoss({ files: ['dropped'], entries: 'dropped' }, 1),
  )
  return store.has(key)
}

describe("sync 'always'", () => {
  it('settles a write once it is durable', async () => {
    const { files, store, callsSince } = await openSettled({ sync: 'always' })
    let settled = false

    const put = store.put('a', '1').then(() => (settled = true))
    await Promise.resolve()
    expect(callsSince()).toEqual(['write', 'sync'])
    expect(settled).toBe(false)
    expect(await survives(files, 'a')).toBe(false)
    await put

    expect(await survives(files, 'a')).toBe(true)
    expect(callsSince()).toEqual(['write', 'sync'])
    await store.close()
  })

  it('makes one sync for everything written before it began', async () => {
    const { store, callsSince } = await openSettled({ sync: 'always' })

    await Promise.all(keysUpTo(100).map((key) => store.put(key, '')))
    expect(callsSince()).toEqual(['write', 'sync'])

    const early = store.put('early', '')
    await Promise.resolve()
    const late = [store.put('late', ''), store.put('later', '')]
    await Promise.all([early, ...late])
    expect(callsSince()).toEqual(['write', 'sync', 'write', 'sync', 'write', 'sync'])
    await store.close()
  })

  it.each<[string, (store: TextStore) => unknown]>([
    ['putSync', (store) => store.putSync('a', '1')],
    ['deleteSync', (store) => store.deleteSync('first')],
    ['commitSync', (store) => store.batch().put('a', '1').delete('first').commitSync()],
  ])('makes %s durable before it returns', async (_, write) => {
    const { files, store, callsSince } = await openSettled({ sync: 'always' })

    write(store)

    expect(callsSince()).toEqual(['write', 'sync'])
    expect(await survives(files, 'first')).toBe(store.has('first'))
    expect(await survives(files, 'a')).toBe(store.has('a'))
    await store.close()
  })

  it.each<[string, (store: TextStore) => Promise<unknown>]>([
    ['put', (store) => store.put('a', '1')],
    ['delete', (store) => store.delete('first')],
    ['commit', (store) => store.batch().put('a', '1').delete('first').commit()],
    ['clear', (store) => store.clear()],
    ['a large put', (store) => store.put('a', 'x'.repeat(300 * KIB))],
    [
      'a large batch',
      async (store) => {
        const batch = store.batch().delete('first')
        for (const key of [...keysUpTo(40), 'a']) batch.put(key, 'x'.repeat(10 * KIB))
        await batch.commit()
      },
    ],
  ])('makes %s durable before its promise settles', async (_, write) => {
    const { files, store } = await openSettled({ sync: 'always' })

    await write(store)

    expect(await survives(files, 'first')).toBe(store.has('first'))
    expect(await survives(files, 'a')).toBe(store.has('a'))
    await store.close()
  })

  it('syncs the directory when a segment is begun', async () => {
    const { files, store } = await openSettled({ sync: 'always' })

    for (const key of keysUpTo(12)) {
      await store.put(key, key.repeat(KIB))
      expect(await survives(files, key)).toBe(true)
    }
    for (const key of keysUpTo(12)) {
      store.putSync(`${key} too`, key.repeat(KIB))
      expect(await survives(files, `${key} too`)).toBe(true)
    }
    expect(store.stats().segments.length).toBeGreaterThan(2)
    await store.close()
  })
})

describe("sync 'never'", () => {
  it('settles a write once the operating system has it, and makes no sync', async () => {
    const { files, store, callsSince } = await openSettled({ sync: 'never' })

    await store.put('a', '1')
    store.putSync('b', '2')
    for (let turn = 0; turn < 20; turn++) await setImmediate()

    expect(callsSince()).toEqual(['write', 'write'])
    expect(await survives(files, 'a')).toBe(false)
    await using killed = await openOn(files.restart(1))
    expect([...killed.keys()]).toEqual(['a', 'b', 'first'])
    await store.close()
  })
})

describe("sync 'interval'", () => {
  it('settles a write at once, and syncs after the interval', async () => {
    const { files, store, callsSince } = await openSettled({ sync: 'interval', syncIntervalMs: 5 })

    await store.put('a', '1')
    store.putSync('b', '2')
    expect(callsSince()).toEqual(['write', 'write'])
    await until(() => callsSince().length === 3)
    await idle(store)

    expect(callsSince()).toEqual(['write', 'write', 'sync'])
    expect(await survives(files, 'b')).toBe(true)
    await store.close()
  })

  it('makes no sync if nothing was written', async () => {
    const { store, callsSince } = await openSettled({ sync: 'interval', syncIntervalMs: 1 })
    const endsAt = performance.now() + 30

    await until(() => performance.now() > endsAt)

    expect(callsSince()).toEqual([])
    await store.close()
  })
})

describe('sync with bounds', () => {
  it('syncs once everyWrites writes are not synced', async () => {
    const { store, callsSince } = await openSettled({ sync: { everyWrites: 3 } })

    await store.put('a', '')
    store.putSync('b', '')
    expect(callsSince(SYNCS)).toEqual([])
    await store.put('c', '')
    expect(callsSince(SYNCS)).toEqual(['sync'])
    await Promise.all([store.put('d', ''), store.put('e', '')])
    expect(callsSince(SYNCS)).toEqual(['sync'])
    await store.batch().put('f', '').put('g', '').commit()
    expect(callsSince(SYNCS)).toEqual(['sync', 'sync'])
    await store.close()
  })

  it('syncs once everyBytes bytes are not synced', async () => {
    const { store, callsSince } = await openSettled({ sync: { everyBytes: 1000 } })

    await store.put('a', 'x'.repeat(500))
    expect(callsSince(SYNCS)).toEqual([])
    store.putSync('b', 'x'.repeat(500))
    expect(callsSince(SYNCS)).toEqual(['sync'])
    await store.close()
  })

  it('syncs once a write is not synced for everyMs, whichever bound is reached first', async () => {
    const { store, callsSince } = await openSettled({ sync: { everyWrites: 2, everyMs: 5 } })

    await store.put('a', '')
    await until(() => callsSince(SYNCS).length === 1)
    await Promise.all([store.put('b', ''), store.put('c', '')])

    expect(callsSince(SYNCS)).toEqual(['sync', 'sync'])
    await store.close()
  })
})

describe('a write during a sync', () => {
  /** Opens a store with a running background sync. */
  async function openSyncing(sync: SyncOption) {
    const opened = await openSettled({ sync })
    opened.store.putSync('before', 'x'.repeat(200))
    const syncing = opened.store.sync()
    await Promise.resolve()
    expect(opened.callsSince(SYNCS)).toEqual(['sync'])
    return { ...opened, syncing }
  }

  it('is synced once its own time is due', async () => {
    const { files, store, callsSince, syncing } = await openSyncing({ everyMs: 200 })

    store.putSync('meanwhile', '')
    await syncing
    const endsAt = performance.now() + 4000
    await until(() => callsSince(SYNCS).length > 1 || performance.now() > endsAt)
    await idle(store)

    expect(callsSince(SYNCS)).toEqual(['sync', 'sync'])
    expect(await survives(files, 'meanwhile')).toBe(true)
    await store.close()
  })

  it('counts towards the next sync', async () => {
    const writes = await openSyncing({ everyWrites: 3 })
    writes.store.putSync('meanwhile', '')
    await writes.syncing
    writes.store.putSync('a', '')
    expect(writes.callsSince(SYNCS)).toEqual(['sync'])
    writes.store.putSync('b', '')
    expect(writes.callsSince(SYNCS)).toEqual(['sync', 'sync'])
    // After a sync in a call, the count begins at 0 as well.
    writes.store.putSync('c', '')
    writes.store.putSync('d', '')
    expect(writes.callsSince(SYNCS)).toEqual(['sync', 'sync'])
    await writes.store.close()

    const bytes = await openSyncing({ everyBytes: 1000 })
    bytes.store.putSync('meanwhile', 'x'.repeat(500))
    await bytes.syncing
    expect(bytes.callsSince(SYNCS)).toEqual(['sync'])
    bytes.store.putSync('a', 'x'.repeat(500))
    expect(bytes.callsSince(SYNCS)).toEqual(['sync', 'sync'])
    await bytes.store.close()
  })
})

describe('a synchronous write', () => {
  it.each(['always', 'interval', 'never'] as const)(
    'settles earlier puts with sync %s',
    async (sync) => {
      const { store, callsSince } = await openSettled({ sync })

      const put = store.put('a', '')
      store.putSync('b', '')
      const before = callsSince().length
      await put

      expect(callsSince()).toHaveLength(before)
      await store.close()
    },
  )
})

describe('store.sync', () => {
  it('resolves once everything written before the call is durable', async () => {
    const { files, store, callsSince } = await openSettled({ sync: 'never' })

    const put = store.put('a', '1')
    await store.sync()

    expect(callsSince()).toEqual(['write', 'sync'])
    expect(await survives(files, 'a')).toBe(true)
    await put
    await store.close()
  })

  it('makes another sync for what is written during one', async () => {
    const { files, store } = await openSettled({ sync: 'never' })

    store.putSync('a', '')
    const first = store.sync()
    store.putSync('b', '')
    const second = store.sync()
    await Promise.all([first, second])

    expect(await survives(files, 'a')).toBe(true)
    expect(await survives(files, 'b')).toBe(true)
    await store.close()
  })
})

describe('a store that is poisoned while a sync is due', () => {
  it('has no timer left once it is closed', async () => {
    const { files, store } = await openSettled({ sync: { everyMs: 60_000 } })
    store.on('error', () => undefined)
    await store.sync()
    fakeOwnTimers('setTimeout', 'clearTimeout')
    await store.put('a', '1')
    expect(vi.getTimerCount()).toBe(1)
    files.fail({ kinds: ['write'], path: /segment$/, nth: 1, code: 'SHORT' })
    files.fail({ kinds: ['write'], path: /segment$/, nth: 2, code: 'EIO' })
    files.fail({ kinds: ['truncate'], nth: 1, code: 'EIO', lasting: true })
    await expect(store.put('b', '2')).rejects.toThrow(withCode('FIRKIN_POISONED'))

    await expect(store.close()).rejects.toThrow(withCode('FIRKIN_POISONED'))

    expect(vi.getTimerCount()).toBe(0)
  })
})

describe('a sync that fails', () => {
  it('poisons the store, which reads, and refuses writes until it is reopened', async () => {
    const { files, store } = await openSettled({ sync: 'always' })
    const errors: Error[] = []
    store.on('error', (error) => errors.push(error))
    files.fail({ kinds: ['sync'], nth: 1, code: 'EIO' })
    const poisoned = withCode('FIRKIN_POISONED')

    await expect(store.put('a', '1')).rejects.toThrow(poisoned)

    await expect(store.put('b', '2')).rejects.toThrow(poisoned)
    await expect(store.delete('first')).rejects.toThrow(poisoned)
    await expect(store.batch().put('b', '2').commit()).rejects.toThrow(poisoned)
    await expect(store.clear()).rejects.toThrow(poisoned)
    await expect(store.sync()).rejects.toThrow(poisoned)
    await expect(store.merge()).rejects.toThrow(poisoned)
    expect(() => store.putSync('b', '2')).toThrow(poisoned)
    expect(() => store.deleteSync('first')).toThrow(poisoned)
    expect(store.get('first')).toBe('')
    expect(store.has('b')).toBe(false)
    expect(errors).toEqual([
      expect.objectContaining({ cause: expect.objectContaining({ code: 'EIO' }) }),
    ])
    await expect(store.close()).rejects.toThrow(poisoned)

    await using reopened = await openOn(files)
    await reopened.put('b', '2')
    expect(reopened.has('first')).toBe(true)
  })

  it.each(['syncDirectory', 'sync'] as const)(
    'poisons the store if %s fails at a rotation',
    async (kind) => {
      const { files, store } = await openSettled({ sync: 'never' })
      store.on('error', () => undefined)
      files.fail({ kinds: [kind], nth: 1, code: 'EIO' })

      for (const key of keysUpTo(10)) await store.put(key, key.repeat(KIB))
      await idle(store)

      await expect(store.put('b', '2')).rejects.toThrow(withCode('FIRKIN_POISONED'))
      expect(store.get('key 003')).toBe('key 003'.repeat(KIB))
      await store.close().catch(() => undefined)
      await using reopened = await openOn(files)
      expect(reopened.count()).toBe(11)
    },
  )

  it('in a call rejects the writes of a sync that is under way and succeeds', async () => {
    const { files, store } = await openSettled({ sync: 'always' })
    store.on('error', () => undefined)
    // Some systems report a failure once, to the sync in the call, which has lost the data of both.
    let syncCount = 0
    files.syncLater = async () => {
      syncCount++
      await setImmediate()
    }
    const put = store.put('a', '')
    await Promise.resolve()
    expect(syncCount).toBe(1)
    files.fail({ kinds: ['sync'], nth: 1, code: 'EIO' })

    expect(() => store.putSync('b', '')).toThrow(withCode('FIRKIN_POISONED'))

    await expect(put).rejects.toThrow(withCode('FIRKIN_POISONED'))
    await store.close().catch(() => undefined)
  })

  it('rejects every write that waits for it', async () => {
    const { files, store } = await openSettled({ sync: 'always' })
    store.on('error', () => undefined)
    files.fail({ kinds: ['sync'], nth: 1, code: 'EIO' })

    const early = store.put('a', '')
    await Promise.resolve()
    const late = store.put('b', '')
    const synced = store.sync()

    for (const each of [early, late, synced]) {
      await expect(each).rejects.toThrow(withCode('FIRKIN_POISONED'))
    }
    expect(files.list(DISK)).toContain('MANIFEST')
    await store.close().catch(() => undefined)
  })

  it('rejects the writes of each turn since it began', async () => {
    const { files, store } = await openSettled({ sync: 'always' })
    store.on('error', () => undefined)
    let fail: () => void = () => undefined
    files.syncLater = () =>
      new Promise((_, reject) => {
        fail = () => reject(Object.assign(new Error('EIO'), { code: 'EIO' }))
      })
    const writes: Promise<void>[] = []
    for (const key of keysUpTo(4)) {
      writes.push(store.put(key, ''))
      await setImmediate()
    }

    fail()

    for (const each of writes) await expect(each).rejects.toThrow(withCode('FIRKIN_POISONED'))
    await store.close().catch(() => undefined)
  })
})
