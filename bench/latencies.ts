/** Collects the latencies of single operations. */

import { createHistogram } from 'node:perf_hooks'
import type { Latency } from './report.ts'

/** A histogram of latencies, with three significant digits. */
export class Latencies {
  readonly #histogram = createHistogram({ lowest: 1, highest: 1e12, figures: 3 })

  get count(): number {
    return this.#histogram.count
  }

  /** Adds a duration in milliseconds, the unit of `performance.now()`. */
  add(durationMs: number): void {
    this.#histogram.record(Math.max(1, Math.round(durationMs * 1e6)))
  }

  summary(): Latency {
    const histogram = this.#histogram
    const { max } = histogram
    const at = (percentile: number): number => Math.min(max, histogram.percentile(percentile))
    return { p50: at(50), p99: at(99), p999: at(99.9), max }
  }
}
