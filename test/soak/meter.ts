/**
 * What a process under load takes: memory, descriptors, maps, disk; and how late its event loop is.
 *
 * The loop's *own* delay is how late a timer fires, less the time for which the thread was ready to run and another
 * process had the processor, which the system tells. So what is seen is what the process itself does, on a busy machine
 * too; on one without such figures (none but Linux has them) it is all that is late.
 */

import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Load } from './workload.ts'

/** How often the event loop is looked at, in milliseconds. */
const LOOK_MS = 5
const BUCKETS_PER_MS = 4
const MOST_MS = 2000

/** How late the event loop was, by how often. */
export class Delays {
  /** How many looks there were for each quarter of a millisecond. */
  readonly buckets: number[] = new Array(MOST_MS * BUCKETS_PER_MS + 1).fill(0)
  mostMs = 0

  add(ms: number): void {
    const bucket = Math.min(Math.floor(ms * BUCKETS_PER_MS), this.buckets.length - 1)
    this.buckets[bucket] = (this.buckets[bucket] as number) + 1
    this.mostMs = Math.max(this.mostMs, ms)
  }

  /** So late or less were so many of the looks, as a share of all. */
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

/** The state at a moment, and the delays since the one before. */
export interface Sample {
  readonly atMs: number
  /** Memory of its own, without the files that are mapped. */
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
  /** How long others had the processor. */
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
  /** What measuring took of the thread since the last look at the loop. */
  #measuringMs = 0
  #isWarm = false
  #timer: NodeJS.Timeout | undefined

  constructor(load: Load) {
    this.#load = load
    this.#look()
  }

  /** From now on delays count. */
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
      // Timers are of whole milliseconds.
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

/** For how long this thread was ready to run and did not, since it began. */
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

/** What the system tells; 0 where it does not. */
function count(read: () => number): number {
  try {
    return read()
  } catch {
    return 0
  }
}

/** The files of a directory and those below, and the bytes that they take on disk. */
function sizeOf(directory: string): { files: number; bytes: number } {
  let files = 0
  let bytes = 0
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    // It may be gone by now.
    const stat = statSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false })
    if (stat === undefined) continue
    files++
    bytes += Math.min(stat.blocks * 512, stat.size)
  }
  return { files, bytes }
}
