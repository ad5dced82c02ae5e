/** Measures the cost of an operation by the number of keys. */

import type { Bench, Settings } from '../bench.ts'
import type { Contender } from '../contender.ts'
import { type Lane, race } from '../race.ts'
import { type Measure, measure, type Report } from '../report.ts'
import { CHUNK, FIRKIN, FIRKIN_HASH, load, PEERS, Rotation, withStores } from '../stores.ts'
import { uniformOrder } from '../workload.ts'
import { putLane } from './put.ts'

/** The numbers of keys, as multiples of `--keys`. */
const PARTS = [0.01, 0.1, 1, 10]
const MAX_ROUNDS = 3
const ORDER_LENGTH = 1_000_000

async function measureCount(keys: number, settings: Settings): Promise<Measure[]> {
  // The peers need minutes for more keys.
  const peers: readonly Contender[] = keys > settings.keys && !settings.full ? [] : PEERS
  const contenders = [FIRKIN, FIRKIN_HASH, ...peers]
  const options = { ...settings, rounds: Math.min(settings.rounds, MAX_ROUNDS) }
  const at = `${keys.toLocaleString('en-GB')} keys`
  return await withStores(contenders, 'unsynced', settings, async (stores) => {
    const loads: Measure[] = []
    for (const { name, store } of stores) {
      const beganAt = performance.now()
      await load(store, 0, keys)
      loads.push(measure(`fill, ${at}`, name, 'ns', [((performance.now() - beganAt) * 1e6) / keys]))
    }
    const present = uniformOrder(ORDER_LENGTH, 0, keys, 23)
    const absent = uniformOrder(ORDER_LENGTH, keys, 2 * keys, 24)
    const readLanes = (order: Uint32Array) =>
      stores.map(({ name, store }): Lane => {
        const rotation = new Rotation(order)
        return {
          contender: name,
          size: CHUNK,
          chunk: () => {
            const from = rotation.next()
            store.read(order, from, from + CHUNK)
          },
        }
      })
    return [
      ...loads,
      ...(await race(`get, ${at}`, readLanes(present), options)),
      ...(await race(`get absent, ${at}`, readLanes(absent), options)),
      ...(await race(
        `overwrite, ${at}`,
        stores.map((entrant) => putLane(entrant, present, CHUNK)),
        options,
      )),
    ]
  })
}

/** The cost of an operation by the number of keys. */
export const growth: Bench = {
  name: 'growth',
  about:
    'the cost of an operation by the number of keys, from a hundredth of --keys to ten times as many (the peers only with --full)',
  async run(settings): Promise<Report> {
    const measures: Measure[] = []
    for (const part of PARTS) {
      measures.push(...(await measureCount(Math.ceil(settings.keys * part), settings)))
    }
    return { measures, targets: [] }
  },
}
