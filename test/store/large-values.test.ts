/** Large values, which are written in steps. */

import { setImmediate } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import type { KeydirKind } from '../../src/index.ts'
import { withDirectory } from '../support/directory.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { RefusedMemory } from '../support/memory.ts'
import { Random } from '../support/random.ts'
import { openOn, openStore, type TextStore, withCode } from '../support/store.ts'

const MIB = 1024 * 1024
const LARGE = { maxSegmentBytes: 16 * MIB } as const
const KINDS: readonly KeydirKind[] = ['btree', 'hash', 'skiplist', 'bplustree']

/** Returns a value of `size` bytes that begins with a name. */
function large(name: string, size = 3 * MIB): string {
  return name.padEnd(size, '.')
}

function writesOf(files: FaultyFiles): number {
  return files.calls.filter(({ kind }) => kind === 'write').length
}

/** Returns the entries of a store, with the first 8 characters of each value. */
function shown(store: TextStore): Record<string, string> {
  return Object.fromEntries(Array.from(store.entries(), ([key, value]) => [key, value.slice(0, 8)]))
}

/** Returns a write whose outcome is checked later, so that no rejection is unhandled. */
function pending<T>(write: Promise<T>): Promise<T> {
  write.catch(() => undefined)
  return write
}

async function outcomesOf(writes: readonly Promise<unknown>[]): Promise<string[]> {
  const settled = await Promise.allSettled(writes)
  return settled.map(({ status }) => status)
}

describe('a put of a large value', () => {
  it('is written in steps, between which the event loop turns', async () => {
    await withDirectory(async (directory) => {
      await using store = await openStore(directory, { maxSegmentBytes: 256 * MIB })
      let turns = 0
      let isOver = false
      const put = store.put('large', large('a value', 64 * MIB)).finally(() => {
        isOver = true
      })
      while (!isOver) {
        await setImmediate()
        turns++
      }
      await put

      expect(turns).toBeGreaterThan(10)
      expect(store.get('large')).toBe(large('a value', 64 * MIB))
    })
  })

  it('has written nothing when the call returns, and is visible at once', async () => {
    const files = new FaultyFiles(1)
    await using store = await openOn(files, LARGE)
    await store.put('a', 'before')
    const before = writesOf(files)

    const put = store.put('a', large('a#1'))
    await Promise.resolve()

    expect(writesOf(files)).toBe(before)
    expect(store.get('a')).toBe(large('a#1'))
    expect(store.has('a')).toBe(true)
    await put
    expect(writesOf(files)).toBeGreaterThan(before + 2)
    expect(store.get('a')).toBe(large('a#1'))
  })

  it('keeps the order of later writes, and settles before them', async () => {
    const files = new FaultyFiles(1)
    const settled: string[] = []
    const note = (name: string) => () => settled.push(name)
    {
      await using store = await openOn(files, LARGE)
      const writes = [store.put('a', large('a#1')).then(note('a#1'))]
      await setImmediate()
      writes.push(
        store.put('b', 'b#1').then(note('b#1')),
        store.delete('a').then(note('a gone')),
        store.put('c', large('c#1')).then(note('c#1')),
        store.batch().put('b', 'b#2').put('d', 'd#1').commit().then(note('batch')),
      )
      expect(store.get('a')).toBeUndefined()
      expect(shown(store)).toEqual({ b: 'b#2', c: large('c#1', 8), d: 'd#1' })
      await Promise.all(writes)
    }
    expect(settled).toEqual(['a#1', 'b#1', 'a gone', 'c#1', 'batch'])
    files.crash()
    await using again = await openOn(files.restart(1), LARGE)
    expect(shown(again)).toEqual({ b: 'b#2', c: large('c#1', 8), d: 'd#1' })
  })

  const waits: [string, (store: TextStore) => unknown][] = [
    ['putSync', (store) => store.putSync('b', 'b#1')],
    ['deleteSync', (store) => store.deleteSync('before')],
    ['commitSync', (store) => store.batch().put('b', 'b#1').commitSync()],
    ['a snapshot', (store) => store.snapshot().close()],
    ['entries', (store) => [...store.keys()]],
  ]
  it.each(waits)('is finished first by %s', async (_, wait) => {
    const files = new FaultyFiles(1)
    const store = await openOn(files, LARGE)
    await store.put('before', '1')
    const put = pending(store.put('a', large('a#1')))
    await setImmediate()

    wait(store)

    files.crash()
    await using again = await openOn(files.restart(1), LARGE)
    expect(again.get('a')).toBe(large('a#1'))
    await expect(put).resolves.toBeUndefined()
    await expect(store.close()).rejects.toThrow('crashed')
  })

  it('is awaited by sync, verify, merge and close', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files, LARGE)
    const works: [string, () => Promise<unknown>][] = [
      ['sync', () => store.sync()],
      ['verify', () => store.verify()],
      ['merge', () => store.merge()],
      ['close', () => store.close()],
    ]
    for (const [name, work] of works) {
      const put = store.put('a', large(name))
      await setImmediate()
      await work()
      await put
    }
    await using again = await openOn(files, LARGE)
    expect(shown(again)).toEqual({ a: large('close', 8) })
  })

  it('changes nothing if there is no memory for it', async () => {
    const files = new FaultyFiles(1)
    await using store = await openOn(files, LARGE)
    await store.put('a', 'before')
    {
      using _ = new RefusedMemory({ nth: 1, lasting: true })
      await expect(store.put('a', large('a#1'))).rejects.toThrow(withCode('FIRKIN_NO_MEMORY'))
    }
    await store.put('b', 'b#1')
    expect(shown(store)).toEqual({ a: 'before', b: 'b#1' })
  })
})

