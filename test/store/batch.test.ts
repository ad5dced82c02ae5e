/** Batches: all of their changes are made, or none. */

import { describe, expect, it } from 'vitest'
import { MAX_VALUE_SIZE } from '../../src/format/record.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { DISK, KIB, keysUpTo, openAny, openOn, withCode } from '../support/store.ts'

describe('batch', () => {
  it.each([
    [[{ type: 'get', key: 'a' }], "A batch operation is of type 'put' or 'delete'"],
    [[{}], "is of type 'put' or 'delete'"],
    [[{ type: 'put', key: '', value: '1' }], 'Key is empty'],
    [[{ type: 'put', key: 'a', value: 7 }], 'a value must be a string'],
    [[{ type: 'put', key: 'a', value: '1', ttl: 1 }], 'did you mean ttlMs?'],
    [[{ type: 'delete', key: 7 }], 'A key must be a string'],
  ])('refuses the list %o', async (operations, text) => {
    await using store = await openOn(new FaultyFiles(1))

    expect(() => store.batch(operations as never)).toThrow(text)
    expect(store.count()).toBe(0)
  })

  it('is not changed by an operation that it refuses', async () => {
    await using store = await openOn(new FaultyFiles(1))
    const batch = store.batch().put('a', '1')
    const { length, byteSize } = batch

    expect(() => batch.put('b', 7 as never)).toThrow(TypeError)
    expect(() => batch.put('b', '2', { ttlMs: 0 })).toThrow(RangeError)
    expect(() => batch.delete('')).toThrow(RangeError)

    expect([batch.length, batch.byteSize]).toEqual([length, byteSize])
    await batch.commit()
    expect([...store.keys()]).toEqual(['a'])
  })

  it('refuses to grow beyond its limit', async () => {
    await using store = await openAny(DISK, { lock: false }, new FaultyFiles(1))
    const batch = store.batch()

    expect(() => batch.put('a', new Uint8Array(MAX_VALUE_SIZE))).toThrow(
      'Batch is 1073741843 bytes; the limit is 1073741824',
    )
    expect(batch.length).toBe(0)
  })

  it('changes nothing until it is committed', async () => {
    const files = new FaultyFiles(1)
    await using store = await openOn(files)
    await store.put('a', '1')
    const { digest } = files

    const batch = store.batch().put('b', '2').delete('a')

    expect([...store.entries()]).toEqual([['a', '1']])
    expect(files.digest).toBe(digest)
    expect(batch.length).toBe(2)
  })

  it.each(['commit', 'commitSync'] as const)('shows all its changes after %s', async (commit) => {
    await using store = await openOn(new FaultyFiles(1))
    await store.put('a', '1')
    const batch = store.batch([
      { type: 'put', key: 'b', value: '2' },
      { type: 'delete', key: 'a' },
      { type: 'delete', key: 'missing' },
      { type: 'put', key: Buffer.from('c'), value: '3', ttlMs: 10_000 },
    ])

    const committed = batch[commit]()

    expect([...store.entries()]).toEqual([
      ['b', '2'],
      ['c', '3'],
    ])
    expect(store.expiresAt('c')).toBeLessThanOrEqual(Date.now() + 10_000)
    await committed
  })

  it('lets later changes of a key win over earlier ones', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    await store
      .batch()
      .put('a', '1')
      .delete('a')
      .put('a', '2')
      .put('b', '1')
      .put('b', '2')
      .delete('b')
      .commit()
    const expected = [['a', '2']]
    expect([...store.entries()]).toEqual(expected)
    await store.close()

    await using reopened = await openOn(files, { checkpoint: false })
    expect([...reopened.entries()]).toEqual(expected)
  })

  it('looks up keys when it is committed, not when it is filled', async () => {
    await using store = await openOn(new FaultyFiles(1))
    const batch = store.batch().delete('a')
    await store.put('a', '1')

    await batch.commit()

    expect(store.has('a')).toBe(false)
  })

  it('can be committed only once', async () => {
    await using store = await openOn(new FaultyFiles(1))
    const batch = store.batch().put('a', '1')
    await batch.commit()

    const used = withCode('FIRKIN_CLOSED')
    await expect(batch.commit()).rejects.toThrow(used)
    expect(() => batch.commitSync()).toThrow(used)
    expect(() => batch.put('b', '2')).toThrow(used)
    expect(() => batch.delete('a')).toThrow(used)
    expect(() => batch.clear()).toThrow(used)
  })

  it('has no changes after it is cleared', async () => {
    await using store = await openOn(new FaultyFiles(1))

    const batch = store.batch().put('a', '1').clear()

    expect([batch.length, batch.byteSize]).toEqual([0, 0])
    await batch.put('b', '2').commit()
    expect([...store.keys()]).toEqual(['b'])
  })

  it('writes nothing if it is empty', async () => {
    const files = new FaultyFiles(1)
    await using store = await openOn(files)
    const { digest } = files

    await store.batch().commit()
    store.batch([]).commitSync()

    expect(files.digest).toBe(digest)
  })

  it.each([
    ['fits the stage', 40, 100],
    ['exceeds the stage and a segment', 40, 10 * KIB],
  ])('that %s is there whole or not at all, wherever it is cut', async (_, count, size) => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    await store.batch().put('old', '1').put('replaced', 'old').commit()
    const before = new Set(files.list(DISK))
    const firstSize = files.peek(`${DISK}/0000000001.segment`)?.length ?? 0

    const batch = store.batch().delete('old').put('replaced', 'new')
    for (const key of keysUpTo(count)) batch.put(key, 'x'.repeat(size))
    batch.commitSync()
    // Restart before a sync records how far the file reaches.
    const crashed = files.restart(1)

    const added = crashed.list(DISK)?.find((name) => !before.has(name))
    const path = `${DISK}/${added ?? '0000000001.segment'}`
    const bytes = crashed.peek(path) ?? Buffer.alloc(0)
    const from = added === undefined ? firstSize : 0
    const step = Math.max(1, Math.floor((bytes.length - from) / 100))
    for (let cut = from; cut < bytes.length; cut += step) {
      const machine = crashed.restart(1)
      machine.poke(path, bytes.subarray(0, cut))
      await using reopened = await openOn(machine)
      expect([...reopened.entries()], `${cut} bytes`).toEqual([
        ['old', '1'],
        ['replaced', 'old'],
      ])
    }
    await using whole = await openOn(crashed)
    expect([...whole.keys()]).toEqual([...keysUpTo(count), 'replaced'])
    await store.close()
  })

  const sizes: [string, number][] = [
    ['a small one', 10],
    ['one larger than the stage', 10 * KIB],
    ['one that is written in steps', 40 * KIB],
  ]
  it.each(sizes)(
    'has no effect if %s cannot be written, and can be committed again',
    async (_, size) => {
      const files = new FaultyFiles(1)
      await using store = await openOn(files)
      await store.put('old', '1')
      const batch = store.batch().delete('old')
      for (const key of keysUpTo(40)) batch.put(key, 'x'.repeat(size))

      // A large batch begins another segment, which stays for the next attempt.
      let nth = size > KIB ? 2 : 1
      for (const commit of [() => batch.commit(), async () => batch.commitSync()]) {
        files.fail({ kinds: ['write'], nth, code: 'ENOSPC' })
        nth = 1
        await expect(commit()).rejects.toThrow(withCode('FIRKIN_WRITE_FAILED'))
        expect([...store.keys()]).toEqual(['old'])
        files.heal()
      }
      await batch.commit()

      expect([...store.keys()]).toEqual(keysUpTo(40))
      expect((await store.verify()).ok).toBe(true)
    },
  )
})
