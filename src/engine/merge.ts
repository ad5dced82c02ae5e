/**
 * Merge rewrites sealed segments, so that only live records remain.
 *
 * 1. Plan. Choose segments by what they give back (plan.ts).
 * 2. Mark. Walk the keydir in slices, and note which records of the chosen segments are live. Then sync, so that
 *    what made the others dead is as durable as they were.
 * 3. Copy. Write them to new segments, on another thread (copy.ts).
 * 4. Commit. Replace the manifest: from here on the new segments are of the store, and the old ones are not.
 * 5. Repoint. In slices: a key whose entry still has the copied record's sequence points to the copy.
 * 6. Retire. Close and delete the old segments, once no view may look into them.
 *
 * A merge is a task (task.ts): it goes on in slices while the event loop turns, and in the calls of a writer that keeps it
 * from turning.
 *
 * A record that was dead when it was marked stays dead, so marking may take its time. A crash before step 4
 * leaves files that are of no store; one after it leaves old segments that are of none.
 *
 * Invariants
 * - Nothing is deleted before the manifest that does without it is durable.
 * - Between steps 4 and 6 the keydir may point into segments that are not of the set, but still open.
 * - Where the disk has too little room for all copies, a merge goes on in portions: each gives back room for the next.
 * - A segment that cannot be read whole ends no merge for good: it is left out, and the others are merged without it.
 * - What goes unread is deleted first, and by every close.
 */

import { join } from 'node:path'
import { CorruptionError, passingCode, StoreError } from '../errors.ts'
import { FILE_HEADER_SIZE } from '../format/file-header.ts'
import { HintDecoder } from '../format/hint.ts'
import { hintName, segmentName, temporaryName } from '../format/names.ts'
import { PUT } from '../format/record.ts'
import { removeIfThere } from '../io/files.ts'
import type { KnownKeydir } from '../keydir/keydir.ts'
import { type CopyJob, type CopyProgress, SourceError } from '../merge/copy.ts'
import { Offsets } from '../merge/offsets.ts'
import {
  checkCallOptions,
  joined,
  type LeftOutSegment,
  type MergeCallOptions,
  type MergeProgress,
  type MergeReport,
  planned,
} from '../merge/options.ts'
import { type MergePlan, planAll, planAutomatic } from '../merge/plan.ts'
import { type MergeHindrance, type Pressure, pressureOf } from '../merge/pressure.ts'
import type { CopyTarget } from '../merge/targets.ts'
import { type BackgroundWork, type Copying, keepAlive } from '../merge/thread.ts'
import type { MergePolicy, ResolvedOptions } from '../options.ts'
import { removeCheckpoint } from '../recovery/checkpoint-file.ts'
import { either, over, Task, turn, type Wait, type Work } from '../scheduling/task.ts'
import { monotonicMs, nextTurn, pause, timers } from '../scheduling/time.ts'
import { openSealed } from '../segment/open.ts'
import { noRoomCode } from '../segment/reserve.ts'
import type { Segment } from '../segment/segment.ts'
import type { Engine } from './engine.ts'
import { HOPELESS_MS, STALL_MS } from './pace.ts'
import type { Sealer } from './sealer.ts'
import { Slice, walkInSlices } from './slice.ts'

export type { MergeCallOptions, MergeProgress, MergeReport } from '../merge/options.ts'

/** What a merger tells. */
export interface MergeListener {
  started(plan: MergePlan): void
  progressed(progress: MergeProgress): void
  finished(report: MergeReport): void
  failed(error: StoreError): void
  /** Writers are slowed from now on, are not any more, or the target for the bytes on disk is missed. */
  pressed(pressure: Pressure): void
}

/** For each so many segments the pressure is weighed one time less often: that takes a time in their number. */
const SEGMENTS_PER_WEIGHING = 256
/** How long no merge starts by itself after one has failed: twice as long each time, up to an hour. */
const FIRST_REST_MS = 10_000
const LAST_REST_MS = 3_600_000
/** The same where what was in the way passes by itself. */
const FIRST_SHORT_REST_MS = 1000
const LAST_SHORT_REST_MS = 8000

