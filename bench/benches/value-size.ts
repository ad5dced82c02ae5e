/** Measures gets and puts by the size of the value. */

import type { Bench, Settings } from '../bench.ts'
import type { Contender } from '../contender.ts'
import { type Lane, race } from '../race.ts'
import type { Measure, Report } from '../report.ts'
import { FIRKIN, LMDB, LMDB_FAST, load, PEERS, Rotation, withStores } from '../stores.ts'
import { uniformOrder } from '../workload.ts'
import { putLane } from './put.ts'

const SIZES = [16, 128, 1024, 8192, 65_536, 1_048_576]
/** The bytes of all values of one contender. */
const TOTAL_BYTES = 64 * 1024 * 1024
const MAX_KEYS = 100_000
const MAX_ROUNDS = 3
const CONTENDERS: readonly Contender[] = [FIRKIN, LMDB_FAST, ...PEERS]

async function measureSize(valueBytes: number, settings: Settings): Promise<Measure[]> {
  const keys = Math.min(settings.keys, MAX_KEYS, Math.floor(TOTAL_BYTES / valueBytes))
  const chunk = Math.min(1000, keys)
  const sized = { ...settings, valueBytes, rounds: Math.min(settings.rounds, MAX_ROUNDS) }
  const order = uniformOrder(100_000, 0, keys, 22)
  return await withStores(CONTENDERS, 'unsynced', sized, async (stores) => {
    for (const { store } of stores) await load(store, 0, keys, chunk)
    const reads = stores.map(({ name, store }): Lane => {
      const rotation = new Rotation(order, chunk)
      return {
        contender: name,
        size: chunk,
        chunk: () => {
          const from = rotation.next()
          store.read(order, from, from + chunk)
        },
      }
    })
    const writers = stores.filter(({ name }) => name !== LMDB_FAST.name)
    return [
      ...(await race(`get, ${sizeName(valueBytes)}`, reads, sized)),
      ...(await race(
        `put, ${sizeName(valueBytes)}`,
        writers.map((entrant) => putLane(entrant, order, chunk)),
        sized,
      )),
    ]
  })
}

function sizeName(bytes: number): string {
  if (bytes >= 1_048_576) return `${bytes / 1_048_576} MiB`
  return bytes >= 1024 ? `${bytes / 1024} KiB` : `${bytes} B`
}

/** Gets and puts by the size of the value. */
export const valueSize: Bench = {
  name: 'value-size',
  about: `get and overwriting put, unsynced, by the size of the value; ${LMDB.name} and the others alike`,
  async run(settings): Promise<Report> {
    const measures: Measure[] = []
    for (const size of SIZES) measures.push(...(await measureSize(size, settings)))
    return { measures, targets: [] }
  },
}
