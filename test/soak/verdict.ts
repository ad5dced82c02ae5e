/**
 * Judges the figures of a workload: finds what grows or stalls.
 *
 * The first third of the time is for warming up. The figures of the last third must be like those
 * of the second: its median may be a fifth higher, and an allowance for each figure above that.
 * Disk is compared with the live bytes, and the event loop's own delay with two limits.
 */

import type { Sample } from './meter.ts'
import { MIB, type Workload } from './workload.ts'

/** A judgement of one figure, with its reason. */
export interface Verdict {
  readonly what: string
  readonly holds: boolean
  readonly why: string
}

/** The limits of the loop's own delay in milliseconds: at its 99.9th percentile, and at most. */
export const DELAY_LIMITS = { usualMs: 15, mostMs: 50 } as const

const GROWTH = 1.2
/** The least number of samples that show growth. */
const LEAST_SAMPLES = 6

interface Measured {
  readonly samples: readonly Sample[]
  /** The event loop's own delay after the warm-up. */
  readonly delayMs: number
  readonly mostDelayMs: number
}

/** Judges one workload. */
export function judge(
  workload: Pick<Workload, 'mostAmplification' | 'sparedBytes'>,
  { samples, delayMs, mostDelayMs }: Measured,
): Verdict[] {
  const { usualMs, mostMs } = DELAY_LIMITS
  const names = Object.keys(samples.at(-1)?.figures ?? {})
  return [
    growth('memory', samples, ({ memoryBytes }) => memoryBytes / MIB, 48, ' MiB'),
    growth('heap', samples, ({ heapBytes }) => heapBytes / MIB, 24, ' MiB'),
    growth('descriptors', samples, ({ descriptors }) => descriptors, 16),
    growth('maps', samples, ({ maps }) => maps, 24),
    growth('files', samples, ({ files }) => files, 24),
    ...names.map((name) => growth(name, samples, ({ figures }) => figures[name] ?? 0, 1000)),
    disk(workload, samples),
    progress(samples),
    limit('loop delay, 99.9 %', delayMs, usualMs),
    limit('loop delay, most', mostDelayMs, mostMs),
  ]
}

function growth(
  what: string,
  samples: readonly Sample[],
  read: (sample: Sample) => number,
  spared: number,
  unit = '',
): Verdict {
  const third = Math.floor(samples.length / 3)
  const before = median(samples.slice(third, 2 * third).map(read))
  const after = median(samples.slice(2 * third).map(read))
  const most = before * GROWTH + spared
  const holds = samples.length < LEAST_SAMPLES || after <= most
  const figures = `${before.toFixed(0)}${unit} in the second third, ${after.toFixed(0)}${unit} in the last`
  return {
    what,
    holds,
    why: `${figures}; up to ${most.toFixed(0)}${unit} does not count as growth`,
  }
}

function disk(
  { mostAmplification, sparedBytes }: Pick<Workload, 'mostAmplification' | 'sparedBytes'>,
  samples: readonly Sample[],
): Verdict {
  const settled = samples.slice(Math.floor(samples.length / 3))
  let worst = { diskBytes: 0, liveBytes: 0, over: Number.NEGATIVE_INFINITY }
  for (const { diskBytes, liveBytes } of settled) {
    const over = diskBytes - (liveBytes * mostAmplification + sparedBytes)
    if (over > worst.over) worst = { diskBytes, liveBytes, over }
  }
  const { diskBytes, liveBytes, over } = worst
  return {
    what: 'disk',
    holds: over <= 0,
    why:
      `${mib(diskBytes)} for ${mib(liveBytes)} live at the worst look; up to ${mostAmplification} times as much ` +
      `and ${mib(sparedBytes)} is fine`,
  }
}

/** Requires operations between any two looks, with at most one look in a row without any. */
function progress(samples: readonly Sample[]): Verdict {
  let still = 0
  let longest = 0
  for (const [index, { operations }] of samples.entries()) {
    still = index > 0 && operations === samples[index - 1]?.operations ? still + 1 : 0
    longest = Math.max(longest, still)
  }
  return {
    what: 'progress',
    holds: longest < 2,
    why: `${samples.at(-1)?.operations ?? 0} operations; nothing was done for ${longest} looks on end, 1 is fine`,
  }
}

function limit(what: string, ms: number, mostMs: number): Verdict {
  return {
    what,
    holds: ms <= mostMs,
    why: `${ms.toFixed(1)} ms of its own; up to ${mostMs} ms is fine`,
  }
}

function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b)
  return sorted[sorted.length >> 1] ?? 0
}

function mib(bytes: number): string {
  return `${(bytes / MIB).toFixed(0)} MiB`
}
