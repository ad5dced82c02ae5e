/**
 * Decides when a write is as durable as was promised.
 *
 * A group that was handed to the operating system is *settled* here: at once or, if the policy says
 * so, by the next sync that begins after it. One sync serves all groups that were written before it
 * began. When the group's promise then resolves is decided by pace.ts.
 *
 * If segments fill faster than they are synced and sealed, a group waits for the next seal.
 *
 * A sync that is due by time is begun by a timer. If the event loop does not turn, no timer fires
 * and no sync in the background progresses; the write that finds the sync overdue makes it before
 * it returns.
 *
 * Invariant: after a failed sync it is not known what reached the disk, and another sync would
 * prove nothing. The store is poisoned: every waiting and every later write is refused with the
 * first failure.
 */

import { isMoved, StoreError } from '../errors.ts'
import type { SyncPolicy } from '../options.ts'
import type { EventLoop } from '../scheduling/event-loop.ts'
import { timers } from '../scheduling/time.ts'
import type { Segments } from '../segment/segments.ts'
import { Group } from './group.ts'
import { HOPELESS_MS, Pace, STALL_MS } from './pace.ts'

/** Syncs as the policy promises. */
export class Durability {
  /** Decides when the promises of settled groups resolve. */
  readonly pace: Pace
  readonly #segments: () => Segments
  readonly #policy: SyncPolicy
  readonly #loop: EventLoop
  readonly #onSynced: () => void
  readonly #onPoisoned: (error: StoreError) => void
  #waiting: Group[] = []
  /** The groups that wait for segments to be sealed. */
  #behind: Group[] = []
  /** Whether someone seals segments, and calls {@link sealed} after that. */
  isSealing = false
  #wanted = false
  #isRunning = false
  #running: Promise<void> = Promise.resolve()
  #poison: StoreError | undefined
  #unsyncedWrites = 0
  #unsyncedBytes = 0
  #timer: NodeJS.Timeout | undefined
  /** The time from which the sync that `#timer` is to begin is overdue. */
  #overdueAtMs = Number.POSITIVE_INFINITY
  /** The same for what the sync in the background covers. */
  #coveredOverdueAtMs = Number.POSITIVE_INFINITY

  /**
   * @param segments returns what is synced; a read-only store that is loaded again has other
   * segments
   * @param onSynced called after each sync in the background
   * @param onPoisoned called once, with the first failure
   */
  constructor(
    segments: () => Segments,
    policy: SyncPolicy,
    loop: EventLoop,
    onSynced: () => void,
    onPoisoned: (error: StoreError) => void,
  ) {
    this.pace = new Pace(loop)
    this.#loop = loop
    this.#segments = segments
    this.#policy = policy
    this.#onSynced = onSynced
    this.#onPoisoned = onPoisoned
  }

  /** Whether no sync has failed. */
  get isSound(): boolean {
    return this.#poison === undefined
  }

