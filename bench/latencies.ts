import type { Latency } from './report.ts'

/** Latencies of single operations, all kept, so that percentiles are exact. */
export class Latencies {
  #ns: Float64Array
  #count = 0

  constructor(capacity = 1 << 16) {
    this.#ns = new Float64Array(capacity)
  }

  /** Adds a duration in milliseconds, as between two calls of `performance.now()`. */
  add(durationMs: number): void {
    if (this.#count === this.#ns.length) {
      const grown = new Float64Array(this.#count * 2)
      grown.set(this.#ns)
      this.#ns = grown
    }
    this.#ns[this.#count++] = durationMs * 1e6
  }

  get count(): number {
    return this.#count
  }

  summary(): Latency {
    const sorted = this.#ns.subarray(0, this.#count).sort()
    const at = (share: number): number =>
      sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
    return { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1) }
  }
}
