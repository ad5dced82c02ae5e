/** Groups: writes that share one call and one fate. */

import { describe, expect, it } from 'vitest'
import { FaultyFiles } from '../support/faulty-files.ts'
import { DISK, KIB, keysUpTo, openOn, type TextStore, withCode } from '../support/store.ts'

/** Returns the figures that a failed write must not change. */
function figuresOf(store: TextStore) {
  const { keys, bytes, liveBytes, deadBytes, tombstoneBytes, segments } = store.stats()
  return { keys, bytes, liveBytes, deadBytes, tombstoneBytes, segments }
}

const kindsOf = (files: FaultyFiles, from: number): string[] =>
  files.calls.slice(from).map(({ kind }) => kind)

/** Returns the outcomes of promises. One that never settles exceeds the test's time limit. */
async function outcomesOf(promises: readonly Promise<unknown>[]): Promise<string[]> {
  return (await Promise.allSettled(promises)).map(({ status }) => status)
}

describe('group commit', () => {
  it('makes one call for writes that are not awaited', async () => {
    const files = new FaultyFiles(1)
    await using store = await openOn(files)
    await store.put('first', 'begins the segment')
    const before = files.calls.length

    const puts = keysUpTo(500).map((key) => store.put(key, 'value'))
    const deleted = store.delete('key 007')
    const batch = store.batch().put('a', '1').delete('b').commit()
    await Promise.all([...puts, deleted, batch])

    expect(kindsOf(files, before)).toEqual(['write'])
    expect(store.count()).toBe(501)
  })

  it('returns one promise for the writes of a group', async () => {
    await using store = await openOn(new FaultyFiles(1))

    const puts = [store.put('a', '1'), store.put('b', '2')]

    expect(new Set(puts).size).toBe(1)
    await Promise.all(puts)
  })

  it('writes a group that fills the stage without waiting for the turn to end', async () => {
    const files = new FaultyFiles(1)
    await using store = await openOn(files, { maxSegmentBytes: 1024 * KIB })
    await store.put('first', '')
    const before = files.calls.length

    const puts = keysUpTo(5).map((key) => store.put(key, 'x'.repeat(100 * KIB)))

    expect(kindsOf(files, before)).toEqual(['write', 'write'])
    await Promise.all(puts)
    expect(kindsOf(files, before)).toEqual(['write', 'write', 'write'])
  })

  it('includes earlier staged writes in the write of putSync', async () => {
    const files = new FaultyFiles(1)
    await using store = await openOn(files)
    await store.put('first', '')
    const before = files.calls.length

    const put = store.put('a', '1')
    store.putSync('b', '2')

    expect(kindsOf(files, before)).toEqual(['write'])
    await put
    expect(kindsOf(files, before)).toEqual(['write'])
  })

  it('goes on if the operating system accepts a part at a time', async () => {
    const files = new FaultyFiles(3)
    await using store = await openOn(files)
    files.fail({ kinds: ['write'], nth: 1, code: 'SHORT', lasting: true })

    await Promise.all(keysUpTo(50).map((key) => store.put(key, `value of ${key}`)))
    files.heal()

    for (const key of keysUpTo(50)) expect(store.get(key)).toBe(`value of ${key}`)
    expect((await store.verify()).findings).toEqual([])
  })
})

