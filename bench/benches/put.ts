import type { Bench, Settings } from '../bench.ts'
import type { Contender, Mode } from '../contender.ts'
import { type Lane, measure, race } from '../race.ts'
import { find, type Measure, type Report, target } from '../report.ts'
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

/** How many puts are made before any is waited for. */
const WINDOW = 1000

/** Fills empty stores, one after the other, and then overwrites in turns. */
async function measurePuts(mode: Mode, settings: Settings): Promise<readonly Measure[]> {
  const { keys, rounds } = settings
  const fresh = CONTENDERS.map((): number[] => [])
  const overwrites: Measure[] = []
  for (let round = 0; round < rounds; round++) {
    await withStores(CONTENDERS, mode, settings, async (stores) => {
      for (let turn = 0; turn < stores.length; turn++) {
        const index = (turn + round) % stores.length
        const { store } = stores[index] as Entrant
        globalThis.gc?.()
        const beganAt = performance.now()
        await load(store, 0, keys, WINDOW)
        fresh[index]?.push(((performance.now() - beganAt) * 1e6) / keys)
      }
      if (round < rounds - 1) return
      const order = uniformOrder(keys, 0, keys, 12)
      overwrites.push(
        ...(await race(
          `put, overwrite, ${mode}`,
          stores.map((entrant) => putLane(entrant, order)),
          settings,
        )),
      )
    })
  }
  return [
    ...CONTENDERS.map(({ name }, index) =>
      measure(`put, fresh, ${mode}`, name, 'ns', fresh[index] ?? []),
    ),
    ...overwrites,
  ]
}

function putLane({ name, store }: Entrant, order: Uint32Array): Lane {
  const rotation = new Rotation(order, WINDOW)
  return {
    contender: name,
    size: WINDOW,
    chunk: async () => {
      const from = rotation.next()
      for (let at = from; at < from + WINDOW; at++) store.put(order[at] as number)
      await store.settle()
    },
  }
}

/** Puts that are not waited for one by one. */
export const put: Bench = {
  name: 'put',
  about: `puts pipelined in windows of ${WINDOW}: fresh keys into empty stores, and overwrites; by mode`,
  async run(settings): Promise<Report> {
    const measures = [...(await measurePuts('unsynced', settings))]
    const targets = ['put, fresh, unsynced', 'put, overwrite, unsynced'].flatMap((what) =>
      [FIRKIN, FIRKIN_HASH].map(({ name }) =>
        target(what, 2.5, find(measures, what, name), find(measures, what, LMDB.name)),
      ),
    )
    return {
      measures,
      targets,
      notes: [
        'classic-level and better-sqlite3 have no put to pipeline: a window is one batch, or one transaction',
      ],
    }
  },
}

/** Puts by the synchronous call. */
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
    const best = bestOf(PEERS.map(({ name }) => find(measures, what, name)))
    return { measures, targets: [target(what, 2, find(measures, what, FIRKIN.name), best)] }
  },
}

function bestOf(measures: readonly Measure[]): Measure {
  return measures.reduce((best, each) => (each.median < best.median ? each : best))
}
