/** Ranges and iterators: which keys they return, in order, and from which moment. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { RangeOptions } from '../../src/index.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { inRange } from '../support/ranges.ts'
import { DISK, KIB, keysUpTo, openAny, openOn, type TextStore, withCode } from '../support/store.ts'

const kinds = ['btree', 'hash', 'skiplist', 'bplustree'] as const

/** Keys that are hard cases for bounds, in byte order. */
const keys = [
  'a',
  'a\0',
  'aa',
  'ab',
  'b',
  'b\u00ff',
  'b\u{10ffff}',
  'ba',
  'c',
  'é',
  '\uffff',
  '😀',
].sort((left, right) => Buffer.compare(Buffer.from(left), Buffer.from(right)))

/** Returns the keys that a range must return, by testing every key. */
function filtered(all: readonly Buffer[], range: RangeOptions): Buffer[] {
  return inRange(all, range, (key) => key)
}

describe('a range', () => {
  it.each([
    [{ from: 'a' }, TypeError, 'Unknown range option from'],
    [{ prefx: 'a' }, TypeError, 'did you mean prefix?'],
    [{ gt: 7 }, TypeError, 'Option gt must be a string or a Uint8Array'],
    [{ prefix: null }, TypeError, 'Option prefix must be a string or a Uint8Array'],
    [{ lte: '\ud800' }, TypeError, 'The key has a lone surrogate'],
    [{ reverse: 1 }, TypeError, 'Option reverse must be a boolean'],
    [{ limit: '1' }, TypeError, 'Option limit is "1"; it must be an integer'],
    [{ limit: 1.5 }, TypeError, 'Option limit is 1.5; it must be an integer'],
    [{ limit: -1 }, RangeError, 'Option limit is -1'],
    [[], TypeError, 'must be an object'],
    ['a', TypeError, 'must be an object'],
    [null, TypeError, 'must be an object'],
  ])('is refused: %o', async (range, kind, text) => {
    await using store = await openOn(new FaultyFiles(1))
    using snapshot = store.snapshot()

    for (const source of [store, snapshot]) {
      for (const method of ['entries', 'keys', 'values', 'count'] as const) {
        expect(() => source[method](range as RangeOptions)).toThrow(kind)
        expect(() => source[method](range as RangeOptions)).toThrow(text)
      }
    }
    await expect(store.clear(range as RangeOptions)).rejects.toThrow(text)
    expect(store.stats().openViews).toBe(1)
  })

  it.each<RangeOptions>([
    {},
    { gt: 'a' },
    { gte: 'a' },
    { lt: 'b' },
    { lte: 'b' },
    { gt: 'a', lt: 'b' },
    { gte: 'aa', lte: 'ab' },
    { gt: 'a', gte: 'aa' },
    { gt: 'aa', gte: 'aa' },
    { lt: 'b', lte: 'b' },
    { lt: 'c', lte: 'b' },
    { prefix: 'a' },
    { prefix: 'b' },
    { prefix: 'é' },
    { prefix: 'zz' },
    { prefix: Buffer.of(0xff) },
    { prefix: Buffer.of(0xff, 0xff) },
    { prefix: Buffer.of(0xf0) },
    { prefix: 'a', gt: 'a' },
    { prefix: 'a', lt: 'ab' },
    { prefix: 'a', gt: 'b' },
    { gt: '', lt: 'aa' },
    { gt: '' },
    { gte: '' },
    { lt: '' },
    { lte: '' },
    { prefix: '' },
    { gt: 'c', lt: 'a' },
    { gte: 'c', lte: 'a' },
    { gt: 'b', lt: 'b' },
    { gte: 'b', lte: 'b' },
    { gte: 'b', lt: 'b' },
    { limit: 0 },
    { limit: 3 },
    { limit: 1000 },
    { prefix: 'x'.repeat(100_000) },
    { lt: 'x'.repeat(100_000) },
    { gt: 'a'.repeat(65_536) },
    { gte: Buffer.of(0) },
    { gt: Buffer.of(0xff), lte: Buffer.of(0xff, 0xff, 0xff) },
  ])('returns the keys between its bounds, in order: %o', async (range) => {
    const all = keys.map((key) => Buffer.from(key))
    for (const keydir of kinds) {
      await using store = await openAny(
        DISK,
        { keydir, lock: false, keyEncoding: 'buffer' },
        new FaultyFiles(1),
      )
      for (const key of keys) await store.put(key, `${key} value`)
      await store.put(Buffer.of(0xff, 0xff), 'last')
      const present = [...all, Buffer.of(0xff, 0xff)]

      for (const reverse of [false, true]) {
        const expected = filtered(present, { ...range, reverse }).map(String)
        const found = [...store.keys({ ...range, reverse })]
        expect(found.map(String), keydir).toEqual(expected)
        expect([...store.entries({ ...range, reverse })].map(([key]) => String(key))).toEqual(
          expected,
        )
        expect(store.count({ ...range, reverse })).toBe(expected.length)
        using snapshot = store.snapshot()
        expect([...snapshot.keys({ ...range, reverse })].map(String)).toEqual(expected)
      }
    }
  })

  it.each(kinds)('returns what a filter returns, in a %s', async (keydir) => {
    await using store = await openAny(
      DISK,
      { keydir, lock: false, keyEncoding: 'buffer' },
      new FaultyFiles(1),
    )
    const key = fc
      .array(fc.constantFrom(0, 1, 0x61, 0x62, 0xfe, 0xff), { minLength: 1, maxLength: 5 })
      .map((bytes) => Buffer.from(bytes))
    const drawn = fc.sample(key, { numRuns: 400, seed: 7 })
    for (const each of drawn) await store.put(each, each)
    const all = [...new Map(drawn.map((each) => [each.toString('hex'), each])).values()].sort(
      Buffer.compare,
    )
    const bound = fc.option(fc.oneof(key, fc.constantFrom(...all)), { nil: undefined })

    fc.assert(
      fc.property(
        fc.record({
          gt: bound,
          gte: bound,
          lt: bound,
          lte: bound,
          prefix: fc.option(
            key.map((each) => each.subarray(0, 2)),
            { nil: undefined },
          ),
          reverse: fc.boolean(),
          limit: fc.option(fc.nat(50), { nil: undefined }),
        }),
        (options) => {
          const range = Object.fromEntries(
            Object.entries(options).filter(([, value]) => value !== undefined),
          ) as RangeOptions

          const found = [...store.keys(range)].map((each) => each.toString('hex'))

          expect(found).toEqual(filtered(all, range).map((each) => each.toString('hex')))
        },
      ),
      { numRuns: 200 },
    )
  })
})

