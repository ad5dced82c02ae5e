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
 * A record that was dead when it was marked stays dead, so marking may take its time. A crash before step 4
 * leaves files that are of no store; one after it leaves old segments that are of none.
 *
 * Invariants
 * - Nothing is deleted before the manifest that does without it is durable.
 * - Between steps 4 and 6 the keydir may point into segments that are not of the set, but still open.
 * - Where the disk has too little room for all copies, a merge goes on in portions: each gives back room for the next.
 * - A segment that cannot be read whole ends no merge for good: it is left out, and the others are merged without it.
 */

import { join } from 'node:path'
import { removeCheckpoint } from '../checkpoint.ts'
import type { Engine } from '../engine.ts'
import { CorruptionError, passingCode, StoreError } from '../errors.ts'
import { FILE_HEADER_SIZE } from '../format/file-header.ts'
import { HintDecoder } from '../format/hint.ts'
import { hintName, segmentName, temporaryName } from '../format/names.ts'
import { PUT } from '../format/record.ts'
import { removeIfThere } from '../io/files.ts'
import type { KnownKeydir } from '../keydir/keydir.ts'
import type { MergePolicy, ResolvedOptions } from '../options.ts'
import { noRoomCode } from '../reserve.ts'
import type { Sealer } from '../sealer.ts'
import { openSealed } from '../segment/open.ts'
import type { Segment } from '../segment/segment.ts'
import { monotonicMs } from '../time.ts'
import {
  checkCallOptions,
  joined,
  type LeftOutSegment,
  type MergeCallOptions,
  type MergeProgress,
  type MergeReport,
  planned,
} from './call.ts'
import { type CopyJob, type CopyProgress, SourceError } from './copy.ts'
import { Offsets } from './offsets.ts'
import { type MergePlan, planAll, planAutomatic } from './plan.ts'
import { type MergeHindrance, type Pressure, pressureOf } from './pressure.ts'
import { Slice, walkInSlices } from './slice.ts'
import type { CopyTarget } from './targets.ts'
import { keepAlive, type Labour } from './thread.ts'

export type { MergeCallOptions, MergeProgress, MergeReport } from './call.ts'

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

/** What a merge writes beside its copies, a manifest above all; in bytes. */
const OTHER_BYTES = 16 * 1024

/** Why a segment is left out, and until when. */
interface LeftOut {
  readonly error: StoreError
  readonly until: number
}

/** Merges one store. One merge runs at a time. */
export class Merger {
  readonly #engine: Engine
  readonly #policy: MergePolicy
  readonly #maxSegmentBytes: number
  readonly #mapping: boolean
  readonly #sealer: Sealer
  readonly #labour: Labour
  readonly #listener: MergeListener
  #running: Promise<unknown> | undefined
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

