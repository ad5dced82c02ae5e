/**
 * The shelf of an open cache. If it fails, the directory is emptied and opened again; until that
 * has worked there is no shelf, and everything is a miss.
 *
 * Invariant: no code of the caller's runs within a step with the shelf. Errors of that code
 * therefore never put the directory in question: only a step that fails does.
 */

import { isMoved } from '../errors.ts'
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

/** How long it takes until a directory that could not be opened is tried again. */
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
  /** Whether what is in the directory may be wrong, so that it is emptied before it is used again. */
  #mustEmpty = false
  /** With `strict`: what has gone wrong. */
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
   * Opens the directory; with `strict`, or for a mistake of the caller's, rejects if that fails.
   *
   * @param nowMs the moment by the clock
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

  /** The shelf; `undefined` while the directory cannot be used, and from `close` on. */
  get current(): Shelf | undefined {
    return this.#current
  }

  /** With `strict`: what has gone wrong. */
  get broken(): Error | undefined {
    return this.#broken
  }

  /** Whether `close` has been called. */
  get closed(): boolean {
    return this.#closing !== undefined
  }

  /** Does what is due by time where no timer can, before anything of a write is done. */
  catchUp(): void {
    if (this.#current?.takeStall() === true) this.#chores.catchUp()
  }

  /**
   * The moment, where anything expires; NaN where nothing does, so that time costs nothing. Whatever the clock does to
   * the cache has been done when this answers.
   */
  now(): number {
    return this.#current?.mayExpire === true ? this.#options.clock() : Number.NaN
  }

  /**
   * Makes one step with the shelf, in which no code of the caller's runs; where there is no shelf, or it fails,
   * answers `otherwise`.
   *
   * @param nowMs from `now`, or the clock
   * @param key what `use` looks for
   * @throws TypeError, RangeError for a key that is none, before anything has changed
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

  /** Finds a value that is fresh: a step as by `step`, but without a closure, which costs. */
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

  /** Closes the shelf, in good order; from then on there is none. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  /** Without a shelf nothing is there; with `strict`, what has gone wrong is thrown. */
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

  /** Goes on without the directory, and tries to empty it and open it anew. */
  #fail(shelf: Shelf, error: unknown): void {
    if (this.#current !== shelf) {
      // What fails while it is closed is told; what fails again after it has failed is not.
      if (this.#closing !== undefined) this.#announcements.error(error)
      return
    }
    this.#current = undefined
    if (this.#options.strict) this.#broken = asError(error)
    this.#announcements.error(error)
    // In the place of a directory that was moved there may be another cache's.
    this.#mustEmpty = !isMoved(error)
    this.#reopening = (async () => {
      await shelf.abandon()
      if (!this.#options.strict) await this.#reopen()
      this.#reopening = undefined
    })()
  }

  /** Opens the directory again, emptied where that is needed; where it cannot be, does without it for a while. */
  async #reopen(): Promise<void> {
    try {
      const nowMs = this.#askClock(this.#options.clock)
      if (nowMs === undefined || this.#closing !== undefined) return
      if (this.#mustEmpty) emptyDirectory(this.#environment, this.#directory)
      this.#current = await this.#openShelf(nowMs)
      if (this.#mustEmpty) this.#counts.emptied++
      this.#mustEmpty = false
    } catch (error) {
      // Why it cannot be used has been told.
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

  /** Comes after a sweep, at the same moment. */
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

  /** Asks a clock where no caller waits for what it throws: that is told, and `undefined` answered. */
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
    // Without a clock what has expired since the last step is kept.
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
  return error instanceof TypeError || error instanceof RangeError
}
