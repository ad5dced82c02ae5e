/**
 * The sweep forgets expired keys that nobody reads. Their records are dead then, and a merge gives
 * the space back.
 *
 * It goes round and round through the keydir in slices. When the next slice is due follows from how
 * fast keys expire. The sweep measures how many keys were forgotten, and how many were added that
 * will expire, and goes round so fast that at most an eighth of the keys expire during one round.
 * If it finds more than that in one place, it goes on at once.
 *
 * So it takes no memory per key and next to no time if little expires. If much does, it takes some
 * 0.3 us for each key it looks at, and looks at eight for each that it forgets.
 *
 * Invariant: two thirds of the time are left to other work, however much expires.
 */

import type { Entry } from '../keydir/keydir.ts'
import type { Chores } from '../scheduling/chores.ts'
import type { EventLoop } from '../scheduling/event-loop.ts'
import type { Engine, Present } from './engine.ts'

/** The longest that one slice may hold the main thread, in milliseconds. */
const SLICE_MS = 2
/** The rest after each slice, as a multiple of the time that it took. */
const REST = 2
/** The number of entries walked between two looks at the clock. */
const WALK_ENTRIES = 128
/** The number of entries to look at for each key that expires. */
const LOOKS_PER_KEY = 8
/** If this share of what was looked at had expired, there is more. */
const MUCH = 1 / 4

/** Sweeps one keydir. */
export class Sweep {
  readonly #engine: Engine
  readonly #loop: EventLoop
  readonly #intervalMs: number
  readonly #forget: (entry: Entry, present: Present) => void
  #place = 0
  /** The numbers of entries looked at, and of keys forgotten, in the present slice. */
  #seen = 0
  #found = 0
  /**
   * The time at which the present measurement began, and the number of keys with an expiry then.
   */
  #measuredAtMs: number
  #expiringCount = 0
  /** The number of keys forgotten during the present measurement. */
  #forgotten = 0
  /**
   * The keys per millisecond that expired, or were added with an expiry, by the last measurement.
   */
  #keysPerMs = 0

  /**
   * @param intervalMs how often it looks if nothing expires, and for how long it measures
   * @param forget called for each entry that has expired
   */
  constructor(
    engine: Engine,
    loop: EventLoop,
    intervalMs: number,
    forget: (entry: Entry, present: Present) => void,
  ) {
    this.#engine = engine
    this.#loop = loop
    this.#intervalMs = intervalMs
    this.#forget = forget
    this.#measuredAtMs = loop.nowMs()
  }

  /**
   * Goes on for one slice, or to the end of the round.
   *
   * @param present the moment that decides what has expired
   * @returns the milliseconds after which the next slice is due
   */
  slice(present: Present): number {
    const engine = this.#engine
    const beganAtMs = this.#loop.nowMs()
    let atMs = beganAtMs
    this.#seen = 0
    this.#found = 0
    while (engine.live.mayExpire() && atMs - beganAtMs < SLICE_MS) {
      const next = engine.live.walk(this.#place, WALK_ENTRIES, (entry) =>
        this.#look(entry, present),
      )
      this.#place = Math.max(next, 0)
      atMs = this.#loop.nowMs()
      if (next === -1) break
    }
    this.#measure(atMs)
    // It takes longer than a slice only if others had the processor, and they do not rest for that.
    const restMs = Math.min(atMs - beganAtMs, SLICE_MS) * REST
    if (this.#found > this.#seen * MUCH) return restMs
    const looksPerMs = this.#keysPerMs * LOOKS_PER_KEY
    // No division here: nothing may have been seen, and nothing may expire.
    if (this.#seen >= looksPerMs * this.#intervalMs) return Math.max(restMs, this.#intervalMs)
    return Math.max(restMs, this.#seen / looksPerMs)
  }

  #look(entry: Entry, present: Present): void {
    this.#seen++
    if (this.#engine.hasExpired(entry, present)) {
      this.#forget(entry, present)
      this.#found++
    }
  }

  #measure(atMs: number): void {
    this.#forgotten += this.#found
    const tookMs = atMs - this.#measuredAtMs
    if (tookMs < this.#intervalMs) return
    const { expiringCount } = this.#engine.keydir.entries
    const came = expiringCount - this.#expiringCount + this.#forgotten
    this.#keysPerMs = Math.max(this.#forgotten, came) / tookMs
    this.#measuredAtMs = atMs
    this.#expiringCount = expiringCount
    this.#forgotten = 0
  }
}

/** Sweeps one store. */
export class Sweeper {
  /** The number of keys that were forgotten. */
  expiredCount = 0
  readonly #engine: Engine

  constructor(engine: Engine, chores: Chores, loop: EventLoop, intervalMs: number) {
    this.#engine = engine
    const sweep = new Sweep(engine, loop, intervalMs, (entry, present) =>
      this.#forget(entry, present),
    )
    chores.atLeastEvery(intervalMs, () => sweep.slice(engine.present()))
  }

  #forget(entry: Entry, present: Present): void {
    this.#engine.forget(entry, present)
    this.expiredCount++
  }
}
