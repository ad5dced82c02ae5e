/**
 * Runs one merge by a plan: rewrites sealed segments, so that only live records remain.
 *
 * 1. Mark. Walk the keydir in slices, and note which records of the chosen segments are live. Then
 *    sync, so that what made the others dead is as durable as they were.
 * 2. Copy. Write them to new segments, on another thread (merge/copy.ts).
 * 3. Commit. Replace the manifest: from here on the new segments belong to the store, and the old
 *    ones do not.
 * 4. Repoint. In slices, point each key to the copy if its entry still has the copied record's
 *    sequence.
 * 5. Retire. Close and delete the old segments, once no view may look into them.
 *
 * A record that was dead when it was marked stays dead, so marking may take its time. A crash
 * before step 3 leaves new files that do not belong to the store; a crash after it leaves old
 * segments that no longer do.
 *
 * Invariants
 * - Nothing is deleted before the manifest that does without it is durable.
 * - Between steps 3 and 5 the keydir may point into segments that are not in the set, but are still
 *   open.
 */

import { join } from 'node:path'
import { StoreError } from '../errors.ts'
import { FILE_HEADER_SIZE } from '../format/file-header.ts'
import { HintDecoder } from '../format/hint.ts'
import { hintName, segmentName, temporaryName } from '../format/names.ts'
import { PUT } from '../format/record.ts'
import { removeIfThere } from '../io/files.ts'
import type { KnownKeydir } from '../keydir/keydir.ts'
import type { CopyJob, CopyProgress } from '../merge/copy.ts'
import { Offsets } from '../merge/offsets.ts'
import type { MergeProgress, MergeReport } from '../merge/options.ts'
import type { MergePlan } from '../merge/plan.ts'
import type { CopyTarget } from '../merge/targets.ts'
import type { BackgroundWork, Copying } from '../merge/thread.ts'
import type { ResolvedOptions } from '../options.ts'
import { removeCheckpoint } from '../recovery/checkpoint-file.ts'
import { either, over, turn, type Wait, type Work } from '../scheduling/task.ts'
import { monotonicMs } from '../scheduling/time.ts'
import { openSealed } from '../segment/open.ts'
import type { Segment } from '../segment/segment.ts'
import type { Engine } from './engine.ts'
import { type MergePlanner, OTHER_BYTES } from './merge-planner.ts'
import { Slice, walkInSlices } from './slice.ts'

/** Hears how merges go on. */
export interface MergeRunListener {
  started(plan: MergePlan): void
  progressed(progress: MergeProgress): void
  finished(report: MergeReport): void
  failed(error: StoreError): void
}

/** The options of merges that concern their copies. */
export type CopyOptions = Pick<ResolvedOptions<unknown>, 'merge' | 'maxSegmentBytes' | 'mapping'>

/**
 * The number of segments deleted in one turn: each takes 0.1 ms, and a millisecond on a busy disk.
 */
const RELEASED_AT_ONCE = 2

/** The progress of pointing keys to the copies of their records. */
interface Repointing {
  /** The old segments, into which the keys of later copies still point. */
  readonly going: readonly Segment[]
  /** The bytes of the copies that come later. */
  leftBytes: number
  /** The bytes of the records in `going` whose keys point to their copies now. */
  movedBytes: number
}

/** Carries out the merges of one store, one at a time. */
export class MergeRun {
  readonly #engine: Engine
  readonly #options: CopyOptions
  readonly #planner: MergePlanner
  readonly #backgroundWork: BackgroundWork
  readonly #listener: MergeRunListener
  #repointing: Repointing | undefined

  constructor(
    engine: Engine,
    options: CopyOptions,
    planner: MergePlanner,
    backgroundWork: BackgroundWork,
    listener: MergeRunListener,
  ) {
    this.#engine = engine
    this.#options = options
    this.#planner = planner
    this.#backgroundWork = backgroundWork
    this.#listener = listener
  }