describe('a group that cannot be written', () => {
  /** Opens a store of three keys on a disk with `space` bytes left. */
  async function fullStore(files: FaultyFiles, space: number): Promise<TextStore> {
    const store = await openOn(files)
    await store.batch().put('a', 'old a').put('b', 'old b').put('c', 'old c').commit()
    files.capacity = files.usedSize + space
    return store
  }

  it.each([0, 1, 17, 40, 60, 100, 150])('is undone if %i bytes of it fit', async (space) => {
    const files = new FaultyFiles(1)
    await using store = await fullStore(files, space)
    const entries = [...store.entries()]
    const figures = figuresOf(store)
    const before = files.calls.length

    const outcomes = await outcomesOf([
      store.put('a', 'new a'),
      store.put('a', 'newer a'),
      store.delete('b'),
      store.put('d', 'new d'),
      store.put('b', 'again b'),
      store.delete('d'),
      store.batch().put('c', 'new c').delete('a').put('e', 'new e').delete('x').commit(),
      store.put('e', 'x'.repeat(200)),
    ])

    expect(new Set(outcomes)).toEqual(new Set(['rejected']))
    // Undoing it reloads nothing.
    expect(kindsOf(files, before)).not.toContain('read')
    expect([...store.entries()]).toEqual(entries)
    expect(figuresOf(store)).toEqual(figures)
    expect(store.get('a')).toBe('old a')
    expect(store.has('d')).toBe(false)
    files.heal()
  })

  it('is rejected with the operating system’s reason', async () => {
    const files = new FaultyFiles(1)
    await using store = await fullStore(files, 10)

    await expect(store.put('a', 'new')).rejects.toMatchObject({
      code: 'FIRKIN_WRITE_FAILED',
      cause: { code: 'ENOSPC' },
    })
    expect(() => store.putSync('a', 'new')).toThrow(withCode('FIRKIN_WRITE_FAILED'))
    expect(() => store.deleteSync('a')).toThrow(withCode('FIRKIN_WRITE_FAILED'))
    expect(() => store.batch().put('a', 'new').commitSync()).toThrow(
      withCode('FIRKIN_WRITE_FAILED'),
    )
    expect(store.get('a')).toBe('old a')
    files.heal()
  })

  it('does not keep later groups from being written', async () => {
    const files = new FaultyFiles(1)
    const store = await fullStore(files, 5)

    const failed = store.put('a', 'new a')
    await expect(failed).rejects.toThrow(withCode('FIRKIN_WRITE_FAILED'))
    files.heal()
    await store.put('b', 'new b')
    store.putSync('d', 'new d')
    await store.close()

    await using reopened = await openOn(files)
    expect([...reopened.entries()]).toEqual([
      ['a', 'old a'],
      ['b', 'new b'],
      ['c', 'old c'],
      ['d', 'new d'],
    ])
    expect(reopened.stats().recovery.torn).toEqual([])
  })

  it('leaves nothing in the file', async () => {
    const files = new FaultyFiles(1)
    await using store = await fullStore(files, 60)
    const path = `${DISK}/0000000001.segment`
    const before = files.peek(path)

    await outcomesOf([store.put('d', '1'), store.put('e', '2'), store.put('f', 'x'.repeat(90))])

    expect(files.peek(path)).toEqual(before)
    files.heal()
  })

  it.each(['close', 'kill'])('does not come back after a %s', async (end) => {
    const files = new FaultyFiles(1)
    const store = await fullStore(files, 60)

    await outcomesOf([store.put('d', '1'), store.put('e', '2'), store.put('f', 'x'.repeat(90))])
    files.capacity = Number.POSITIVE_INFINITY
    if (end === 'close') await store.close()
    else files.crash()
    store.on('error', () => undefined)

    await using reopened = await openOn(end === 'close' ? files : files.restart(1))
    expect([...reopened.keys()]).toEqual(['a', 'b', 'c'])
    await store.close().catch(() => undefined)
  })

  it('poisons the store if its remains may not be cut off durably', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files, { sync: 'never' })
    store.on('error', () => undefined)
    await store.put('a', '1')
    files.fail({ kinds: ['write'], path: /segment$/, nth: 1, code: 'SHORT' })
    files.fail({ kinds: ['write'], path: /segment$/, nth: 2, code: 'EIO' })
    // A failed sync may also have lost earlier writes.
    files.fail({ kinds: ['sync'], path: /segment$/, nth: 1, code: 'EIO' })

    await expect(store.put('b', '2')).rejects.toThrow(withCode('FIRKIN_POISONED'))

    await expect(store.sync()).rejects.toThrow(withCode('FIRKIN_POISONED'))
    await expect(store.put('c', '3')).rejects.toThrow(withCode('FIRKIN_POISONED'))
    expect([...store.entries()]).toEqual([['a', '1']])
    await expect(store.close()).rejects.toThrow(withCode('FIRKIN_POISONED'))
  })

  it.each(['btree', 'hash', 'skiplist', 'bplustree'] as const)(
    'does not make an open iterator of a %s lose its place',
    async (keydir) => {
      const files = new FaultyFiles(1)
      await using store = await openOn(files, { keydir })
      const keys = keysUpTo(600)
      await Promise.all(keys.map((key) => store.put(key, 'old')))
      const iterator = store.keys()
      const found = keys.slice(0, 10).map(() => iterator.next().value)

      files.fail({ kinds: ['write'], nth: 1, code: 'ENOSPC' })
      const writes = keys.slice(0, 300).map((key) => store.put(`key 005 ${key}`, 'new'))
      for (let step = 0; step < 10; step++) found.push(iterator.next().value)
      const outcomes = await outcomesOf(writes)
      for (const key of iterator) found.push(key)

      expect(new Set(outcomes)).toEqual(new Set(['rejected']))
      expect(found).toEqual(keys)
    },
  )

  it('does not change an open snapshot', async () => {
    const files = new FaultyFiles(1)
    await using store = await fullStore(files, 0)
    using before = store.snapshot()

    await outcomesOf([store.put('a', 'new'), store.delete('b'), store.put('d', 'new')])
    using after = store.snapshot()
    files.heal()
    await store.put('a', 'newest')

    expect([...before.values()]).toEqual(['old a', 'old b', 'old c'])
    expect([...after.values()]).toEqual(['old a', 'old b', 'old c'])
  })

  it('is rejected if it cannot begin a segment, and a later group begins one', async () => {
    const files = new FaultyFiles(1)
    await using store = await openOn(files)
    await store.put('a', 'x'.repeat(60 * KIB))
    files.fail({ kinds: ['open'], path: /segment$/, nth: 1, code: 'EMFILE' })

    const put = store.put('b', 'x'.repeat(60 * KIB))

    await expect(put).rejects.toMatchObject({
      code: 'FIRKIN_WRITE_FAILED',
      cause: { code: 'EMFILE' },
    })
    await store.put('b', 'y'.repeat(60 * KIB))
    expect(store.stats().segments.map(({ id }) => id)).toEqual([1, 3])
    expect([...store.keys()]).toEqual(['a', 'b'])
  })

  it('rejects all writes of a group if its sync fails', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files, { sync: 'always' })
    store.on('error', () => undefined)
    await store.put('a', '1')
    files.fail({ kinds: ['sync'], nth: 1, code: 'EIO' })

    const put = store.put('b', '2')
    expect(() => store.putSync('c', '3')).toThrow(withCode('FIRKIN_POISONED'))

    await expect(put).rejects.toThrow(withCode('FIRKIN_POISONED'))
    await expect(store.close()).rejects.toThrow(withCode('FIRKIN_POISONED'))
  })
})
