/** Allocations that are refused: every operation is made whole or not at all. */

import { describe, expect, it } from 'vitest'
import type { KeydirKind, Snapshot } from '../../src/index.ts'
import { assertFigures } from '../recovery/inspection.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { RefusedMemory } from '../support/memory.ts'
import { Random } from '../support/random.ts'
import { DISK, idle, KIB, openOn, type TextOptions, type TextStore } from '../support/store.ts'

const SEED = Number(process.env.SEED ?? 1)
const KINDS: readonly KeydirKind[] = ['btree', 'hash', 'skiplist', 'bplustree']

type Model = ReadonlyMap<string, string>
/** Keys with the values to put; `undefined` deletes the key. */
type Changes = readonly (readonly [key: string, value: string | undefined])[]

const sorted = (model: Model): [string, string][] => [...model].sort(([a], [b]) => (a < b ? -1 : 1))

/** A store that is refused memory, with a model of what it must show. */
class Subject {
  store: TextStore
  model: Model = new Map()
  /** The number of refused allocations. */
  refused = 0
  readonly files: FaultyFiles
  readonly #options: TextOptions
  #snapshot: { readonly taken: Snapshot<string>; readonly model: Model } | undefined

  private constructor(files: FaultyFiles, options: TextOptions, store: TextStore) {
    this.files = files
    this.#options = options
    this.store = store
  }

  static async open(options: TextOptions): Promise<Subject> {
    const files = new FaultyFiles(SEED)
    const store = await openOn(files, { maxSegmentBytes: 512 * KIB, ...options })
    return new Subject(files, options, store)
  }

  /** Makes changes with `write`, after refusing each of its allocations once. */
  async change(changes: Changes, write: () => unknown): Promise<void> {
    await this.reluctantly(write)
    const model = new Map(this.model)
    for (const [key, value] of changes) {
      if (value === undefined) model.delete(key)
      else model.set(key, value)
    }
    this.model = model
  }

  /** Does `work`, after refusing each of its allocations once; checks the store after each. */
  async reluctantly(work: () => unknown, check = () => this.assertShown()): Promise<void> {
    for (let nth = 1; ; nth++) {
      const error = await this.#attempt(work, nth)
      if (error === undefined) return
      this.refused++
      expect(error).toMatchObject({ code: 'FIRKIN_NO_MEMORY' })
      check()
    }
  }

  takeSnapshot(): void {
    this.#snapshot?.taken.close()
    this.#snapshot = { taken: this.store.snapshot(), model: this.model }
  }