/** How long a writer that keeps the event loop from turning works at a merge for each mebibyte that it writes, at least. */
const WORK_MS_PER_MIB = 3
/** The longest that it works at once, in milliseconds; and what it waits at once for the thread. */
const LONGEST_WORK_MS = 100
const PAUSE_MS = 1
/** The longest that a `…Sync` call works at once where the event loop turns, and others want their turns. */
const LONGEST_SHARE_MS = 8
/** How many segments are deleted in one turn: each takes 0.1 ms, and a millisecond on a busy disk. */
const RELEASED_AT_ONCE = 2
/** So many segments are full before it syncs and seals them. */
const FULL_SEGMENTS = 2
const MIB = 2 ** 20

/** What a merge writes beside its copies, a manifest above all; in bytes. */
const OTHER_BYTES = 16 * 1024

/** Why a segment is left out, and until when. */
interface LeftOut {
  readonly error: StoreError
  readonly until: number
}

/** How far keys point to the copies of their records. */
interface Repointing {
  /** The segments that keys point to whose copies come later. */
  readonly going: readonly Segment[]
  /** The bytes of the copies that come later. */
  leftBytes: number
  /** The bytes of the records in `going` whose keys point to copies. */
  movedBytes: number
}

/** Merges one store. One merge runs at a time. */
export class Merger {
  readonly #engine: Engine
  readonly #policy: MergePolicy
  readonly #maxSegmentBytes: number
  readonly #mapping: boolean
  readonly #sealer: Sealer
  readonly #backgroundWork: BackgroundWork
  readonly #listener: MergeListener
  #running: Pick<Task<unknown>, 'promise' | 'step'> | undefined
  #abort: AbortController | undefined
  /** How long no merge starts by itself after one that failed. */
  #restMs = 0
  #restsUntil = 0
  #lastError: StoreError | undefined
  /** What was told last of what passes by itself. */
  #toldCode: string | undefined
  /** What could not be read whole, by the segment's id. */
  readonly #leftOut = new Map<number, LeftOut>()
  #isStopped = false
  /** Whether a merge is to be considered once the one that runs is over. */
  #isAsked = false
  #pressure: Pressure | undefined
  /** How often the pressure need not be weighed yet. */
  #weighingsToSkip = 0
  /** How long the writer that keeps the event loop from turning is still to work, in milliseconds. */
  #owedMs = 0
  #isInCall = false
  /** Whether a turn of the event loop is awaited to delete more. */
  #isReleasing = false
  #repointing: Repointing | undefined

  constructor(
    engine: Engine,
    options: Pick<ResolvedOptions<unknown>, 'merge' | 'maxSegmentBytes' | 'mapping'>,
    sealer: Sealer,
    backgroundWork: BackgroundWork,
    listener: MergeListener,
  ) {
    this.#engine = engine
    this.#policy = options.merge
    this.#maxSegmentBytes = options.maxSegmentBytes
    this.#mapping = options.mapping
    this.#sealer = sealer
    this.#backgroundWork = backgroundWork
    this.#listener = listener
  }

  get running(): boolean {
    return this.#running !== undefined
  }

  /** Why the last merge failed; `undefined` where it did not. */
  get lastError(): StoreError | undefined {
    return this.#lastError
  }

