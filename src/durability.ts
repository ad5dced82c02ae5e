/**
 * When a write is as durable as was promised.
 *
 * A group that was handed to the operating system is *settled* here: at once, or by the next sync that begins
 * after it, where the policy says so. One sync serves all groups that were written before it began.
 *
 * Invariant: after a failed sync nothing is known of what reached the disk, and asking again would prove
 * nothing. The store is poisoned: every waiting and every later write is refused with the first failure.
 */

import { StoreError } from './errors.ts'
import type { SyncPolicy } from './options.ts'
import type { Segments } from './segment/segments.ts'
import { timers } from './time.ts'

/** Writes that reach the operating system by one call, and settle together. */
export class Group {
  writeCount = 0
  byteCount = 0
  #settled: PromiseWithResolvers<void> | undefined
  #isResolved = false

  /** Settles with the group; made when it is first asked for. */
  get promise(): Promise<void> {
    if (this.#settled === undefined) {
      this.#settled = withResolvers()
      if (this.#isResolved) this.#settled.resolve()
    }
    return this.#settled.promise
  }

  resolve(): void {
    this.#isResolved = true
    this.#settled?.resolve()
  }

  reject(error: StoreError): void {
    this.#settled?.reject(error)
  }
}

interface PromiseWithResolvers<T> {
  readonly promise: Promise<T>
  readonly resolve: (value: T) => void
  readonly reject: (reason: unknown) => void
}

/** Syncs as the policy promises. */
export class Durability {
  readonly #segments: () => Segments
  readonly #policy: SyncPolicy
  readonly #onSynced: () => void
  readonly #onPoisoned: (error: StoreError) => void
  #waiting: Group[] = []
  #wanted = false
  #isRunning = false
  #running: Promise<void> = Promise.resolve()
  #poison: StoreError | undefined
  #unsyncedWrites = 0
  #unsyncedBytes = 0
  #timer: NodeJS.Timeout | undefined

  /**
   * @param segments what is synced; a read-only store that is loaded anew has others
   * @param onSynced called after each sync in the background
   * @param onPoisoned called once, with the first failure
   */
  constructor(
    segments: () => Segments,
    policy: SyncPolicy,
    onSynced: () => void,
    onPoisoned: (error: StoreError) => void,
  ) {
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

  /** Takes a group that was just written, and settles it as promised. */
  settle(group: Group): void {
    if (this.#mustSync(group)) {
      this.#waiting.push(group)
      this.request()
    } else {
      group.resolve()
      this.#startTimer()
    }
  }

  /** As {@link settle}, on return. The group's promise is settled too. */
  settleNow(group: Group): void {
    if (this.#mustSync(group)) this.syncNow()
    else this.#startTimer()
    group.resolve()
  }

  /** Resolves once all that was written before is durable. */
  sync(): Promise<void> {
    const group = new Group()
    this.#waiting.push(group)
    const { promise } = group
    this.request()
    return promise
  }

  /** Makes all that was written durable. */
  syncNow(): void {
    this.assertSound()
    try {
      this.#segments().syncNow()
    } catch (error) {
      throw this.poison(error)
    }
    this.#forget()
    this.#settleWaiting()
  }

  /** Begins a sync in the background, or another one behind the one that is running. */
  request(): void {
    this.#wanted = true
    if (this.#isRunning) return
    // Set first: the run may be over before it answers.
    this.#isRunning = true
    this.#running = this.#run()
  }

  /** Refuses every write from now on, by default for a sync has failed; answers what they are refused with. */
  poison(
    error: unknown,
    why = 'A sync failed, so that it is not known what is durable; open the store again to write',
  ): StoreError {
    if (this.#poison === undefined) {
      this.#poison = new StoreError('FIRKIN_POISONED', why, { cause: error })
      this.#onPoisoned(this.#poison)
    }
    return this.#poison
  }

  /** Stops the timer, and resolves when no sync is under way. */
  async stop(): Promise<void> {
    timers.clearTimeout(this.#timer)
    await this.#running
  }

  async #run(): Promise<void> {
    // What is staged in this turn of the event loop joins.
    while (this.#wanted) {
      this.#wanted = false
      const groups = this.#waiting
      this.#waiting = []
      this.#forget()
      try {
        this.assertSound()
        await this.#segments().syncLater()
        // Another sync may have failed meanwhile, and this one succeeded by what that one has lost.
        this.assertSound()
        for (const group of groups) group.resolve()
        this.#onSynced()
      } catch (error) {
        const poison = this.poison(error)
        for (const group of groups) group.reject(poison)
        for (const group of this.#waiting.splice(0)) group.reject(poison)
      }
    }
    this.#isRunning = false
  }

  #mustSync(group: Group): boolean {
    const { everyWrites, everyBytes } = this.#policy
    this.#unsyncedWrites += group.writeCount
    this.#unsyncedBytes += group.byteCount
    return this.#unsyncedWrites >= everyWrites || this.#unsyncedBytes >= everyBytes
  }

  /** What is written from now on is counted anew: the sync that begins covers what was. */
  #forget(): void {
    this.#unsyncedWrites = 0
    this.#unsyncedBytes = 0
    timers.clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #settleWaiting(): void {
    for (const group of this.#waiting.splice(0)) group.resolve()
  }

  #startTimer(): void {
    const { everyMs } = this.#policy
    if (this.#timer !== undefined || everyMs === Number.POSITIVE_INFINITY) return
    this.#timer = timers.setTimeout(() => this.request(), everyMs)
    this.#timer.unref()
  }
}

function withResolvers(): PromiseWithResolvers<void> {
  let resolve: (() => void) | undefined
  let reject: ((reason: unknown) => void) | undefined
  const promise = new Promise<void>((yes, no) => {
    resolve = yes
    reject = no
  })
  return { promise, resolve: () => resolve?.(), reject: (reason) => reject?.(reason) }
}
