/** Snapshots, and the views of iterators: what they show, keep and release. */

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, it } from 'vitest'
import { segmentName } from '../../src/format/names.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { Random } from '../support/random.ts'
import { DISK, KIB, keysUpTo, openOn, type TextStore, until, withCode } from '../support/store.ts'

const kinds = ['btree', 'hash', 'skiplist', 'bplustree'] as const

/** Returns every order of `items`. */
function permutations<T>(items: readonly T[]): T[][] {
  if (items.length === 0) return [[]]
  return items.flatMap((item, at) =>
    permutations(items.filter((_, other) => other !== at)).map((rest) => [item, ...rest]),
  )
}

/** Returns the entries of a snapshot, after checking that every method agrees. */
function shownBy(snapshot: ReturnType<TextStore['snapshot']>, keys: readonly string[]) {
  const entries = [...snapshot.entries()]
  const byKey = new Map(entries)
  expect([...snapshot.keys()]).toEqual(entries.map(([key]) => key))
  expect([...snapshot.entries({ reverse: true })].reverse()).toEqual(entries)
  expect(snapshot.count()).toBe(entries.length)
  for (const key of keys) {
    expect(snapshot.get(key)).toBe(byKey.get(key))
    expect(snapshot.has(key)).toBe(byKey.has(key))
  }
  return entries
}

describe('a snapshot', () => {
  it('shows the store as it was, whatever is written since', async () => {
    await using store = await openOn(new FaultyFiles(1))
    await store.batch().put('a', '1').put('b', '2').put('c', '3').commit()
    using snapshot = store.snapshot()
    const staged = store.put('staged', 'after')

    await store.put('a', 'changed')
    await store.delete('b')
    await store.batch().put('d', '4').delete('c').put('c', 'again').commit()
    await staged

    expect(shownBy(snapshot, ['a', 'b', 'c', 'd', 'staged'])).toEqual([
      ['a', '1'],
      ['b', '2'],
      ['c', '3'],
    ])
    expect([...store.keys()]).toEqual(['a', 'c', 'd', 'staged'])
  })

  it('shows what was staged before it', async () => {
    await using store = await openOn(new FaultyFiles(1))

    const put = store.put('a', '1')
    using snapshot = store.snapshot()
    await put
    await store.put('a', '2')

    expect(snapshot.get('a')).toBe('1')
  })

  it('outlasts clear and merge, and the segments that they remove', async () => {
    await using store = await openOn(new FaultyFiles(1))
    const keys = keysUpTo(30)
    for (const key of keys) await store.put(key, key.repeat(700))
    using snapshot = store.snapshot()
    const before = shownBy(snapshot, keys)

    for (const key of keys.slice(0, 15)) await store.put(key, 'new')
    await store.merge()
    await store.clear()
    await store.merge()

    expect(store.count()).toBe(0)
    expect(shownBy(snapshot, keys)).toEqual(before)
    expect(before).toHaveLength(30)
  })

  it('shows what had not expired when it was made', async () => {
    let nowMs = 1000
    await using store = await openOn(new FaultyFiles(1), {
      clock: () => nowMs,
      expiryIntervalMs: 1,
    })
    await store.put('a', '1', { ttlMs: 10 })
    await store.put('b', '2', { ttlMs: 5 })
    nowMs += 5
    using snapshot = store.snapshot()

    nowMs += 100
    await until(() => store.stats().expiredKeys === 2)
    await store.merge()

    expect(store.count()).toBe(0)
    expect(shownBy(snapshot, ['a', 'b'])).toEqual([['a', '1']])
  })

  it.each(permutations([0, 1, 2, 3]))(
    'is not changed when others are closed, in the order %i %i %i %i',
    async (...order) => {
      await using store = await openOn(new FaultyFiles(1))
      const keys = keysUpTo(12)
      const random = new Random(Number(order.join('')))
      const open = []
      for (let round = 0; round < 4; round++) {
        for (let write = 0; write < 8; write++) {
          const key = random.pick(keys)
          if (random.chance(0.4)) store.deleteSync(key)
          else store.putSync(key, `${round} ${write}`)
        }
        const snapshot = store.snapshot()
        open.push({ snapshot, entries: shownBy(snapshot, keys) })
      }
      store.putSync('key 000', 'last')

      for (const at of order) {
        open[at]?.snapshot.close()
        for (const other of order.slice(order.indexOf(at) + 1)) {
          const { snapshot, entries } = open[other] ?? {}
          if (snapshot !== undefined) expect(shownBy(snapshot, keys)).toEqual(entries)
        }
        store.putSync(random.pick(keys), 'meanwhile')
        store.deleteSync(random.pick(keys))
      }
      expect(store.stats().openViews).toBe(0)
    },
  )

  it.each(kinds)('agrees with a copy through random writes, in a %s', async (keydir) => {
    const random = new Random(11)
    await using store = await openOn(new FaultyFiles(1), { keydir })
    const keys = keysUpTo(40)
    let open: { snapshot: ReturnType<TextStore['snapshot']>; entries: [string, string][] }[] = []
    for (let step = 0; step < 400; step++) {
      const key = random.pick(keys)
      const kind = random.below(12)
      if (kind < 5) store.putSync(key, `${step}`.repeat(1 + random.below(500)))
      else if (kind < 8) store.deleteSync(key)
      else if (kind < 9) store.batch().delete(key).put(random.pick(keys), 'batch').commitSync()
      else if (kind < 11 && open.length < 5) {
        open.push({ snapshot: store.snapshot(), entries: [...store.entries()] })
      } else if (open.length > 0) {
        const { snapshot, entries } = random.pick(open)
        expect(shownBy(snapshot, keys)).toEqual(entries)
        snapshot.close()
        open = open.filter((each) => each.snapshot !== snapshot)
      }
      if (step % 100 === 99) await store.merge()
    }
    for (const { snapshot, entries } of open) {
      expect(shownBy(snapshot, keys)).toEqual(entries)
      snapshot.close()
    }
  })

  it('cannot be used once it is closed, nor can its iterators', async () => {
    await using store = await openOn(new FaultyFiles(1))
    await store.put('a', '1')
    const snapshot = store.snapshot()
    const iterator = snapshot.keys()
    expect(store.stats().openViews).toBe(1)

    snapshot.close()
    snapshot.close()

    const closed = withCode('FIRKIN_CLOSED')
    expect(store.stats().openViews).toBe(0)
    expect(() => snapshot.get('a')).toThrow(closed)
    expect(() => snapshot.has('a')).toThrow(closed)
    expect(() => snapshot.getMany(['a'])).toThrow(closed)
    expect(() => snapshot.entries()).toThrow(closed)
    expect(() => snapshot.count()).toThrow(closed)
    expect(() => iterator.next()).toThrow(closed)
  })

  it('keeps the files that it needs until it is closed', async () => {
    const files = new FaultyFiles(1)
    await using store = await openOn(files)
    for (const round of ['a', 'b']) {
      for (const key of keysUpTo(20)) await store.put(key, round.repeat(6 * KIB))
    }
    const snapshot = store.snapshot()
    const { segments } = await store.merge()
    const merged = segments.map(({ id }) => segmentName(id))
    const left = () => merged.filter((name) => files.list(DISK)?.includes(name))
    expect(left()).toEqual(merged)

    snapshot.close()
    await until(() => left().length === 0)

    expect(store.get('key 000')).toBe('b'.repeat(6 * KIB))
    expect(store.stats().segments.map(({ id }) => segmentName(id))).not.toContain(merged[0])
  })
})

