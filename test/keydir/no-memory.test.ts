import { describe, expect, it } from 'vitest'
import type { KeydirKind } from '../../src/format/keydir-kind.ts'
import { createKeydir } from '../../src/keydir/create.ts'
import { Entries } from '../../src/keydir/entries.ts'
import { HashKeydir } from '../../src/keydir/hash.ts'
import { KeyHash } from '../../src/keydir/key-hash.ts'
import { type Keydir, NO_ENTRY } from '../../src/keydir/keydir.ts'
import { RefusedMemory } from '../support/memory.ts'
import { bytes, type Fields, fieldsOf, find, insert, keysOf, Random, update } from './model.ts'

const SEED = Number(process.env.SEED ?? 1)
const KINDS: readonly KeydirKind[] = ['btree', 'hash', 'skiplist', 'bplustree']

/** Gives all keys of one length the same hash, so that pages grow chains. */
class PoorHash extends KeyHash {
  override compute(words: Uint32Array, at: number, size: number): void {
    super.compute(words, at, 0)
    this.high = Math.imul(size, 0x9e3779b1)
  }
}

type Model = Map<string, Fields>

/**
 * Fails if a keydir does not hold what the model does, or if its index and its entries contradict
 * each other.
 */
function assertHolds(keydir: Keydir, model: Model): void {
  expect(keydir.size).toBe(model.size)
  expect(keysOf(keydir)).toEqual([...model.keys()].sort())
  for (const [key, fields] of model) {
    const entry = find(keydir, bytes(key))
    if (entry === NO_ENTRY) throw new Error(`${key} is not found`)
    expect(fieldsOf(keydir, entry)).toEqual(fields)
  }
  let walked = 0
  const count = () => void walked++
  for (let place = 0; place !== -1; ) place = keydir.entries.walk(place, 1000, count)
  expect(walked).toBe(model.size)
}

/**
 * Repeats some work until it succeeds, refusing its next allocation each time; returns how many
 * were refused.
 */
function doReluctantly(work: () => void, check: () => void): number {
  for (let nth = 1; ; nth++) {
    using memory = new RefusedMemory({ nth })
    try {
      work()
      return nth - 1
    } catch (error) {
      expect(error).toMatchObject({ code: 'FIRKIN_NO_MEMORY' })
      expect(memory.refused).toBe(1)
    }
    check()
  }
}

/** Adds and removes many keys, mostly new ones at first and fewer later. */
function changeAll(keydir: Keydir, count: number, keyOf: (index: number) => string): number {
  const random = new Random(SEED)
  const model: Model = new Map()
  let refused = 0
  for (let step = 0; step < count; step++) {
    const key = keyOf(random.below(count))
    const isPut = random.below(count) > step / 1.2
    const fields = random.fields()
    if (step % 500 === 0) keydir.entries.pin()
    if (step % 500 === 90) keydir.entries.unpin()
    const change = (): void => {
      const entry = find(keydir, bytes(key))
      if (!isPut && entry !== NO_ENTRY) keydir.remove(entry)
      else if (isPut && entry === NO_ENTRY) insert(keydir, bytes(key), fields)
      else if (isPut) update(keydir, entry, fields)
    }
    refused += doReluctantly(change, () => assertHolds(keydir, model))
    if (isPut) model.set(key, fields)
    else model.delete(key)
  }
  assertHolds(keydir, model)
  return refused
}

describe.each(KINDS)('a %s keydir without memory', (kind) => {
  it(`is unchanged after a change that was refused, seed ${SEED}`, () => {
    const keydir = createKeydir(kind)
    const keyOf = (index: number) =>
      `${index % 7 === 0 ? 'long '.repeat(100 + (index % 900)) : 'key'} ${(index * 7919) % 100_003}`

    const refused = changeAll(keydir, 6000, keyOf)

    expect(refused).toBeGreaterThan(20)
  })

  it('takes none to remove a key that was just found', () => {
    const keydir = createKeydir(kind)
    const keys = Array.from({ length: 5000 }, (_, index) => `key ${(index * 7919) % 10_007}`)
    for (const key of keys) insert(keydir, bytes(key))

    using memory = new RefusedMemory({ nth: 1, lasting: true })
    for (const key of keys) keydir.remove(find(keydir, bytes(key)))

    expect(keydir.size).toBe(0)
    expect(find(keydir, bytes('key 7919'))).toBe(NO_ENTRY)
    expect(memory.refused).toBe(memory.asked)
  })

  it('refuses a cursor that needs memory, and returns the next one', () => {
    const keydir = createKeydir(kind)
    for (let index = 0; index < 100; index++) insert(keydir, bytes(`key ${100 + index}`))

    const refused = doReluctantly(
      () => keysOf(keydir),
      () => keydir.entries.unpin(),
    )

    expect(refused > 0).toBe(!keydir.ordered)
    expect(keysOf(keydir)).toHaveLength(100)
  })
})

describe('a hash keydir whose pages have chains, without memory', () => {
  it('is unchanged after a change that was refused', () => {
    const keydir = new HashKeydir(new Entries(), new PoorHash(1, 2))
    const keyOf = (index: number) => `${'k'.repeat(1 + (index % 3))} ${100_000 + index}`

    const refused = changeAll(keydir, 9000, keyOf)

    expect(refused).toBeGreaterThan(5)
  })
})