describe('an iterator', () => {
  it('returns entries, keys or values, and that of the store itself entries', async () => {
    await using store = await openOn(new FaultyFiles(1))
    await store.batch().put('b', '2').put('a', '1').commit()

    expect([...store.entries()]).toEqual([
      ['a', '1'],
      ['b', '2'],
    ])
    expect([...store]).toEqual([...store.entries()])
    expect([...store.keys({ reverse: true })]).toEqual(['b', 'a'])
    expect([...store.values({ gt: 'a' })]).toEqual(['2'])
    expect([...store.snapshot()]).toEqual([...store.entries()])
  })

  it.each(kinds)('shows the store as of its creation, in a %s', async (keydir) => {
    await using store = await openOn(new FaultyFiles(1), { keydir })
    const present = keysUpTo(300)
    await Promise.all(present.map((key) => store.put(key, 'old')))
    const started = store.entries()
    const fresh = store.entries()
    const first = [started.next().value, started.next().value]

    await Promise.all([
      ...present.filter((_, index) => index % 3 === 0).map((key) => store.delete(key)),
      ...present.filter((_, index) => index % 3 === 1).map((key) => store.put(key, 'new')),
      ...present.map((key) => store.put(`${key} more`, 'new')),
      store.batch().put('a', 'first').delete('key 299').commit(),
    ])

    const expected = present.map((key) => [key, 'old'])
    expect([...first, ...started]).toEqual(expected)
    expect([...fresh]).toEqual(expected)
  })

  it.each(kinds)('goes on if its current key is deleted, in a %s', async (keydir) => {
    await using store = await openOn(new FaultyFiles(1), { keydir })
    const present = keysUpTo(200)
    await Promise.all(present.map((key) => store.put(key, key)))

    for (const reverse of [false, true]) {
      const seen: string[] = []
      for (const key of store.keys({ reverse })) {
        seen.push(key)
        store.deleteSync(key)
        store.putSync(`${key} again`, '')
      }
      expect(seen).toEqual(reverse ? [...present.map((key) => `${key} again`)].reverse() : present)
    }
  })

  it('releases its view at its end, when it is left early, and when it is disposed', async () => {
    await using store = await openOn(new FaultyFiles(1))
    for (const key of ['a', 'b', 'c']) await store.put(key, key)

    const exhausted = [...store.keys()]
    for (const _ of store.keys()) break
    expect(() => {
      for (const _ of store.keys()) throw new Error('left')
    }).toThrow('left')
    {
      using iterator = store.values()
      iterator.next()
    }
    const limited = [...store.keys({ limit: 1 })]

    expect([exhausted.length, limited.length]).toEqual([3, 1])
    expect(store.stats().openViews).toBe(0)
  })

  it('stays at its end', async () => {
    await using store = await openOn(new FaultyFiles(1))
    await store.put('a', '1')
    const iterator = store.keys()

    expect([iterator.next(), iterator.next(), iterator.next()]).toEqual([
      { done: false, value: 'a' },
      { done: true, value: undefined },
      { done: true, value: undefined },
    ])
    await store.put('b', '2')
    expect(iterator.next().done).toBe(true)
    expect(iterator.return()).toEqual({ done: true, value: undefined })
  })

  it('ends with the store', async () => {
    const store = await openOn(new FaultyFiles(1))
    await store.put('a', '1')
    await store.put('b', '2')
    const iterator = store.keys()
    iterator.next()
    await store.close()

    expect(() => iterator.next()).toThrow(withCode('FIRKIN_CLOSED'))
  })

  it('reports damage where it is, and can go on after it', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    for (const key of ['a', 'b', 'c']) await store.put(key, `value of ${key}`)
    await store.close()
    const path = `${DISK}/0000000001.segment`
    const bytes = files.peek(path) ?? Buffer.alloc(0)
    bytes[bytes.indexOf('value of b')] = 0
    files.poke(path, bytes)

    await using damaged = await openOn(files)
    const values = damaged.values()

    expect(values.next().value).toBe('value of a')
    expect(() => values.next()).toThrow(withCode('FIRKIN_CORRUPT'))
    expect(values.next().value).toBe('value of c')
    expect(values.next().done).toBe(true)
  })
})

