/**
 * The shelf of an open cache. If it fails, the directory is emptied and opened again; until that
 * succeeds there is no shelf, and everything is a miss.
 *
 * Invariant: none of the caller's code runs within a step with the shelf. So an error of that code
 * never casts doubt on the directory; only a failed step does.
 */

import { isErrorOf, isMoved } from '../errors.ts'
import { type Entry, NO_ENTRY } from '../keydir/keydir.ts'
import { Chores } from '../scheduling/chores.ts'
import { systemLoop } from '../scheduling/event-loop.ts'
import { monotonicMs, timers } from '../scheduling/time.ts'
import type { Announcements } from './announcements.ts'
import { emptyDirectory, isDamage } from './directory.ts'
import type { CacheEnvironment } from './environment.ts'
import { asError } from './failure.ts'
import { isStale } from './freshness.ts'
import type { ResolvedCacheOptions } from './options.ts'
import { type DepartureCause, Shelf, TIDY_INTERVAL_MS } from './shelf.ts'
import type { Counts } from './stats.ts'

/** How long to wait before trying again to open a directory, in milliseconds. */
const RETRY_MS = 10_000

/** The shelf of one cache, opened again after a failure. */
export class RecoveringShelf {
  readonly #directory: string
  readonly #options: ResolvedCacheOptions<unknown>
  readonly #environment: CacheEnvironment
  readonly #announcements: Announcements
  readonly #counts: Counts
  readonly #chores: Chores
  /** Missing while the directory cannot be used. */
  #current: Shelf | undefined
  #reopening: Promise<void> | undefined
  #retryAtMs = 0
  /** Whether the files may be wrong, so that the directory is emptied before it is used again. */
  #mustEmpty = false
  /** With `strict`, the error after which the cache cannot be used. */
  #broken: Error | undefined
  #closing: Promise<void> | undefined

  /** Does no I/O; see {@link open}. */
  constructor(
    directory: string,
    options: ResolvedCacheOptions<unknown>,
    environment: CacheEnvironment,
    announcements: Announcements,
    counts: Counts,
  ) {
    this.#directory = directory
    this.#options = options
    this.#environment = environment
    this.#announcements = announcements
    this.#counts = counts
    const loop = environment.loop ?? systemLoop
    this.#chores = new Chores(loop, (error) => this.#announcements.error(error))
    this.#chores.atLeastEvery(TIDY_INTERVAL_MS, () => this.#sweep())
    this.#chores.every(TIDY_INTERVAL_MS, () => this.#tidy())
  }

