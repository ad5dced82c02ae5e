/**
 * Random calls of a cache, also from within itself: from its listeners, the subscribers of its
 * channel, its codec, `toJSON`, its clock and its loaders. The codec, `toJSON`, the clock and the
 * loaders also throw at random.
 *
 * A read may miss at any time. If it finds a value, the key must have had it at some moment of the
 * call. No mistake of the caller's may empty the cache. `SEED=` replays one run.
 */

import diagnostics from 'node:diagnostics_channel'
import { afterEach, describe, expect, it } from 'vitest'
import type { CacheMessage, CachePolicy, PersistentCache } from '../../src/cache/cache.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { Random } from '../support/random.ts'
import { DIRECTORY, MIB, openInMemory } from './support.ts'

const KEY_COUNT = 300
const MAX_ENTRIES = 120
const STEP_COUNT = 3000
const RESTART_STEPS = 750
/** How deep calls may nest, and how many nested calls one step may make. */
const MAX_DEPTH = 3
const MAX_NESTED = 25
const CHANNEL = 'firkin-cache:operations'

const seeds =
  process.env.SEED === undefined
    ? [1, 2, 3, 4, 5, 6, Date.now() % 2 ** 32]
    : [Number(process.env.SEED)]

class PlantedError extends Error {}

/** The values that each key may have, and those it has had since it was watched. */
class Truth {
  /** The last value set for each key, and the values loaded for it since. */
  readonly #allowed = new Map<string, Set<string>>()
  readonly #watches = new Set<{ readonly key: string; readonly seen: Set<string> }>()

  set(key: string, value: string): void {
    this.#allowed.set(key, new Set([value]))
    this.mayBe(key, value)
  }