  /**
   * The bytes of copies that are dead but counted as live: they died after they were marked, and
   * are not repointed yet.
   */
  get uncountedDeadBytes(): number {
    if (this.#repointing === undefined) return 0
    const { going, leftBytes, movedBytes } = this.#repointing
    const liveBytes = going.reduce((bytes, { usage }) => bytes + usage.liveBytes, 0) - movedBytes
    return leftBytes - liveBytes
  }

  /**
   * Merges by a plan.
   *
   * @param onProgress called after each part that was copied; must not throw
   */
  *run(
    plan: MergePlan,
    signal: AbortSignal,
    onProgress?: (progress: MergeProgress) => void,
  ): Work<MergeReport> {
    const beganAt = monotonicMs()
    const { segments } = this.#engine
    this.#listener.started(plan)
    const inputs = plan.inputs.map(({ id }) => segments.get(id))
    const going = [...inputs, ...plan.unread.map(({ id }) => segments.get(id))]
    const live = yield* this.#mark(plan, inputs, signal)
    const { keydir } = this.#engine
    // What made a record dead must be durable before the record goes.
    yield* over(syncing(this.#engine))
    const bytesTotal = sumOfSizes(inputs)
    let progress: MergeProgress = { bytesRead: 0, bytesWritten: 0, bytesTotal }
    if (inputs.length > 0) segments.reserve.makeSpaceFor(plan.bytesToCopy + OTHER_BYTES)
    const targets = yield* this.#copy(plan, inputs, live, signal, (copied) => {
      progress = { ...copied, bytesTotal }
      this.#listener.progressed(progress)
      onProgress?.(progress)
    })
    yield* this.#commit(going, targets, keydir)
    const bytesWritten = targets.reduce((sum, { sealed }) => sum + sealed.size, 0)
    const report: MergeReport = {
      dryRun: false,
      segments: [...plan.inputs, ...plan.unread],
      leftOut: this.#planner.leftOut,
      created: targets.map(({ sealed }) => sealed.id),
      bytesRead: bytesTotal,
      bytesWritten,
      bytesGained: sumOfSizes(going) - bytesWritten,
      durationMs: monotonicMs() - beganAt,
    }
    this.#listener.finished(report)
    return report
  }

  /** Deletes a few retired segments that no view can look into; returns whether there are more. */
  releaseSome(): boolean {
    for (const { id } of this.#engine.retirement.release(RELEASED_AT_ONCE)) {
      this.#planner.forget(id)
      this.#removeFiles(id)
    }
    return this.#engine.retirement.mayRelease
  }

  /**
   * Collects the live records of `inputs`, and forgets the keys that have expired in any segment
   * that is to go.
   */
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
      directoryId: files.directoryId,
      storeId,
      sources: inputs.map(({ id, usage }) => ({
        id,
        size: usage.size,
        live: live.get(id)?.list ?? new Uint32Array(0),
      })),
      targetIds: Array.from({ length: this.#maxTargets(inputs) }, () => segments.takeId()),
      maxSegmentBytes: this.#options.maxSegmentBytes,
      dropBelow: plan.dropBelow,
      maxBytesPerSecond: this.#options.merge.maxBytesPerSecond,
    }
    try {
      const targets = yield* over(copied(this.#backgroundWork.copy(job, onProgress, signal)))
      signal.throwIfAborted()
      return targets
    } catch (error) {
      // A thread that died has left files behind.
      this.#removeBegun(job.targetIds)
      throw error
    }
  }

  /** Removes the files of segments, most of which were never begun. */
  #removeBegun(ids: readonly number[]): void {
    const { files, directory } = this.#engine.segments.context
    try {
      const names = new Set(files.list(directory))
      for (const id of ids) if (filesOf(id).some((name) => names.has(name))) this.#removeFiles(id)
    } catch (error) {
      // The next open removes them.
      this.reportFailure('Cannot remove what a merge has begun', error)
    }
  }

  /** Returns the most targets that there may be: any two in a row hold more than fits one. */
  #maxTargets(inputs: readonly Segment[]): number {
    return (
      2 * Math.ceil(sumOfSizes(inputs) / (this.#options.maxSegmentBytes - FILE_HEADER_SIZE)) + 1
    )
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
        opened.push(openSealed(segments.context, sealed, this.#options.mapping))
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
      // If only the sync after the new manifest has failed, a power loss may leave either manifest:
      // both sets stay.
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
      // It was loaded again, and holds what had expired when the records were marked.
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
    while (this.releaseSome()) yield* over(turn)
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
      // A keydir that was loaded again meanwhile knows where everything is.
      if (engine.keydir !== keydir) return
    }
  }

  /** Removes the checkpoint that the merge has made stale. */
  #removeCheckpoint(): void {
    try {
      removeCheckpoint(this.#engine.segments)
    } catch (error) {
      // Every reader sees that it is stale.
      this.reportFailure('Cannot remove the stale checkpoint', error)
    }
  }

  /** Removes the files of a segment that no longer belongs to the store, or was never whole. */
  #removeFiles(id: number): void {
    const { files, directory } = this.#engine.segments.context
    try {
      for (const name of filesOf(id)) removeIfThere(files, join(directory, name))
    } catch (error) {
      // The next open tries again.
      this.reportFailure(`Cannot remove segment ${id}`, error)
    }
  }

  /** Reports a failure that does not end a merge. */
  reportFailure(message: string, cause: unknown): void {
    // A directory that was replaced is reported by its files.
    if (cause instanceof StoreError) return
    this.#listener.failed(new StoreError('FIRKIN_MERGE_FAILED', message, { cause }))
  }
}

/** Returns a wait for everything that was written to be durable. */
export function syncing({ durability }: Engine): Wait<void> {
  return either(
    () => durability.sync(false),
    () => durability.syncNow(),
  )
}

/** Returns a wait for copies. */
function copied(copying: Copying): Wait<readonly CopyTarget[]> {
  return {
    later: () => copying.done,
    now: () => {
      const targets = copying.look()
      return targets && { value: targets }
    },
  }
}

/** Returns the names that the files of a segment have. */
function filesOf(id: number): string[] {
  return [temporaryName(hintName(id), 0), hintName(id), segmentName(id)]
}

function sumOfSizes(segments: readonly Segment[]): number {
  return segments.reduce((sum, segment) => sum + segment.usage.size, 0)
}
