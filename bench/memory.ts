import { readFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
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

/** So often, and so many milliseconds apart, a process is looked at to find it at rest. */
const LOOKS = 10
const LOOK_MS = 300

/** Measures this process, garbage collected and at rest: what a thread in the background has for a while does not count. */
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
