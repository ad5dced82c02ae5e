import type { Bench } from '../bench.ts'
import type { Contender } from '../contender.ts'
import { type Lane, race } from '../race.ts'
import { find, type Report, target } from '../report.ts'
import { FIRKIN, FIRKIN_HASH, LMDB, load, PEERS, withStores } from '../stores.ts'
import { keyAt, random } from '../workload.ts'

const CONTENDERS: readonly Contender[] = [FIRKIN, FIRKIN_HASH, ...PEERS]
const PREFIX_CHUNK = 20

/** Ordered iteration: all entries, and short ranges. */
export const iterate: Bench = {
  name: 'iterate',
  about: 'entries in key order: all of them, and ranges of 100',
  async run(settings): Promise<Report> {
    const { keys } = settings
    const sorted = Array.from({ length: keys }, (_, index) => keyAt(index)).sort()
    const full = 'iterate, all, an entry'
    const range = 'iterate, ranges of 100, an entry'
    const rangeSize = Math.min(100, keys - 1)
    const measures = await withStores(CONTENDERS, 'unsynced', settings, async (stores) => {
      for (const { store } of stores) await load(store, 0, keys)
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
          const next = random(15)
          return {
            contender: name,
            size: PREFIX_CHUNK * rangeSize,
            chunk: async () => {
              for (let turn = 0; turn < PREFIX_CHUNK; turn++) {
                const at = Math.floor(next() * (keys - rangeSize))
                const bounds = {
                  gte: sorted[at] as string,
                  lt: sorted[at + rangeSize] as string,
                }
                const count = await store.scan(bounds)
                if (count !== rangeSize) throw new Error(`${name} gave ${count} of ${rangeSize}`)
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
