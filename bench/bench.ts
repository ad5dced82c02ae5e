/** Defines a bench, and the settings that the command line passes to it. */

import type { Report } from './report.ts'

/** The settings of a run, from the command line. */
export interface Settings {
  /** The number of keys in a store, unless a bench states another. */
  readonly keys: number
  readonly valueBytes: number
  readonly rounds: number
  /** The time of one contender's turn in a round. */
  readonly turnMs: number
  /** The clock of the races: wall time, or the processor time of all threads of this process. */
  readonly clock: 'wall' | 'cpu'
  /** Whether the large sizes are measured too. */
  readonly full: boolean
  /** The directory in which stores are created. */
  readonly directory: string
}

/** A named bench. */
export interface Bench {
  readonly name: string
  /** A line that says what it measures. */
  readonly about: string
  /** Whether it runs only if it is named, or with `--full`. */
  readonly heavy?: boolean
  run(settings: Settings): Promise<Report>
}