  constructor(
    engine: Engine,
    options: Pick<ResolvedOptions<unknown>, 'merge' | 'maxSegmentBytes' | 'mapping'>,
    sealer: Sealer,
    labour: Labour,
    listener: MergeListener,
  ) {
    this.#engine = engine
    this.#policy = options.merge
    this.#maxSegmentBytes = options.maxSegmentBytes
    this.#mapping = options.mapping
    this.#sealer = sealer
    this.#labour = labour
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
    if (options.dryRun === true) {
      await this.#forgetExpired(options.signal)
      return planned(this.#plan(options, true), this.leftOut, true)
    }
    if (options.ifRunning === 'reject' && this.#running !== undefined) {
      throw new StoreError('FIRKIN_MERGE_RUNNING', 'A merge is running')
    }
    while (this.#running !== undefined) await keepAlive(over(this.#running, options.signal))
    if (this.#isStopped) throw closingError()
    this.#engine.durability.assertSound()
    const merging = this.#exclusively(async (signal) => {
      await this.#forgetExpired(signal)
      const before = this.#plan(options, true)
      // The active segment is not ended for nothing.
      const engine = this.#engine
      if (isEmpty(before)) {
        if (before.isPortion) throw lackOfRoom()
        engine.shrinkNow()
        return planned(before, this.leftOut, false)
      }
      const failure = endActive(engine)
      await engine.durability.sync()
      await this.#sealer.seal()
      // Without room for a new segment, what is sealed already may give it back.
      if (failure !== undefined && isEmpty(this.#plan(options, false))) throw failure
      return await this.#runPortions(options, signal, true)
    }, options.signal)
    return await keepAlive(merging)
  }

  /** Merges if that is worth it now. */
  consider(): void {
    this.releaseRetired()
    this.#isAsked = this.#running !== undefined
    if (this.#isStopped || this.#isAsked) return
    if (!this.#policy.automatic || !this.#isInWindow()) return
    if (!this.#engine.durability.isSound || monotonicMs() < this.#restsUntil) return
    const byPolicy = { byPolicy: true }
    const plan = this.#plan(byPolicy, false)
    if (isEmpty(plan)) {
      // Looked at again within a second: nothing is written until there is room.
      if (plan.isPortion) {
        this.#lastError = lackOfRoom()
        this.#tellOnce(this.#lastError)
      }
      return
    }
    this.#exclusively((signal) => this.#runPortions(byPolicy, signal, false)).then(
      () => {
        this.weigh()
        // What was sealed meanwhile need not wait for the next look, and writers may wait for it.
        if (this.#isAsked || this.#pressure?.delayMsPerMib !== 0) this.consider()
      },
      (error: unknown) => {
        this.#rest(error)
        this.weigh()
      },
    )
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
    this.#tellOnce(error)
  }

  /** Tells of a failure; of what is tried again every few seconds only once, until copies could be made again. */
  #tellOnce(error: StoreError): void {
    const passing = passingCode(error)
    if (passing === undefined || passing !== this.#toldCode) this.#listener.failed(error)
    this.#toldCode = passing
  }

  /** Ends a merge that runs, and resolves when it is over. */
  async stop(): Promise<void> {
    this.#isStopped = true
    this.#abort?.abort(closingError())
    if (this.#running !== undefined) await keepAlive(this.#running).catch(() => undefined)
    this.releaseRetired()
  }

  /** Deletes retired segments that no view can look into any more. */
  releaseRetired(): void {
    for (const { id } of this.#engine.releaseRetired()) {
      this.#leftOut.delete(id)
      this.#removeFiles(id)
    }
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
    // What is dead by a record that could not be written would be live again.
    this.#engine.commits.writeStaged()
    const { reserve } = this.#engine.segments
    const figures = this.#figures(withActive, made)
    const roomBytes = Math.min(reserve.freeBytes + reserve.spareBytes - OTHER_BYTES, mostBytes)
    return byPolicy
      ? planAutomatic(figures, this.#policy, this.#now(), roomBytes)
      : planAll(figures, this.#now(), roomBytes)
  }

  /** Forgets every key that has expired, so that the plan knows what its record gives back. */
  async #forgetExpired(signal: AbortSignal | undefined): Promise<void> {
    const nowMs = this.#now()
    if (this.#engine.keydir.entries.expiringCount === 0) return
    await walkInSlices(
      this.#engine,
      (entry) => {
        const expiresAtMs = this.#engine.keydir.entries.expiresAtOf(entry)
        if (expiresAtMs !== 0 && expiresAtMs <= nowMs) this.#engine.expire(entry)
      },
      signal,
    )
    signal?.throwIfAborted()
  }

  async #exclusively<T>(
    work: (signal: AbortSignal) => Promise<T>,
    signal?: AbortSignal,
  ): Promise<T> {
    signal?.throwIfAborted()
    const abort = new AbortController()
    const both = signal === undefined ? abort.signal : AbortSignal.any([abort.signal, signal])
    this.#abort = abort
    const running = work(both)
    this.#running = running
    try {
      const result = await running
      this.#lastError = undefined
      this.#restMs = 0
      this.#restsUntil = 0
      return result
    } catch (error) {
      if (error === both.reason) throw error
      const failure = asFailure(error)
      if (failure.code !== 'FIRKIN_CLOSED') this.#lastError = failure
      throw failure
    } finally {
      this.#running = undefined
      this.#abort = undefined
    }
  }

  /**
   * Merges by a plan, in as many portions as the disk has room for. Where a segment turns out to be one that cannot be read
   * whole it goes on without that one, and where there was less room than it seemed, in smaller portions.
   */
  async #runPortions(
    options: MergeCallOptions,
    signal: AbortSignal,
    isAsked: boolean,
  ): Promise<MergeReport> {
    const reports: MergeReport[] = []
    const made = new Set<number>()
    let mostBytes = Number.POSITIVE_INFINITY
    let failure: unknown
    for (;;) {
      const plan = this.#plan(options, false, made, mostBytes)
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
        const report = await this.#run(plan, signal, options.onProgress)
        reports.push(report)
        for (const id of report.created) made.add(id)
        if (!plan.isPortion) return joined(reports) ?? report
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
    const faulty = plan.inputs.find(({ id }) => segments.get(id).path === error.file)
    if (faulty === undefined) return false
    // Damage stays; what a disk cannot read it may read another time.
    const restMs = error instanceof CorruptionError ? Number.POSITIVE_INFINITY : LAST_REST_MS
    this.#leftOut.set(faulty.id, { error, until: monotonicMs() + restMs })
    this.#listener.failed(error)
    return true
  }

  async #run(
    plan: MergePlan,
    signal: AbortSignal,
    onProgress: ((progress: MergeProgress) => void) | undefined,
  ): Promise<MergeReport> {
    const beganAt = monotonicMs()
    const { segments } = this.#engine
    this.#listener.started(plan)
    const inputs = plan.inputs.map(({ id }) => segments.get(id))
    const going = [...inputs, ...plan.unread.map(({ id }) => segments.get(id))]
    const live = await this.#mark(plan, inputs, signal)
    const { keydir } = this.#engine
    // What made a record dead must be durable before the record goes.
    await this.#engine.durability.sync()
    const bytesTotal = sumOfSizes(inputs)
    let progress: MergeProgress = { bytesRead: 0, bytesWritten: 0, bytesTotal }
    if (inputs.length > 0) segments.reserve.makeRoom(plan.bytesToCopy + OTHER_BYTES)
    const targets = await this.#copy(plan, inputs, live, signal, (copied) => {
      progress = { ...copied, bytesTotal }
      this.#listener.progressed(progress)
      try {
        onProgress?.(progress)
      } catch (error) {
        this.#abort?.abort(error)
      }
    })
    await this.#commit(going, targets, keydir)
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
  async #mark(
    plan: MergePlan,
    inputs: readonly Segment[],
    signal: AbortSignal,
  ): Promise<Map<number, Uint32Array>> {
    const offsets = new Map(inputs.map((segment) => [segment.id, new Offsets()]))
    const unread = new Map(plan.unread.map(({ id, reason }) => [id, reason]))
    const nowMs = this.#now()
    await walkInSlices(
      this.#engine,
      (entry) => {
        const { entries } = this.#engine.keydir
        const id = entries.segmentOf(entry)
        const list = offsets.get(id)
        const reason = unread.get(id)
        if (list === undefined && reason === undefined) return
        const expiresAtMs = entries.expiresAtOf(entry)
        if (reason === 'expired' || (expiresAtMs !== 0 && expiresAtMs <= nowMs)) {
          this.#engine.expire(entry)
        } else if (list !== undefined) {
          list.add(entries.offsetOf(entry))
        } else {
          throw new Error(`Segment ${id} was to be deleted unread, and has a live record`)
        }
      },
      signal,
    )
    return new Map([...offsets].map(([id, list]) => [id, list.sorted()]))
  }

  async #copy(
    plan: MergePlan,
    inputs: readonly Segment[],
    live: ReadonlyMap<number, Uint32Array>,
    signal: AbortSignal,
    onProgress: (progress: CopyProgress) => void,
  ): Promise<readonly CopyTarget[]> {
    if (inputs.length === 0) return []
    const { segments } = this.#engine
    const { files, storeId } = segments.home
    const job: CopyJob = {
      place: files.place,
      storeId,
      sources: inputs.map(({ id, usage }) => ({
        id,
        size: usage.size,
        live: live.get(id) ?? new Uint32Array(0),
      })),
      targetIds: Array.from({ length: this.#maxTargets(inputs) }, () => segments.takeId()),
      maxSegmentBytes: this.#maxSegmentBytes,
      dropBelow: plan.dropBelow,
      maxBytesPerSecond: this.#policy.maxBytesPerSecond,
    }
    try {
      const targets = await this.#labour.copy(job, onProgress, signal)
      signal.throwIfAborted()
      return targets
    } catch (error) {
      // A thread that has died has left what it had begun.
      for (const id of job.targetIds) this.#removeFiles(id)
      throw error
    }
  }

  /** How many targets there may be: two in a row hold more than fits one. */
  #maxTargets(inputs: readonly Segment[]): number {
    return 2 * Math.ceil(sumOfSizes(inputs) / (this.#maxSegmentBytes - FILE_HEADER_SIZE)) + 1
  }

  /** @param marked the keydir in which the live records were marked */
  async #commit(
    going: readonly Segment[],
    targets: readonly CopyTarget[],
    marked: KnownKeydir,
  ): Promise<void> {
    const { segments } = this.#engine
    const goingIds = new Set(going.map((segment) => segment.id))
    const opened: Segment[] = []
    try {
      for (const { sealed } of targets)
        opened.push(openSealed(segments.home, sealed, this.#mapping))
      // The new names survive a power loss before the manifest that lists them does.
      await segments.home.files.syncDirectoryLater(segments.home.directory)
      await segments.commit((installed) => ({
        segments: [
          ...installed.segments.filter((sealed) => !goingIds.has(sealed.id)),
          ...targets.map(({ sealed }) => sealed),
        ],
      }))
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
    for (const [index, target] of targets.entries()) {
      const segment = opened[index]
      if (segment !== undefined) await this.#repoint(segment, target)
    }
    if (this.#engine.keydir !== marked) {
      // It was loaded anew, and knows what had expired when the records were marked.
      await walkInSlices(
        this.#engine,
        (entry) => {
          if (goingIds.has(this.#engine.keydir.entries.segmentOf(entry))) this.#engine.expire(entry)
        },
        undefined,
      )
    }
    for (const segment of going) this.#engine.retire(segment)
    this.#removeCheckpoint()
    this.releaseRetired()
    this.#engine.shrinkNow()
    segments.reserve.begin()
  }

  /** Points the keys of a target's puts to it, unless they have a newer record by now. */
  async #repoint(segment: Segment, target: CopyTarget): Promise<void> {
    const engine = this.#engine
    const { keydir } = engine
    const decoder = HintDecoder.open(target.hint, engine.segments.home.storeId, segment.usage.size)
    if (decoder === undefined) throw new Error('A merge made a hint that cannot be read')
    const slice = new Slice(engine)
    while (decoder.next()) {
      const { fields, page, offset } = decoder
      if (fields.kind === PUT) engine.repoint(segment, offset, fields, page)
      if (slice.isOver()) await slice.next()
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
      this.#tellFailure('Cannot remove the stale checkpoint', error)
    }
  }

  /** Removes the files of a segment that is of no store any more, or that was never whole. */
  #removeFiles(id: number): void {
    const { files, directory } = this.#engine.segments.home
    try {
      for (const name of [temporaryName(hintName(id), 0), hintName(id), segmentName(id)])
        removeIfThere(files, join(directory, name))
    } catch (error) {
      // The next open tries again.
      this.#tellFailure(`Cannot remove segment ${id}`, error)
    }
  }

  #tellFailure(message: string, cause: unknown): void {
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

/** Resolves when `work` is over, however it ends. @throws the reason of `signal` where that fires first */
async function over(work: Promise<unknown>, signal: AbortSignal | undefined): Promise<void> {
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

function isEmpty(plan: MergePlan): boolean {
  return plan.inputs.length + plan.unread.length === 0
}

function asFailure(error: unknown): StoreError {
  if (error instanceof StoreError) return error
  return new StoreError('FIRKIN_MERGE_FAILED', 'The merge failed; nothing was changed', {
    cause: error,
  })
}

function sumOfSizes(segments: readonly Segment[]): number {
  return segments.reduce((sum, segment) => sum + segment.usage.size, 0)
}
