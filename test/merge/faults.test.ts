/** Merges in which a file operation fails. */

import { describe, expect, it } from 'vitest'
import { type FaultCode, FaultyFiles } from '../support/faulty-files.ts'
import { idle, KIB, keysUpTo, openOn, type TextStore, withCode } from '../support/store.ts'

const keys = keysUpTo(16)

/**
 * Makes a closed store of four segments, with overwritten and deleted keys; returns it with its
 * entries.
 */
async function groundOf(
  seed: number,
): Promise<{ files: FaultyFiles; entries: [string, string][] }> {
  const files = new FaultyFiles(seed)
  const store = await openOn(files)
  for (const round of ['old', 'new']) {
    for (const key of keys) await store.put(key, `${round} ${key} `.padEnd(5 * KIB, '-'))
  }
  for (const key of keys.slice(0, 5)) await store.delete(key)
  await idle(store)
  const entries = [...store.entries()]
  await store.close()
  return { files, entries }
}

/** Merges with a fault. Returns whether the merge was done, or `undefined` if nothing failed. */
async function mergeWithFault(
  store: TextStore,
  files: FaultyFiles,
  nth: number,
  code: FaultCode,
): Promise<boolean | undefined> {
  const before = files.faultCount
  files.fail(code === 'SHORT' ? { kinds: ['read', 'write'], nth, code } : { nth, code })
  const done = await store.merge().then(
    () => true,
    (error) => {
      expect(error).toEqual(expect.objectContaining({ code: expect.stringMatching(/^FIRKIN_/) }))
      return false
    },
  )
  await idle(store)
  files.heal()
  return files.faultCount === before ? undefined : done
}

describe('a merge in which a file operation fails', () => {
  it.each(['EIO', 'SHORT'] as const)(
    'keeps the same entries, in memory and on disk: %s',
    async (code) => {
      const { files: ground, entries } = await groundOf(1)
      const outcomes: (boolean | undefined)[] = []
      for (let nth = 1; outcomes.at(-1) !== undefined || nth === 1; nth++) {
        const files = ground.restart(1)
        const store = await openOn(files)
        store.on('error', () => undefined)

        outcomes.push(await mergeWithFault(store, files, nth, code))
        expect([...store.entries()]).toEqual(entries)
        await store.close().catch(() => undefined)

        const reopened = await openOn(files)
        expect([...reopened.entries()]).toEqual(entries)
        expect(reopened.count()).toBe(entries.length)
        await reopened.merge()
        expect([...reopened.entries()]).toEqual(entries)
        await reopened.close()
        expect(files.openPaths).toEqual([])
      }
      expect(outcomes.length).toBeGreaterThan(10)
      expect(outcomes).toContain(true)
      if (code !== 'SHORT') expect(outcomes).toContain(false)
    },
  )

  it('merges the sealed segments if there is no space for a new segment', async () => {
    const { files: ground, entries } = await groundOf(1)
    const files = ground.restart(1)
    const store = await openOn(files)
    const active = store.stats().segments.find((segment) => segment.active)
    files.fail({ kinds: ['write'], path: /segment$/, nth: 1, code: 'ENOSPC' })

    const { segments, bytesGained } = await store.merge()

    expect(segments.map(({ id }) => id)).not.toContain(active?.id)
    expect(bytesGained).toBeGreaterThan(0)
    expect([...store.entries()]).toEqual(entries)
    await store.close()
  })

  it('rejects with FIRKIN_MERGE_FAILED if no segment can be begun and none is sealed', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    for (const value of ['old', 'new']) await store.put('key', value)
    files.fail({ kinds: ['write'], path: /segment$/, nth: 1, code: 'ENOSPC' })

    await expect(store.merge()).rejects.toMatchObject({
      code: 'FIRKIN_MERGE_FAILED',
      cause: { code: 'ENOSPC' },
    })

    expect(store.get('key')).toBe('new')
    await store.merge()
    await store.close()
  })

  it('rejects if the disk fills up after the merge has begun', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    store.on('error', () => undefined)
    for (const key of keysUpTo(32)) await store.put(key, key.padEnd(5 * KIB))
    // No segment is all dead.
    for (const key of keysUpTo(32).filter((_, index) => index % 2 === 0)) await store.delete(key)
    const entries = [...store.entries()]
    store.once('merge', () => {
      files.capacity = files.usedSize
    })

    await expect(store.merge()).rejects.toMatchObject({
      code: 'FIRKIN_MERGE_FAILED',
      cause: { code: 'ENOSPC', syscall: 'write' },
    })

    expect([...store.entries()]).toEqual(entries)
    files.heal()
    expect((await store.merge()).bytesGained).toBeGreaterThan(0)
    await store.close()
  })

  it('keeps both sets of segments if it is not known which of them is durable', async () => {
    const { files, entries } = await groundOf(2)
    const store = await openOn(files)
    store.on('error', () => undefined)
    // The first sync is for the names of the new files, the second for the name of the manifest.
    await store.put('extra', '')
    await store.sync()
    store.once('merge', () => files.fail({ kinds: ['syncDirectory'], nth: 2, code: 'EIO' }))

    await expect(store.merge()).rejects.toThrow(withCode('FIRKIN_POISONED'))

    await expect(store.put('more', '')).rejects.toThrow(withCode('FIRKIN_POISONED'))
    await expect(store.merge()).rejects.toThrow(withCode('FIRKIN_POISONED'))
    for (const loss of ['kept', 'dropped'] as const) {
      const machine = files.afterPowerLoss({ files: ['dropped'], entries: loss }, 1)
      await using after = await openOn(machine)
      expect([...after.entries()]).toEqual([['extra', ''], ...entries])
    }
    await store.close().catch(() => undefined)
  })
})
