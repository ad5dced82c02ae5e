/**
 * Measures Firkin's cache beside other caches on disk, and beside lru-cache, which is in memory and
 * therefore the ceiling.
 */

import { rmSync, statSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { type CachePolicy, openCache } from '../../src/cache/cache.ts'
import type { Bench, Settings } from '../bench.ts'
import type { CacheContender, OpenCache } from '../cache-contender.ts'
import {
  CACACHE,
  CACHES,
  FIRKIN_CACHE,
  KEYV_SQLITE,
  LRU_CACHE,
  makeLruCache,
} from '../contenders/caches.ts'
import { collectGarbage, type Lane, race } from '../race.ts'
import { bound, find, type Measure, measure, type Report, target } from '../report.ts'
import { Rotation, withDirectory } from '../stores.ts'
import { fillAndKill } from '../victim.ts'
import { ascendingOrder, keyAt, random, textAt, uniformOrder, zipfian } from '../workload.ts'

/** The part of `--keys` that is in the caches. */
const KEY_SHARE = 1 / 10
/** A budget that evicts nothing, for benches that do not measure eviction. */
const ROOMY_BYTES = 2 ** 30
const ORDER_LENGTH = 200_000
/** The number of operations in a chunk; fewer for a cache that needs milliseconds for each. */
const CHUNK = 200
const SLOW_CHUNK = 10

const TIMES_SQLITE = 5
const TIMES_LRU = 10
const MAX_POINTS_LOST = 2

interface Entrant {
  readonly contender: CacheContender
  readonly cache: OpenCache
  readonly keys: number
}

const keysOf = ({ share }: CacheContender, settings: Settings): number =>
  Math.max(1000, Math.floor(settings.keys * KEY_SHARE * share))

async function withCaches(
  settings: Settings,
  work: (entrants: readonly Entrant[]) => Promise<Measure[]>,
): Promise<Measure[]> {
  return await withDirectory(settings, async (path) => {
    const entrants: Entrant[] = []
    try {
      for (const [index, contender] of CACHES.entries()) {
        const cache = await contender.open(join(path, String(index)), ROOMY_BYTES)
        const keys = keysOf(contender, settings)
        entrants.push({ contender, cache, keys })
        await fill(cache, keys)
      }
      return await work(entrants)
    } finally {
      for (const { cache } of entrants) await cache.close()
    }
  })
}

async function fill(cache: OpenCache, keys: number): Promise<void> {
  const order = ascendingOrder(0, keys)
  for (let at = 0; at < keys; at += CHUNK) {
    await cache.set(order, at, Math.min(keys, at + CHUNK))
    await setImmediate()
  }
}

function laneOf(
  { contender, cache, keys }: Entrant,
  use: (cache: OpenCache, order: Uint32Array, from: number, to: number) => unknown,
): Lane {
  const size = contender === CACACHE ? SLOW_CHUNK : CHUNK
  const order = uniformOrder(ORDER_LENGTH, 0, keys, 23)
  const rotation = new Rotation(order, size)
  return {
    contender: contender.name,
    size,
    chunk: () => {
      const from = rotation.next()
      return use(cache, order, from, from + size)
    },
  }
}

const NOTES = [
  `Values are text of 1,000 characters. ${KEYV_SQLITE.name} holds a quarter of the keys, ${CACACHE.name} a fiftieth.`,
  `${LRU_CACHE.name} keeps references in memory: it copies, checks and saves nothing.`,
]

/** Gets of present keys. */
export const cacheGet: Bench = {
  name: 'cache-get',
  about: 'get of present keys from a cache, random order, at a tenth of --keys',
  async run(settings): Promise<Report> {
    const what = 'cache get, present'
    const measures = await withCaches(settings, async (entrants) => {
      const lanes = entrants.map((entrant) =>
        laneOf(entrant, async (cache, order, from, to) => {
          const found = await cache.get(order, from, to)
          if (found !== to - from) throw new Error(`${entrant.contender.name} has lost a key`)
        }),
      )
      return await race(what, lanes, settings)
    })
    const of = ({ name }: CacheContender) => find(measures, what, name)
    return {
      measures,
      targets: [
        target(what, TIMES_SQLITE, of(FIRKIN_CACHE), of(KEYV_SQLITE)),
        target(what, 1 / TIMES_LRU, of(FIRKIN_CACHE), of(LRU_CACHE)),
      ],
      notes: NOTES,
    }
  },
}

/** Sets of present keys. */
export const cacheSet: Bench = {
  name: 'cache-set',
  about: 'set of present keys of a cache, random order, at a tenth of --keys',
  async run(settings): Promise<Report> {
    const what = 'cache set'
    const measures = await withCaches(settings, async (entrants) => {
      const lanes = entrants.map((entrant) =>
        laneOf(entrant, (cache, order, from, to) => cache.set(order, from, to)),
      )
      return await race(what, lanes, settings)
    })
    const of = ({ name }: CacheContender) => find(measures, what, name)
    return {
      measures,
      targets: [target(what, TIMES_SQLITE, of(FIRKIN_CACHE), of(KEYV_SQLITE))],
      notes: NOTES,
    }
  },
}

const POLICIES: readonly CachePolicy[] = ['sieve', 'lru', 'fifo']
const HIT_MAX_BYTES = 32 * 2 ** 20
const OPERATION_COUNT = 400_000

/** The indexes asked for: the favourites, or those with scans of keys that never come again. */
const TRACES: Readonly<Record<string, (count: number) => Generator<number>>> = {
  *zipfian(count) {
    const draw = zipfian(random(29), count)
    for (;;) yield draw()
  },
  *'scan-mixed'(count) {
    const draw = zipfian(random(29), count)
    for (let turn = 0, next = count; ; turn++) yield turn % 20_000 < 15_000 ? draw() : next++
  },
}

/** Returns the percentage of hits of Firkin's policies and of lru-cache, on the same trace. */
async function hitRatios(trace: string, settings: Settings): Promise<Measure[]> {
  const what = `hit ratio, ${trace}`
  const keyCount = Math.floor((8 * HIT_MAX_BYTES) / (textAt(0).length + keyAt(0).length))
  const indexes = (TRACES[trace] as (count: number) => Generator<number>)(keyCount)
  return await withDirectory(settings, async (path) => {
    const lru = await makeLruCache(HIT_MAX_BYTES)
    const caches = await Promise.all(
      POLICIES.map((policy) =>
        openCache<string>(join(path, policy), {
          maxBytes: HIT_MAX_BYTES,
          policy,
          valueEncoding: 'utf8',
          strict: true,
        }),
      ),
    )
    const all = [...caches, lru]
    const hits = all.map(() => 0)
    for (let operation = 0; operation < OPERATION_COUNT; operation++) {
      const index = indexes.next().value as number
      const key = keyAt(index)
      for (const [place, cache] of all.entries()) {
        if (cache.get(key) === undefined) cache.set(key, textAt(index))
        else (hits[place] as number)++
      }
      if (operation % CHUNK === 0) await setImmediate()
    }
    for (const cache of caches) await cache.close()
    const names = [...POLICIES.map((policy) => `${FIRKIN_CACHE.name} ${policy}`), LRU_CACHE.name]
    return names.map((name, place) =>
      measure(what, name, '%', [((hits[place] ?? 0) * 100) / OPERATION_COUNT]),
    )
  })
}

/** The share of gets that find their key. */
export const cacheHitRatio: Bench = {
  name: 'cache-hit-ratio',
  about: 'hit ratio at an eighth of the keys, in a budget of 32 MiB for everything on disk',
  async run(settings): Promise<Report> {
    const measures: Measure[] = []
    for (const trace of Object.keys(TRACES)) measures.push(...(await hitRatios(trace, settings)))
    const targets = Object.keys(TRACES).map((trace) => {
      const what = `hit ratio, ${trace}`
      const own = find(measures, what, `${FIRKIN_CACHE.name} sieve`).median
      const lost = find(measures, what, LRU_CACHE.name).median - own
      const limit = `${MAX_POINTS_LOST} points lost to ${LRU_CACHE.name}`
      return bound(what, 'at most', limit, `${lost.toFixed(2)} points`, lost <= MAX_POINTS_LOST)
    })
    return {
      measures,
      targets,
      notes: [
        `${LRU_CACHE.name} counts keys and values alone; Firkin's budget is of all that is in its directory.`,
      ],
    }
  },
}

async function bytesIn(path: string): Promise<number> {
  const names = await readdir(path, { recursive: true })
  return names.reduce((sum, name) => {
    const stats = statSync(join(path, name))
    return sum + (stats.isFile() ? stats.blocks * 512 : 0)
  }, 0)
}

/** Opens a cache and reads a value, and returns the milliseconds that both took. */
async function reopen(contender: CacheContender, path: string): Promise<number> {
  collectGarbage()
  const beganAt = performance.now()
  const cache = await contender.open(path, ROOMY_BYTES)
  const found = await cache.get(Uint32Array.of(0), 0, 1)
  const tookMs = performance.now() - beganAt
  if (found !== 1) throw new Error(`${contender.name} has lost a key`)
  await cache.close()
  return tookMs
}

/** Disk space, and the time from opening to the first value. */
export const cacheReopen: Bench = {
  name: 'cache-reopen',
  about: 'disk used, and opening up to the first value read, after a close and after a kill',
  async run(settings): Promise<Report> {
    const measures: Measure[] = []
    for (const contender of CACHES.filter(({ persistent }) => persistent)) {
      const { name } = contender
      const keys = keysOf(contender, settings)
      const closed: number[] = []
      const killed: number[] = []
      await withDirectory(settings, async (path) => {
        const directory = join(path, 'cache')
        for (let round = 0; round < settings.rounds; round++) {
          rmSync(directory, { recursive: true, force: true })
          await fillAndKill(name, directory, ROOMY_BYTES, keys)
          killed.push(await reopen(contender, directory))
          closed.push(await reopen(contender, directory))
        }
        const disk = [(await bytesIn(directory)) / keys]
        measures.push(
          measure('disk used by 1,000 characters and a key', name, 'B/key', disk),
          measure('reopen after a close', name, 'ms', closed),
          measure('reopen after a kill', name, 'ms', killed),
        )
      })
    }
    return { measures, targets: [], notes: NOTES }
  },
}
