/** Measures ordered iteration. */

import type { Bench } from '../bench.ts'
import type { Contender } from '../contender.ts'
import { type Lane, race } from '../race.ts'
import { find, type Report, target } from '../report.ts'
import {
  FIRKIN,
  FIRKIN_HASH,
  LARGE_WINDOW,
  LMDB,
  load,
  PEERS,
  Rotation,
  withStores,
} from '../stores.ts'
import { keyAt, uniformOrder } from '../workload.ts'

const CONTENDERS: readonly Contender[] = [FIRKIN, FIRKIN_HASH, ...PEERS]
const RANGE_SIZE = 100
/** The number of ranges in a chunk. */
const RANGES = 20
/** The average number of keys with a prefix: more than the keys of a range that are walked. */
const KEYS_PER_PREFIX = 200
const BITS_PER_DIGIT = 4
const ORDER_LENGTH = 100_000

/** Ordered iteration: all entries, and short ranges. */
export const iterate: Bench = {
  name: 'iterate',
  about: 'entries in key order: all of them, and prefix ranges of 100',
  async run(settings): Promise<Report> {
    const { keys } = settings
    const full = 'iterate, all, an entry'
    const range = 'iterate, prefix ranges of 100, an entry'
    const prefixLength = Math.floor(Math.log2(keys / KEYS_PER_PREFIX) / BITS_PER_DIGIT)
    const order = uniformOrder(ORDER_LENGTH, 0, keys, 15)
    const measures = await withStores(CONTENDERS, 'unsynced', settings, async (stores) => {
      for (const { store } of stores) await load(store, 0, keys, LARGE_WINDOW)
      const fullLanes = stores.map(
        ({ name, store }): Lane => ({
          contender: name,
          size: keys,
          chunk: async () => {
            const count = await store.scan({})
            if (count !== keys) throw new Error(`${name} gave ${count} of ${keys}`)
          },
        }),
      )
      const rangeLanes = stores
        .filter(({ name }) => name !== FIRKIN_HASH.name)
        .map(({ name, store }): Lane => {
          const rotation = new Rotation(order, RANGES)
          return {
            contender: name,
            size: RANGES * RANGE_SIZE,
            chunk: async () => {
              const from = rotation.next()
              for (let at = from; at < from + RANGES; at++) {
                const prefix = keyAt(order[at] as number).slice(0, prefixLength)
                const count = await store.scan({ prefix, limit: RANGE_SIZE })
                if (count !== RANGE_SIZE) throw new Error(`${name} gave ${count} of ${RANGE_SIZE}`)
              }
            },
          }
        })
      return [
        ...(await race(full, fullLanes, settings)),
        ...(await race(range, rangeLanes, settings)),
      ]
    })
    const of = (what: string, { name }: Contender) => find(measures, what, name)
    return {
      measures,
      targets: [
        target(full, 2, of(full, FIRKIN), of(full, LMDB)),
        target(range, 1.5, of(range, FIRKIN), of(range, LMDB)),
      ],
    }
  },
}