describe.each(['btree', 'skiplist'] as const)('of the unread keys of a %s', (keydir) => {
  const options = { keydir, maxSegmentBytes: 64 * 1024 * KIB } as const

  /** Makes a closed store whose long keys fill several chunks of its checkpoint. */
  async function makeLong(): Promise<FaultyFiles> {
    const files = new FaultyFiles(1)
    const store = await openOn(files, options)
    const numbers = Array.from({ length: 6000 }, (_, index) => String(index).padStart(4, '0'))
    await Promise.all(numbers.map((number) => store.put(number.padEnd(3000, '-'), '')))
    await store.close()
    return files
  }

  /** Returns how many chunks are read if `act` is done first after an open. */
  async function chunksReadBy(
    files: FaultyFiles,
    act: (store: TextStore) => void,
  ): Promise<number> {
    const machine = files.restart(1)
    await using store = await openOn(machine, options)
    const { length } = machine.calls
    act(store)
    return machine.calls
      .slice(length)
      .filter(({ kind, path }) => kind === 'read' && path === `${DISK}/CHECKPOINT`).length
  }

  it('none is read to count them, for figures, or for a snapshot', async () => {
    const files = await makeLong()

    expect(await chunksReadBy(files, (store) => expect(store.count()).toBe(6000))).toBe(0)
    expect(await chunksReadBy(files, (store) => expect(store.stats().keys).toBe(6000))).toBe(0)
    expect(await chunksReadBy(files, (store) => store.snapshot().close())).toBe(0)
  })

  it('only those near a range are read, and none before they are wanted', async () => {
    const files = await makeLong()

    const all = await chunksReadBy(files, (store) => expect([...store.keys()]).toHaveLength(6000))
    expect(all).toBeGreaterThan(8)
    const parts: ((store: TextStore) => void)[] = [
      (store) => expect(store.keys().next().value).toMatch(/^0000-/),
      (store) => expect([...store.keys({ prefix: '377' })]).toHaveLength(10),
      (store) => expect(store.count({ gte: '4000', lt: '4010' })).toBe(10),
      (store) => expect([...store.keys({ reverse: true, limit: 10 })]).toHaveLength(10),
    ]
    for (const part of parts) {
      expect(await chunksReadBy(files, part)).toBeLessThanOrEqual(all / 2)
    }
  })
})

describe('count', () => {
  it('counts all keys', async () => {
    await using store = await openOn(new FaultyFiles(1))
    expect(store.count()).toBe(0)
    await Promise.all(keysUpTo(50).map((key) => store.put(key, '')))

    expect(store.count()).toBe(50)
    expect(store.count({ limit: 7 })).toBe(7)
    expect(store.count({ prefix: 'key 01' })).toBe(10)
    expect(store.count({ reverse: true })).toBe(50)
    expect(store.stats().openViews).toBe(0)
  })

  it('leaves out what has expired', async () => {
    let nowMs = 1000
    await using store = await openOn(new FaultyFiles(1), { clock: () => nowMs })
    await store.put('a', '')
    await store.put('b', '', { ttlMs: 10 })
    expect(store.count()).toBe(2)

    nowMs += 10

    expect(store.count()).toBe(1)
    expect(store.count({ gte: 'b' })).toBe(0)
  })
})
