/**
 * The loads of a cache in progress. Callers that ask for the same key share one. Its result is
 * kept, unless its key was set or deleted, or one of its tags was invalidated, since it began.
 */

import { valueSize } from '../engine/encoding.ts'
import { NO_ENTRY } from '../keydir/keydir.ts'
import { monotonicMs } from '../scheduling/time.ts'
import type { Announcements } from './announcements.ts'
import { loadChannel } from './channels.ts'
import { encodeEntry } from './entry.ts'
import { encodeFailure } from './failure.ts'
import { Flight, type Loader } from './flight.ts'
import { timesOf } from './freshness.ts'
import type { LoadOptions, ResolvedCacheOptions } from './options.ts'
import type { RecoveringShelf } from './recovering-shelf.ts'
import type { Counts } from './stats.ts'
import { encodeTag } from './tags.ts'

/** Keeps a value that was loaded in `loadMs` milliseconds, unless its flight was overtaken. */
type KeepLoaded<V> = (
  key: string,
  value: V,
  options: LoadOptions,
  loadMs: number,
  flight: Flight<V>,
) => void

/** The loads of one cache. */
export class Loads<V> {
  readonly #directory: string
  readonly #options: ResolvedCacheOptions<V>
  readonly #shelf: RecoveringShelf
  readonly #announcements: Announcements
  readonly #counts: Counts['loads']
  readonly #keepLoaded: KeepLoaded<V>
  readonly #flights = new Map<string, Flight<V>>()

  constructor(
    directory: string,
    options: ResolvedCacheOptions<V>,
    shelf: RecoveringShelf,
    announcements: Announcements,
    counts: Counts['loads'],
    keepLoaded: KeepLoaded<V>,
  ) {
    this.#directory = directory
    this.#options = options
    this.#shelf = shelf
    this.#announcements = announcements
    this.#counts = counts
    this.#keepLoaded = keepLoaded
  }

  /** Returns the load of a key that is in progress; begins one if there is none. */
  join(key: string, load: Loader<V>, options: LoadOptions): Flight<V> {
    const running = this.#flights.get(key)
    // An aborted load may take a while to end, and nobody may share its result.
    if (running === undefined || running.aborted) return this.#begin(key, load, options)
    this.#counts.shared++
    return running
  }

  /** Loads a key in the background, unless that is in progress. */
  refresh(key: string, load: Loader<V>, options: LoadOptions): void {
    if (!this.#flights.has(key)) this.#begin(key, load, options).detach()
  }

  /**
   * Keeps a load in progress from overwriting what now happens to its key. The next caller that
   * asks for the key gets another load.
   */
  overtake(key: string): void {
    const flight = this.#flights.get(key)
    if (flight === undefined) return
    flight.overtaken = true
    this.#flights.delete(key)
  }

  /** Overtakes every load. */
  overtakeAll(): void {
    for (const key of this.#flights.keys()) this.overtake(key)
  }

  /** Overtakes every load whose value will have one of these tags. */
  overtakeTagged(tags: readonly string[]): void {
    for (const [key, flight] of this.#flights) {
      if (flight.tags.some((tag) => tags.includes(tag))) this.overtake(key)
    }
  }

  #begin(key: string, load: Loader<V>, options: LoadOptions): Flight<V> {
    const counts = this.#counts
    const beganAt = monotonicMs()
    counts.started++
    counts.running++
    const own = { ...options, tags: [...(options.tags ?? [])] }
    const flight = new Flight<V>(own.tags)
    this.#flights.set(key, flight)
    flight.begin(async (signal) => {
      try {
        const value = await this.#call(key, load, own, flight, signal)
        if (value !== undefined && this.#shelf.current !== undefined && flight.mayKeep) {
          this.#keep(key, value, own, monotonicMs() - beganAt, flight)
          await this.#shelf.current?.pass()
        }
        return value
      } finally {
        const tookMs = monotonicMs() - beganAt
        counts.running--
        counts.totalMs += tookMs
        counts.longestMs = Math.max(counts.longestMs, tookMs)
        if (this.#flights.get(key) === flight) this.#flights.delete(key)
      }
    })
    return flight
  }

  async #call(
    key: string,
    load: Loader<V>,
    options: LoadOptions,
    flight: Flight<V>,
    signal: AbortSignal,
  ): Promise<V> {
    try {
      const context = { cache: this.#directory, key }
      return await loadChannel.tracePromise(async () => await load(signal), context)
    } catch (error) {
      if (flight.aborted) {
        this.#counts.aborted++
      } else {
        this.#counts.failed++
        this.#keepFailure(key, error, options, flight)
      }
      throw error
    }
  }

  /** Keeps what was loaded, and reports if that fails in the background. */
  #keep(key: string, value: V, options: LoadOptions, loadMs: number, flight: Flight<V>): void {
    try {
      this.#keepLoaded(key, value, options, loadMs, flight)
    } catch (error) {
      // Nobody waits for a load in the background.
      if (flight.detached) this.#announcements.error(error)
      throw error
    }
  }

  /** Keeps the error of a load, which throws it in any case. A failure to keep it is reported. */
  #keepFailure(key: string, error: unknown, options: LoadOptions, flight: Flight<V>): void {
    const { errorTtlMs = this.#options.errorTtlMs, tags = [] } = options
    if (errorTtlMs === 0) return
    try {
      const nowMs = this.#options.clock()
      const { expiresAtMs } = timesOf(errorTtlMs, 0, nowMs)
      const extras = { staleAtMs: 0, tags: tags.map(encodeTag), loadMs: 0, isFailure: true }
      const stored = encodeEntry(encodeFailure(error), extras)
      if (!flight.mayKeep) return
      this.#shelf.step(undefined, nowMs, key, (shelf) => {
        // A stale value is better than an error.
        if (shelf.find() !== NO_ENTRY) return
        shelf.put(key, stored, valueSize(stored), expiresAtMs, extras.tags)
      })
    } catch (thrown) {
      if (thrown !== this.#shelf.broken) this.#announcements.error(thrown)
    }
  }
}
