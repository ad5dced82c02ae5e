/**
 * The operations of the model test. Each does the same to a store and to a map, and compares them.
 */

import fc from 'fast-check'
import { expect } from 'vitest'
import type { KeydirKind, RangeOptions, StoreSettings } from '../../src/index.ts'
import { type Files, systemFiles } from '../../src/io/files.ts'
import { Store } from '../../src/store/store.ts'
import { inProcessWork } from '../support/in-process-work.ts'
import { inRange } from '../support/ranges.ts'

/** An entry of the map. */
interface Expected {
  readonly value: string
  /** 0 if it does not expire. */
  readonly expiresAtMs: number
}

/** The entries that must be in the store, and the time. */
export interface Model {
  readonly entries: Map<string, Expected>
  nowMs: number
}

/** The store, with the means to open it again. */
export class Subject {
  store: Store<string>
  readonly #directory: string
  readonly #options: StoreSettings<string>
  #files: MortalFiles

  private constructor(
    directory: string,
    options: StoreSettings<string>,
    files: MortalFiles,
    store: Store<string>,
  ) {
    this.#directory = directory
    this.#options = options
    this.#files = files
    this.store = store
  }

  static async open(directory: string, keydir: KeydirKind, clock: () => number): Promise<Subject> {
    const options = {
      keydir,
      clock,
      valueEncoding: 'utf8',
      maxSegmentBytes: 64 * 1024,
      // A kill ends the lock with the process; here the process lives on.
      lock: false,
      expiryIntervalMs: 1,
      merge: { automatic: false },
    } as const satisfies StoreSettings<string>
    const files = new MortalFiles()
    const store = await openStore(directory, options, files.files)
    return new Subject(directory, options, files, store)
  }

  /** Makes every write to a file fail, or none, from now on. */
  set full(isFull: boolean) {
    this.#files.isFull = isFull
  }

  /** Leaves writes to threads, or not, until the next open. */
  set slow(isSlow: boolean) {
    this.#files.isSlow = isSlow
  }

  async reopen(): Promise<void> {
    await this.store.close()
    await this.#open()
  }

  /** Opens the directory as the next process finds it after a kill. */
  async crash(): Promise<void> {
    // Nobody gets the errors of a dead process.
    this.store.on('error', () => {})
    await this.#files.kill()
    // The store can do nothing now, but it would hold timers and files until the test ends.
    this.store.close().catch(() => {})
    await this.#open()
  }

  async #open(): Promise<void> {
    this.#files = new MortalFiles()
    const { files } = this.#files
    this.store = await openStore(this.#directory, this.#options, files)
  }
}

/**
 * The system's files, until their process is killed. From then on they can only be closed, and no
 * result arrives. Their disk may be full.
 */
class MortalFiles {
  readonly files: Files
  isFull = false
  /** Whether writes are left to threads. */
  isSlow = false
  #dead = false
  /** The writes of threads. */
  readonly #flights = new Set<Promise<unknown>>()

  constructor() {
    this.files = new Proxy(systemFiles, {
      get: (target, name) => {
        const call = Reflect.get(target, name)
        if (typeof call !== 'function') return call
        return (...args: unknown[]) => {
          if (this.isFull && (name === 'write' || name === 'writeLater')) {
            const message = 'ENOSPC: no space left on device'
            const error = Object.assign(new Error(message), { code: 'ENOSPC' })
            if (name === 'writeLater') return Promise.reject(error)
            throw error
          }
          if (name === 'areWritesSlow') return this.isSlow
          if (!this.#dead || name === 'close' || name === 'closeLater') {
            const result = Reflect.apply(call, target, args)
            return name === 'writeLater' ? this.#follow(result as Promise<unknown>) : result
          }
          if (name.toString().endsWith('Later')) return new Promise(() => {})
          throw new Error('The process was killed')
        }
      },
    })
  }

  /** Resolves when no thread writes for the process, as if it had ended. */
  async kill(): Promise<void> {
    this.#dead = true
    await Promise.allSettled(this.#flights)
  }

  #follow<T>(flight: Promise<T>): Promise<T> {
    this.#flights.add(flight)
    const landed = (): void => void this.#flights.delete(flight)
    flight.then(landed, landed)
    return flight
  }
}

async function openStore(
  directory: string,
  options: StoreSettings<string>,
  files: Files,
): Promise<Store<string>> {
  return await Store.open(directory, options, { files, backgroundWork: inProcessWork(files) })
}

type Command = fc.AsyncCommand<Model, Subject>

/** Makes a command that is always possible, and that a failure shows as `text`. */
function command(text: string, run: (model: Model, subject: Subject) => Promise<void>): Command {
  return { check: () => true, run, toString: () => text }
}

const bySize = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b))

/** Returns the entries that have not expired, in key order. */
export function liveEntries({ entries, nowMs }: Model): [string, string][] {
  return [...entries]
    .filter(([, { expiresAtMs }]) => expiresAtMs === 0 || expiresAtMs > nowMs)
    .map(([key, { value }]): [string, string] => [key, value])
    .sort(([a], [b]) => bySize(a, b))
}

