/** Defines the figures that a bench reports, and compares them. */

/** A time, or a rate, of one contender at one operation. */
export interface Measure {
  /** The operation, with its mode or size. */
  readonly what: string
  readonly contender: string
  readonly unit: Unit
  /** The median of the rounds. */
  readonly median: number
  /** The figure of each round, in order. */
  readonly rounds: readonly number[]
  /** The latencies of single operations, if they were timed one by one. */
  readonly latency?: Latency
}

/**
 * The unit of a figure. Times, `B/key` and `ratio` are better when lower, the others when higher.
 */
export type Unit = 'ns' | 'µs' | 'ms' | 'op/s' | 'keys/s' | 'MB/s' | 'B/key' | 'ratio' | '%'

/** The latencies of single operations in nanoseconds, including the reading of the clock. */
export interface Latency {
  readonly p50: number
  readonly p99: number
  readonly p999: number
  readonly max: number
}

/** A row of the table of goals: the goal, and the figure that was reached. */
export interface Target {
  readonly what: string
  readonly goal: string
  readonly reached: string
  readonly pass: boolean
}

/** The results of a bench. */
export interface Report {
  readonly measures: readonly Measure[]
  readonly targets: readonly Target[]
  /** Remarks that a reader of the figures needs. */
  readonly notes?: readonly string[]
}

const LOWER_IS_BETTER: readonly Unit[] = ['ns', 'µs', 'ms', 'B/key', 'ratio']

/**
 * Returns how many times as good `measure` is as `other`: above 1 if it is better. It is the median
 * of the rounds' ratios, since a slow moment of the machine slows both in a round.
 */
export function advantage(measure: Measure, other: Measure): number {
  const ratios = measure.rounds.map((figure, round) => {
    const against = other.rounds[round] ?? other.median
    return LOWER_IS_BETTER.includes(measure.unit) ? against / figure : figure / against
  })
  return median(ratios)
}

/** Returns the median of some numbers. */
export function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? upper) + upper) / 2
}

/** Makes a measure from the figures of the rounds. */
export function measure(
  what: string,
  contender: string,
  unit: Unit,
  rounds: readonly number[],
): Measure {
  return { what, contender, unit, median: median(rounds), rounds }
}

/** Returns the measure of a contender at an operation. */
export function find(measures: readonly Measure[], what: string, contender: string): Measure {
  const found = measures.find((measure) => measure.what === what && measure.contender === contender)
  if (found === undefined) throw new Error(`Nothing was measured of ${contender} at ${what}`)
  return found
}

/** Returns the best of some measures of the same operation. */
export function best(measures: readonly Measure[]): Measure {
  return measures.reduce((leader, each) => (advantage(each, leader) > 1 ? each : leader))
}

/** Makes the goal of being at least `factor` times as good as another. */
export function target(what: string, factor: number, measure: Measure, other: Measure): Target {
  const reached = advantage(measure, other)
  return {
    what: `${what}: ${measure.contender}`,
    goal: `${factor}x ${other.contender}`,
    reached: `${reached.toFixed(2)}x`,
    pass: reached >= factor,
  }
}

/** Makes the goal of a figure that is at most, or at least, `limit`. */
export function bound(
  what: string,
  relation: 'at most' | 'at least',
  limit: string,
  reached: string,
  pass: boolean,
): Target {
  return { what, goal: `${relation} ${limit}`, reached, pass }
}
