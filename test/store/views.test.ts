/** Views of a keydir: what they show, what is kept for them, and what they cost. */

import { setImmediate } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { resolveRange } from '../../src/engine/range.ts'
import { ViewCursor } from '../../src/engine/view-cursor.ts'
import { type FoundEntry, type View, Views } from '../../src/engine/views.ts'
import type { KeydirKind } from '../../src/format/keydir-kind.ts'
import { watchAllocations } from '../../src/io/memory.ts'
import { Arena } from '../../src/keydir/arena.ts'
import { createKeydir } from '../../src/keydir/create.ts'
import { type Entry, type Keydir, NO_ENTRY } from '../../src/keydir/keydir.ts'
import { Sweeps } from '../../src/segment/sweeps.ts'
import { Random } from '../support/random.ts'

const NOTHING_EXPIRED = { nowMs: 0, sweeps: Sweeps.of([]) }

const KINDS: readonly KeydirKind[] = ['btree', 'hash', 'skiplist', 'bplustree']

const bytesOf = (key: string): Buffer => Buffer.from(key)

/** A keydir with its views. Values are sequences, one for each change. */
class Subject {
  readonly views: Views
  keydir: Keydir
  #sequence = 0
  readonly #found: FoundEntry

  constructor(kind: KeydirKind) {
    this.keydir = createKeydir(kind)
    this.views = new Views(this.keydir)
    this.#found = { holder: this.keydir, entry: NO_ENTRY }
  }

  put(key: string): number {
    const bytes = bytesOf(key)
    const sequence = ++this.#sequence
    const entry = this.#save(bytes)
    if (entry === NO_ENTRY) this.keydir.insert(bytes, bytes.length, 1, 8, 100, sequence, 0)
    else this.keydir.update(entry, 1, 8, 100, sequence, 0)
    return sequence
  }

  remove(key: string): void {
    const bytes = bytesOf(key)
    const entry = this.#save(bytes)
    if (entry !== NO_ENTRY) this.keydir.remove(entry)
  }

  find(view: View, key: string): number | undefined {
    const bytes = bytesOf(key)
    const found = this.#found
    if (!this.views.find(view, bytes, bytes.length, found)) return undefined
    return found.holder.entries.sequenceOf(found.entry)
  }

  walk(view: View, range: Parameters<typeof resolveRange>[0] = {}): Walk {
    return new Walk(new ViewCursor(this.views, view, resolveRange(range), () => {}))
  }

  /** Returns the number of versions that are kept for a view and those after it. */
  kept(view: View): number {
    return this.views.versionsOf(view)?.size ?? 0
  }

  #save(key: Uint8Array): Entry {
    const entry = this.keydir.find(key, key.length)
    this.views.save(entry, key, key.length)
    return entry
  }
}

/** The keys and values that a cursor returns. */
class Walk {
  readonly #cursor: ViewCursor

  constructor(cursor: ViewCursor) {
    this.#cursor = cursor
  }

  next(): [string, number] | undefined {
    const entry = this.#cursor.next()
    if (entry === NO_ENTRY) return undefined
    const { entries } = this.#cursor.holder
    return [entries.keyText(entry), entries.sequenceOf(entry)]
  }

  rest(): [string, number][] {
    const given: [string, number][] = []
    for (let each = this.next(); each !== undefined; each = this.next()) given.push(each)
    return given
  }
}

/** An open view, with a plain copy of what it shows. */
interface Shown {
  readonly view: View
  readonly copy: ReadonlyMap<string, number>
  readonly walks: { readonly walk: Walk; readonly expected: [string, number][] }[]
}

