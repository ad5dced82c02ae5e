import type { Report } from './report.ts'

/** What the command line says. */
export interface Settings {
  /** How many keys a store has, where a bench does not say otherwise. */
  readonly keys: number
  readonly valueBytes: number
  readonly rounds: number
  /** The time of one contender's turn in a round. */
  readonly turnMs: number
  /** By which clock races go: that on the wall, or the processor time of this process, all its threads. */
  readonly clock: 'wall' | 'cpu'
  /** Whether the large sizes are measured too. */
  readonly full: boolean
  /** Where stores are made. */
  readonly directory: string
}

/** A named bench. */
export interface Bench {
  readonly name: string
  /** What it measures, in one line. */
  readonly about: string
  /** Whether it runs only when it is named, or with `--full`. */
  readonly heavy?: boolean
  run(settings: Settings): Promise<Report>
}
