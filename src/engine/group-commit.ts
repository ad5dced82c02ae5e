/**
 * Group commit: the writes of one turn of the event loop go to the operating system together.
 *
 *     reserve -> (the engine stages a record) -> join -> ...
 *     -> flush, when the turn ends, the stage is full or a caller waits
 *     -> settle, as durable as was promised
 *
 * A group of more than a mebibyte is not written when the turn ends. A thread writes it in steps,
 * until a caller waits for it or something that depends on it follows. The same holds for any group
 * while writes block the process (io/stalls.ts).
 *
 * Invariant: a group is written whole or not at all. If it is not, its owner undoes what it did in
 * memory before any caller gets the error.
 */

import { isError, StoreError } from '../errors.ts'
import type { Page } from '../format/record.ts'
import { either, over, type Work } from '../scheduling/task.ts'
import { afterThis, timers } from '../scheduling/time.ts'
import { TimeSlice } from '../scheduling/time-slice.ts'
import type { Segments } from '../segment/segments.ts'
import { STAGE_SIZE, Writer, type WriterOptions } from '../segment/writer.ts'
import type { Durability } from './durability.ts'
import { Group } from './group.ts'
import { HOPELESS_MS } from './pace.ts'

/** Hears what happens to the groups of an owner. */
interface GroupListener {
  /** A new segment was begun. Called between two operations. */
  rotated(segmentId: number): void
  /** The staged group, the first `stagedSize` bytes of a page, could not be written: undo it. */
  undo(page: Page, stagedSize: number): void
  /**
   * The event loop does not turn: do what is due now, after `byteCount` bytes were written. Nothing
   * is staged.
   */
  stalled(byteCount: number): void
}

/** Gathers writes into groups. */
export class GroupCommit {
  readonly writer: Writer
  readonly #segments: Segments
  readonly #syncsEach: boolean
  readonly #durability: Durability
  readonly #listener: GroupListener
  #group: Group | undefined
  #flushPlanned = false
  /** The callers that wait for a group that is written in steps. */
  readonly #waiters: (() => void)[] = []
  /** A group that was written in steps. It settles after the waiters have had their turn. */
  #written: Group | undefined
  /** The new segments that were not reported to the owner yet. */
  #rotated: number[] = []

  constructor(
    segments: Segments,
    options: WriterOptions,
    durability: Durability,
    listener: GroupListener,
  ) {
    this.writer = new Writer(segments, options, (error) =>
      durability.poison(error, 'A failed write could not be undone; open the store again to write'),
    )
    this.#segments = segments
    this.#syncsEach = options.syncsEach
    this.#durability = durability
    this.#listener = listener
  }