  /**
   * Opens the directory. A failure rejects with `strict`, or if it is a mistake of the caller's;
   * otherwise it is reported.
   *
   * @param nowMs the current time of the cache's clock
   */
  async open(nowMs: number): Promise<void> {
    try {
      this.#current = await this.#openShelf(nowMs)
    } catch (error) {
      if (this.#options.strict || isCallersMistake(error)) {
        this.#chores.stop()
        throw error
      }
      this.#mustEmpty = isDamage(error)
      await this.#reopen()
      timers.setImmediate(() => this.#announcements.error(error))
    }
  }

  /** The shelf; `undefined` while the directory cannot be used, and after `close`. */
  get current(): Shelf | undefined {
    return this.#current
  }

  /** With `strict`, the error after which the cache cannot be used. */
  get broken(): Error | undefined {
    return this.#broken
  }

  /** Whether `close` has been called. */
  get closed(): boolean {
    return this.#closing !== undefined
  }

  /** Does what is due while a stalled event loop runs no timers. Call this before a write. */
  catchUp(): void {
    if (this.#current?.takeStall() === true) this.#chores.catchUp()
  }

  /**
   * Returns the current time if anything expires; otherwise NaN, so that time costs nothing. The
   * clock may change the cache; it does so before this returns.
   */
  now(): number {
    return this.#current?.mayExpire === true ? this.#options.clock() : Number.NaN
  }

  /**
   * Makes one step with the shelf, and returns its result. If there is no shelf or the step fails,
   * returns `otherwise`; with `strict`, throws then.
   *
   * @param nowMs from `now`, or the clock
   * @param key the key that `use` looks for
   * @param use must not call any of the caller's code
   * @throws TypeError, RangeError for an invalid key, before anything has changed
   */
  step<T>(otherwise: T, nowMs: number, key: string | undefined, use: (shelf: Shelf) => T): T {
    const shelf = this.#current
    if (shelf === undefined) return this.#withoutShelf(otherwise)
    shelf.nowMs = nowMs
    if (key !== undefined) shelf.seek(key)
    try {
      return use(shelf)
    } catch (error) {
      return this.#stepFailed(shelf, error, otherwise)
    }
  }

  /**
   * Finds a fresh value, and returns the shelf that holds it; otherwise `undefined`. Like `step`,
   * without the cost of a closure.
   */
  findFresh(key: string, isUse: boolean, nowMs: number): Shelf | undefined {
    const shelf = this.#current
    if (shelf === undefined) return this.#withoutShelf(undefined)
    shelf.nowMs = nowMs
    shelf.seek(key)
    try {
      const entry = shelf.find()
      if (entry === NO_ENTRY || shelf.head.isFailure || isStale(shelf, nowMs)) return undefined
      if (isUse) shelf.use(entry)
      return shelf
    } catch (error) {
      return this.#stepFailed(shelf, error, undefined)
    }
  }

  /** Closes the shelf; from now on there is none. Further calls return the same promise. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  /** Returns the result of a step without a shelf. @throws with `strict`, what broke the cache */
  #withoutShelf<T>(otherwise: T): T {
    if (this.#broken !== undefined) throw this.#broken
    return otherwise
  }

  #stepFailed<T>(shelf: Shelf, error: unknown, otherwise: T): T {
    this.#fail(shelf, error)
    if (this.#options.strict) throw error
    return otherwise
  }

  async #openShelf(nowMs: number): Promise<Shelf> {
    const listener = {
      leaving: (shelf: Shelf, entry: Entry, cause: DepartureCause) => {
        this.#counts.evictions[cause]++
        if (this.#announcements.isHeard(cause)) this.#announcements.left(shelf.keyOf(entry), cause)
      },
      failed: (shelf: Shelf, error: Error) => this.#fail(shelf, error),
      degraded: (error: unknown) => this.#announcements.error(error),
    }
    return await Shelf.open(this.#directory, this.#options, this.#environment, listener, nowMs)
  }

  /** Goes on without the directory, and tries to empty it and open it again. */
  #fail(shelf: Shelf, error: unknown): void {
    if (this.#current !== shelf) {
      // A failure while closing is reported; another one of a shelf that has failed is not.
      if (this.#closing !== undefined) this.#announcements.error(error)
      return
    }
    this.#current = undefined
    if (this.#options.strict) this.#broken = asError(error)
    this.#announcements.error(error)
    // If the directory was moved, there may be another cache in its place.
    this.#mustEmpty = !isMoved(error)
    this.#reopening = (async () => {
      await shelf.abandon()
      if (!this.#options.strict) await this.#reopen()
      this.#reopening = undefined
    })()
  }

  /** Opens the directory again, emptied if necessary; does without it for a while if that fails. */
  async #reopen(): Promise<void> {
    try {
      const nowMs = this.#askClock(this.#options.clock)
      if (nowMs === undefined || this.#closing !== undefined) return
      if (this.#mustEmpty) emptyDirectory(this.#environment, this.#directory)
      this.#current = await this.#openShelf(nowMs)
      if (this.#mustEmpty) this.#counts.emptied++
      this.#mustEmpty = false
    } catch (error) {
      // The reason has been reported.
      if (this.#mustEmpty || !isDamage(error)) return
      this.#announcements.error(error)
      this.#mustEmpty = true
      await this.#reopen()
    } finally {
      this.#retryAtMs = monotonicMs() + RETRY_MS
    }
  }

  #sweep(): number {
    if (this.#current === undefined) return TIDY_INTERVAL_MS
    const nowMs = this.#askClock(() => this.now())
    const shelf = this.#current
    if (nowMs === undefined || shelf === undefined) return TIDY_INTERVAL_MS
    shelf.nowMs = nowMs
    try {
      return shelf.sweep()
    } catch (error) {
      this.#fail(shelf, error)
      return TIDY_INTERVAL_MS
    }
  }

  /** Runs after a sweep, with the same time. */
  #tidy(): void {
    const shelf = this.#current
    if (shelf !== undefined) {
      try {
        shelf.tidy()
      } catch (error) {
        this.#fail(shelf, error)
      }
    } else if (
      !this.#options.strict &&
      this.#reopening === undefined &&
      monotonicMs() >= this.#retryAtMs
    ) {
      this.#reopening = this.#reopen().finally(() => {
        this.#reopening = undefined
      })
    }
  }

  /** Asks the clock while no caller waits. What it throws is reported, and `undefined` returned. */
  #askClock(clock: () => number): number | undefined {
    try {
      return clock()
    } catch (error) {
      this.#announcements.error(error)
      return undefined
    }
  }

  async #close(): Promise<void> {
    this.#chores.stop()
    const open = this.#current
    this.#current = undefined
    await this.#reopening
    const shelf = open ?? this.#current
    this.#current = undefined
    if (shelf === undefined) return
    // Without a clock, what has expired since the last step is kept.
    const nowMs = this.#askClock(this.#options.clock)
    if (nowMs !== undefined) shelf.nowMs = nowMs
    try {
      await shelf.close()
    } catch (error) {
      if (this.#options.strict) throw error
      this.#announcements.error(error)
    }
  }
}

function isCallersMistake(error: unknown): boolean {
  return isErrorOf('TypeError', error) || isErrorOf('RangeError', error)
}
