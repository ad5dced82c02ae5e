/** A time, or a rate, of one contender at one thing. */
export interface Measure {
  /** What was done, in which mode or at which size. */
  readonly what: string
  readonly contender: string
  readonly unit: Unit
  /** The median of the rounds. */
  readonly median: number
  /** The figure of each round, in order. */
  readonly rounds: readonly number[]
  /** Of single operations, where they were timed one by one. */
  readonly latency?: Latency
}

/** `ns` and `ms` are better when lower, the others when higher; `B/key` and the plain ratio when lower. */
export type Unit = 'ns' | 'µs' | 'ms' | 'op/s' | 'keys/s' | 'MB/s' | 'B/key' | 'ratio' | '%'

/** Latencies of single operations in nanoseconds, the reading of the clock included. */
export interface Latency {
  readonly p50: number
  readonly p99: number
  readonly p999: number
  readonly max: number
}

/** A row of the table of goals: what was to be reached, and what was. */
export interface Target {
  readonly what: string
  readonly goal: string
  readonly reached: string
  readonly pass: boolean
}

/** What a bench found out. */
export interface Report {
  readonly measures: readonly Measure[]
  readonly targets: readonly Target[]
  /** What a reader of the figures must know beside them. */
  readonly notes?: readonly string[]
}

const LOWER_IS_BETTER: readonly Unit[] = ['ns', 'µs', 'ms', 'B/key', 'ratio']

/**
 * How many times as good `measure` is as `other`; above 1 where it is better. It is the median of the rounds'
 * ratios: what slows the machine down in one round slows both.
 */
export function advantage(measure: Measure, other: Measure): number {
  const ratios = measure.rounds.map((figure, round) => {
    const against = other.rounds[round] ?? other.median
    return LOWER_IS_BETTER.includes(measure.unit) ? against / figure : figure / against
  })
  return median(ratios)
}

/** The middle of some numbers. */
export function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? upper) + upper) / 2
}

/** A measure of rounds. */
export function measure(
  what: string,
  contender: string,
  unit: Unit,
  rounds: readonly number[],
): Measure {
  return { what, contender, unit, median: median(rounds), rounds }
}

/** The measure of a contender at something. */
export function find(measures: readonly Measure[], what: string, contender: string): Measure {
  const found = measures.find((measure) => measure.what === what && measure.contender === contender)
  if (found === undefined) throw new Error(`Nothing was measured of ${contender} at ${what}`)
  return found
}

/** The best of some measures of the same thing. */
export function best(measures: readonly Measure[]): Measure {
  return measures.reduce((leader, each) => (advantage(each, leader) > 1 ? each : leader))
}

/** The goal of being at least `factor` times as good as another. */
export function target(what: string, factor: number, measure: Measure, other: Measure): Target {
  const reached = advantage(measure, other)
  return {
    what: `${what}: ${measure.contender}`,
    goal: `${factor}x ${other.contender}`,
    reached: `${reached.toFixed(2)}x`,
    pass: reached >= factor,
  }
}

/** The goal of a figure that is at most, or at least, so much. */
export function bound(
  what: string,
  relation: 'at most' | 'at least',
  limit: string,
  reached: string,
  pass: boolean,
): Target {
  return { what, goal: `${relation} ${limit}`, reached, pass }
}