describe.each(KINDS)('a large value in a %s that is being written', (keydir) => {
  it('is undone with all later writes, whichever of its writes fails', async () => {
    for (let nth = 1; ; nth++) {
      const files = new FaultyFiles(nth)
      const store = await openOn(files, { ...LARGE, keydir })
      await store.put('a', 'a#0')
      await store.put('b', 'b#0')
      await store.put('d', 'd#0')
      files.fail({ kinds: ['write'], nth, code: nth % 2 === 0 ? 'ENOSPC' : 'EIO' })
      const writes: Promise<unknown>[] = [
        pending(store.put('a', large('a#1', 2 * MIB))),
        pending(store.put('e', 'e#1')),
      ]
      await setImmediate()
      writes.push(store.put('b', 'b#1'), store.delete('d'), store.put('a', large('a#2', MIB)))
      const outcomes = new Set(await outcomesOf(writes))
      const isOver = outcomes.has('fulfilled')
      files.heal()

      const expected = isOver
        ? { a: large('a#2', 8), b: 'b#1', e: 'e#1' }
        : { a: 'a#0', b: 'b#0', d: 'd#0' }
      expect(outcomes.size).toBe(1)
      expect(shown(store)).toEqual(expected)
      const { liveBytes, deadBytes } = store.stats()
      await store.put('c', 'c#1')
      expect(store.stats().deadBytes).toBe(deadBytes)
      expect(store.stats().liveBytes).toBeGreaterThan(liveBytes)
      await store.close()
      await using again = await openOn(files, { ...LARGE, keydir })
      expect(shown(again)).toEqual({ ...expected, c: 'c#1' })
      expect((await again.verify()).findings).toEqual([])
      if (isOver) {
        expect(nth).toBeGreaterThan(3)
        return
      }
    }
  })

  it('is there or not after a crash in any call, and without it no later write is', async () => {
    const files = new FaultyFiles(7)
    const crashes: FaultyFiles[] = []
    const store = await openOn(files, { ...LARGE, keydir })
    await store.put('a', 'a#0')
    files.onCall = (_, crash) => crashes.push(crash())
    const writes = [store.put('a', large('a#1', 2 * MIB))]
    await setImmediate()
    writes.push(store.put('b', 'b#1'), store.put('c', large('c#1', MIB)))
    await Promise.all(writes)
    files.onCall = undefined
    await store.close()

    const seen = new Set<string>()
    for (const crashed of crashes) {
      await using again = await openOn(crashed, { ...LARGE, keydir })
      seen.add(Object.values(shown(again)).join(' '))
      await again.put('d', 'd#1')
      expect(again.get('d')).toBe('d#1')
    }
    const after = [large('a#1', 8), 'b#1', large('c#1', 8)]
    const states = ['a#0', ...after.map((_, index) => after.slice(0, index + 1).join(' '))]
    for (const state of seen) expect(states).toContain(state)
    expect(crashes.length).toBeGreaterThan(4)
  })
})

describe('a large value that is being written', () => {
  it('loses nothing to a merge, expiry and failures meanwhile', async () => {
    for (let seed = 1; seed <= 12; seed++) {
      const random = new Random(seed)
      const files = new FaultyFiles(seed)
      let nowMs = 1000
      const options = { ...LARGE, clock: () => nowMs }
      const store = await openOn(files, options)
      let settled: Record<string, string> = {}
      for (let round = 0; round < 12; round++) {
        const fails = random.chance(0.4)
        const before = { ...settled }
        const after = { ...settled }
        const name = `r${round}`
        if (fails)
          files.fail({
            kinds: ['write'],
            path: /segment$/,
            nth: 1 + random.below(4),
            code: 'ENOSPC',
          })
        const size = 2 * MIB + random.below(MIB)
        const writes: Promise<unknown>[] = [pending(store.put('large', large(name, size)))]
        after.large = large(name, 8)
        for (let turn = random.below(3); turn > 0; turn--) await setImmediate()
        const key = `key ${random.below(4)}`
        writes.push(pending(store.put(key, name)))
        after[key] = name
        const merge = random.chance(0.5) ? store.merge().catch(() => undefined) : undefined
        nowMs += 10
        const outcomes = await outcomesOf(writes)
        await merge
        files.heal()
        if (outcomes.every((outcome) => outcome === 'fulfilled')) settled = after
        else if (outcomes.every((outcome) => outcome === 'rejected')) settled = before
        else if (outcomes[0] === 'fulfilled') settled = { ...before, large: large(name, 8) }
        else settled = { ...before, [key]: name }
        expect(shown(store), `seed ${seed}, round ${round}`).toEqual(settled)
      }
      await store.close()
      await using again = await openOn(files, options)
      expect(shown(again), `seed ${seed}`).toEqual(settled)
    }
  })
})
