/**
 * Decides when merges run: when a caller asks, when the policy says so, and in the calls of a
 * writer that must be slowed.
 *
 * 1. Plan. Choose segments by what they give back (merge-planner.ts).
 * 2. Run the plan (merge-run.ts), in as many portions as the disk has space for.
 * 3. Rest after a failure, twice as long each time.
 *
 * A merge is a task (scheduling/task.ts): it continues in slices while the event loop turns, and in
 * the calls of a writer that keeps it from turning.
 *
 * Invariants
 * - One merge runs at a time.
 * - If the disk has too little space for all copies, each portion frees space for the next.
 * - A segment that cannot be read whole never stops merging: it is left out, and the others are
 *   merged without it.
 * - Segments that need not be read are deleted first, and by every close.
 */

import { passingCode, StoreError } from '../errors.ts'
import {
  checkCallOptions,
  joined,
  type LeftOutSegment,
  type MergeCallOptions,
  type MergeProgress,
  type MergeReport,
  planned,
} from '../merge/options.ts'
import type { MergePlan } from '../merge/plan.ts'
import type { MergeHindrance, Pressure } from '../merge/pressure.ts'
import { type BackgroundWork, keepAlive } from '../merge/thread.ts'
import type { MergePolicy } from '../options.ts'
import { either, over, Task, type Work } from '../scheduling/task.ts'
import { monotonicMs, nextTurn, pause, timers } from '../scheduling/time.ts'
import { noSpaceCode } from '../segment/reserve.ts'
import type { Engine } from './engine.ts'
import { MergePlanner } from './merge-planner.ts'
import { type CopyOptions, MergeRun, type MergeRunListener, syncing } from './merge-run.ts'
import { HOPELESS_MS, STALL_MS } from './pace.ts'
import type { Sealer } from './sealer.ts'
import { walkInSlices } from './slice.ts'

export type { MergeCallOptions, MergeProgress, MergeReport } from '../merge/options.ts'

/** Hears of merges. */
interface MergeListener extends MergeRunListener {
  /**
   * Writers are slowed from now on, or no longer, or the target for the bytes on disk is missed.
   */
  pressed(pressure: Pressure): void
}

/**
 * Weighing takes time in proportion to the number of segments: one more look is skipped per this
 * many of them.
 */
const SEGMENTS_PER_WEIGHING = 256
/**
 * The time for which no merge starts by itself after one has failed: twice as long each time, up to
 * an hour.
 */
const FIRST_REST_MS = 10_000
const LAST_REST_MS = 3_600_000
/** The same for a cause that passes by itself. */
const FIRST_SHORT_REST_MS = 1000
const LAST_SHORT_REST_MS = 8000

/**
 * The least time that a writer that keeps the event loop from turning works at a merge, per
 * mebibyte that it writes.
 */
const WORK_MS_PER_MIB = 3
/** The longest that it works at once, and the time it pauses for the thread, in milliseconds. */
const LONGEST_WORK_MS = 100
const PAUSE_MS = 1
/** The longest that a `…Sync` call works at once while the event loop turns, in milliseconds. */
const LONGEST_SHARE_MS = 8
/** The number of full segments from which it syncs and seals them. */
const FULL_SEGMENTS = 2
const MIB = 2 ** 20

/** Merges one store. One merge runs at a time. */
export class Merger {
  readonly #engine: Engine
  readonly #policy: MergePolicy
  readonly #planner: MergePlanner
  readonly #run: MergeRun
  readonly #sealer: Sealer
  readonly #listener: MergeListener
  #running: Pick<Task<unknown>, 'promise' | 'step'> | undefined
  #abort: AbortController | undefined
  /** The time for which no merge starts by itself after one that failed, in milliseconds. */
  #restMs = 0
  #restsUntil = 0
  #lastError: StoreError | undefined
  /** The last code that was reported, of those that pass by themselves. */
  #toldCode: string | undefined
  #isStopped = false
  /** Whether a merge is to be considered once the one that runs is over. */
  #isAsked = false
  #pressure: Pressure | undefined
  /** The number of times that the pressure need not be weighed yet. */
  #weighingsToSkip = 0
  /**
   * The time that the writer that keeps the event loop from turning has still to work, in
   * milliseconds.
   */
  #owedMs = 0
  #isInCall = false
  /** Whether a turn of the event loop is awaited to delete more. */
  #isReleasing = false