  /** Fails unless the store and the snapshot show what they must. */
  assertShown(): void {
    expect([...this.store.entries()]).toEqual(sorted(this.model))
    assertFigures(this.store)
    if (this.#snapshot === undefined) return
    expect([...this.#snapshot.taken.entries()]).toEqual(sorted(this.#snapshot.model))
  }

  /** Fails unless a process that opens the store after a kill now sees what it must. */
  async assertSurvives(): Promise<void> {
    const store = await openOn(this.files.restart(SEED), this.#options)
    expect([...store.entries()]).toEqual(sorted(this.model))
    await store.close()
  }

  async reopen(): Promise<void> {
    this.#snapshot?.taken.close()
    this.#snapshot = undefined
    await this.store.close()
    const open = async (): Promise<void> => {
      this.store = await openOn(this.files, { maxSegmentBytes: 512 * KIB, ...this.#options })
    }
    await this.reluctantly(open, () => {})
    this.assertShown()
  }

  async #attempt(work: () => unknown, nth: number): Promise<unknown> {
    using memory = new RefusedMemory({ nth })
    try {
      await work()
    } catch (error) {
      return error
    }
    // An allocation may be refused without an error if the work can do without it.
    return memory.refused > 0 && memory.asked < nth ? new Error('Refused and not told') : undefined
  }
}

/** Returns keys in no order, some of them long. */
const keyOf = (index: number): string =>
  `${index % 11 === 0 ? 'long '.repeat(60) : 'key'} ${(index * 7919) % 10_007}`

/** Returns random changes, mostly of new keys. */
function changesOf(random: Random, count: number, size: number): Changes {
  return Array.from({ length: count }, () => {
    const key = keyOf(random.below(4000))
    return random.chance(0.15) ? [key, undefined] : [key, 'v'.repeat(random.below(size))]
  })
}

/** Returns what `work` returns or throws. */
function attempt<T>(work: () => T): unknown {
  try {
    return work()
  } catch (error) {
    return error
  }
}

function commit({ store }: Subject, changes: Changes): Promise<void> {
  const batch = store.batch()
  for (const [key, value] of changes) {
    if (value === undefined) batch.delete(key)
    else batch.put(key, value)
  }
  return batch.commit()
}

describe.each(KINDS)('a store on a %s whose every allocation is refused once', (keydir) => {
  it.each([true, false])(
    `is not changed by a refusal, with checkpoint %s (seed ${SEED})`,
    async (checkpoint) => {
      const random = new Random(SEED)
      const subject = await Subject.open({ keydir, checkpoint, merge: { automatic: false } })

      for (let round = 0; round < 12; round++) {
        if (round % 4 === 1) subject.takeSnapshot()
        for (const change of changesOf(random, 30, 100)) {
          const [key, value] = change
          await subject.change([change], () =>
            value === undefined ? subject.store.delete(key) : subject.store.put(key, value),
          )
        }
        const [sync, large] = [
          [keyOf(round), 's'],
          [keyOf(round + 50), 'x'.repeat(300 * KIB)],
        ] as const
        await subject.change([sync], () => subject.store.putSync(...sync))
        const small = changesOf(random, 80, 60)
        await subject.change(small, () => commit(subject, small))
        if (round % 3 === 0) {
          const many = changesOf(random, 100, 8 * KIB)
          await subject.change(many, () => commit(subject, many))
          await subject.change([large], () => subject.store.put(...large))
        }
        if (round % 4 === 3) {
          await subject.assertSurvives()
          await subject.reluctantly(() => subject.store.merge())
          await idle(subject.store)
          await subject.assertSurvives()
          await subject.reopen()
        }
      }
      const gone = [...subject.model.keys()].filter((key) => key.startsWith('long'))
      await subject.change(
        gone.map((key) => [key, undefined]),
        () =>
          commit(
            subject,
            gone.map((key) => [key, undefined]),
          ),
      )
      await subject.reopen()

      expect(subject.refused).toBeGreaterThan(20)
      await subject.store.close()
    },
  )
})

describe('refused memory', () => {
  /** Opens a store of many keys, so that a large batch makes the keydir grow. */
  async function filled(keydir: KeydirKind): Promise<{ files: FaultyFiles; store: TextStore }> {
    const files = new FaultyFiles(SEED)
    const store = await openOn(files, { keydir })
    const batch = store.batch()
    for (let index = 0; index < 300; index++) batch.put(`old ${index}`, 'old')
    await batch.commit()
    return { files, store }
  }

  it.each(KINDS)('leaves nothing of a batch in the stage of a %s', async (keydir) => {
    const { files, store } = await filled(keydir)
    const batch = store.batch()
    for (let index = 0; index < 2000; index++) batch.put(`new ${index}`, 'new')

    using memory = new RefusedMemory({ nth: 1 })
    await expect(batch.commit()).rejects.toMatchObject({ code: 'FIRKIN_NO_MEMORY' })
    expect(memory.refused).toBe(1)

    expect(store.count()).toBe(300)
    expect(store.has('new 0')).toBe(false)
    await store.put('later', 'settled')
    const killed = await openOn(files.restart(SEED), { keydir })
    expect(killed.get('later')).toBe('settled')
    expect(killed.count()).toBe(301)
    await batch.commit()
    expect(store.count()).toBe(2301)
    await Promise.all([killed.close(), store.close()])
    const again = await openOn(files, { keydir })
    expect(again.count()).toBe(2301)
    await again.close()
  })

  it.each(KINDS)('does not affect what was staged before in the group, in a %s', async (keydir) => {
    const { store } = await filled(keydir)

    const before = store.put('before', '1')
    const memory = new RefusedMemory({ nth: 1, lasting: true })
    const outcomes = Array.from({ length: 3000 }, (_, index) => store.put(`new ${index}`, 'new'))
    const all = await Promise.allSettled(outcomes)
    memory[Symbol.dispose]()

    expect(all.map(({ status }) => status)).toContain('rejected')
    all.forEach(({ status }, index) => {
      expect(store.has(`new ${index}`)).toBe(status === 'fulfilled')
    })
    await before
    expect(store.get('before')).toBe('1')
  })

  it.each(KINDS)(
    'leaves nothing on disk of a value larger than the stage, in a %s',
    async (keydir) => {
      const { files, store } = await filled(keydir)
      const value = 'x'.repeat(300 * KIB)

      for (let nth = 1; ; nth++) {
        using memory = new RefusedMemory({ nth })
        const outcome = await store.put('large', value).catch((error: unknown) => error)
        if (memory.refused === 0) break
        expect(outcome).toMatchObject({ code: 'FIRKIN_NO_MEMORY' })
        expect(store.has('large')).toBe(false)
        const killed = await openOn(files.restart(SEED), { keydir })
        expect(killed.has('large')).toBe(false)
        await killed.close()
      }

      expect(store.get('large')).toBe(value)
      await store.close()
    },
  )

  it.each(KINDS)('never leaves half of a batch that is undone, in a %s', async (keydir) => {
    const old = Array.from({ length: 200 }, (_, index) => `key ${100_000 + index}`)
    let poisoned = 0
    for (let nth = 1, refused = 1; refused > 0; nth++) {
      const files = new FaultyFiles(SEED)
      const store = await openOn(files, { keydir })
      store.on('error', () => {})
      await Promise.all(old.map((key) => store.put(key, 'old')))
      // Entries that are deleted under an iterator are not reused, so undoing takes memory.
      const iterator = store.keys()
      iterator.next()
      const batch = store.batch()
      for (let index = 0; index < 1500; index++) {
        if (index % 10 === 0) batch.delete(old[index / 10] as string)
        batch.put(`new ${index}`, 'new')
      }

      const memory = new RefusedMemory({ nth, lasting: true })
      const outcome = await batch.commit().catch((error: unknown) => error)
      const shown = attempt(() => [store.has('new 0'), store.has(old[0] as string)])
      expect(store.stats().keydir.kind).toBe(keydir)
      memory[Symbol.dispose]()
      refused = memory.refused

      if (refused > 0) {
        expect(outcome).toMatchObject({ code: 'FIRKIN_NO_MEMORY' })
        const isLost = shown instanceof Error
        if (isLost) expect(shown).toMatchObject({ code: 'FIRKIN_POISONED' })
        else expect(shown).toEqual([false, true])
        // With memory again, everything is as before; a poisoned store accepts nothing new.
        expect(store.count()).toBe(old.length)
        expect([...store.keys()]).toEqual(old)
        const later = await store.put('later', '').catch((error: unknown) => error)
        expect(later instanceof Error).toBe(isLost)
        if (isLost) poisoned++
      }
      await store.close().catch(() => {})
      const again = await openOn(files, { keydir })
      expect(again.has(old[0] as string)).toBe(refused > 0)
      expect(again.has('new 0')).toBe(refused === 0)
      await again.close()
    }
    expect(poisoned).toBeGreaterThan(0)
  })

  it('fails a read with FIRKIN_NO_MEMORY, and the next read succeeds', async () => {
    // No page that is kept for reuse is this large.
    const size = 4096 * KIB
    const files = new FaultyFiles(SEED)
    await using store = await openOn(files)
    await store.put('large', 'x'.repeat(size))

    const memory = new RefusedMemory({ nth: 1, lasting: true })
    expect(() => store.get('large')).toThrow(expect.objectContaining({ code: 'FIRKIN_NO_MEMORY' }))
    memory[Symbol.dispose]()

    expect(store.get('large')).toHaveLength(size)
    expect(files.list(DISK)).not.toEqual([])
  })
})