  /**
   * Reports new segments, and does what is due by time if no timer can. Call it only between two
   * operations: it may read the caller's clock, which may begin others.
   */
  attend(): void {
    if (this.#rotated.length > 0) this.#reportRotated()
    const { pace } = this.#durability
    const byteCount = pace.takeStall()
    if (byteCount === undefined) return
    // Writing the rest of a large group here would block a loop that does turn, if slowly.
    if (this.#isInSteps && pace.turnMs < HOPELESS_MS) return
    this.#flush(true)
    this.#listener.stalled(byteCount)
  }

  /**
   * Reserves space for a record or batch of `size` bytes.
   *
   * @throws {@link StoreError} FIRKIN_POISONED, FIRKIN_NO_MEMORY; FIRKIN_WRITE_FAILED if a new
   * segment cannot be begun
   */
  reserve(size: number): Writer {
    // If space is short, records that free space are written by themselves: a put must not use the
    // reserve along with them.
    if (this.#group?.isFreeing === true && this.#segments.reserve.isShort) this.writeStaged()
    return this.#reserve(size, false)
  }

  /**
   * As {@link reserve}, for records that free space. If there is no space, they may use the
   * reserve.
   */
  reserveFreeing(size: number): Writer {
    if (this.#group?.isFreeing === false && this.#segments.reserve.isShort) this.writeStaged()
    return this.#reserve(size, true)
  }

  /**
   * Begins a new segment; nothing may be staged.
   *
   * @param isFreeing whether it is for records that free space, so that it may use the reserve
   * @throws {@link StoreError} FIRKIN_WRITE_FAILED
   */
  rotate(isFreeing: boolean): void {
    const { reserve, active } = this.#segments
    for (let isDone = false; !isDone; ) {
      try {
        this.writer.rotate()
        isDone = true
      } catch (error) {
        if (!isFreeing || !reserve.giveUpFor(error)) throw writeFailed(error)
      }
    }
    // The owner hears of it between two operations; see `attend`.
    this.#rotated.push(this.writer.segment.id)
    this.#planFlush()
    // The segment before is sealed in the background, whatever was promised for it.
    if (active !== undefined) this.#durability.request()
  }

  /** Resolves when nothing is left of a write that has failed. */
  async cut(): Promise<void> {
    await this.writer.cut()
  }

  /**
   * Leaves the active segment as it is to stay. @throws {@link StoreError} FIRKIN_WRITE_FAILED,
   * FIRKIN_POISONED
   */
  finish(): void {
    this.flush()
    try {
      this.writer.finish()
    } catch (error) {
      throw writeFailed(error)
    }
  }

  /** Counts what was just staged towards the group, and returns the group. */
  join(writeCount: number, byteCount: number): Group {
    let group = this.#group
    if (group === undefined) {
      group = new Group()
      this.#group = group
      this.#planFlush()
    }
    group.writeCount += writeCount
    group.byteCount += byteCount
    return group
  }

  /** As {@link join}, for records that free space. */
  joinFreeing(writeCount: number, byteCount: number): Group {
    const group = this.join(writeCount, byteCount)
    group.isFreeing = true
    return group
  }

  /**
   * Writes what is staged, or waits for it if that is done in steps. This caller goes on before
   * those that wait for the group, and may stage another at once.
   */
  *writeInTurns(): Work<void> {
    if (this.#isInSteps) {
      yield* over(
        either(
          () => this.#whenWritten(),
          () => this.writeStaged(),
        ),
      )
    }
    this.writeStaged()
  }

  /** Returns the group that is staged, or one that waits for nothing. */
  current(): Group {
    if (this.#group !== undefined) return this.#group
    const group = new Group()
    this.#durability.pace.release(group)
    return group
  }

  /** Writes what is staged. If that fails, its own callers get the error. */
  writeStaged(): void {
    this.#flush()
  }

  /**
   * Resolves when what is staged is written, in steps if it is much.
   *
   * @throws {@link StoreError} FIRKIN_WRITE_FAILED, FIRKIN_POISONED
   */
  async written(): Promise<void> {
    if (this.#isInSteps) await this.#group?.promise
    else this.flush()
  }

  /** Writes what is staged. @throws {@link StoreError} FIRKIN_WRITE_FAILED, FIRKIN_POISONED */
  flush(): void {
    const error = this.#flush()
    if (error !== undefined) throw error
  }

  /**
   * Writes what is staged, and settles `group`, which the caller was just given.
   *
   * @throws {@link StoreError} FIRKIN_WRITE_FAILED, FIRKIN_POISONED
   */
  settleNow(group: Group): void {
    if (group !== this.#group) return
    this.#settleWritten()
    this.#group = undefined
    const error = this.#write(group)
    this.#resume()
    if (error !== undefined) throw error
    try {
      this.#durability.settleNow(group)
    } catch (error) {
      // Others may wait for the same group.
      if (error instanceof StoreError) group.reject(error)
      throw error
    }
  }

  #reserve(size: number, isFreeing: boolean): Writer {
    const { writer } = this
    this.#durability.assertSound()
    if (!writer.fits(size)) {
      this.#flush(true)
      writer.assertCut()
      if (writer.needsRotation(size)) this.rotate(isFreeing)
      if (size > STAGE_SIZE) writer.enlarge(size)
    }
    return writer
  }

  #reportRotated(): void {
    const rotated = this.#rotated
    this.#rotated = []
    for (const segmentId of rotated) this.#listener.rotated(segmentId)
  }

  #planFlush(): void {
    if (this.#flushPlanned) return
    this.#flushPlanned = true
    afterThis(() => {
      this.#flushPlanned = false
      this.#durability.pace.endRun()
      if (this.#isInSteps) this.#planStep()
      else if (this.#isLeftToThread) this.#step(this.current())
      else this.#flush()
      this.attend()
    })
  }

  /** Continues with the staged group in later turns, unless it is written to the end meanwhile. */
  #planStep(): void {
    const group = this.#group
    if (group !== undefined) timers.setImmediate(() => this.#step(group))
  }

  #step(group: Group): void {
    if (group !== this.#group || this.writer.isThreadWriting) return
    const slice = new TimeSlice()
    while (this.writer.seal()) {
      if (!slice.isOver()) continue
      this.#planStep()
      return
    }
    this.writer.writeLater(group.isFreeing, (error) => {
      if (error !== undefined) this.#giveUp(group, error)
      else if (this.writer.isWritten) this.#stepped(group)
      else this.#planStep()
    })
  }

  /** Takes note that all of a group was written in steps. */
  #stepped(group: Group): void {
    this.writer.complete()
    this.#group = undefined
    this.#written = group
    if (this.#resume()) timers.setImmediate(() => this.#settleWritten())
    else this.#settleWritten()
  }

  #giveUp(group: Group, error: unknown): void {
    const { page, stagedSize } = this.writer
    let reason = error
    try {
      this.writer.giveUp()
    } catch (poison) {
      reason = poison
    }
    this.#group = undefined
    this.#failed(group, page, stagedSize, reason)
    this.#resume()
  }

  /** Whether a thread had better write what is staged. */
  get #isLeftToThread(): boolean {
    if (this.#group === undefined || this.#syncsEach) return false
    return this.#segments.context.files.areWritesSlow(this.writer.stagedSize)
  }

  get #isInSteps(): boolean {
    return this.#group !== undefined && (this.writer.isLong || this.writer.isThreadWriting)
  }

  #whenWritten(): Promise<void> {
    return new Promise((resolve) => this.#waiters.push(resolve))
  }

  /** Resumes the callers that wait for what is written in steps; returns whether there were any. */
  #resume(): boolean {
    if (this.#waiters.length === 0) return false
    for (const resume of this.#waiters.splice(0)) resume()
    return true
  }

  #settleWritten(): void {
    const group = this.#written
    this.#written = undefined
    if (group !== undefined) this.#durability.settle(group)
  }

  /**
   * Writes the group that is staged, and settles it; returns the error if that failed. `isInRun` is
   * for {@link Pace.release}.
   */
  #flush(isInRun = false): StoreError | undefined {
    this.#settleWritten()
    const group = this.#group
    if (group === undefined) return undefined
    this.#group = undefined
    const error = this.#write(group)
    this.#resume()
    if (error === undefined) this.#durability.settle(group, isInRun)
    return error
  }

  #write(group: Group): StoreError | undefined {
    const { page, stagedSize } = this.writer
    try {
      this.writer.flush(group.isFreeing)
      return undefined
    } catch (error) {
      return this.#failed(group, page, stagedSize, error)
    }
  }

  /**
   * Undoes a whole group, some of which could not be written, and rejects its promise; returns the
   * error.
   */
  #failed(group: Group, page: Page, stagedSize: number, error: unknown): StoreError {
    const failure = writeFailed(error)
    this.#listener.undo(page, stagedSize)
    group.reject(failure)
    return failure
  }
}

function writeFailed(cause: unknown): StoreError {
  if (cause instanceof StoreError) return cause
  const reason = isError(cause) ? cause.message : String(cause)
  return new StoreError('FIRKIN_WRITE_FAILED', `The write failed and was undone: ${reason}`, {
    cause,
  })
}
