/** Measures reads of files that are not mapped, beside the same reads through mappings. */

import type { Bench } from '../bench.ts'
import { firkin } from '../contenders/firkin.ts'
import { type Lane, race } from '../race.ts'
import type { Report } from '../report.ts'
import { FIRKIN, LARGE_WINDOW, load, withStores } from '../stores.ts'
import { uniformOrder } from '../workload.ts'
import { readLane } from './get.ts'

const CONTENDERS = [FIRKIN, firkin('firkin unmapped', { mapping: false })]
const ORDER_LENGTH = 1_000_000

/** Reads without mappings: keys in random order, and all entries. */
export const unmapped: Bench = {
  name: 'unmapped',
  about: 'get in random order and iteration, with mappings and without',
  async run(settings): Promise<Report> {
    const { keys } = settings
    const order = uniformOrder(ORDER_LENGTH, 0, keys, 11)
    const measures = await withStores(CONTENDERS, 'unsynced', settings, async (stores) => {
      for (const { store } of stores) await load(store, 0, keys, LARGE_WINDOW)
      const scans = stores.map(
        ({ name, store }): Lane => ({
          contender: name,
          size: keys,
          chunk: async () => {
            const count = await store.scan({})
            if (count !== keys) throw new Error(`${name} gave ${count} of ${keys}`)
          },
        }),
      )
      const gets = stores.map((entrant) => readLane(entrant, order, true))
      return [
        ...(await race('get, present, without mappings', gets, settings)),
        ...(await race('iterate, all, an entry, without mappings', scans, settings)),
      ]
    })
    return { measures, targets: [] }
  },
}
