import { describe, expect, it } from 'vitest'
import { BTreeKeydir } from '../../src/keydir/btree.ts'
import { LEAF_CAPACITY } from '../../src/keydir/btree-leaves.ts'
import type { Keydir } from '../../src/keydir/keydir.ts'
import { bytes, find, insert, KeySequence, keysOf, Random } from './model.ts'

/** Returns the bytes of the index for each key, without the entries. */
function indexSize(keydir: Keydir): number {
  return (keydir.byteSize - keydir.entries.byteSize) / keydir.size
}

const decimal = (i: number) => bytes(`user:${String(i).padStart(8, '0')}`)

describe('a btree keydir', () => {
  it.each([
    ['ascending', (i: number) => i],
    ['descending', (i: number) => 200_000 - i],
  ])('has full leaves after %s inserts', (_, order) => {
    const keydir = new BTreeKeydir()

    for (let i = 0; i < 200_000; i++) insert(keydir, decimal(order(i)))

    expect(indexSize(keydir)).toBeLessThan(8 * 1.15)
    expect(keydir.find(decimal(77_777), 13)).toBeGreaterThan(0)
    expect(keysOf(keydir).length).toBe(200_000)
  })

  it('has leaves five sixths full after random inserts', () => {
    const keydir = new BTreeKeydir()
    const sequence = new KeySequence()

    for (let i = 0; i < 200_000; i++) insert(keydir, sequence.set(i))

    const leafSize = keydir.nodes.leaves.arena.used * 4
    const fill = (200_000 / LEAF_CAPACITY) * 512
    expect(fill / leafSize).toBeGreaterThan(0.82)
  })

  it('reuses nodes as it shrinks, even if each loses only some entries', () => {
    const keydir = new BTreeKeydir()
    const sequence = new KeySequence()
    for (let i = 0; i < 100_000; i++) insert(keydir, sequence.set(i))
    const used = keydir.nodes.leaves.arena.used

    // A tenth of the keys is left everywhere, so nine tenths of the leaves should be free for new
    // keys.
    for (let i = 0; i < 100_000; i++) {
      if (i % 10 !== 0) keydir.remove(find(keydir, sequence.set(i)))
    }
    for (let i = 200_000; i < 270_000; i++) insert(keydir, sequence.set(i))

    expect(keydir.nodes.leaves.arena.used).toBe(used)
    expect(keydir.size).toBe(80_000)
  })

  it('reuses inner nodes and separators too', () => {
    const keydir = new BTreeKeydir()
    const sequence = new KeySequence()
    const above = () =>
      keydir.byteSize - keydir.entries.byteSize - keydir.nodes.leaves.arena.byteSize
    const sizes: number[] = []

    for (let round = 0; round < 20; round++) {
      for (let i = 0; i < 20_000; i++) insert(keydir, sequence.set(round * 20_000 + i))
      for (let i = 0; i < 20_000; i++) {
        keydir.remove(find(keydir, sequence.set(round * 20_000 + i)))
      }
      sizes.push(above())
    }

    expect(sizes.at(-1)).toBeLessThanOrEqual((sizes[1] as number) * 1.2)
  })

  it('keeps its order while its height grows and shrinks, with removals from either end', () => {
    for (const fromStart of [true, false]) {
      const keydir = new BTreeKeydir()
      const keys = Array.from({ length: 60_000 }, (_, i) => decimal(i))
      for (const key of keys) insert(keydir, key)

      while (keys.length > 10) {
        const removed = fromStart ? keys.splice(0, 1000) : keys.splice(-1000)
        for (const key of removed) keydir.remove(find(keydir, key))
        if (keys.length % 10_000 === 0) expect(keysOf(keydir).length).toBe(keys.length)
      }

      expect(keydir.size).toBe(keys.length)
    }
  })

  it('finds keys that share long prefixes, and loses none as prefixes get shorter', () => {
    const keydir = new BTreeKeydir()
    const random = new Random(1)
    const keys = new Set<string>()
    for (let i = 0; i < 20_000; i++) {
      keys.add('p'.repeat(1 + random.below(200)) + random.below(50))
      keys.add(`${'q'.repeat(100)}${i}`)
      if (i % 1000 === 0) keys.add(String.fromCharCode(random.below(256)))
    }

    for (const key of keys) insert(keydir, bytes(key))

    expect([...keys].every((key) => find(keydir, bytes(key)) !== 0)).toBe(true)
    expect(keysOf(keydir)).toEqual([...keys].sort())
  })

  it('holds many of the longest keys', () => {
    const keydir = new BTreeKeydir()
    const key = new Uint8Array(65_535).fill(1)

    for (let i = 0; i < 300; i++) {
      key[65_534] = i & 255
      key[65_533] = i >>> 8
      insert(keydir, key)
    }

    for (let i = 0; i < 300; i++) {
      key[65_534] = i & 255
      key[65_533] = i >>> 8
      expect(find(keydir, key)).toBeGreaterThan(0)
    }
    expect(keysOf(keydir).length).toBe(300)
  })
})
