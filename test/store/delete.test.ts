/** Deletes: which keys they accept, what they return, and that they last. */

import { describe, expect, it } from 'vitest'
import { FaultyFiles } from '../support/faulty-files.ts'
import { openOn } from '../support/store.ts'
import { wrongKeys } from './wrong-keys.ts'

describe('delete', () => {
  it.each(wrongKeys)('refuses the key %o', async (key, kind, text) => {
    await using store = await openOn(new FaultyFiles(1))

    for (const use of [
      () => store.delete(key as string),
      () => store.deleteSync(key as string),
      () => store.batch().delete(key as string),
    ]) {
      expect(use).toThrow(kind)
      expect(use).toThrow(text)
    }
  })

  it('resolves to, or returns, whether the key was there', async () => {
    await using store = await openOn(new FaultyFiles(1))
    await store.put('a', '1')
    await store.put('b', '2')

    expect(await store.delete('a')).toBe(true)
    expect(await store.delete('a')).toBe(false)
    expect(store.deleteSync('b')).toBe(true)
    expect(store.deleteSync('b')).toBe(false)
    expect(store.count()).toBe(0)
  })

  it('is visible at once, before it settles', async () => {
    await using store = await openOn(new FaultyFiles(1))
    await store.put('a', '1')

    const deleted = store.delete('a')

    expect(store.get('a')).toBeUndefined()
    expect([...store.keys()]).toEqual([])
    expect(await deleted).toBe(true)
  })

  it('writes nothing if the key is not there', async () => {
    const files = new FaultyFiles(1)
    await using store = await openOn(files)
    await store.put('a', '1')
    const { digest } = files

    await store.delete('b')
    store.deleteSync('b')

    expect(files.digest).toBe(digest)
  })

  it('lasts through a kill and a close', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    for (const key of ['a', 'b', 'c']) await store.put(key, key)
    store.deleteSync('a')
    await store.delete('b')

    const machine = files.restart(1)
    const killed = await openOn(machine)
    expect([...killed.keys()]).toEqual(['c'])
    await killed.close()
    await store.close()

    for (const each of [files, machine]) {
      await using reopened = await openOn(each)
      expect([...reopened.keys()]).toEqual(['c'])
    }
  })

  it('lets the key be put again', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    const writes = [store.put('a', '1'), store.delete('a'), store.put('a', '2')]
    await Promise.all(writes)
    expect(store.get('a')).toBe('2')
    await store.close()

    await using reopened = await openOn(files, { keydir: 'hash' })
    expect([...reopened.entries()]).toEqual([['a', '2']])
  })
})
