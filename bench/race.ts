/**
 * Runs a race: contenders take turns at the same operation over several rounds in one process.
 *
 * 1. A first round warms up and is not counted.
 * 2. In each round every contender has one turn; another contender begins each round.
 * 3. A turn is a run of tinybench: chunks of operations until its time is over. Its figure is the
 *    mean, so that it includes rare events (garbage, a write of the stage, a merge).
 * 4. After each chunk the event loop turns, as it does in a program, so that a store's background
 *    work falls into the store's own turn.
 * 5. The figure reported is the median of the rounds; a ratio is the median of the rounds' ratios.
 * 6. If latency matters, single operations are timed afterwards. Their times include the reading of
 *    the clock, some 40 ns.
 *
 * Garbage is collected before each turn, so that no contender pays for another's.
 */

import { setImmediate } from 'node:timers/promises'
import { Bench } from 'tinybench'
import type { Settings } from './bench.ts'
import { Latencies } from './latencies.ts'
import { type Latency, type Measure, measure } from './report.ts'

/** A contender's part in a race. */
export interface Lane {
  readonly contender: string
  /** The number of operations in one call of `chunk`. */
  readonly size: number
  readonly chunk: () => unknown
  /** One operation, if its latency matters: timed one by one after the race. */
  readonly each?: (turn: number) => void
  /** Waits for the operations that `each` began. */
  readonly settle?: () => Promise<void>
}

/** The length of a race, and its clock. */
export type RaceOptions = Pick<Settings, 'rounds' | 'turnMs' | 'clock'>

const CLOCKS = {
  wall: () => performance.now(),
  cpu: () => {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1000
  },
} as const

const LATENCY_COUNT = 100_000
const LATENCY_WINDOW = 1000

/** Runs a race at `what`, and returns the nanoseconds of an operation. */
export async function race(
  what: string,
  lanes: readonly Lane[],
  { rounds, turnMs, clock }: RaceOptions,
): Promise<Measure[]> {
  const figures = lanes.map((): number[] => [])
  for (let round = -1; round < rounds; round++) {
    for (let turn = 0; turn < lanes.length; turn++) {
      const index = (turn + round + 1) % lanes.length
      const { contender, size, chunk } = lanes[index] as Lane
      collectGarbage()
      const bench = new Bench({
        now: CLOCKS[clock],
        time: turnMs,
        iterations: 1,
        warmup: false,
        throws: true,
      })
      bench.add(contender, async () => {
        await chunk()
        await setImmediate()
      })
      const [task] = await bench.run()
      const result = task?.result
      if (result === undefined || !('latency' in result))
        throw new Error(`${contender} did not run`)
      if (round >= 0) figures[index]?.push((result.latency.mean * 1e6) / size)
    }
  }
  const measures: Measure[] = []
  for (const [index, lane] of lanes.entries()) {
    const result = measure(what, lane.contender, 'ns', figures[index] ?? [])
    const latency = await latencyOf(lane)
    measures.push(latency === undefined ? result : { ...result, latency })
  }
  return measures
}

/** Collects garbage, if the process was started with `--expose-gc`. */
export function collectGarbage(): void {
  globalThis.gc?.()
}

/** Returns the time of the races' clock, in milliseconds. */
export function now({ clock }: Pick<Settings, 'clock'>): number {
  return CLOCKS[clock]()
}

async function latencyOf({ each, settle }: Lane): Promise<Latency | undefined> {
  if (each === undefined) return undefined
  const latencies = new Latencies()
  for (let index = 0; index < LATENCY_COUNT; index++) {
    const beganAt = performance.now()
    each(index)
    latencies.add(performance.now() - beganAt)
    if (index % LATENCY_WINDOW === LATENCY_WINDOW - 1) await settle?.()
  }
  return latencies.summary()
}
