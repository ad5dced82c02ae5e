/**
 * Writes the active segment.
 *
 * 1. Reserve. Make sure that the record fits the active segment and the stage; begin a new segment
 *    if needed.
 * 2. Stage. Put the record's bytes in memory, at the place that they will have in the file.
 * 3. Flush. One write hands all that is staged, a *group*, to the operating system.
 *
 * A record larger than the stage gets a larger one, with space for others after it. It is sealed
 * with its checksum and written by a thread, in steps: either as its owner has time, or to the end
 * if that is asked for. The same goes for any group while writes hold up the process. If a group is
 * written to the end while a thread is at a part of it, that part is written twice; see
 * thread-writes.ts.
 *
 * Invariants
 * - A record's location is final when it is staged.
 * - A group reaches the file whole or not at all. After a failed write the file is cut to where the
 *   group began, at once, and the writer's owner undoes what it had done in memory. If a thread
 *   still writes to the file, it is cut after that, and nothing is staged before. If it cannot be
 *   cut, or the cut cannot be made durable, nobody knows what a crash would bring back: the store
 *   is poisoned.
 */

import { StoreError } from '../errors.ts'
import { FILE_HEADER_SIZE, storeSeed } from '../format/file-header.ts'
import { type Page, type RecordKind, UnsealedRecord } from '../format/record.ts'
import { writeFully } from '../io/files.ts'
import { Preallocation } from './preallocation.ts'
import type { Segment } from './segment.ts'
import type { Segments } from './segments.ts'
import { STAGE_SIZE, StagePages } from './stage-pages.ts'
import { ThreadWrites } from './thread-writes.ts'
import { SegmentUsage } from './usage.ts'

export { STAGE_SIZE }

/** The options of a writer. */
export interface WriterOptions {
  readonly maxSegmentBytes: number
  /** Whether each group is made durable at once. */
  readonly syncsEach: boolean
}

/** The number of bytes sealed or written in one step, which takes less than a millisecond. */
const STEP_SIZE = 1024 * 1024

/** Writes the active segment. */
export class Writer {
  /** The stage; the group's records begin at 0. */
  page: Page
  /** The number of bytes that are staged. */
  stagedSize = 0
  /** The number of records that are staged, including batch ends. */
  stagedCount = 0

  readonly #segments: Segments
  readonly #options: WriterOptions
  readonly #preallocation: Preallocation
  readonly #seed: number
  readonly #poison: (error: unknown) => StoreError
  readonly #pages = new StagePages()
  readonly #threadWrites: ThreadWrites
  /** Whether `page` is a roomy one. */
  #isRoomy = false
  /** The staged records that have no checksum yet, in their order. */
  readonly #unsealed: UnsealedRecord[] = []
  /** The number of staged bytes that are in the file. */
  #flushedSize = 0
  /** Settles when a failed write is cut off, if that has to wait for a thread. */
  #cutting: Promise<void> | undefined
  #segment: Segment | undefined
  /** The figures of the active segment when the group began. */
  readonly #figuresBefore = new SegmentUsage()

  /** @param poison refuses every write from now on; returns the error they are refused with */
  constructor(segments: Segments, options: WriterOptions, poison: (error: unknown) => StoreError) {
    const { files, storeId } = segments.context
    this.#threadWrites = new ThreadWrites(segments, this.#pages)
    this.page = this.#pages.usual
    this.#segments = segments
    this.#options = options
    this.#preallocation = new Preallocation(files, options.maxSegmentBytes)
    this.#poison = poison
    this.#seed = storeSeed(storeId)
    this.#resume(segments.active)
  }

  /** The segment that the next record goes to; there is one after a rotation. */
  get segment(): Segment {
    if (this.#segment === undefined) throw new Error('No segment was begun')
    return this.#segment
  }

  /** Where in the segment's file the next record begins. */
  get offset(): number {
    return this.segment.writtenSize + this.stagedSize
  }

  /** Returns whether `size` more bytes can be staged in the active segment as things are. */
  fits(size: number): boolean {
    const segment = this.#segment
    return (
      segment !== undefined &&
      this.#cutting === undefined &&
      this.stagedSize + size <= this.#capacity &&
      this.#fitsSegment(segment, size)
    )
  }

  /** A large page offers all of its space only after the record it was made for is staged. */
  get #capacity(): number {
    return this.#isRoomy || this.stagedSize > STAGE_SIZE ? this.page.bytes.length : STAGE_SIZE
  }

  /**
   * Makes the stage large enough for a record or batch of `size` bytes; nothing may be staged.
   *
   * @throws {@link StoreError} FIRKIN_NO_MEMORY
   */
  enlarge(size: number): void {
    this.#use(this.#pages.large(size))
  }

