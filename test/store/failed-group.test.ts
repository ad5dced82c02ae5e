/** Views that are opened while a group is staged that then fails. */

import { describe, expect, it } from 'vitest'
import type { KeydirKind } from '../../src/index.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { openOn, withCode } from '../support/store.ts'

const KINDS: readonly KeydirKind[] = ['btree', 'hash', 'skiplist', 'bplustree']

describe.each(KINDS)('a view of a %s that is opened while a group is staged', (keydir) => {
  it.each([true, false])(
    'shows nothing that could not be written, with verifyReads %s',
    async (verifyReads) => {
      const files = new FaultyFiles(1)
      await using store = await openOn(files, { keydir, verifyReads })
      await store.put('old', 'as it was')
      files.fail({ kinds: ['write'], nth: 1, code: 'ENOSPC', lasting: true })

      const first = store.put('a', 'never written')
      const overwritten = store.put('old', 'never written')
      using snapshot = store.snapshot()
      const iterator = store.entries()
      const later = [
        store.put('a', 'neither'),
        store.put('old', 'neither'),
        store.put('b', 'neither'),
      ]
      const outcomes = await Promise.allSettled([first, overwritten, ...later])
      files.heal()
      await store.put('c', 'another record in the place of the first')

      for (const outcome of outcomes) {
        expect(outcome).toMatchObject({ reason: withCode('FIRKIN_WRITE_FAILED') })
      }
      expect(snapshot.get('a')).toBeUndefined()
      expect([...snapshot.entries()]).toEqual([['old', 'as it was']])
      expect([...iterator]).toEqual([['old', 'as it was']])
    },
  )

  it('shows a key whose delete was undone', async () => {
    const files = new FaultyFiles(1)
    await using store = await openOn(files, { keydir })
    for (const key of ['a', 'b', 'c', 'd']) await store.put(key, key)
    files.fail({ kinds: ['write'], nth: 1, code: 'ENOSPC', lasting: true })

    const deleted = store.delete('c')
    const iterator = store.keys()
    expect(iterator.next().value).toBe('a')
    await expect(deleted).rejects.toThrow(withCode('FIRKIN_WRITE_FAILED'))
    files.heal()

    expect([...iterator]).toEqual(['b', 'c', 'd'])
    expect([...store.keys()]).toEqual(['a', 'b', 'c', 'd'])
  })

  it('shows everything staged that could be written', async () => {
    const files = new FaultyFiles(1)
    await using store = await openOn(files, { keydir })

    const puts = [store.put('a', '1'), store.put('b', '2')]
    using snapshot = store.snapshot()
    const later = store.put('c', '3')

    expect([...snapshot.keys()]).toEqual(['a', 'b'])
    await Promise.all([...puts, later])
    expect([...snapshot.keys()]).toEqual(['a', 'b'])
  })

  it('counts nothing that could not be written', async () => {
    const files = new FaultyFiles(1)
    await using store = await openOn(files, { keydir })
    await store.put('a', '1')
    files.fail({ kinds: ['write'], nth: 1, code: 'ENOSPC', lasting: true })

    const put = store.put('b', '2')
    const counted = store.count({ gte: 'a' })
    await expect(put).rejects.toThrow(withCode('FIRKIN_WRITE_FAILED'))
    files.heal()

    expect(counted).toBe(1)
  })
})
