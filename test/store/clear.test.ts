/** Clearing ranges: which keys go, and what happens meanwhile. */

import { setImmediate } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { FaultyFiles } from '../support/faulty-files.ts'
import { keysUpTo, openOn, withCode } from '../support/store.ts'

const kinds = ['btree', 'hash', 'skiplist', 'bplustree'] as const

// Wrong ranges are refused as elsewhere: see range.test.ts.
describe('clear', () => {
  it.each(kinds)('removes the keys of a range in a %s, and returns how many', async (keydir) => {
    const files = new FaultyFiles(1)
    const store = await openOn(files, { keydir })
    await Promise.all(keysUpTo(100).map((key) => store.put(key, key)))

    expect(await store.clear({ prefix: 'key 01' })).toBe(10)
    expect(await store.clear({ gte: 'key 090', reverse: true, limit: 3 })).toBe(3)
    expect(await store.clear({ gt: 'z' })).toBe(0)
    expect(await store.clear({ gt: 'b', lt: 'a' })).toBe(0)

    const left = keysUpTo(97).filter((key) => !key.startsWith('key 01'))
    expect([...store.keys()]).toEqual(left)
    expect(await store.clear()).toBe(87)
    expect(store.count()).toBe(0)
    await store.close()
    await using reopened = await openOn(files, { keydir, checkpoint: false })
    expect(reopened.count()).toBe(0)
  })

  it('removes the keys that are there at the call, not those put meanwhile', async () => {
    await using store = await openOn(new FaultyFiles(1))
    await Promise.all(keysUpTo(20).map((key) => store.put(key, '')))

    const cleared = store.clear()
    await store.put('key 020', 'new')
    await store.put('key 001', 'again')

    expect(await cleared).toBe(20)
    expect([...store.keys()]).toEqual(['key 001', 'key 020'])
  })

  it.each(kinds)('keeps what is put meanwhile, in a %s', async (keydir) => {
    await using store = await openOn(new FaultyFiles(1), { keydir })
    const keys = keysUpTo(20_000)
    const batch = store.batch()
    for (const key of keys) batch.put(key, 'old')
    await batch.commit()
    const put = new Map<string, string>()
    let isCleared = false

    const cleared = store.clear().finally(() => {
      isCleared = true
    })
    for (let round = 0; !isCleared; round++) {
      for (const key of [`key ${String(19_999 - round)}`, `new ${round}`]) {
        store.putSync(key, 'new')
        put.set(key, 'new')
      }
      await setImmediate()
    }

    await cleared
    expect(put.size).toBeGreaterThan(2)
    expect(new Map(store.entries())).toEqual(new Map([...put].sort()))
    expect(store.stats().openViews).toBe(0)
  })

  it('lets the event loop turn', async () => {
    await using store = await openOn(new FaultyFiles(1))
    const batch = store.batch()
    for (const key of keysUpTo(100_000)) batch.put(key, '')
    await batch.commit()
    let turns = 0
    const timer = setInterval(() => turns++, 1)

    expect(await store.clear()).toBe(100_000)

    clearInterval(timer)
    expect(turns).toBeGreaterThan(10)
  })

  it('rejects if the store is closed meanwhile', async () => {
    const store = await openOn(new FaultyFiles(1))
    const batch = store.batch()
    for (const key of keysUpTo(50_000)) batch.put(key, '')
    await batch.commit()

    const cleared = store.clear()
    const closed = store.close()

    await expect(cleared).rejects.toThrow(withCode('FIRKIN_CLOSED'))
    await closed
  })

  it('deletes many bytes of keys in several batches', async () => {
    await using store = await openOn(new FaultyFiles(1))
    const long = 'x'.repeat(60_000)
    for (let index = 0; index < 12; index++) await store.put(`${index} ${long}`, '')

    expect(await store.clear()).toBe(12)
    expect(store.count()).toBe(0)
    expect(store.stats().openViews).toBe(0)
  })

  it('rejects if a batch cannot be written, and leaves no view open', async () => {
    const files = new FaultyFiles(1)
    await using store = await openOn(files)
    await Promise.all(keysUpTo(20).map((key) => store.put(key, '')))
    files.fail({ kinds: ['write'], nth: 1, code: 'ENOSPC' })

    await expect(store.clear()).rejects.toThrow(withCode('FIRKIN_WRITE_FAILED'))

    expect(store.count()).toBe(20)
    expect(store.stats().openViews).toBe(0)
    expect(await store.clear()).toBe(20)
  })
})
