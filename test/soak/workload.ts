/** Defines a workload of the soak. */

import type { Random } from '../support/random.ts'

/** The directory, time and random numbers that a workload gets, and the figures that it sets. */
export interface Load {
  /** An empty directory that only the workload uses. */
  readonly directory: string
  readonly random: Random
  /** Whether its time is over. The workload asks between any two steps. */
  isOver(): boolean
  /** The bytes of the present keys and values. */
  liveBytes: number
  /** The number of operations done. */
  operations: number
  /** Whether it is doing something known to hold up the event loop, so that delays do not count. */
  isHeldUp: boolean
  /** Other figures that must not grow, by name; for example keys. */
  readonly figures: Record<string, number>
}

/** A way to use a store for a long time. Each is a file in `workloads`. */
export interface Workload {
  readonly name: string
  /** A few words on what it does. */
  readonly about: string
  /** The limit of the files' size: a multiple of the live bytes, and an allowance above that. */
  readonly mostAmplification: number
  readonly sparedBytes: number
  /** Runs until its time is over. @throws if a value is wrong */
  run(load: Load): Promise<void>
}

export const KIB = 1024
export const MIB = 1024 * KIB

/** Expects that a value is right. @throws Error if it is not */
export function expectThat(isSo: boolean, message: string): void {
  if (!isSo) throw new Error(message)
}
