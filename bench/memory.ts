/** Measures the memory of this process. */

import { readFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { collectGarbage } from './race.ts'

/** The memory of a process, in bytes. */
export interface Footprint {
  /** Live objects of JavaScript. */
  readonly heap: number
  /** All memory that the JavaScript engine has taken for its heap, used or not. */
  readonly heapTaken: number
  /**
   * All memory that does not belong to a file, the keydir's included, as the kernel counts it;
   * undefined if the kernel does not report it.
   */
  readonly anonymous: number | undefined
}

/** The number of looks at a process, to find it at rest. */
const LOOKS = 10
const LOOK_MS = 300

/**
 * Measures this process after garbage collection, at rest: memory that a background thread holds
 * for a moment does not count.
 */
export async function footprint(): Promise<Footprint> {
  let least = look()
  for (let looks = 1; looks < LOOKS; looks++) {
    await setTimeout(LOOK_MS)
    const next = look()
    if ((next.anonymous ?? 0) < (least.anonymous ?? 0)) least = next
  }
  return least
}

function look(): Footprint {
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