  /** Returns whether `size` bytes need a new segment, see `rotate`. Nothing may be staged. */
  needsRotation(size: number): boolean {
    return this.#segment === undefined || !this.#fitsSegment(this.#segment, size)
  }

  /** @throws {@link StoreError} FIRKIN_WRITE_FAILED while a failed write is not cut off */
  assertCut(): void {
    if (this.#cutting === undefined) return
    const message =
      'The disk is still at a write that has failed; try again when it is done with it'
    throw new StoreError('FIRKIN_WRITE_FAILED', message)
  }

  /** Resolves when a failed write is cut off. */
  async cut(): Promise<void> {
    await this.#cutting
  }

  /** Begins a new segment. Nothing may be staged. */
  rotate(): void {
    this.assertCut()
    this.finish()
    this.#resume(this.#segments.rotate())
  }

  /**
   * Removes the preallocation of the active segment, durably.
   *
   * @throws the operating system's error; {@link StoreError} FIRKIN_POISONED if it cannot be made
   *   durable
   */
  finish(): void {
    if (this.#segment === undefined) return
    const { isThere } = this.#preallocation
    this.#preallocation.leave(this.#segment)
    if (!isThere) return
    try {
      // All that was written may be durable already, so that no later sync would make the cut so.
      this.#segments.context.files.sync(this.#segment.file)
    } catch (error) {
      throw this.#poison(error)
    }
  }

  /** Counts the record that was encoded at the end of the stage. Never fails. */
  stage(kind: RecordKind, size: number, sequence: number, expiresAtMs: number): void {
    const { usage } = this.segment
    if (this.stagedSize === 0) this.#figuresBefore.setFigures(usage)
    usage.add(kind, size, sequence, expiresAtMs)
    this.stagedSize += size
    this.stagedCount++
  }

  /** As {@link stage}, for a record whose checksum is written later. */
  stageUnsealed(kind: RecordKind, size: number, sequence: number, expiresAtMs: number): void {
    this.#unsealed.push(new UnsealedRecord(this.page, this.stagedSize, size, this.#seed))
    this.stage(kind, size, sequence, expiresAtMs)
  }

  /** As {@link stage}, for `count` records, which `added` has counted. */
  stageAll(added: SegmentUsage, size: number, count: number): void {
    const { usage } = this.segment
    if (this.stagedSize === 0) this.#figuresBefore.setFigures(usage)
    usage.addAll(added)
    this.stagedSize += size
    this.stagedCount += count
  }

  /**
   * Returns whether the record at `at` of a page has no checksum yet; then it is in no file yet.
   */
  isUnsealed(page: Page, at: number): boolean {
    return page === this.page && this.#unsealed.some((record) => record.at === at)
  }

  /** Whether more is staged than is written in one step. */
  get isLong(): boolean {
    return this.stagedSize > STEP_SIZE
  }

  /**
   * Writes what is staged and not yet written. If that fails, the group's records are no longer
   * counted, and the operating system's error is thrown; the stage's page still holds the group's
   * bytes.
   *
   * @param isFreeing whether the group frees space, so that it may use the reserve
   * @throws {@link StoreError} FIRKIN_POISONED if what was written cannot be cut off again
   */
  flush(isFreeing = false): void {
    if (this.stagedSize === 0) return
    const { segment } = this
    try {
      while (this.#unsealed.length > 0) {
        this.#unsealed.shift()?.sealMore(Number.POSITIVE_INFINITY)
      }
      this.#writeMore(this.stagedSize, isFreeing)
      segment.writtenSize += this.stagedSize
    } catch (error) {
      this.#takeBack(segment)
      throw error
    } finally {
      this.#clear()
    }
  }

  /** Seals a step of what is written next; returns false if that is sealed, or nothing is left. */
  seal(): boolean {
    const [unsealed] = this.#unsealed
    if (unsealed === undefined || this.#flushedSize < unsealed.at) return false
    if (unsealed.sealMore(STEP_SIZE)) this.#unsealed.shift()
    return true
  }

  /** Whether a thread writes a part of what is staged. */
  get isThreadWriting(): boolean {
    return this.#threadWrites.isUnderWay
  }

  /**
   * Writes a step of what is staged and sealed, by a thread or, if there is none, on the spot.
   *
   * @param ended called when the step has ended, with its error if it failed. All is still staged
   *   then: write it again, or `giveUp`. It is not called if all was written to the end meanwhile.
   */
  writeLater(isFreeing: boolean, ended: (error?: unknown) => void): void {
    const { segment, page } = this
    const from = this.#flushedSize
    const end = Math.min(from + STEP_SIZE, this.#unsealed[0]?.at ?? this.stagedSize)
    const isByThread = !this.#threadWrites.isLate && this.#pages.hasAnother(page)
    try {
      if (!isByThread) this.#writeMore(end, isFreeing)
      else if (from === 0) this.#prepare(segment, isFreeing)
    } catch (error) {
      ended(error)
      return
    }
    if (!isByThread) {
      ended()
      return
    }
    this.#threadWrites.begin({ segment, page, from, end, isFreeing }, (error) => {
      if (error === undefined) this.#flushedSize = end
      ended(error)
    })
  }

  /** Whether all that is staged is written. */
  get isWritten(): boolean {
    return this.#flushedSize === this.stagedSize
  }

  /** Clears the stage after all of it was written in steps. */
  complete(): void {
    this.segment.writtenSize += this.stagedSize
    this.#clear()
  }

  /** Drops what is staged and could not be written. @throws {@link StoreError} FIRKIN_POISONED */
  giveUp(): void {
    try {
      this.#takeBack(this.segment)
    } finally {
      this.#clear()
    }
  }

  /** Takes what is staged out of the figures, and what was written of it out of the file. */
  #takeBack(segment: Segment): void {
    segment.usage.setFigures(this.#figuresBefore)
    if (!this.#threadWrites.isUnderWay) this.#cut(segment)
    else this.#cutting = this.#cutLater(segment)
  }

  async #cutLater(segment: Segment): Promise<void> {
    await this.#threadWrites.settle()
    this.#cutting = undefined
    try {
      this.#cut(segment)
    } catch {
      // The store is poisoned, and reports it.
    }
  }

  /** Empties the stage. */
  #clear(): void {
    const { files } = this.#segments.context
    this.stagedSize = 0
    this.stagedCount = 0
    this.#flushedSize = 0
    if (this.#unsealed.length > 0) this.#unsealed.length = 0
    if (this.#threadWrites.isUnderWay) this.#threadWrites.abandon()
    else this.#pages.giveBack(this.page)
    const isSlow = !this.#options.syncsEach && files.areWritesSlow(STAGE_SIZE)
    const page = isSlow ? this.#pages.roomy() : this.#pages.usual
    if (this.page !== page) this.#use(page)
  }

  /** Writes what is staged up to `end`. */
  #writeMore(end: number, isFreeing: boolean): void {
    const { segment } = this
    const from = this.#flushedSize
    if (from === 0) this.#prepare(segment, isFreeing)
    const bytes = from === 0 ? this.page.bytes : this.page.bytes.subarray(from)
    this.#write(segment, bytes, end - from, segment.writtenSize + from, isFreeing)
    this.#flushedSize = end
  }

  #use(page: Page): void {
    this.page = page
    this.#isRoomy = this.#pages.isRoomy(page)
    if (this.#segment !== undefined) this.#segment.stage = page
  }

  /**
   * Refuses a put that would need what was given up of the reserve.
   *
   * @throws an error like the operating system's for a full disk
   */
  #assertSpace(size: number, isFreeing: boolean): void {
    const { reserve } = this.#segments
    if (reserve.isShort && !isFreeing) reserve.assertSpaceFor(size)
  }

  /** Writes bytes; if they free space, again after each step of the reserve that is given up. */
  #write(
    segment: Segment,
    bytes: Uint8Array,
    size: number,
    position: number,
    isFreeing: boolean,
  ): void {
    for (;;) {
      try {
        writeFully(this.#segments.context.files, segment.file, bytes, size, position)
        return
      } catch (error) {
        if (!isFreeing || !this.#segments.reserve.giveUpFor(error)) throw error
      }
    }
  }

  /**
   * Preallocates space for what is staged, or removes what is preallocated.
   *
   * @throws the operating system's error, or one like it, if the disk is full
   */
  #prepare(segment: Segment, isFreeing: boolean): void {
    const size = this.stagedSize
    this.#assertSpace(size, isFreeing)
    const mayBeLone = this.#options.syncsEach && this.page === this.#pages.usual
    const isLone = mayBeLone && this.stagedCount === 1 && !this.#segments.dirty
    if (isLone) this.#preallocation.prepare(segment, size)
    else this.finish()
  }

  /** Cuts off what a failed write has left after the last group. */
  #cut(segment: Segment): void {
    const { files } = this.#segments.context
    try {
      // A full disk has mostly taken nothing.
      if (files.size(segment.file) === segment.writtenSize) return
      files.truncate(segment.file, segment.writtenSize)
      // A power loss must not bring back what has failed either.
      files.sync(segment.file)
      this.#preallocation.forget()
    } catch (error) {
      throw this.#poison(error)
    }
  }

  #resume(segment: Segment | undefined): void {
    this.#segment = segment
    if (segment !== undefined) segment.stage = this.page
  }

  /** Returns whether a segment takes `size` more bytes; an empty one takes any record or batch. */
  #fitsSegment(segment: Segment, size: number): boolean {
    const end = segment.writtenSize + this.stagedSize
    return end === FILE_HEADER_SIZE || end + size <= this.#options.maxSegmentBytes
  }
}