  constructor(
    engine: Engine,
    options: CopyOptions,
    sealer: Sealer,
    backgroundWork: BackgroundWork,
    listener: MergeListener,
  ) {
    this.#engine = engine
    this.#policy = options.merge
    this.#planner = new MergePlanner(engine, options.merge, options.maxSegmentBytes)
    this.#run = new MergeRun(engine, options, this.#planner, backgroundWork, listener)
    this.#sealer = sealer
    this.#listener = listener
  }

  get running(): boolean {
    return this.#running !== undefined
  }

  /** The reason why the last merge failed; `undefined` if it did not. */
  get lastError(): StoreError | undefined {
    return this.#lastError
  }

  /** The time for which no merge starts by itself, in milliseconds. */
  get restMs(): number {
    return Math.max(0, Math.ceil(this.#restsUntil - monotonicMs()))
  }

  /** The bytes of copies that are dead but not counted as dead yet. */
  get uncountedDeadBytes(): number {
    return this.#run.uncountedDeadBytes
  }

  /** The segments that no merge rewrites, because they cannot be read whole. */
  get leftOut(): LeftOutSegment[] {
    return this.#planner.leftOut
  }

  /**
   * Merges all that has anything to give back, including the active segment. Segments that cannot
   * be read whole are left out, and reported.
   *
   * @throws {@link StoreError} FIRKIN_MERGE_RUNNING, FIRKIN_MERGE_FAILED
   */
  async merge(options: MergeCallOptions = {}): Promise<MergeReport> {
    checkCallOptions(options)
    const { signal } = options
    if (options.dryRun === true) {
      await new Task(this.#forgetExpired(signal)).begin().promise
      return planned(this.#planner.plan(options, { withActive: true }), this.leftOut, true)
    }
    if (options.ifRunning === 'reject' && this.#running !== undefined) {
      throw new StoreError('FIRKIN_MERGE_RUNNING', 'A merge is running')
    }
    while (this.#running !== undefined)
      await keepAlive(settled(this.#running.promise, options.signal))
    if (this.#isStopped) throw closingError()
    this.#engine.durability.assertSound()
    signal?.throwIfAborted()
    return await keepAlive(this.#begin((abort) => this.#mergeAll(options, abort), signal).promise)
  }

  *#mergeAll(options: MergeCallOptions, signal: AbortSignal): Work<MergeReport> {
    yield* this.#forgetExpired(signal)
    const before = this.#planner.plan(options, { withActive: true })
    // The active segment is not ended if nothing is gained by it.
    const engine = this.#engine
    if (isEmpty(before)) {
      if (before.isPortion) throw lackOfSpace()
      engine.live.shrinkNow()
      return planned(before, this.leftOut, false)
    }
    yield* engine.commits.writeInTurns()
    const failure = endActive(engine)
    yield* over(syncing(engine))
    yield* over(
      either(
        () => this.#sealer.seal(),
        () => this.#sealer.sealNow(),
      ),
    )
    // Without space for a new segment, merging the sealed ones may free some.
    if (failure !== undefined && isEmpty(this.#planner.plan(options, { withActive: false })))
      throw failure
    return yield* this.#runPortions(options, signal, true)
  }

  /** Merges if that is worth it now. */
  consider(): void {
    this.releaseRetired()
    this.#isAsked = this.#running !== undefined
    if (this.#isStopped || this.#isAsked) return
    if (!this.#mayBegin) return
    const byPolicy = { byPolicy: true }
    const plan = this.#planner.plan(byPolicy, { withActive: false })
    if (isEmpty(plan)) {
      // This is looked at again within a second: nothing is written until there is space.
      if (plan.isPortion) {
        this.#lastError = lackOfSpace()
        this.#reportOnce(this.#lastError)
      }
      return
    }
    this.#begin((signal) => this.#mergeByPolicy(signal))
  }

  *#mergeByPolicy(signal: AbortSignal): Work<void> {
    try {
      yield* this.#runPortions({ byPolicy: true }, signal, false)
    } catch (error) {
      this.#rest(asFailure(error))
      throw error
    }
  }

  /**
   * Does the merging that is due in this call, for a writer that keeps the event loop from turning,
   * or that cannot wait while writers are slowed.
   *
   * @param byteCount the bytes written since the last time
   */
  work(byteCount: number): void {
    if (this.#isInCall || this.#isStopped) return
    const { turnMs } = this.#engine.durability.pace
    const delayMs = this.#pressure?.delayMsPerMib ?? 0
    const isHopeless = turnMs >= HOPELESS_MS
    const isMissed = this.#pressure?.state === 'missed'
    // Between the two limits the loop turns slowly, perhaps because of the disk. Work in this call
    // would make that worse.
    if (!isHopeless && (delayMs === 0 || (turnMs >= STALL_MS && !isMissed))) return
    const dueMs = (byteCount / MIB) * Math.max(WORK_MS_PER_MIB, delayMs)
    this.#isInCall = true
    try {
      this.#workInCall(dueMs, isHopeless)
    } finally {
      this.#isInCall = false
    }
  }

  /** Continues a merge for the time that is due, and for what is owed from before. */
  #workInCall(dueMs: number, isHopeless: boolean): void {
    const { segments } = this.#engine
    const mayMerge = this.#policy.automatic && segments.tail.length > FULL_SEGMENTS
    // If the event loop turns, threads sync meanwhile.
    if (isHopeless && (mayMerge || segments.isTailLong)) this.#sealFull()
    const isSlowed = (this.#pressure?.delayMsPerMib ?? 0) > 0
    if (this.#running === undefined && isSlowed) this.consider()
    if (this.#running === undefined) {
      this.#owedMs = 0
      return
    }
    const mostMs = isHopeless ? LONGEST_WORK_MS : LONGEST_SHARE_MS
    this.#owedMs = Math.min(this.#owedMs + dueMs, mostMs)
    const beganAt = monotonicMs()
    for (let spentMs = 0; spentMs < this.#owedMs; spentMs = monotonicMs() - beganAt) {
      if (this.#running === undefined) break
      if (this.#running.step()) continue
      // The thread is at work.
      if (!isSlowed) break
      pause(PAUSE_MS)
    }
    this.#owedMs -= monotonicMs() - beganAt
  }

  /**
   * Makes full segments durable and sealed before it returns, and begins a merge if that is worth
   * it.
   */
  #sealFull(): void {
    const { durability } = this.#engine
    if (!durability.isSound) return
    try {
      durability.syncNow()
      this.#sealer.sealNow()
    } catch (error) {
      // Nothing that was promised depends on it. A failed sync has poisoned the store and reported
      // it.
      if (durability.isSound) this.#run.reportFailure('The manifest cannot be replaced', error)
      return
    }
    this.consider()
    this.weigh()
  }

  /** Weighs how far merging is behind, and slows writers by it. */
  weigh(): void {
    if (--this.#weighingsToSkip >= 0) return
    this.#weighingsToSkip = Math.floor(this.#engine.segments.count / SEGMENTS_PER_WEIGHING)
    const { pressure } = this
    this.#engine.durability.pace.slow(pressure.delayMsPerMib)
    const isNews = pressure.state !== (this.#pressure?.state ?? 'none')
    this.#pressure = pressure
    if (isNews) this.#listener.pressed(pressure)
  }

  /** The backlog of merging; takes time in proportion to the number of segments. */
  get pressure(): Pressure {
    return this.#planner.pressure(this.#hindrance())
  }

  /** Returns why no merge that may slow a writer runs by itself now. */
  #hindrance(): MergeHindrance | undefined {
    if (!this.#policy.automatic) return 'off'
    if (this.#policy.maxBytesPerSecond > 0) return 'rate limit'
    if (!this.#planner.isInWindow) return 'window'
    const isAtRest = monotonicMs() < this.#restsUntil || !this.#engine.durability.isSound
    return isAtRest || noSpaceCode(this.#lastError) !== undefined ? 'failure' : undefined
  }

  /** Sets a time for which no merge starts by itself. */
  #rest(error: unknown): void {
    // A store that is being closed has ended the merge itself.
    if (!(error instanceof StoreError) || error.code === 'FIRKIN_CLOSED') return
    const passing = passingCode(error)
    const [first, last] =
      passing === undefined
        ? [FIRST_REST_MS, LAST_REST_MS]
        : [FIRST_SHORT_REST_MS, LAST_SHORT_REST_MS]
    this.#restMs = Math.min(Math.max(first, this.#restMs * 2), last)
    this.#restsUntil = monotonicMs() + this.#restMs
    this.#reportOnce(error)
  }

  /**
   * Reports a failure. One that is retried every few seconds is reported once, until copies can be
   * made again.
   */
  #reportOnce(error: StoreError): void {
    const passing = passingCode(error)
    if (passing === undefined || passing !== this.#toldCode) this.#listener.failed(error)
    this.#toldCode = passing
  }

  /** Ends a merge that runs. Resolves when it is over and what needs no reading is deleted. */
  async stop(): Promise<void> {
    this.#isStopped = true
    this.#abort?.abort(closingError())
    if (this.#running !== undefined) await keepAlive(settled(this.#running.promise))
    await this.#deleteUnread()
    while (this.#run.releaseSome()) await nextTurn()
  }

  /**
   * Deletes what no merge needs to read, so that a store that is never open for as long as a merge
   * takes stops growing.
   */
  async #deleteUnread(): Promise<void> {
    if (!this.#mayBegin) return
    this.#engine.commits.writeStaged()
    const plan = this.#planner.plan({ byPolicy: true }, { withActive: false })
    if (plan.unread.length === 0) return
    try {
      await keepAlive(this.#begin((signal) => this.#run.run(unreadOf(plan), signal)).promise)
    } catch (error) {
      // The next close tries again.
      this.#reportOnce(asFailure(error))
    }
  }

  /** Whether a merge may start by itself. */
  get #mayBegin(): boolean {
    if (!this.#policy.automatic || !this.#planner.isInWindow) return false
    return this.#engine.durability.isSound && monotonicMs() >= this.#restsUntil
  }

  /** Deletes retired segments that no view can look into any more, a few of them in this turn. */
  releaseRetired(): void {
    if (this.#isReleasing || !this.#run.releaseSome()) return
    this.#isReleasing = true
    timers.setImmediate(() => {
      this.#isReleasing = false
      this.releaseRetired()
    })
  }

  /** Forgets every key that has expired, so that the plan counts what its record gives back. */
  *#forgetExpired(signal: AbortSignal | undefined): Work<void> {
    const present = this.#engine.present()
    if (this.#engine.keydir.entries.expiringCount === 0) return
    yield* walkInSlices(
      this.#engine,
      (entry) => {
        if (this.#engine.hasExpired(entry, present)) this.#engine.forget(entry, present)
      },
      signal,
    )
    signal?.throwIfAborted()
  }

  /** Begins a merge; none may be running. */
  #begin<T>(work: (signal: AbortSignal) => Work<T>, signal?: AbortSignal): Task<T> {
    const abort = new AbortController()
    const both = signal === undefined ? abort.signal : AbortSignal.any([abort.signal, signal])
    const task = new Task(this.#exclusively(work, both))
    this.#abort = abort
    this.#running = task
    if (this.#isInCall) task.step()
    else task.begin()
    return task
  }

  *#exclusively<T>(work: (signal: AbortSignal) => Work<T>, signal: AbortSignal): Work<T> {
    try {
      const result = yield* work(signal)
      this.#lastError = undefined
      this.#restMs = 0
      this.#restsUntil = 0
      return result
    } catch (error) {
      if (error === signal.reason) throw error
      const failure = asFailure(error)
      if (failure.code !== 'FIRKIN_CLOSED') this.#lastError = failure
      throw failure
    } finally {
      this.#running = undefined
      this.#abort = undefined
      this.weigh()
      // What was sealed meanwhile need not wait for the next look, and writers may wait for it.
      if (this.#isAsked || (this.#pressure?.delayMsPerMib ?? 0) > 0) this.consider()
    }
  }

  /**
   * Merges by plans, in as many portions as the disk has space for. A segment that turns out to be
   * unreadable is left out of the next. If there was less space than it seemed, portions become
   * smaller.
   */
  *#runPortions(
    options: MergeCallOptions,
    signal: AbortSignal,
    isAsked: boolean,
  ): Work<MergeReport> {
    const onProgress = options.onProgress && this.#guarded(options.onProgress)
    const reports: MergeReport[] = []
    const made = new Set<number>()
    let mostBytes = Number.POSITIVE_INFINITY
    let failure: unknown
    for (;;) {
      // If a staged record could not be written, what it has made dead would come back to life.
      yield* this.#engine.commits.writeInTurns()
      const whole = this.#planner.plan(options, { withActive: false, made, mostBytes })
      // What needs no reading goes at once; the rest takes time.
      const isFirst = !isAsked && whole.unread.length > 0 && whole.inputs.length > 0
      const plan = isFirst ? unreadOf(whole) : whole
      if (isEmpty(plan)) {
        const report = joined(reports)
        if (plan.isPortion) {
          // A caller gets what could be done. A merge that started by itself rests, and tries
          // again.
          if (report === undefined || !isAsked) throw failure ?? lackOfSpace()
          this.#listener.failed(lackOfSpace())
        }
        return report ?? planned(plan, this.leftOut, false)
      }
      try {
        const report = yield* this.#run.run(plan, signal, onProgress)
        reports.push(report)
        for (const id of report.created) made.add(id)
        if (made.size > 0) this.#toldCode = undefined
        if (!plan.isPortion && !isFirst) return joined(reports) ?? report
      } catch (error) {
        if (this.#planner.leaveOut(plan, error)) {
          this.#listener.failed(error)
          continue
        }
        if (noSpaceCode(error) === undefined || plan.inputs.length < 2) throw error
        this.#engine.segments.reserve.makeSpaceFor(Number.POSITIVE_INFINITY)
        mostBytes = Math.floor(plan.bytesToCopy / 2)
        failure = error
      }
    }
  }

  /** Wraps a caller's listener: if it throws, the merge ends with that error. */
  #guarded(onProgress: (progress: MergeProgress) => void): (progress: MergeProgress) => void {
    return (progress) => {
      try {
        onProgress(progress)
      } catch (error) {
        this.#abort?.abort(error)
      }
    }
  }
}

/**
 * Seals the active segment. Returns the error if it could not for lack of space.
 *
 * @throws {@link StoreError} FIRKIN_MERGE_FAILED if another cannot be begun for another reason
 */
function endActive(engine: Engine): StoreError | undefined {
  try {
    engine.rotate()
    return undefined
  } catch (error) {
    if (!(error instanceof StoreError) || error.code !== 'FIRKIN_WRITE_FAILED') throw error
    const { cause } = error
    const message = 'The active segment cannot be ended'
    const failure = new StoreError('FIRKIN_MERGE_FAILED', message, { cause })
    if (noSpaceCode(error) === undefined) throw failure
    return failure
  }
}

function closingError(): StoreError {
  return new StoreError('FIRKIN_CLOSED', 'The store is being closed')
}

/**
 * Resolves when `work` is over, however it ends. @throws the reason of `signal` if that fires first
 */
async function settled(work: Promise<unknown>, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted()
  let abort = (): void => undefined
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal?.reason)
  })
  signal?.addEventListener('abort', abort, { once: true })
  try {
    await Promise.race([work.catch(() => undefined), aborted])
  } finally {
    signal?.removeEventListener('abort', abort)
  }
}

/** Returns the error for a merge that lacks the space to do anything, or anything more. */
function lackOfSpace(): StoreError {
  const cause = new Error('ENOSPC: the disk has no room for the copies')
  return new StoreError('FIRKIN_MERGE_FAILED', 'A merge lacks room', {
    cause: Object.assign(cause, { code: 'ENOSPC' }),
  })
}

/** Returns the part of a plan that copies nothing. */
function unreadOf(plan: MergePlan): MergePlan {
  return { ...plan, inputs: [], bytesToCopy: 0 }
}

function isEmpty(plan: MergePlan): boolean {
  return plan.inputs.length + plan.unread.length === 0
}

function asFailure(error: unknown): StoreError {
  if (error instanceof StoreError) return error
  return new StoreError('FIRKIN_MERGE_FAILED', 'The merge failed; nothing was changed', {
    cause: error,
  })
}