/** Lets the event loop turn until the work is done that views leave for later. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await setImmediate()
}

afterEach(() => {
  watchAllocations(undefined)
})

describe('views', () => {
  const runs = KINDS.flatMap((kind) => [1, 2, 3, 4, 5].map((seed) => [kind, seed] as const))

  it.each(runs)(
    'agree with copies, whatever opens and closes, in a %s (seed %i)',
    async (kind, seed) => {
      const random = new Random(seed)
      const subject = new Subject(kind)
      const { views } = subject
      const keys = Array.from(
        { length: 60 },
        (_, index) => `${index % 5} key ${index % 7} ${index}`,
      )
      const present = new Map<string, number>()
      let open: Shown[] = []

      const change = (): void => {
        const key = random.chance(0.3) ? '0 key 0 0' : random.pick(keys)
        if (random.chance(0.6)) present.set(key, subject.put(key))
        else {
          subject.remove(key)
          present.delete(key)
        }
      }
      const begin = (shown: Shown): void => {
        const reverse = random.chance(0.5)
        const [a, b] = [random.pick(keys), random.pick(keys)].sort() as [string, string]
        const bounds = [{}, { gte: a }, { gt: a, lte: b }, { gte: a, lt: b }, { prefix: '3 key' }]
        const range = { ...random.pick(bounds), reverse }
        const isIn = (key: string): boolean =>
          ('gte' in range ? key >= range.gte : 'gt' in range ? key > range.gt : true) &&
          ('lte' in range ? key <= range.lte : 'lt' in range ? key < range.lt : true) &&
          ('prefix' in range ? key.startsWith(range.prefix) : true)
        const expected = [...shown.copy].filter(([key]) => isIn(key)).sort(byKey)
        if (reverse) expected.reverse()
        shown.walks.push({ walk: subject.walk(shown.view, range), expected })
      }
      const end = (shown: Shown): void => {
        for (const { walk, expected } of shown.walks) expect(walk.rest()).toEqual(expected)
        views.close(shown.view)
        open = open.filter((each) => each !== shown)
      }

      for (let step = 0; step < 3000; step++) {
        const many = step % 1000 < 600
        const kindOfStep = random.below(100)
        if (kindOfStep < 40) change()
        else if (kindOfStep < (many ? 55 : 45)) {
          open.push({ view: views.open(NOTHING_EXPIRED), copy: new Map(present), walks: [] })
        } else if (open.length === 0) continue
        else if (kindOfStep < 65) end(random.pick(open))
        else if (kindOfStep < 75) begin(random.pick(open))
        else if (kindOfStep < 88) {
          const { view, copy, walks } = random.pick(open)
          const key = random.pick(keys)
          expect(subject.find(view, key)).toBe(copy.get(key))
          for (const { walk, expected } of walks) expect(walk.next()).toEqual(expected.shift())
        } else if (kindOfStep < 98) await setImmediate()
        else {
          // The engine does this when it has reloaded the keydir.
          subject.keydir = copyOf(subject.keydir)
          views.replaceKeydir(subject.keydir)
        }
      }

      // Only what some view shows is kept.
      await settle()
      const seen = new Set<string>()
      for (const { copy } of open) {
        for (const key of keys) {
          if (copy.get(key) !== present.get(key)) seen.add(`${key} ${copy.get(key)}`)
        }
      }
      const [oldest] = open
      // A key that has changed back is kept as well.
      if (oldest !== undefined) expect(subject.kept(oldest.view)).toBeGreaterThanOrEqual(seen.size)
      for (const shown of [...open]) end(shown)
      expect(views.openCount).toBe(0)
    },
  )

  it('keep exactly what they show, and nothing once the last one is closed', async () => {
    const random = new Random(7)
    const subject = new Subject('btree')
    const { views } = subject
    const keys = Array.from({ length: 30 }, (_, index) => `key ${index}`)
    for (const key of keys) subject.put(key)
    const present = new Map(keys.map((key, index) => [key, index + 1]))
    const open: { view: View; copy: Map<string, number> }[] = []

    for (let round = 0; round < 200; round++) {
      open.push({ view: views.open(NOTHING_EXPIRED), copy: new Map(present) })
      for (let write = random.below(8); write > 0; write--) {
        const key = random.pick(keys)
        present.set(key, subject.put(key))
      }
    }
    while (open.length > 1) {
      for (const { view } of open.splice(random.below(open.length), 1)) views.close(view)
      await settle()
      const seen = new Set<number>()
      for (const { copy } of open) {
        for (const [key, sequence] of copy) if (present.get(key) !== sequence) seen.add(sequence)
      }
      expect(subject.kept((open[0] as { view: View }).view)).toBe(seen.size)
    }
    const last = (open[0] as { view: View }).view
    views.close(last)
    expect(subject.kept(last)).toBe(0)
  })

  it.each([false, true])(
    'can be walked while others are closed, with reverse %s',
    async (reverse) => {
      const subject = new Subject('btree')
      const { views } = subject
      const keys = Array.from({ length: 300 }, (_, index) => `key ${1000 + index}`)
      for (const key of keys) subject.put(key)
      const others = [0, 1, 2].map((round) => {
        const other = views.open(NOTHING_EXPIRED)
        for (const [index, key] of keys.entries()) if (index % 3 !== round) subject.put(key)
        return other
      })
      const view = views.open(NOTHING_EXPIRED)
      const walk = subject.walk(view, { reverse })
      for (const key of keys) subject.put(key)

      const given: unknown[] = []
      for (const other of others) {
        for (let count = 0; count < 50; count++) given.push(walk.next()?.[0])
        const before = subject.kept(view)
        views.close(other)
        await settle()
        expect(subject.kept(view)).toBeLessThan(before)
      }
      given.push(...walk.rest().map(([key]) => key))

      expect(given).toEqual(reverse ? [...keys].reverse() : keys)
      views.close(view)
    },
  )

  it('keep few versions even if the event loop does not turn', () => {
    const subject = new Subject('btree')
    const { views } = subject
    const keys = Array.from({ length: 100 }, (_, index) => `${index % 10} key ${index}`)
    for (const key of keys) subject.put(key)
    const oldest = views.open(NOTHING_EXPIRED)

    let most = 0
    let mostBytes = 0
    for (let round = 0; round < 5000; round++) {
      const view = views.open(NOTHING_EXPIRED)
      for (let write = 0; write < 5; write++) subject.put(keys[(round + write * 7) % 100] as string)
      views.close(view)
      most = Math.max(most, subject.kept(oldest))
      mostBytes = Math.max(mostBytes, views.versionsOf(oldest)?.byteSize ?? 0)
    }

    expect(most).toBeLessThan(200)
    expect(mostBytes).toBeLessThan(64 * 1024)
    views.close(oldest)
  })

  it('free the memory of versions that none of them shows', async () => {
    const subject = new Subject('btree')
    const { views } = subject
    const keys = Array.from({ length: 20_000 }, (_, index) => `key ${100_000 + index}`)
    for (const key of keys) subject.put(key)
    const oldest = views.open(NOTHING_EXPIRED)
    for (const key of keys) subject.put(key)
    const open = [1, 2, 3].map((count) => {
      const view = views.open(NOTHING_EXPIRED)
      for (const key of keys.slice(0, count * 3)) subject.put(key)
      const shown = keys.map((key) => subject.find(view, key))
      return { view, walk: subject.walk(view), shown }
    })
    for (const { walk } of open) walk.next()
    const full = views.versionsOf(oldest)?.byteSize as number

    views.close(oldest)
    const [first, second] = open.map(({ view }) => view) as [View, View]
    const isGiven = (): boolean => (views.versionsOf(first)?.byteSize ?? 0) < full / 20
    for (let turn = 0; turn < 10_000 && !isGiven(); turn++) await setImmediate()

    expect(isGiven()).toBe(true)
    for (const { view, walk, shown } of open) {
      expect(keys.map((key) => subject.find(view, key))).toEqual(shown)
      expect(walk.rest()).toEqual(keys.map((key, index) => [key, shown[index]]).slice(1))
    }
    // Versions that only one view shows go with it.
    const before = subject.kept(first)
    views.close(second)
    await settle()
    expect(subject.kept(first)).toBeLessThan(before)
    views.closeAll()
  })

  it('show the keydir that they were opened on', () => {
    const subject = new Subject('btree')
    const { views } = subject
    subject.put('a')
    const first = views.open(NOTHING_EXPIRED)
    subject.put('a')
    const second = views.open(NOTHING_EXPIRED)
    subject.keydir = createKeydir('btree')
    views.moveOn(subject.keydir)
    subject.put('a')
    const third = views.open(NOTHING_EXPIRED)
    subject.put('a')

    expect([first, second, third].map((view) => subject.find(view, 'a'))).toEqual([1, 2, 3])
    views.close(second)
    expect([first, third].map((view) => subject.walk(view).rest())).toEqual([
      [['a', 1]],
      [['a', 3]],
    ])
    views.closeAll()
    expect(views.oldestOpenId).toBe(Number.POSITIVE_INFINITY)
  })

  it('do not change if there is no memory for a replaced version', () => {
    const subject = new Subject('btree')
    const view = subject.views.open(NOTHING_EXPIRED)
    const keys = Array.from({ length: 2000 }, (_, index) => `key ${index}`)
    for (const key of keys) subject.put(key)
    let refusals = 0

    for (const key of keys) {
      watchAllocations(() => {
        throw new RangeError('No memory')
      })
      try {
        subject.views.save(NO_ENTRY, bytesOf(`other ${key}`), key.length + 6)
      } catch {
        refusals++
      }
      watchAllocations(undefined)
      expect(subject.find(view, key)).toBeUndefined()
    }

    expect(refusals).toBeGreaterThan(0)
    expect(subject.walk(view).rest()).toEqual([])
    subject.views.close(view)
  })
})

describe('with many views open', () => {
  /** Returns the number of accesses to the keydir's memory, the cost of everything here. */
  function looks(work: () => void): number {
    const { chunkAt } = Arena.prototype
    let count = 0
    Arena.prototype.chunkAt = function (position): Uint32Array {
      count++
      return chunkAt.call(this, position)
    }
    try {
      work()
    } finally {
      Arena.prototype.chunkAt = chunkAt
    }
    return count
  }

  /** Opens views, with a change after each: of the same key, or of one each. */
  function manyViews(count: number, keyOf: (index: number) => string) {
    const subject = new Subject('btree')
    for (let index = 0; index < 2000; index++) subject.put(`key ${1000 + index}`)
    const open: View[] = []
    for (let index = 0; index < count; index++) {
      open.push(subject.views.open(NOTHING_EXPIRED))
      subject.put(keyOf(index))
    }
    return { subject, open }
  }

  const changes: [string, (index: number) => string][] = [
    ['the same key', () => 'key 1500'],
    ['a key each', (index) => `key ${1000 + ((index * 37) % 2000)}`],
  ]
  const ages: [string, (open: readonly View[]) => View][] = [
    ['oldest', (open) => open[0] as View],
    ['middle', (open) => open[open.length >> 1] as View],
  ]

  const readings: [string, (subject: Subject, view: View) => void][] = [
    ['a key that has changed', (subject, view) => void subject.find(view, 'key 1500')],
    ['a key that has not', (subject, view) => void subject.find(view, 'key 1001')],
    ['the first keys', (subject, view) => void subject.walk(view).next()],
    ['the last keys', (subject, view) => void subject.walk(view, { reverse: true }).next()],
    [
      'the key that has changed and the next one',
      (subject, view) => {
        const walk = subject.walk(view, { gte: 'key 1500' })
        walk.next()
        walk.next()
      },
    ],
  ]

  describe.each(changes)('that changed %s', (_, keyOf) => {
    describe.each(ages)('the %s', (_, choose) => {
      it.each(readings)('reads %s in logarithmic time', (_, read) => {
        const { subject, open } = manyViews(4096, keyOf)
        const count = looks(() => read(subject, choose(open)))

        expect(count).toBeLessThan(600)
      })
    })

    it.each<[string, (open: View[], random: Random) => View[]]>([
      ['newest first', (open) => [...open].reverse()],
      ['oldest first', (open) => open],
      ['in any order', (open, random) => shuffled(open, random)],
      [
        'every second one first',
        (open) => [...open.filter((_, i) => i % 2), ...open.filter((_, i) => i % 2 === 0)],
      ],
    ])('closes them %s in logarithmic time each', (_, order) => {
      const { subject, open } = manyViews(4096, keyOf)
      const sequence = order(open, new Random(3))
      const count = looks(() => {
        for (const view of sequence) subject.views.close(view)
      })

      expect(count / open.length).toBeLessThan(3000)
    })
  })

  it('skips what only older views show', () => {
    const subject = new Subject('btree')
    const keys = Array.from({ length: 20_000 }, (_, index) => `key ${100_000 + index}`)
    for (const key of keys) subject.put(key)
    subject.views.open(NOTHING_EXPIRED)
    for (const key of keys.slice(0, -1)) subject.remove(key)
    const view = subject.views.open(NOTHING_EXPIRED)
    subject.put(keys.at(-1) as string)

    const count = looks(() => {
      expect(subject.walk(view).rest()).toHaveLength(1)
    })

    expect(count).toBeLessThan(1000)
  })
})

function byKey([a]: [string, number], [b]: [string, number]): number {
  return Buffer.compare(bytesOf(a), bytesOf(b))
}

function shuffled<T>(items: readonly T[], random: Random): T[] {
  const left = [...items]
  return items.map(() => left.splice(random.below(left.length), 1)[0] as T)
}

function copyOf(keydir: Keydir): Keydir {
  const copy = createKeydir(keydir.kind)
  const { entries } = keydir
  for (let place = 0; place !== -1; ) {
    place = entries.walk(place, 1024, (entry) => {
      const key = entries.keyView(entry)
      copy.insert(key, key.length, 1, 8, entries.sizeOf(entry), entries.sequenceOf(entry), 0)
    })
  }
  return copy
}