describe('many snapshots', () => {
  it.each(['newest first', 'oldest first', 'in no order'])(
    'are closed quickly, %s',
    async (order) => {
      await using store = await openOn(new FaultyFiles(1))
      const snapshots = Array.from({ length: 4000 }, (_, index) => {
        void store.put(`key ${index}`, 'v')
        return store.snapshot()
      })
      const random = new Random(1)
      const [kept] = snapshots.splice(0, 1)
      if (order === 'newest first') snapshots.reverse()
      if (order === 'in no order') snapshots.sort(() => random.below(3) - 1)
      const beganAt = performance.now()

      for (const snapshot of snapshots) snapshot.close()

      // It takes about 20 ms. If each one were copied into the next, it would take seconds.
      expect(performance.now() - beganAt).toBeLessThan(2500)
      expect([...(kept?.keys() ?? [])]).toEqual(['key 0'])
    },
  )
})

describe('an iterator with a limit', () => {
  it.each([0, 1, 2])('releases its view with the last of %s keys', async (limit) => {
    await using store = await openOn(new FaultyFiles(1))
    for (const key of ['a', 'b', 'c']) await store.put(key, key)

    const iterator = store.keys({ limit })
    const given = Array.from({ length: limit }, () => iterator.next().value)

    expect(given).toEqual(['a', 'b', 'c'].slice(0, limit))
    expect(store.stats().openViews).toBe(0)
    expect(iterator.next()).toEqual({ done: true, value: undefined })
  })
})

describe('an iterator that is abandoned', () => {
  it('releases its view when it is collected', async () => {
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    await using store = await openOn(new FaultyFiles(1))
    await store.put('a', '1')
    await store.put('b', '2')
    const abandon = (): void => void store.keys().next()
    abandon()
    expect(store.stats().openViews).toBe(1)

    await until(() => {
      collect()
      return store.stats().openViews === 0
    })

    expect(store.stats().openViews).toBe(0)
  })
})
