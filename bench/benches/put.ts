/** Measures puts: pipelined, synchronous, and in batches. */

import type { Bench, Settings } from '../bench.ts'
import type { Contender, OpenContender } from '../contender.ts'
import { collectGarbage, type Lane, now, race } from '../race.ts'
import { best, find, type Measure, measure, type Report, target } from '../report.ts'
import {
  CHUNK,
  type Entrant,
  FIRKIN,
  FIRKIN_HASH,
  LMDB,
  load,
  PEERS,
  Rotation,
  withStores,
} from '../stores.ts'
import { uniformOrder } from '../workload.ts'

const CONTENDERS: readonly Contender[] = [FIRKIN, FIRKIN_HASH, ...PEERS]

/**
 * The number of puts between two waits, and the contenders that make them. lmdb commits the puts of
 * a turn of the event loop as one transaction; the large window gives it its best figures.
 */
const WINDOWS: readonly (readonly [window: number, contenders: readonly Contender[]])[] = [
  [1000, CONTENDERS],
  [100_000, [FIRKIN, FIRKIN_HASH, LMDB]],
]
const MAX_FILLS = 2

/** Fills empty stores, one after the other, and then overwrites in turns. */
async function measurePuts(
  window: number,
  contenders: readonly Contender[],
  settings: Settings,
): Promise<readonly Measure[]> {
  const { keys } = settings
  const fills = Math.min(settings.rounds, MAX_FILLS)
  const fresh = contenders.map((): number[] => [])
  const overwrites: Measure[] = []
  const suffix = `in windows of ${window.toLocaleString('en-GB')}`
  for (let round = 0; round < fills; round++) {
    await withStores(contenders, 'unsynced', settings, async (stores) => {
      for (let turn = 0; turn < stores.length; turn++) {
        const index = (turn + round) % stores.length
        const { store } = stores[index] as Entrant
        collectGarbage()
        const beganAt = now(settings)
        await load(store, 0, keys, window)
        fresh[index]?.push(((now(settings) - beganAt) * 1e6) / keys)
      }
      if (round < fills - 1) return
      const order = uniformOrder(Math.max(keys, window), 0, keys, 12)
      const lanes = stores.map((entrant) => putLane(entrant, order, window))
      overwrites.push(...(await race(`put, overwrite, ${suffix}`, lanes, settings)))
    })
  }
  return [
    ...contenders.map(({ name }, index) =>
      measure(`put, fresh, ${suffix}`, name, 'ns', fresh[index] ?? []),
    ),
    ...overwrites,
  ]
}

/** Makes a lane that puts in windows. */
export function putLane(
  { name, store }: Entrant<Pick<OpenContender, 'put' | 'settle'>>,
  order: Uint32Array,
  window: number,
): Lane {
  const rotation = new Rotation(order, window)
  return {
    contender: name,
    size: window,
    chunk: async () => {
      const from = rotation.next()
      for (let at = from; at < from + window; at++) store.put(order[at] as number)
      await store.settle()
    },
  }
}

/** Pipelined puts: the program waits once for each window. */
export const put: Bench = {
  name: 'put',
  about: 'pipelined puts, unsynced: fresh keys into empty stores, and overwrites',
  async run(settings): Promise<Report> {
    const measures: Measure[] = []
    for (const [window, contenders] of WINDOWS) {
      measures.push(...(await measurePuts(window, contenders, settings)))
    }
    const whats = [...new Set(measures.map(({ what }) => what))]
    return {
      measures,
      targets: whats.flatMap((what) =>
        [FIRKIN, FIRKIN_HASH].map(({ name }) =>
          target(what, 2.5, find(measures, what, name), find(measures, what, LMDB.name)),
        ),
      ),
      notes: [
        'classic-level and better-sqlite3 have no put to pipeline: a window is one batch, or one transaction.',
      ],
    }
  },
}

/** The modes side by side. */
export const putModes: Bench = {
  name: 'put-modes',
  about: 'pipelined overwrites in windows of 1,000 in stores of 100,000 keys, by mode',
  async run(settings): Promise<Report> {
    const keys = Math.min(settings.keys, 100_000)
    const measures: Measure[] = []
    for (const mode of ['unsynced', 'background', 'durable'] as const) {
      const what = `put, ${mode}`
      await withStores(CONTENDERS, mode, settings, async (stores) => {
        for (const { store } of stores) await load(store, 0, keys)
        const order = uniformOrder(1_000_000, 0, keys, 16)
        const lanes = stores.map((entrant) => putLane(entrant, order, 1000))
        measures.push(...(await race(what, lanes, settings)))
      })
    }
    return {
      measures,
      targets: [],
      notes: [
        "unsynced: Firkin sync 'never', lmdb noSync, classic-level by default, better-sqlite3 synchronous OFF.",
        "background: Firkin sync 'interval' (each second), lmdb by default (a sync after each commit), better-sqlite3 NORMAL (at its checkpoints); classic-level has no such mode, and is unsynced.",
        "durable: Firkin sync 'always', lmdb without overlapping syncs, classic-level sync, better-sqlite3 FULL.",
      ],
    }
  },
}

/** Synchronous puts. */
export const putSync: Bench = {
  name: 'put-sync',
  about: 'putSync, one at a time, unsynced',
  async run(settings): Promise<Report> {
    const what = 'putSync, unsynced'
    const contenders = CONTENDERS.filter(({ name }) => name !== 'classic-level')
    const measures = await withStores(contenders, 'unsynced', settings, async (stores) => {
      for (const { store } of stores) await load(store, 0, settings.keys)
      const order = uniformOrder(settings.keys, 0, 2 * settings.keys, 13)
      return await race(
        what,
        stores.map(({ name, store }): Lane => {
          const rotation = new Rotation(order)
          return {
            contender: name,
            size: CHUNK,
            chunk: () => {
              const from = rotation.next()
              store.putSync(order, from, from + CHUNK)
            },
            each: (turn) => store.putSync(order, turn % order.length, (turn % order.length) + 1),
          }
        }),
        settings,
      )
    })
    const of = (name: string) => find(measures, what, name)
    return {
      measures,
      targets: [
        target(what, 4, of(FIRKIN.name), of(LMDB.name)),
        target(what, 2, of(FIRKIN.name), of('better-sqlite3')),
      ],
    }
  },
}

/** Atomic batches. */
export const batch: Bench = {
  name: 'batch-1000',
  about: 'atomic batches of 1,000 puts, half of them fresh, unsynced',
  async run(settings): Promise<Report> {
    const what = 'batch of 1,000, unsynced'
    const measures = await withStores(CONTENDERS, 'unsynced', settings, async (stores) => {
      for (const { store } of stores) await load(store, 0, settings.keys)
      const order = uniformOrder(settings.keys, 0, 2 * settings.keys, 14)
      return await race(
        what,
        stores.map(({ name, store }): Lane => {
          const rotation = new Rotation(order, 1000)
          return {
            contender: name,
            size: 1000,
            chunk: () => {
              const from = rotation.next()
              return store.putBatch(order, from, from + 1000)
            },
          }
        }),
        settings,
      )
    })
    const peers = PEERS.map(({ name }) => find(measures, what, name))
    return { measures, targets: [target(what, 2, find(measures, what, FIRKIN.name), best(peers))] }
  },
}