  /** @throws {@link StoreError} FIRKIN_POISONED */
  assertSound(): void {
    if (this.#poison !== undefined) throw this.#poison
  }

  /**
   * Takes a group that was just written, and settles it as promised; `isInRun` is for
   * {@link Pace.release}.
   */
  settle(group: Group, isInRun = false): void {
    if (this.#mustSync(group)) {
      this.#waiting.push(group)
      this.request()
      return
    }
    this.#startTimer()
    if (this.#isBehind || this.#behind.length > 0) {
      this.#behind.push(group)
      this.request()
    } else {
      this.pace.release(group, isInRun)
    }
  }

  /** Settles the groups that wait for a seal: full segments were sealed, or could not be. */
  sealed(): void {
    for (const group of this.#behind.splice(0)) this.pace.release(group)
  }

  /** As {@link settle}, before it returns. The group's promise is settled too. */
  settleNow(group: Group): void {
    if (this.#mustSync(group)) this.syncNow()
    else this.#startTimer()
    group.resolve()
    this.pace.count(group.byteCount)
  }

  /**
   * Makes the sync that no timer has begun in time, before it returns; for a writer that finds the
   * event loop stalled.
   */
  catchUp(): void {
    if (this.#loop.nowMs() < this.#catchUpAtMs()) return
    try {
      this.syncNow()
    } catch (error) {
      // The store is poisoned, which was reported. No waiting write depends on this sync.
      if (!(error instanceof StoreError)) throw error
    }
  }

  /**
   * Resolves once everything written before is durable.
   *
   * @param isSlowed whether it may also wait for the promises of these writes. A merge must not: if
   * writes are slowed, they wait for it
   */
  sync(isSlowed = true): Promise<void> {
    const group = new Group(isSlowed)
    this.#waiting.push(group)
    const { promise } = group
    this.request()
    return promise
  }

  /** Makes everything that was written durable. */
  syncNow(): void {
    this.assertSound()
    try {
      this.#segments().syncNow()
    } catch (error) {
      throw this.poison(error)
    }
    this.#coveredOverdueAtMs = Number.POSITIVE_INFINITY
    this.#forget()
    this.#settleWaiting()
  }

  /** Begins a sync in the background, or another one after the one that is running. */
  request(): void {
    this.#wanted = true
    if (this.#isRunning) return
    // Set first, because `#run` may clear it before it returns.
    this.#isRunning = true
    this.#running = this.#run()
  }

  /**
   * Refuses every write from now on, by default because a sync has failed. Returns the error that
   * writes are refused with, which is `error` itself if the directory was moved.
   */
  poison(
    error: unknown,
    why = 'A sync failed, so that it is not known what is durable; open the store again to write',
  ): StoreError {
    if (this.#poison === undefined) {
      this.#poison = isMoved(error)
        ? error
        : new StoreError('FIRKIN_POISONED', why, { cause: error })
      this.#onPoisoned(this.#poison)
    }
    return this.#poison
  }

  /** Stops the timer, settles what is held, and resolves when no sync is under way. */
  async stop(): Promise<void> {
    timers.clearTimeout(this.#timer)
    this.sealed()
    this.pace.settleHeld()
    await this.#running
  }

  async #run(): Promise<void> {
    // What is staged in this turn of the event loop joins.
    while (this.#wanted) {
      this.#wanted = false
      const groups = this.#waiting
      this.#waiting = []
      this.#coveredOverdueAtMs = Math.min(this.#coveredOverdueAtMs, this.#overdueAtMs)
      this.#forget()
      try {
        this.assertSound()
        await this.#segments().syncLater(() => {
          if (this.isSound) this.#onSynced()
        })
        // Another sync may have failed meanwhile, and this one may have succeeded only because that
        // one lost the data.
        this.assertSound()
        this.#coveredOverdueAtMs = Number.POSITIVE_INFINITY
        for (const group of groups) this.#release(group)
        this.#onSynced()
        // A call may have sealed the full segments meanwhile. Then no seal follows that would
        // report this.
        if (!this.#isBehind) this.sealed()
      } catch (error) {
        const poison = this.poison(error)
        for (const group of groups) group.reject(poison)
        for (const group of this.#waiting.splice(0)) group.reject(poison)
        // A group that only waits for a seal was promised no sync.
        this.sealed()
      }
    }
    this.#isRunning = false
  }

  /** Returns the time from which a write has to make the sync that is due by time. */
  #catchUpAtMs(): number {
    if (!this.#isRunning) return this.#overdueAtMs
    // A sync in the background that may still progress gets as much time again.
    if (this.pace.turnMs < HOPELESS_MS) return this.#overdueAtMs + this.#policy.everyMs
    return Math.min(this.#overdueAtMs, this.#coveredOverdueAtMs)
  }

  get #isBehind(): boolean {
    return this.isSealing && this.#segments().isTailLong
  }

  #mustSync(group: Group): boolean {
    const { everyWrites, everyBytes } = this.#policy
    this.#unsyncedWrites += group.writeCount
    this.#unsyncedBytes += group.byteCount
    return this.#unsyncedWrites >= everyWrites || this.#unsyncedBytes >= everyBytes
  }

  /**
   * Restarts the counts of what is not synced: the sync that begins covers all that was written.
   */
  #forget(): void {
    this.#unsyncedWrites = 0
    this.#unsyncedBytes = 0
    timers.clearTimeout(this.#timer)
    this.#timer = undefined
    this.#overdueAtMs = Number.POSITIVE_INFINITY
  }

  #settleWaiting(): void {
    for (const group of this.#waiting.splice(0)) this.#release(group)
  }

  #release(group: Group): void {
    if (group.isSlowed) this.pace.release(group)
    else group.resolve()
  }

  #startTimer(): void {
    const { everyMs } = this.#policy
    if (this.#timer !== undefined || everyMs === Number.POSITIVE_INFINITY) return
    this.#timer = timers.setTimeout(() => this.request(), everyMs)
    this.#timer.unref()
    this.#overdueAtMs = this.#loop.nowMs() + everyMs + STALL_MS
  }
}
