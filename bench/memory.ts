import { readFileSync } from 'node:fs'
import { collectGarbage } from './race.ts'

/** What a process holds in memory, in bytes. */
export interface Footprint {
  /** Live objects of JavaScript. */
  readonly heap: number
  /** All that the engine of JavaScript has taken for its heap, used or not. */
  readonly heapTaken: number
  /** All memory that is no file's, the keydir's included, as the kernel counts it; undefined where it does not say. */
  readonly anonymous: number | undefined
}

/** Measures this process, garbage collected. */
export function footprint(): Footprint {
  collectGarbage()
  collectGarbage()
  const { heapUsed, heapTotal } = process.memoryUsage()
  return { heap: heapUsed, heapTaken: heapTotal, anonymous: anonymousBytes() }
}

function anonymousBytes(): number | undefined {
  try {
    const line = /^Anonymous:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/smaps_rollup', 'latin1'))
    return line === null ? undefined : Number(line[1]) * 1024
  } catch {
    return undefined
  }
}