  /** How long no merge starts by itself, in milliseconds. */
  get restMs(): number {
    return Math.max(0, Math.ceil(this.#restsUntil - monotonicMs()))
  }

  /** So many bytes of copies are dead and counted as live: they died since they were marked, and are not repointed yet. */
  get uncountedDeadBytes(): number {
    if (this.#repointing === undefined) return 0
    const { going, leftBytes, movedBytes } = this.#repointing
    const liveBytes = going.reduce((bytes, { usage }) => bytes + usage.liveBytes, 0) - movedBytes
    return leftBytes - liveBytes
  }

  /** The segments that no merge rewrites. */
  get leftOut(): LeftOutSegment[] {
    return this.#engine.segments.all.flatMap(({ id, usage }) => {
      const error = this.#isLeftOut(id) ? this.#leftOut.get(id)?.error : undefined
      return error === undefined ? [] : [{ id, bytes: usage.size, error }]
    })
  }

  /**
   * Merges all that has anything to give back, the active segment included; but for what cannot be read whole, which
   * is told and reported.
   *
   * @throws {@link StoreError} FIRKIN_MERGE_RUNNING, FIRKIN_MERGE_FAILED
   */
  async merge(options: MergeCallOptions = {}): Promise<MergeReport> {
    checkCallOptions(options)
    const { signal } = options
    if (options.dryRun === true) {
      await new Task(this.#forgetExpired(signal)).begin().promise
      return planned(this.#plan(options, true), this.leftOut, true)
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
    const before = this.#plan(options, true)
    // The active segment is not ended for nothing.
    const engine = this.#engine
    if (isEmpty(before)) {
      if (before.isPortion) throw lackOfRoom()
      engine.live.shrinkNow()
      return planned(before, this.leftOut, false)
    }
    yield* engine.commits.writeInTurns()
    const failure = endActive(engine)
    yield* over(this.#syncing)
    yield* over(
      either(
        () => this.#sealer.seal(),
        () => this.#sealer.sealNow(),
      ),
    )
    // Without room for a new segment, what is sealed already may give it back.
    if (failure !== undefined && isEmpty(this.#plan(options, false))) throw failure
    return yield* this.#runPortions(options, signal, true)
  }

  /** Merges if that is worth it now. */
  consider(): void {
    this.releaseRetired()
    this.#isAsked = this.#running !== undefined
    if (this.#isStopped || this.#isAsked) return
    if (!this.#mayBegin) return
    const byPolicy = { byPolicy: true }
    const plan = this.#plan(byPolicy, false)
    if (isEmpty(plan)) {
      // Looked at again within a second: nothing is written until there is room.
      if (plan.isPortion) {
        this.#lastError = lackOfRoom()
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
   * Does what is due of merging in this call, for a writer that keeps the event loop from turning, or that waits for
   * nothing while writers are slowed.
   *
   * @param byteCount how much was written since the last time
   */
  work(byteCount: number): void {
    if (this.#isInCall || this.#isStopped) return
    const { turnMs } = this.#engine.durability.pace
    const delayMs = this.#pressure?.delayMsPerMib ?? 0
    const isHopeless = turnMs >= HOPELESS_MS
    const isMissed = this.#pressure?.state === 'missed'
    // Between the two the loop turns slowly, for the disk's sake say, and work in this call would make that worse.
    if (!isHopeless && (delayMs === 0 || (turnMs >= STALL_MS && !isMissed))) return
    const dueMs = (byteCount / MIB) * Math.max(WORK_MS_PER_MIB, delayMs)
    this.#isInCall = true
    try {
      this.#workInCall(dueMs, isHopeless)
    } finally {
      this.#isInCall = false
    }
  }

  /** Goes on with a merge for so long, and longer where that is owed from before. */
  #workInCall(dueMs: number, isHopeless: boolean): void {
    const { segments } = this.#engine
    const mayMerge = this.#policy.automatic && segments.tail.length > FULL_SEGMENTS
    // Where the event loop turns, threads sync meanwhile.
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

  /** Makes what is full durable and sealed, on return, and begins a merge where that is worth it. */
  #sealFull(): void {
    const { durability } = this.#engine
    if (!durability.isSound) return
    try {
      durability.syncNow()
      this.#sealer.sealNow()
    } catch (error) {
      // Nothing that was promised depends on it. A sync that has failed has poisoned the store, and told so.
      if (durability.isSound) this.#reportFailure('The manifest cannot be replaced', error)
      return
    }
    this.consider()
    this.weigh()
  }

  /** Weighs what merging is behind, and slows writers by it. */
  weigh(): void {
    if (--this.#weighingsToSkip >= 0) return
    this.#weighingsToSkip = Math.floor(this.#engine.segments.count / SEGMENTS_PER_WEIGHING)
    const { pressure } = this
    this.#engine.durability.pace.slow(pressure.delayMsPerMib)
    const isNews = pressure.state !== (this.#pressure?.state ?? 'none')
    this.#pressure = pressure
    if (isNews) this.#listener.pressed(pressure)
  }

  /** How far merging is behind; takes a time in the number of segments. */
  get pressure(): Pressure {
    const { active } = this.#engine.segments
    // What is full counts as sealed: it waits for nothing but a sync.
    const figures = this.#figures(true).map((figure) =>
      figure.id === active?.id ? { ...figure, sealed: false } : figure,
    )
    return pressureOf(figures, this.#policy, this.#maxSegmentBytes, this.#hindrance(), this.#now())
  }

  /** Why no merge that may slow a writer runs by itself now. */
  #hindrance(): MergeHindrance | undefined {
    if (!this.#policy.automatic) return 'off'
    if (this.#policy.maxBytesPerSecond > 0) return 'rate limit'
    if (!this.#isInWindow()) return 'window'
    const isAtRest = monotonicMs() < this.#restsUntil || !this.#engine.durability.isSound
    return isAtRest || noRoomCode(this.#lastError) !== undefined ? 'failure' : undefined
  }

  /** Lets some time pass before the next merge starts by itself: what failed may fail again. */
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

  /** Tells of a failure; of what is tried again every few seconds only once, until copies could be made again. */
  #reportOnce(error: StoreError): void {
    const passing = passingCode(error)
    if (passing === undefined || passing !== this.#toldCode) this.#listener.failed(error)
    this.#toldCode = passing
  }

  /** Ends a merge that runs, and resolves when it is over and what goes unread is deleted. */
  async stop(): Promise<void> {
    this.#isStopped = true
    this.#abort?.abort(closingError())
    if (this.#running !== undefined) await keepAlive(settled(this.#running.promise))
    await this.#deleteUnread()
    while (this.#releaseSome()) await nextTurn()
  }

  /** Deletes what no merge need read: a store that is never open for as long as a merge takes must not grow for ever. */
  async #deleteUnread(): Promise<void> {
    if (!this.#mayBegin) return
    this.#engine.commits.writeStaged()
    const plan = this.#plan({ byPolicy: true }, false)
    if (plan.unread.length === 0) return
    try {
      await keepAlive(this.#begin((signal) => this.#run(unreadOf(plan), signal, undefined)).promise)
    } catch (error) {
      // The next close tries again.
      this.#reportOnce(asFailure(error))
    }
  }

  /** Whether a merge may start by itself. */
  get #mayBegin(): boolean {
    if (!this.#policy.automatic || !this.#isInWindow()) return false
    return this.#engine.durability.isSound && monotonicMs() >= this.#restsUntil
  }

  /** Deletes retired segments that no view can look into any more, some of them in this turn. */
  releaseRetired(): void {
    if (this.#isReleasing || !this.#releaseSome()) return
    this.#isReleasing = true
    timers.setImmediate(() => {
      this.#isReleasing = false
      this.releaseRetired()
    })
  }

  /** Deletes a few retired segments; returns whether there are more. */
  #releaseSome(): boolean {
    for (const { id } of this.#engine.retirement.release(RELEASED_AT_ONCE)) {
      this.#leftOut.delete(id)
      this.#removeFiles(id)
    }
    return this.#engine.retirement.mayRelease
  }

  /**
   * @param made segments that are not to be chosen, for this merge has made them
   * @param mostBytes how much room the copies may take at most
   */
  #plan(
    { byPolicy = false }: MergeCallOptions,
    withActive: boolean,
    made: ReadonlySet<number> = new Set(),
    mostBytes = Number.POSITIVE_INFINITY,
  ): MergePlan {
    const { reserve } = this.#engine.segments
    const figures = this.#figures(withActive, made)
    const roomBytes = Math.min(reserve.freeBytes + reserve.spareBytes - OTHER_BYTES, mostBytes)
    return byPolicy
      ? planAutomatic(figures, this.#policy, this.#now(), roomBytes)
      : planAll(figures, this.#now(), roomBytes)
  }

  /** Forgets every key that has expired, so that the plan knows what its record gives back. */
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

  /** A wait for all that was written to be durable. */
  get #syncing(): Wait<void> {
    const { durability } = this.#engine
    return either(
      () => durability.sync(),
      () => durability.syncNow(),
    )
  }

  /**
   * Merges by a plan, in as many portions as the disk has room for. Where a segment turns out to be one that cannot be read
   * whole it goes on without that one, and where there was less room than it seemed, in smaller portions.
   */
  *#runPortions(
    options: MergeCallOptions,
    signal: AbortSignal,
    isAsked: boolean,
  ): Work<MergeReport> {
    const reports: MergeReport[] = []
    const made = new Set<number>()
    let mostBytes = Number.POSITIVE_INFINITY
    let failure: unknown
    for (;;) {
      // What is dead by a record that could not be written would be live again.
      yield* this.#engine.commits.writeInTurns()
      const whole = this.#plan(options, false, made, mostBytes)
      // What goes unread does so at once: the rest takes time.
      const isFirst = !isAsked && whole.unread.length > 0 && whole.inputs.length > 0
      const plan = isFirst ? unreadOf(whole) : whole
      if (isEmpty(plan)) {
        const report = joined(reports)
        if (plan.isPortion) {
          // Who has asked for a merge gets what could be done; one that starts by itself rests, and tries again.
          if (report === undefined || !isAsked) throw failure ?? lackOfRoom()
          this.#listener.failed(lackOfRoom())
        }
        return report ?? planned(plan, this.leftOut, false)
      }
      try {
        const report = yield* this.#run(plan, signal, options.onProgress)
        reports.push(report)
        for (const id of report.created) made.add(id)
        if (!plan.isPortion && !isFirst) return joined(reports) ?? report
      } catch (error) {
        if (this.#leaveOut(plan, error)) continue
        if (noRoomCode(error) === undefined || plan.inputs.length < 2) throw error
        this.#engine.segments.reserve.makeRoom(Number.POSITIVE_INFINITY)
        mostBytes = Math.floor(plan.bytesToCopy / 2)
        failure = error
      }
    }
  }

  /** Takes note of a segment that cannot be read whole; false where an error is about something else. */
  #leaveOut(plan: MergePlan, error: unknown): boolean {
    if (!(error instanceof CorruptionError || error instanceof SourceError)) return false
    const { segments } = this.#engine
    // In the place of a directory that was moved, other files have the same names.
    segments.context.files.assertThere()
    const faulty = plan.inputs.find(({ id }) => segments.get(id).path === error.file)
    if (faulty === undefined) return false
    // Damage stays; what a disk cannot read it may read another time.
    const restMs = error instanceof CorruptionError ? Number.POSITIVE_INFINITY : LAST_REST_MS
    this.#leftOut.set(faulty.id, { error, until: monotonicMs() + restMs })
    this.#listener.failed(error)
    return true
  }

  *#run(
    plan: MergePlan,
    signal: AbortSignal,
    onProgress: ((progress: MergeProgress) => void) | undefined,
  ): Work<MergeReport> {
    const beganAt = monotonicMs()
    const { segments } = this.#engine
    this.#listener.started(plan)
    const inputs = plan.inputs.map(({ id }) => segments.get(id))
    const going = [...inputs, ...plan.unread.map(({ id }) => segments.get(id))]
    const live = yield* this.#mark(plan, inputs, signal)
    const { keydir } = this.#engine
    // What made a record dead must be durable before the record goes.
    yield* over(this.#syncing)
    const bytesTotal = sumOfSizes(inputs)
    let progress: MergeProgress = { bytesRead: 0, bytesWritten: 0, bytesTotal }
    if (inputs.length > 0) segments.reserve.makeRoom(plan.bytesToCopy + OTHER_BYTES)
    const targets = yield* this.#copy(plan, inputs, live, signal, (copied) => {
      progress = { ...copied, bytesTotal }
      this.#listener.progressed(progress)
      try {
        onProgress?.(progress)
      } catch (error) {
        this.#abort?.abort(error)
      }
    })
    yield* this.#commit(going, targets, keydir)
    const bytesWritten = targets.reduce((sum, { sealed }) => sum + sealed.size, 0)
    const report: MergeReport = {
      dryRun: false,
      segments: [...plan.inputs, ...plan.unread],
      leftOut: this.leftOut,
      created: targets.map(({ sealed }) => sealed.id),
      bytesRead: bytesTotal,
      bytesWritten,
      bytesGained: sumOfSizes(going) - bytesWritten,
      durationMs: monotonicMs() - beganAt,
    }
    if (targets.length > 0) this.#toldCode = undefined
    this.#listener.finished(report)
    return report
  }

  /** Notes the live records of `inputs`, and forgets the keys that have expired in any segment that goes. */
  *#mark(
    plan: MergePlan,
    inputs: readonly Segment[],
    signal: AbortSignal,
  ): Work<Map<number, Offsets>> {
    const offsets = new Map(inputs.map((segment) => [segment.id, new Offsets()]))
    const unread = new Map(plan.unread.map(({ id, reason }) => [id, reason]))
    const present = this.#engine.present()
    yield* walkInSlices(
      this.#engine,
      (entry) => {
        const { entries } = this.#engine.keydir
        const id = entries.segmentOf(entry)
        const list = offsets.get(id)
        const reason = unread.get(id)
        if (list === undefined && reason === undefined) return
        if (reason === 'expired' || this.#engine.hasExpired(entry, present)) {
          this.#engine.forget(entry, present)
        } else if (list !== undefined) {
          list.add(entries.offsetOf(entry))
        } else {
          throw new Error(`Segment ${id} was to be deleted unread, and has a live record`)
        }
      },
      signal,
    )
    return offsets
  }

  *#copy(
    plan: MergePlan,
    inputs: readonly Segment[],
    live: ReadonlyMap<number, Offsets>,
    signal: AbortSignal,
    onProgress: (progress: CopyProgress) => void,
  ): Work<readonly CopyTarget[]> {
    if (inputs.length === 0) return []
    const { segments } = this.#engine
    const { files, storeId } = segments.context
    const job: CopyJob = {
      place: files.place,
      storeId,
      sources: inputs.map(({ id, usage }) => ({
        id,
        size: usage.size,
        live: live.get(id)?.list ?? new Uint32Array(0),
      })),
      targetIds: Array.from({ length: this.#maxTargets(inputs) }, () => segments.takeId()),
      maxSegmentBytes: this.#maxSegmentBytes,
      dropBelow: plan.dropBelow,
      maxBytesPerSecond: this.#policy.maxBytesPerSecond,
    }
    try {
      const targets = yield* over(copied(this.#backgroundWork.copy(job, onProgress, signal)))
      signal.throwIfAborted()
      return targets
    } catch (error) {
      // A thread that has died has left what it had begun.
      this.#removeBegun(job.targetIds)
      throw error
    }
  }

  /** Removes what there is of the files of segments of which most were never begun. */
  #removeBegun(ids: readonly number[]): void {
    const { files, directory } = this.#engine.segments.context
    try {
      const names = new Set(files.list(directory))
      for (const id of ids) if (filesOf(id).some((name) => names.has(name))) this.#removeFiles(id)
    } catch (error) {
      // The next open removes them.
      this.#reportFailure('Cannot remove what a merge has begun', error)
    }
  }

  /** How many targets there may be: two in a row hold more than fits one. */
  #maxTargets(inputs: readonly Segment[]): number {
    return 2 * Math.ceil(sumOfSizes(inputs) / (this.#maxSegmentBytes - FILE_HEADER_SIZE)) + 1
  }

  /** @param marked the keydir in which the live records were marked */
  *#commit(
    going: readonly Segment[],
    targets: readonly CopyTarget[],
    marked: KnownKeydir,
  ): Work<void> {
    const { segments } = this.#engine
    const goingIds = new Set(going.map((segment) => segment.id))
    const opened: Segment[] = []
    try {
      for (const { sealed } of targets)
        opened.push(openSealed(segments.context, sealed, this.#mapping))
      // The new names survive a power loss before the manifest that lists them does.
      yield* over(segments.syncingNames)
      yield* over(
        segments.committing((installed) => ({
          segments: [
            ...installed.segments.filter((sealed) => !goingIds.has(sealed.id)),
            ...targets.map(({ sealed }) => sealed),
          ],
        })),
      )
    } catch (error) {
      for (const segment of opened) segment.close()
      // Where only the sync behind the new manifest has failed, a power loss may leave either: both sets stay.
      if (!segments.manifest.segments.some(({ id }) => goingIds.has(id))) {
        throw this.#engine.durability.poison(error)
      }
      for (const { sealed } of targets) this.#removeFiles(sealed.id)
      throw error
    }
    for (const segment of opened) segments.addSealed(segment)
    for (const segment of going) segments.retire(segment)
    const leftBytes = opened.reduce((bytes, { usage }) => bytes + usage.liveBytes, 0)
    this.#repointing = { going, leftBytes, movedBytes: 0 }
    try {
      for (const [index, target] of targets.entries()) {
        const segment = opened[index]
        if (segment !== undefined) yield* this.#repoint(segment, target, this.#repointing)
      }
    } finally {
      this.#repointing = undefined
    }
    if (this.#engine.keydir !== marked) {
      // It was loaded anew, and knows what had expired when the records were marked.
      yield* walkInSlices(
        this.#engine,
        (entry) => {
          if (goingIds.has(this.#engine.keydir.entries.segmentOf(entry))) this.#engine.forget(entry)
        },
        undefined,
      )
    }
    for (const segment of going) this.#engine.retirement.retire(segment)
    this.#removeCheckpoint()
    while (this.#releaseSome()) yield* over(turn)
    this.#engine.live.shrinkNow()
    segments.reserve.begin()
  }

  /** Points the keys of a target's puts to it, unless they have a newer record by now. */
  *#repoint(segment: Segment, target: CopyTarget, count: Repointing): Work<void> {
    const engine = this.#engine
    const { keydir } = engine
    const decoder = HintDecoder.of(target.hint)
    const slice = yield* Slice.begin(engine)
    while (decoder.next()) {
      const { fields, page, offset } = decoder
      if (fields.kind === PUT) {
        if (engine.repoint(segment, offset, fields, page)) count.movedBytes += fields.size
        count.leftBytes -= fields.size
      }
      if (slice.isOver()) yield* slice.next()
      // A keydir that was loaded anew meanwhile knows where everything is.
      if (engine.keydir !== keydir) return
    }
  }

  #figures(withActive: boolean, made: ReadonlySet<number> = new Set()) {
    const { segments } = this.#engine
    const listed = new Set(segments.listed)
    return segments.all.map((segment) => ({
      id: segment.id,
      size: segment.usage.size,
      putCount: segment.usage.putCount,
      deadPutCount: segment.usage.deadPutCount,
      deadBytes: segment.usage.deadBytes,
      tombstoneBytes: segment.usage.tombstoneBytes,
      minSequence: segment.usage.minSequence,
      maxSequence: segment.usage.maxSequence,
      lastExpiryMs: segment.usage.lastExpiryMs,
      sealed: (withActive || listed.has(segment)) && !made.has(segment.id),
      leftOut: this.#isLeftOut(segment.id),
    }))
  }

  #isLeftOut(id: number): boolean {
    return monotonicMs() < (this.#leftOut.get(id)?.until ?? 0)
  }

  #isInWindow(): boolean {
    const { window } = this.#policy
    if (window === undefined) return true
    const [from, to] = window
    const hour = new Date(this.#now()).getHours()
    return from <= to ? hour >= from && hour < to : hour >= from || hour < to
  }

  #now(): number {
    return this.#engine.options.clock()
  }

  /** Removes the checkpoint that the merge has made stale. */
  #removeCheckpoint(): void {
    try {
      removeCheckpoint(this.#engine.segments)
    } catch (error) {
      // Whoever reads it sees that it is stale.
      this.#reportFailure('Cannot remove the stale checkpoint', error)
    }
  }

  /** Removes the files of a segment that is of no store any more, or that was never whole. */
  #removeFiles(id: number): void {
    const { files, directory } = this.#engine.segments.context
    try {
      for (const name of filesOf(id)) removeIfThere(files, join(directory, name))
    } catch (error) {
      // The next open tries again.
      this.#reportFailure(`Cannot remove segment ${id}`, error)
    }
  }

  #reportFailure(message: string, cause: unknown): void {
    // That the directory is another one is told by its files.
    if (cause instanceof StoreError) return
    this.#listener.failed(new StoreError('FIRKIN_MERGE_FAILED', message, { cause }))
  }
}

/**
 * Seals the active segment; answers why it could not, where that was for want of room.
 *
 * @throws {@link StoreError} FIRKIN_MERGE_FAILED where another cannot be begun for another reason
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
    if (noRoomCode(error) === undefined) throw failure
    return failure
  }
}

function closingError(): StoreError {
  return new StoreError('FIRKIN_CLOSED', 'The store is being closed')
}

/** A wait for copies. */
function copied(copying: Copying): Wait<readonly CopyTarget[]> {
  return {
    later: () => copying.done,
    now: () => {
      const targets = copying.look()
      return targets && { value: targets }
    },
  }
}

/** Resolves when `work` is over, however it ends. @throws the reason of `signal` where that fires first */
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

/** Nothing can be merged, or no more than was. */
function lackOfRoom(): StoreError {
  const cause = new Error('ENOSPC: the disk has no room for the copies')
  return new StoreError('FIRKIN_MERGE_FAILED', 'A merge lacks room', {
    cause: Object.assign(cause, { code: 'ENOSPC' }),
  })
}

/** The part of a plan that copies nothing. */
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

/** The names that the files of a segment have. */
function filesOf(id: number): string[] {
  return [temporaryName(hintName(id), 0), hintName(id), segmentName(id)]
}

function sumOfSizes(segments: readonly Segment[]): number {
  return segments.reduce((sum, segment) => sum + segment.usage.size, 0)
}