// Few keys, so that each is used often. Some are not ASCII, and some begin like others.
const key = fc.oneof(
  fc.integer({ min: 0, max: 40 }).map((index) => `key:${String(index).padStart(3, '0')}`),
  fc.constantFrom('a', 'ab', 'abc', 'é', '\u{1f600}', '\u{ffff}', 'key', 'key:'),
)
const value = fc.oneof(
  { weight: 8, arbitrary: fc.string({ maxLength: 40 }) },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 9 }).map((n) => 'x'.repeat(n * 9000)) },
)

const put = fc.tuple(key, value, fc.boolean()).map(([k, v, sync]) =>
  command(`put ${k} (${v.length})${sync ? ' sync' : ''}`, async ({ entries }, { store }) => {
    if (sync) store.putSync(k, v)
    else await store.put(k, v)
    entries.set(k, { value: v, expiresAtMs: 0 })
  }),
)

const putExpiring = fc.tuple(key, value, fc.integer({ min: 1, max: 50 })).map(([k, v, ttlMs]) =>
  command(`put ${k} for ${ttlMs}`, async (model, { store }) => {
    await store.put(k, v, { ttlMs })
    model.entries.set(k, { value: v, expiresAtMs: model.nowMs + ttlMs })
  }),
)

const remove = fc.tuple(key, fc.boolean()).map(([k, sync]) =>
  command(`delete ${k}`, async (model, { store }) => {
    const was = liveEntries(model).some(([other]) => other === k)
    expect(sync ? store.deleteSync(k) : await store.delete(k)).toBe(was)
    model.entries.delete(k)
  }),
)

const batch = fc.array(fc.tuple(key, fc.option(value)), { maxLength: 20 }).map((changes) =>
  command(
    `batch of ${changes.map(([k, v]) => (v === null ? `-${k}` : `+${k}`))}`,
    async (model, { store }) => {
      const filled = store.batch()
      for (const [k, v] of changes) {
        if (v === null) filled.delete(k)
        else filled.put(k, v)
      }
      await filled.commit()
      for (const [k, v] of changes) {
        if (v === null) model.entries.delete(k)
        else model.entries.set(k, { value: v, expiresAtMs: 0 })
      }
    },
  ),
)

const get = key.map((k) =>
  command(`get ${k}`, async (model, { store }) => {
    const expected = liveEntries(model).find(([other]) => other === k)?.[1]
    expect(store.get(k)).toBe(expected)
    expect(store.has(k)).toBe(expected !== undefined)
  }),
)

const prefix = fc.constantFrom('', 'key', 'key:', 'key:00', 'key:01', 'a', 'ab', 'é', 'none')
const lower = fc.constantFrom('gt', 'gte')
const upper = fc.constantFrom('lt', 'lte')
/** The options of a range beside its bounds. */
const manner = fc.record(
  { reverse: fc.boolean(), limit: fc.integer({ min: 0, max: 10 }) },
  { requiredKeys: [] },
)

/** Ranges of each form: with many keys, with one key, and with none, because of inverted bounds. */
const bounds: fc.Arbitrary<RangeOptions> = fc
  .oneof(
    fc.constant({}),
    prefix.map((drawn) => ({ prefix: drawn })),
    fc.tuple(fc.oneof(lower, upper), key).map(([form, k]) => ({ [form]: k })),
    fc
      .tuple(lower, upper, fc.uniqueArray(key, { minLength: 2, maxLength: 2 }))
      .map(([low, high, keys]) => ({ [low]: keys.sort(bySize)[0], [high]: keys[1] })),
    // Two bounds at one key, of any two forms.
    fc
      .tuple(fc.subarray(['gt', 'gte', 'lt', 'lte'], { minLength: 2, maxLength: 2 }), key)
      .map(([forms, k]) => Object.fromEntries(forms.map((form) => [form, k]))),
    fc.record({ gt: key, gte: key, lt: key, lte: key, prefix }, { requiredKeys: [] }),
  )
  .chain((drawn) => manner.map((more) => ({ ...drawn, ...more })))

/** Returns the entries of the map in a range, in order. */
function entriesIn(model: Model, options: RangeOptions): [string, string][] {
  return inRange(liveEntries(model), options, ([k]) => Buffer.from(k))
}

const range = bounds.map((options) =>
  command(`range ${JSON.stringify(options)}`, async (model, { store }) => {
    const expected = entriesIn(model, options)
    using snapshot = store.snapshot()
    for (const source of [store, snapshot]) {
      expect([...source.entries(options)]).toEqual(expected)
      expect([...source.keys(options)]).toEqual(expected.map(([k]) => k))
      expect(source.count(options)).toBe(expected.length)
    }
  }),
)

