/**
 * Measures a process under load: memory, descriptors, maps, disk, and the delay of its event loop.
 *
 * The loop's *own* delay is the delay of a timer without the time for which the thread was ready to
 * run and another process had the processor, which Linux reports. So it shows the work of the
 * process itself, even on a busy machine. On other systems it is the whole delay.
 */

import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Load } from './workload.ts'

/** The time between two looks at the event loop, in milliseconds. */
const LOOK_MS = 5
const BUCKETS_PER_MS = 4
const MOST_MS = 2000

/** A histogram of the event loop's delays. */
export class Delays {
  /** The number of looks for each quarter of a millisecond. */
  readonly buckets: number[] = new Array(MOST_MS * BUCKETS_PER_MS + 1).fill(0)
  mostMs = 0

  add(ms: number): void {
    const bucket = Math.min(Math.floor(ms * BUCKETS_PER_MS), this.buckets.length - 1)
    this.buckets[bucket] = (this.buckets[bucket] as number) + 1
    this.mostMs = Math.max(this.mostMs, ms)
  }

  /** Returns the delay that a share of the looks did not exceed. */
  percentile(share: number): number {
    const count = this.buckets.reduce((sum, each) => sum + each, 0)
    let left = Math.ceil(count * share)
    for (const [bucket, each] of this.buckets.entries()) {
      left -= each
      if (left <= 0) return Math.min((bucket + 1) / BUCKETS_PER_MS, this.mostMs)
    }
    return this.mostMs
  }
}

/** The state at a moment, and the delays since the sample before. */
export interface Sample {
  readonly atMs: number
  /** The memory of the process, without mapped files. */
  readonly memoryBytes: number
  readonly heapBytes: number
  readonly descriptors: number
  readonly maps: number
  readonly files: number
  readonly diskBytes: number
  readonly liveBytes: number
  readonly operations: number
  readonly figures: Readonly<Record<string, number>>
  readonly delayMs: number
  readonly mostDelayMs: number
  /** The time for which other processes had the processor. */
  readonly waitedMs: number
}

/** Measures this process. */
export class Meter {
  /** All delays since the warm-up. */
  readonly delays = new Delays()
  readonly #load: Load
  readonly #beganAtMs = performance.now()
  #recent = new Delays()
  #waitedMs = readWaitedMs()
  #sampledWaitMs = this.#waitedMs
  /** The time that measuring took since the last look at the loop. */
  #measuringMs = 0
  #isWarm = false
  #timer: NodeJS.Timeout | undefined

  constructor(load: Load) {
    this.#load = load
    this.#look()
  }

  /** Begins to count delays. */
  warm(): void {
    this.#isWarm = true
  }

  stop(): void {
    clearTimeout(this.#timer)
  }

  sample(): Sample {
    const beganAtMs = performance.now()
    const sample = this.#sample()
    this.#measuringMs += performance.now() - beganAtMs
    return sample
  }

  #sample(): Sample {
    const { directory, liveBytes, operations, figures } = this.#load
    const recent = this.#recent
    this.#recent = new Delays()
    const waitedMs = this.#waitedMs - this.#sampledWaitMs
    this.#sampledWaitMs = this.#waitedMs
    const { files, bytes } = sizeOf(directory)
    const memory = process.memoryUsage()
    return {
      atMs: performance.now() - this.#beganAtMs,
      memoryBytes: ownMemory() ?? memory.rss,
      heapBytes: memory.heapUsed,
      descriptors: count(() => readdirSync('/proc/self/fd').length),
      maps: count(() => linesWith('/proc/self/maps', directory)),
      files,
      diskBytes: bytes,
      liveBytes,
      operations,
      figures: { ...figures },
      delayMs: recent.percentile(0.999),
      mostDelayMs: recent.mostMs,
      waitedMs,
    }
  }

  #look(): void {
    const dueAtMs = performance.now() + LOOK_MS
    this.#timer = setTimeout(() => {
      const lateMs = performance.now() - dueAtMs
      const waitedMs = readWaitedMs()
      // Timers have whole milliseconds.
      const othersMs = waitedMs - this.#waitedMs + this.#measuringMs
      const ownMs = Math.max(0, lateMs - othersMs - 1)
      this.#waitedMs = waitedMs
      this.#measuringMs = 0
      this.#recent.add(ownMs)
      if (this.#isWarm && !this.#load.isHeldUp) this.delays.add(ownMs)
      this.#look()
    }, LOOK_MS)
  }
}

/** Returns the time for which this thread was ready to run and did not, since it began. */
function readWaitedMs(): number {
  return count(
    () => Number(readFileSync('/proc/thread-self/schedstat', 'utf8').split(' ')[1]) / 1e6,
  )
}

function ownMemory(): number | undefined {
  const line = count(() =>
    Number(/^RssAnon:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? 0),
  )
  return line === 0 ? undefined : line * 1024
}

function linesWith(path: string, text: string): number {
  return readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line.includes(text)).length
}

/** Reads a figure of the system, or returns 0 if the system does not have it. */
function count(read: () => number): number {
  try {
    return read()
  } catch {
    return 0
  }
}

/** Counts the files of a directory and those below, and the bytes that they take on disk. */
function sizeOf(directory: string): { files: number; bytes: number } {
  let files = 0
  let bytes = 0
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    // It may have been deleted meanwhile.
    const stat = statSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false })
    if (stat === undefined) continue
    files++
    bytes += Math.min(stat.blocks * 512, stat.size)
  }
  return { files, bytes }
}
