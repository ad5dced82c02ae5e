/**
 * A race: contenders take turns at the same thing over several rounds in one process.
 *
 * 1. A first round warms up and is not counted.
 * 2. In each round every contender has one turn; the one that begins changes from round to round.
 * 3. A turn is a run of tinybench: chunks of operations until its time is over. Its figure is the mean, so that
 *    what comes seldom (garbage, a write of the stage, a merge) is in it.
 * 4. What is reported is the median of the rounds.
 *
 * Garbage is collected before each turn, so that nobody pays for another's.
 */

import { Bench } from 'tinybench'
import type { Settings } from './bench.ts'
import { Latencies } from './latencies.ts'
import type { Latency, Measure } from './report.ts'

/** A contender's part in a race. */
export interface Lane {
  readonly contender: string
  /** How many operations one call of `chunk` makes. */
  readonly size: number
  readonly chunk: () => unknown
}

/** How long a race takes, and by which clock. */
export type RaceOptions = Pick<Settings, 'rounds' | 'turnMs' | 'clock'>

const CLOCKS = {
  wall: () => performance.now(),
  cpu: () => {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1000
  },
} as const

const WINDOW = 1000

/** Runs a race at `what`; answers nanoseconds an operation. */
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
      const now = CLOCKS[clock]
      const bench = new Bench({ now, time: turnMs, iterations: 1, warmup: false, throws: true })
      bench.add(contender, async () => {
        await chunk()
      })
      const [task] = await bench.run()
      const result = task?.result
      if (result === undefined || !('latency' in result))
        throw new Error(`${contender} did not run`)
      if (round >= 0) figures[index]?.push((result.latency.mean * 1e6) / size)
    }
  }
  return lanes.map(({ contender }, index) => measure(what, contender, 'ns', figures[index] ?? []))
}

/** A measure of rounds. */
export function measure(
  what: string,
  contender: string,
  unit: Measure['unit'],
  rounds: readonly number[],
): Measure {
  return { what, contender, unit, median: median(rounds), rounds }
}

/** The middle of some numbers. */
export function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? upper) + upper) / 2
}

/** Collects garbage, where the process was started so that it can. */
export function collectGarbage(): void {
  globalThis.gc?.()
}

/** Times single operations one by one: `count` of them in windows, after each of which `settle` is awaited. */
export async function timeEach(
  count: number,
  operation: (index: number) => void,
  settle: () => Promise<void> | void = () => undefined,
): Promise<Latency> {
  const latencies = new Latencies(count)
  for (let index = 0; index < count; index++) {
    const beganAt = performance.now()
    operation(index)
    latencies.add(performance.now() - beganAt)
    if (index % WINDOW === WINDOW - 1) await settle()
  }
  await settle()
  return latencies.summary()
}
