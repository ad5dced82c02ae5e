/** Measures durable puts by concurrent writers. */

import type { Bench, Settings } from '../bench.ts'
import type { Contender } from '../contender.ts'
import { Latencies } from '../latencies.ts'
import { collectGarbage } from '../race.ts'
import { best, find, type Measure, measure, type Report, target } from '../report.ts'
import { type Entrant, FIRKIN, load, PEERS, withStores } from '../stores.ts'
import { uniformOrder } from '../workload.ts'

const CONTENDERS: readonly Contender[] = [FIRKIN, ...PEERS]
const IN_FLIGHT = [1, 16, 256]
const FACTORS = [1, 2, 3]
const MAX_KEYS = 100_000

/**
 * Measures `inFlight` writers, each of which waits until its put is durable before the next one.
 */
async function measureInFlight(
  inFlight: number,
  stores: readonly Entrant[],
  keys: number,
  { rounds, turnMs }: Settings,
): Promise<readonly Measure[]> {
  const order = uniformOrder(1_000_000, 0, 2 * keys, 17)
  const lanes = stores.map((entrant) => ({
    ...entrant,
    latencies: new Latencies(),
    rates: [] as number[],
  }))
  let at = 0
  for (let round = -1; round < rounds; round++) {
    for (let turn = 0; turn < lanes.length; turn++) {
      const lane = lanes[(turn + round + 1) % lanes.length] as (typeof lanes)[number]
      const { store, latencies, rates } = lane
      collectGarbage()
      let count = 0
      const beganAt = performance.now()
      const endsAt = beganAt + turnMs
      const write = async (): Promise<void> => {
        for (let now = performance.now(); now < endsAt; count++) {
          await store.putAwaited(order[at++ % order.length] as number)
          const settledAt = performance.now()
          if (round >= 0) latencies.add(settledAt - now)
          now = settledAt
        }
      }
      await Promise.all(Array.from({ length: inFlight }, write))
      if (round >= 0) rates.push((count * 1000) / (performance.now() - beganAt))
    }
  }
  return lanes.map(({ name, rates, latencies }) => ({
    ...measure(whatOf(inFlight), name, 'op/s', rates),
    latency: latencies.summary(),
  }))
}

function whatOf(inFlight: number): string {
  return `durable put, ${inFlight} in flight`
}

/** Durable puts by concurrent writers. */
export const durablePut: Bench = {
  name: 'durable-put',
  about: 'puts that survive a power loss before they settle; 1, 16 and 256 in flight',
  async run(settings): Promise<Report> {
    const keys = Math.min(settings.keys, MAX_KEYS)
    const measures = await withStores(CONTENDERS, 'durable', settings, async (stores) => {
      for (const { store } of stores) await load(store, 0, keys)
      const all: Measure[] = []
      for (const inFlight of IN_FLIGHT) {
        all.push(...(await measureInFlight(inFlight, stores, keys, settings)))
      }
      return all
    })
    return {
      measures,
      targets: IN_FLIGHT.map((inFlight, index) => {
        const what = whatOf(inFlight)
        const peers = PEERS.map(({ name }) => find(measures, what, name))
        return target(
          what,
          FACTORS[index] as number,
          find(measures, what, FIRKIN.name),
          best(peers),
        )
      }),
      notes: [
        'better-sqlite3 commits each put by itself, whatever is in flight: its calls are synchronous.',
      ],
    }
  },
}
