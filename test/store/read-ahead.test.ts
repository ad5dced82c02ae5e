/** Iterators that read ahead: what they return does not depend on it. */

import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { segmentName } from '../../src/format/names.ts'
import type { Store } from '../../src/index.ts'
import { withDirectory } from '../support/directory.ts'
import { openAny, withCode } from '../support/store.ts'

const KEY_COUNT = 500

/** Returns short and long keys, ASCII and not; some exceed what is decoded at a time. */
function keyAt(index: number): string {
  const number = String(index).padStart(4, '0')
  if (index % 97 === 5) return `${number} ${'long '.repeat(1000)}`
  return index % 89 === 7 ? `${number} 😀 é` : number
}

/** Returns values from empty ones to some that exceed what is read ahead. */
function valueAt(index: number): Buffer {
  return Buffer.alloc(index % 83 === 3 ? 4000 : index % 120, index)
}

const expected = Array.from({ length: KEY_COUNT }, (_, index): [string, Buffer] => [
  keyAt(index),
  valueAt(index),
])

/** Runs `work` with a filled store, which is read through a mapping if possible. */
async function withFilled(work: (store: Store) => Promise<void>) {
  await withDirectory(async (directory) => {
    await using store = await openAny(directory)
    for (let index = KEY_COUNT - 1; index >= 0; index--) {
      store.put(keyAt(index), valueAt(index)).catch(() => undefined)
    }
    await store.sync()
    store.get(keyAt(0))
    await work(store)
  })
}

describe('an iterator', () => {
  it('returns each key and value, whatever their sizes', async () => {
    await withFilled(async (store) => {
      expect([...store.entries()]).toEqual(expected)
      expect([...store.keys()]).toEqual(expected.map(([key]) => key))
      expect([...store.values()]).toEqual(expected.map(([, value]) => value))
      expect([...store.entries({ reverse: true })]).toEqual([...expected].reverse())
    })
  })

  it('is not disturbed by other iterators, or by reads between its steps', async () => {
    await withFilled(async (store) => {
      const others = [
        store.keys(),
        store.values(),
        store.entries({ reverse: true }),
        store.entries({ gte: keyAt(100) }),
      ]
      const given: unknown[] = []
      let index = 0
      for (const entry of store.entries()) {
        given.push(entry)
        for (const other of others) other.next()
        expect(store.get(keyAt((index * 7) % KEY_COUNT))).toEqual(valueAt((index * 7) % KEY_COUNT))
        index++
      }

      expect(given).toEqual(expected)
      for (const other of others) other.return()
    })
  })

  it('shows the store as of its creation, whatever changes', async () => {
    await withFilled(async (store) => {
      const given: unknown[] = []
      for (const entry of store.entries()) {
        const index = given.push(entry)
        await store.put(keyAt((index + 3) % KEY_COUNT), 'changed')
        if (index % 5 === 0) await store.delete(keyAt((index + 9) % KEY_COUNT))
        if (index % 50 === 0) await store.merge()
      }

      expect(given).toEqual(expected)
    })
  })

  it('returns values that the caller owns', async () => {
    await withFilled(async (store) => {
      const first = [...store.values()]
      for (const value of [...store.values()]) value.fill(255)

      expect(first).toEqual(expected.map(([, value]) => value))
      expect([...store.values()]).toEqual(first)
    })
  })

  it('reports a damaged record where it is, and not before', async () => {
    await withDirectory(async (directory) => {
      await using store = await openAny(directory)
      for (let index = 0; index < 100; index++) await store.put(keyAt(index), `value ${index}`)
      await store.sync()
      store.get(keyAt(0))
      const path = join(directory, segmentName(1))
      const bytes = await readFile(path)
      const at = bytes.indexOf('value 70')
      await writeFile(path, bytes.fill('V', at, at + 1), { flag: 'r+' })

      const given: string[] = []
      const iterate = (): void => {
        for (const [key] of store.entries()) given.push(key)
      }

      expect(iterate).toThrow(withCode('FIRKIN_CORRUPT'))
      expect(given).toHaveLength(70)
    })
  })
})
