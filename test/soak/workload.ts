import type { Random } from '../support/random.ts'

/** What a workload is given, and what it tells. */
export interface Load {
  /** An empty directory of its own. */
  readonly directory: string
  readonly random: Random
  /** Whether its time is over; to be asked between any two steps. */
  isOver(): boolean
  /** Bytes of keys and values that are to be found at present. */
  liveBytes: number
  /** How many operations were done. */
  operations: number
  /** Whether it is doing what is known to hold up the event loop, so that its delay says nothing. */
  isHeldUp: boolean
  /** Other figures of its own that must not grow, by name; keys that are held, for one. */
  readonly figures: Record<string, number>
}

/** A way to use a store for a long time; each is a file in `workloads`. */
export interface Workload {
  readonly name: string
  /** What it does, in a few words. */
  readonly about: string
  /** The files may take so many times the live bytes; and so many bytes beside. */
  readonly mostAmplification: number
  readonly sparedBytes: number
  /** Goes on until its time is over. @throws where an answer is wrong */
  run(load: Load): Promise<void>
}

export const KIB = 1024
export const MIB = 1024 * KIB

/** @throws Error where an answer is wrong */
export function expectThat(isSo: boolean, message: string): void {
  if (!isSo) throw new Error(message)
}
