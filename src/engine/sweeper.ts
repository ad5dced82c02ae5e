/**
 * The sweep: forgets expired keys without anyone reading them. Their records are dead then, and a merge gives the space
 * back.
 *
 * It goes round and round through the keydir in slices. How soon the next slice is due follows from how fast keys
 * expire: it is measured how many were forgotten, and how many that will expire came, and the sweep goes round so fast
 * that what expires in one round is an eighth of the keys at most. Where it finds more than that in one place it goes
 * on at once.
 *
 * So it takes no memory for any key, next to nothing where little expires, and some 0.3 us for each key where much
 * does: eight are looked at for each that is forgotten.
 *
 * Invariant: two thirds of the time are left to others, however much expires.
 */

import type { Entry } from '../keydir/keydir.ts'
import type { Chores } from '../scheduling/chores.ts'
import type { EventLoop } from '../scheduling/event-loop.ts'
import type { Engine, Present } from './engine.ts'

/** How long one slice may hold the main thread, in milliseconds. */
const SLICE_MS = 2
/** So many times as long it rests after each. */
const REST = 2
/** How many entries are walked between two looks at the clock. */
const WALK_ENTRIES = 128
/** So many are looked at for each key that expires. */
const LOOKS_PER_KEY = 8
/** Where this share of what is looked at has expired, there is more. */
const MUCH = 1 / 4

/** Sweeps one keydir. */
export class Sweep {
  readonly #engine: Engine
  readonly #loop: EventLoop
  readonly #intervalMs: number
  readonly #forget: (entry: Entry, present: Present) => void
  #place = 0
  /** What was looked at, and forgotten, in the present slice. */
  #seen = 0
  #found = 0
  /** When the present measurement began, and how many keys there were that expire. */
  #measuredAtMs: number
  #expiringCount = 0
  /** How many keys were forgotten in it. */
  #forgotten = 0
  /** How many keys expire, or came that will, in a millisecond; as it was measured last. */
  #keysPerMs = 0

  /**
   * @param intervalMs how often it looks where nothing expires, and for how long it measures
   * @param forget called for what has expired
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
   * Goes on for a slice, or to the end of the round.
   *
   * @param present what expiry is held against
   * @returns after how many milliseconds the next slice is due
   */
  slice(present: Present): number {
    const engine = this.#engine
    const beganAtMs = this.#loop.nowMs()
    let atMs = beganAtMs
    this.#seen = 0
    this.#found = 0
    while (engine.live.mayExpire() && atMs - beganAtMs < SLICE_MS) {
      const next = engine.live.walk(this.#place, WALK_ENTRIES, (entry) => this.#look(entry, present))
      this.#place = Math.max(next, 0)
      atMs = this.#loop.nowMs()
      if (next === -1) break
    }
    this.#measure(atMs)
    // Longer than a slice it is only where others had the processor meanwhile, who do not rest for that either.
    const restMs = Math.min(atMs - beganAtMs, SLICE_MS) * REST
    if (this.#found > this.#seen * MUCH) return restMs
    const looksPerMs = this.#keysPerMs * LOOKS_PER_KEY
    // Not a division: nothing may have been seen, and nothing expire.
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

/** The sweep of a store. */
export class Sweeper {
  /** How many keys were forgotten. */
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