  /** Notes that a load may have given the key this value. */
  mayBe(key: string, value: string): void {
    const allowed = this.#allowed.get(key) ?? new Set()
    this.#allowed.set(key, allowed.add(value))
    for (const watch of this.#watches) if (watch.key === key) watch.seen.add(value)
  }

  remove(key: string): void {
    this.#allowed.delete(key)
  }

  removeTag(tag: string): void {
    for (const key of this.#allowed.keys()) if (tagOf(key) === tag) this.remove(key)
  }

  clear(): void {
    this.#allowed.clear()
  }

  /** Calls `read`, and checks that the key had the value it returns during the call. */
  check(key: string, read: () => string | undefined): void {
    const watch = { key, seen: new Set(this.#allowed.get(key)) }
    this.#watches.add(watch)
    try {
      const value = read()
      if (value !== undefined) expect([...watch.seen], key).toContain(value)
    } finally {
      this.#watches.delete(watch)
    }
  }
}

/** One run: a cache that is called from within its own callbacks. */
class Run {
  readonly #random: Random
  readonly #truth = new Truth()
  readonly #errors: Error[] = []
  readonly #policy: CachePolicy
  #files: FaultyFiles
  #cache: PersistentCache<unknown> | undefined
  #nowMs = 1_000_000
  #depth = 0
  #nested = 0
  #isQuiet = true
  #valueCount = 0
  /** How often each place has called the cache. */
  readonly calls = new Map<string, number>()
  plantedCount = 0

  constructor(seed: number) {
    this.#random = new Random(seed)
    this.#files = new FaultyFiles(seed)
    this.#policy = this.#random.pick(['sieve', 'lru', 'fifo'])
  }

  readonly hear = (message: unknown): void => {
    if ((message as CacheMessage).cache === DIRECTORY) this.#callFrom('channel')
  }

  async run(): Promise<void> {
    await this.#open()
    for (let step = 1; step <= STEP_COUNT; step++) {
      this.#isQuiet = false
      this.#nested = 0
      this.#act()
      if (this.#random.chance(0.1)) await new Promise((resolve) => setImmediate(resolve))
      if (step % RESTART_STEPS === 0) await this.#restart()
    }
    await this.#settle()
    const { emptied, entries } = this.#its.stats()
    expect(emptied).toBe(0)
    expect(entries).toBeLessThanOrEqual(MAX_ENTRIES)
    await this.#its.close()
    expect(this.#files.usedSize).toBeLessThanOrEqual(MIB)
    for (const error of this.#errors) {
      const cause =
        (error as { code?: string }).code === 'FIRKIN_DECODE_FAILED' ? error.cause : error
      expect(cause).toBeInstanceOf(PlantedError)
    }
  }

  get #its(): PersistentCache<unknown> {
    if (this.#cache === undefined) throw new Error('The cache has not been opened')
    return this.#cache
  }

  async #open(): Promise<void> {
    const cache = await openInMemory<unknown>(this.#files, {
      maxEntries: MAX_ENTRIES,
      policy: this.#policy,
      errorTtlMs: 5,
      earlyRefresh: 1,
      clock: () => {
        this.#nowMs += this.#random.chance(0.2) ? 1 : 0
        this.#callFrom('clock')
        return this.#nowMs
      },
      valueEncoding: {
        encode: (value) => {
          this.#callFrom('encode')
          return JSON.stringify(value)
        },
        decode: (bytes) => {
          const text = bytes.toString()
          this.#callFrom('decode')
          return JSON.parse(text)
        },
      },
    })
    this.#cache = cache
    cache.on('evict', () => this.#callFrom('evict', false))
    cache.on('expire', () => this.#callFrom('expire', false))
    cache.on('error', (error) => {
      this.#errors.push(error)
      this.#callFrom('error', false)
    })
  }

  /** Closes or kills the cache, and opens it again: its values must still be true. */
  async #restart(): Promise<void> {
    await this.#settle()
    expect(this.#its.stats().emptied).toBe(0)
    const killed = this.#random.chance(0.5)
    if (!killed) await this.#its.close()
    const before = this.#its
    this.#files = this.#files.restart(this.#random.below(2 ** 32))
    await this.#open()
    if (killed) await before.close()
    expect(this.#its.stats().entries).toBeLessThanOrEqual(MAX_ENTRIES)
  }

  /** Waits for loads and listeners to end, without nested calls, and reads every key. */
  async #settle(): Promise<void> {
    this.#isQuiet = true
    for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve))
    for (let index = 0; index < KEY_COUNT; index++) this.#read(`key ${index}`)
  }

  /** Runs in code that the cache calls: may call the cache, or throw. */
  #callFrom(place: string, mayThrow = !['channel'].includes(place)): void {
    if (this.#isQuiet || !this.#random.chance(0.15)) return
    if (mayThrow && this.#random.chance(0.1)) {
      this.plantedCount++
      throw new PlantedError(place)
    }
    if (this.#depth >= MAX_DEPTH || this.#nested >= MAX_NESTED) return
    this.#nested++
    this.calls.set(place, (this.calls.get(place) ?? 0) + 1)
    this.#act()
  }

  #act(): void {
    this.#depth++
    try {
      this.#do(this.#random.below(100), `key ${this.#random.below(KEY_COUNT)}`)
    } catch (error) {
      if (!(error instanceof PlantedError)) throw error
    } finally {
      this.#depth--
    }
  }

  #do(choice: number, key: string): void {
    const cache = this.#its
    if (choice < 45) {
      const text = this.#text(key)
      const ttl = this.#random.chance(0.5)
        ? { ttlMs: 1 + this.#random.below(200), staleMs: 20 }
        : {}
      if (cache.set(key, this.#value(text), { ...ttl, tags: [tagOf(key)] })) {
        this.#truth.set(key, text)
      } else {
        this.#truth.remove(key)
      }
    } else if (choice < 75) {
      this.#read(key)
    } else if (choice < 85) {
      this.#load(key)
    } else if (choice < 90) {
      cache.delete(key)
      this.#truth.remove(key)
    } else if (choice < 93) {
      const tag = `tag ${this.#random.below(20)}`
      cache.invalidateTags(tag)
      this.#truth.removeTag(tag)
    } else if (choice < 94) {
      cache.clear()
      this.#truth.clear()
    } else {
      expect(cache.stats().entries).toBeLessThanOrEqual(MAX_ENTRIES)
      cache.has(key)
    }
  }

  #read(key: string): void {
    this.#truth.check(key, () => this.#its.peek(key) as string | undefined)
    this.#truth.check(key, () => this.#its.get(key) as string | undefined)
  }

  #load(key: string): void {
    const text = this.#text(key)
    const load = (): unknown => {
      this.#callFrom('loader')
      this.#truth.mayBe(key, text)
      return this.#value(text)
    }
    const options = { ttlMs: 1 + this.#random.below(200), staleMs: 50, tags: [tagOf(key)] }
    this.#its.getOrSet(key, load, options).catch((error: unknown) => {
      // A failure that was kept has the name and message of the planted error.
      const planted = error instanceof PlantedError || (error as Error).message === 'loader'
      expect(planted, String(error)).toBe(true)
    })
  }

  #text(key: string): string {
    return `${key} ${this.#valueCount++} ${'x'.repeat(this.#random.below(12_000))}`
  }

  #value(text: string): unknown {
    return {
      toJSON: () => {
        this.#callFrom('toJSON')
        return text
      },
    }
  }
}

function tagOf(key: string): string {
  return `tag ${Number(key.slice(4)) % 20}`
}

describe('a cache that is called from within its own callbacks', () => {
  let unsubscribe = (): void => undefined
  afterEach(() => unsubscribe())

  it.each(seeds)('returns only true values, and is never emptied (seed %i)', async (seed) => {
    const run = new Run(seed)
    diagnostics.subscribe(CHANNEL, run.hear)
    unsubscribe = () => void diagnostics.unsubscribe(CHANNEL, run.hear)

    await run.run()

    const places = ['channel', 'clock', 'encode', 'decode', 'toJSON', 'evict', 'loader']
    expect(places.filter((place) => !run.calls.has(place))).toEqual([])
    expect(run.plantedCount).toBeGreaterThan(20)
  })
})