/** Changes the store while a snapshot and an unfinished iterator are open. */
const snapshot = fc.array(fc.tuple(key, fc.option(value)), { maxLength: 15 }).map((changes) =>
  command('snapshot under changes', async (model, { store }) => {
    const before = liveEntries(model)
    const taken = store.snapshot()
    const iterator = store.entries()
    const seen = []
    for (let step = 0; step < before.length / 2; step++) seen.push(iterator.next().value)
    for (const [k, v] of changes) {
      if (v === null) {
        await store.delete(k)
        model.entries.delete(k)
      } else {
        await store.put(k, v)
        model.entries.set(k, { value: v, expiresAtMs: 0 })
      }
    }
    seen.push(...iterator)
    expect(seen).toEqual(before)
    expect([...taken.entries()]).toEqual(before)
    for (const [k, v] of before) expect(taken.get(k)).toBe(v)
    taken.close()
  }),
)

const slowness = fc.boolean().map((isSlow) =>
  command(isSlow ? 'a slow disk' : 'a quick disk', async (_, subject) => {
    subject.slow = isSlow
  }),
)

/**
 * Writes groups that fail, with views that were opened before and during them, and then the same
 * changes again, which succeed. Each view shows the state before the changes.
 */
const failingGroups = fc
  .array(
    fc.tuple(key, fc.option(value), fc.boolean(), fc.constantFrom('view', 'batch', 'single')),
    {
      minLength: 1,
      maxLength: 15,
    },
  )
  .map((changes) =>
    command(
      `groups that fail of ${changes.map(([k, v, , form]) => `${form} ${v === null ? '-' : '+'}${k}`)}`,
      async (model, subject) => {
        const { store } = subject
        const before = liveEntries(model)
        const views = [store.snapshot()]
        const iterators = [store.entries()]
        const given = [before.slice(0, 3).map(() => iterators[0]?.next().value)]
        const writes: Promise<unknown>[] = []
        subject.full = true
        for (const [k, v, , form] of changes) {
          if (form === 'batch') {
            const batch = store.batch().put('in a batch', 'as well')
            writes.push((v === null ? batch.delete(k) : batch.put(k, v)).commit())
          } else writes.push(v === null ? store.delete(k) : store.put(k, v))
          if (form !== 'view') continue
          views.push(store.snapshot())
          iterators.push(store.entries())
          given.push([])
        }
        const outcomes = await Promise.allSettled(writes)
        subject.full = false
        for (const outcome of outcomes) {
          // A delete of a missing key writes nothing.
          if (outcome.status === 'fulfilled') expect(outcome.value).toBe(false)
          else expect(outcome.reason).toMatchObject({ code: 'FIRKIN_WRITE_FAILED' })
        }
        expect([...store.entries()]).toEqual(before)
        for (const view of views) expect([...view.entries()]).toEqual(before)
        for (const [k, v, again] of changes) {
          if (!again) continue
          if (v === null) await store.delete(k)
          else await store.put(k, v)
          if (v === null) model.entries.delete(k)
          else model.entries.set(k, { value: v, expiresAtMs: 0 })
        }
        for (const view of views) {
          expect([...view.entries()]).toEqual(before)
          for (const [k, v] of before) expect(view.get(k)).toBe(v)
          view.close()
        }
        iterators.forEach((iterator, index) => {
          expect([...(given[index] ?? []), ...iterator]).toEqual(before)
        })
      },
    ),
  )

const clear = bounds.map((options) =>
  command(`clear ${JSON.stringify(options)}`, async (model, { store }) => {
    const gone = entriesIn(model, options)
    expect(await store.clear(options)).toBe(gone.length)
    for (const [k] of gone) model.entries.delete(k)
  }),
)

const pass = fc.integer({ min: 1, max: 60 }).map((ms) =>
  command(`${ms} ms pass`, async (model) => {
    model.nowMs += ms
  }),
)

const merge = fc.constant(
  command('merge', async (_model, { store }) => {
    await store.merge()
    const { tombstoneBytes, segments } = store.stats()
    // All sealed segments with dead records were merged, so only the active one may have some.
    expect(segments.filter(({ active, deadPuts }) => !active && deadPuts > 0)).toEqual([])
    expect(tombstoneBytes).toBe(0)
  }),
)

const reopen = fc.constant(command('close and open', (_model, subject) => subject.reopen()))
const crash = fc.constant(command('crash and open', (_model, subject) => subject.crash()))

const verify = fc.constant(
  command('verify', async (_model, { store }) => {
    const { findings } = await store.verify()
    expect(findings.filter(({ severity }) => severity === 'damage')).toEqual([])
  }),
)

/** All commands; the more frequent ones are listed more than once. */
export const commands = fc.commands(
  [
    put,
    put,
    put,
    putExpiring,
    remove,
    remove,
    batch,
    get,
    range,
    snapshot,
    failingGroups,
    slowness,
    clear,
    pass,
    merge,
    reopen,
    crash,
    verify,
  ],
  // The default is at most ten.
  { maxCommands: 60, size: 'max' },
)
