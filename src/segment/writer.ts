/**
 * The end of the store that is written.
 *
 * 1. Reserve. Make room in the active segment and in the stage, beginning a new segment where needed.
 * 2. Stage. The record's bytes are put in memory, at the place that they will have in the file.
 * 3. Flush. One write hands all that is staged, a *group*, to the operating system.
 *
 * A record larger than the stage gets a larger one, with room for others behind it. It is sealed with its checksum, and
 * written by a thread, in steps where its owner has the time, and to the end where that is asked for. So is any group where
 * writes hold up the process.
 *
 * Where a group is written to the end while a thread is at a part of it, that part is written twice, the same bytes to the
 * same place. The thread's memory is not used again, and the file not closed, before it is done.
 *
 * Invariants
 * - A record's location is final when it is staged.
 * - A group reaches the file whole or not at all: after a failed write the file is cut to where the group
 *   began, at once, and the writer's owner undoes what it had done in memory. Where a thread still writes to it, it is cut
 *   after that, and nothing is staged before. Where it cannot be cut, or the cut cannot be made durable, nobody knows
 *   what a crash would bring back: the store is poisoned.
 */

import { StoreError } from '../errors.ts'
import { FILE_HEADER_SIZE, storeSeed } from '../format/file-header.ts'
import { type Page, pageOf, type RecordKind, UnsealedRecord } from '../format/record.ts'
import { writeFully, writeFullyLater } from '../io/files.ts'
import { allocateOwnBuffer } from '../io/memory.ts'
import { nextTurn } from '../scheduling/time.ts'
import { LargePage } from './large-page.ts'
import { Preallocation } from './preallocation.ts'
import type { Segment } from './segment.ts'
import type { Segments } from './segments.ts'
import { SegmentUsage } from './usage.ts'

/** What a writer goes by. */
export interface WriterOptions {
  readonly maxSegmentBytes: number
  /** Whether each group is made durable at once. */
  readonly syncsEach: boolean
}

/** How many bytes are staged before they are written without being asked. */
export const STAGE_SIZE = 256 * 1024

/** How much is sealed or written in one step; takes less than a millisecond. */
const STEP_SIZE = 1024 * 1024
/** The stage where writes hold up the process: so that what a turn of the event loop stages fits, mostly. */
const ROOMY_STAGE_SIZE = 1024 * 1024
/** How many stages are kept to be used again. */
const MOST_SPARE_PAGES = 2
/** A larger stage has room for as much again behind what it is made for, up to so many bytes. */
const MOST_BEHIND = 64 * 1024 * 1024

/** A part of the stage that a thread writes. */
interface Flight {
  readonly page: Page
  /** Whether what it writes was written to the end, or given up, meanwhile. */
  isLate: boolean
}

/** Writes the active segment. */
export class Writer {
  /** The stage; the group's records begin at 0. */
  page: Page
  /** How many bytes are staged. */
  stagedSize = 0
  /** How many records are staged, batch ends included. */
  stagedCount = 0

  readonly #segments: Segments
  readonly #options: WriterOptions
  readonly #preallocation: Preallocation
  readonly #seed: number
  readonly #poison: (error: unknown) => StoreError
  #usualPage: Page = pageOf(allocateOwnBuffer(STAGE_SIZE))
  /** Another usual stage, for when a thread is late with the first. */
  #sparePage: Page | undefined
  /** The roomy stages, and those of them that were used before. */
  readonly #roomy = new WeakSet<Page>()
  readonly #roomyPages: Page[] = []
  #isRoomy = false
  #largePage = new LargePage()
  /** The staged records that have no checksum yet, in their order. */
  readonly #unsealed: UnsealedRecord[] = []
  /** How many of the staged bytes are in the file. */
  #flushedSize = 0
  /** What a thread writes of the stage. */
  #flight: Flight | undefined
  /** How many threads are late. */
  #lateCount = 0
  /** Settles when what has failed is cut off, which has to wait for a thread. */
  #cutting: Promise<void> | undefined
  #segment: Segment | undefined
  /** The figures of the active segment when the group began. */
  readonly #figuresBefore = new SegmentUsage()

  /** @param poison refuses every write from now on; answers what they are refused with */
  constructor(segments: Segments, options: WriterOptions, poison: (error: unknown) => StoreError) {
    this.page = this.#usualPage
    this.#segments = segments
    this.#options = options
    this.#preallocation = new Preallocation(segments.context.files, options.maxSegmentBytes)
    this.#poison = poison
    this.#seed = storeSeed(segments.context.storeId)
    this.#resume(segments.active)
  }

  /** The segment that the next record goes to; there is one after `reserve`. */
  get segment(): Segment {
    if (this.#segment === undefined) throw new Error('No room was reserved')
    return this.#segment
  }

  /** Where in the segment's file the next record begins. */
  get offset(): number {
    return this.segment.writtenSize + this.stagedSize
  }

  /** Whether `size` more bytes can be staged in the active segment as things are. */
  fits(size: number): boolean {
    const segment = this.#segment
    return (
      segment !== undefined &&
      this.#cutting === undefined &&
      this.stagedSize + size <= this.#capacity &&
      this.#hasRoom(segment, size)
    )
  }

  /** A stage for a large record is one only once what it was made for is staged. */
  get #capacity(): number {
    return this.#isRoomy || this.stagedSize > STAGE_SIZE ? this.page.bytes.length : STAGE_SIZE
  }

  /**
   * Makes the stage large enough for a record or batch of `size` bytes; nothing may be staged.
   *
   * @throws {@link StoreError} FIRKIN_NO_MEMORY
   */
  enlarge(size: number): void {
    this.#use(this.#largePage.of(size + Math.max(STAGE_SIZE, Math.min(size, MOST_BEHIND))))
  }

  /** Whether the active segment has room for `size` bytes; if not, `rotate`. Nothing must be staged to ask. */
  needsRotation(size: number): boolean {
    return this.#segment === undefined || !this.#hasRoom(this.#segment, size)
  }

  /** @throws {@link StoreError} FIRKIN_WRITE_FAILED while what has failed is not cut off */
  assertCut(): void {
    if (this.#cutting === undefined) return
    const message =
      'The disk is still at a write that has failed; try again when it is done with it'
    throw new StoreError('FIRKIN_WRITE_FAILED', message)
  }

  /** Resolves when what has failed was cut off. */
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
   * Leaves the active segment without room, for good.
   *
   * @throws the operating system's error; {@link StoreError} FIRKIN_POISONED where it cannot be made durable
   */
  finish(): void {
    if (this.#segment === undefined) return
    const { isThere } = this.#preallocation
    this.#preallocation.leave(this.#segment)
    if (!isThere) return
    try {
      // What it holds may be durable already, so that no later sync would see to it.
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

  /** As {@link stage}, for a record whose checksum is to be written later. */
  stageUnsealed(kind: RecordKind, size: number, sequence: number, expiresAtMs: number): void {
    this.#unsealed.push(new UnsealedRecord(this.page, this.stagedSize, size, this.#seed))
    this.stage(kind, size, sequence, expiresAtMs)
  }

  /** Whether the record at `at` of a page has no checksum yet: no byte of it has left memory. */
  isUnsealed(page: Page, at: number): boolean {
    return page === this.page && this.#unsealed.some((record) => record.at === at)
  }

  /** Whether more is staged than is written in one step. */
  get isLong(): boolean {
    return this.stagedSize > STEP_SIZE
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
   * Writes what is staged, or what is left of it to be written. Where that fails the group's records are no longer
   * counted, and the operating system's error is thrown; the stage's page still holds the group's bytes.
   *
   * @param isFreeing whether it gives room back, so that the reserve is there for it
   * @throws {@link StoreError} FIRKIN_POISONED where what was written cannot be cut off again
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

  /** Seals a step of what is to be written next; false where that is sealed, or nothing is left. */
  seal(): boolean {
    const [unsealed] = this.#unsealed
    if (unsealed === undefined || this.#flushedSize < unsealed.at) return false
    if (unsealed.sealMore(STEP_SIZE)) this.#unsealed.shift()
    return true
  }

  /** Whether a thread writes what is staged. */
  get isFlying(): boolean {
    return this.#flight !== undefined
  }

  /**
   * Writes a step of what is staged and sealed, by a thread, and calls `landed` with what has failed, if something has; all
   * is still staged then: write it again, or `giveUp`. It is not called where all was written to the end meanwhile. Where
   * no thread is to be had it is called at once.
   */
  writeLater(isFreeing: boolean, landed: (error?: unknown) => void): void {
    const { segment, page } = this
    const from = this.#flushedSize
    const end = Math.min(from + STEP_SIZE, this.#unsealed[0]?.at ?? this.stagedSize)
    const mayFly = this.#lateCount === 0 && this.#haveSpare()
    try {
      if (!mayFly) this.#writeMore(end, isFreeing)
      else if (from === 0) this.#prepare(segment, isFreeing)
    } catch (error) {
      landed(error)
      return
    }
    if (!mayFly) {
      landed()
      return
    }
    const flight: Flight = { page, isLate: false }
    this.#flight = flight
    this.#writeByThread(segment, page, from, end, isFreeing).then(
      () => {
        if (this.#land(flight)) return
        this.#flushedSize = end
        landed()
      },
      (error) => {
        if (!this.#land(flight)) landed(error)
      },
    )
  }

  /** Whether all that is staged is written. */
  get isWritten(): boolean {
    return this.#flushedSize === this.stagedSize
  }

  /** Stages nothing more of what was written in steps, all of it. */
  complete(): void {
    this.segment.writtenSize += this.stagedSize
    this.#clear()
  }

  /** Keeps nothing of what is staged, which could not be written. @throws {@link StoreError} FIRKIN_POISONED */
  giveUp(): void {
    try {
      this.#takeBack(this.segment)
    } finally {
      this.#clear()
    }
  }

  /** Whether there is a stage for what comes while a thread is late. */
  #haveSpare(): boolean {
    if (this.page !== this.#usualPage || this.#sparePage !== undefined) return true
    try {
      this.#sparePage = pageOf(allocateOwnBuffer(STAGE_SIZE))
      return true
    } catch {
      // Without memory it is written on the spot.
      return false
    }
  }

  async #writeByThread(
    segment: Segment,
    { bytes }: Page,
    from: number,
    end: number,
    isFreeing: boolean,
  ): Promise<void> {
    const { reserve, context } = this.#segments
    const position = segment.writtenSize + from
    const file = segment.holdFile()
    try {
      for (let isDone = false; !isDone; ) {
        try {
          await writeFullyLater(context.files, file, bytes, from, end, position)
          isDone = true
        } catch (error) {
          if (!isFreeing || !reserve.giveUpFor(error)) throw error
        }
      }
    } finally {
      segment.releaseFile()
    }
  }

  /** A thread is done; whether it was late. Then its stage may be used again. */
  #land(flight: Flight): boolean {
    if (!flight.isLate) {
      this.#flight = undefined
      return false
    }
    this.#lateCount--
    if (flight.page.bytes.length === STAGE_SIZE) this.#sparePage ??= flight.page
    else this.#spare(flight.page)
    return true
  }

  /** Keeps a stage to be used again, where it is a roomy one. */
  #spare(page: Page): void {
    const isWanted = this.#roomy.has(page) && this.#roomyPages.length < MOST_SPARE_PAGES
    if (isWanted) this.#roomyPages.push(page)
  }

  /** Counts and keeps nothing of what is staged. */
  #takeBack(segment: Segment): void {
    segment.usage.setFigures(this.#figuresBefore)
    if (this.#flight === undefined) this.#cut(segment)
    else this.#cutting = this.#cutLater(segment)
  }

  async #cutLater(segment: Segment): Promise<void> {
    while (this.#lateCount > 0 || this.#flight !== undefined) await nextTurn()
    this.#cutting = undefined
    try {
      this.#cut(segment)
    } catch {
      // The store is poisoned, and says so.
    }
  }

  /** Nothing is staged any more. */
  #clear(): void {
    this.stagedSize = 0
    this.stagedCount = 0
    this.#flushedSize = 0
    if (this.#unsealed.length > 0) this.#unsealed.length = 0
    if (this.#flight !== undefined) this.#leaveToThread(this.#flight)
    else if (this.page !== this.#usualPage) this.#spare(this.page)
    const page = this.#nextPage()
    if (this.page !== page) this.#use(page)
  }

  /** Stages nothing more where a thread is at it. */
  #leaveToThread(flight: Flight): void {
    this.#flight = undefined
    flight.isLate = true
    this.#lateCount++
    if (flight.page !== this.#usualPage) this.#largePage = new LargePage()
    else if (this.#sparePage !== undefined) {
      this.#usualPage = this.#sparePage
      this.#sparePage = undefined
    }
  }

  /** Where the next group is staged. */
  #nextPage(): Page {
    const { files } = this.#segments.context
    if (this.#options.syncsEach || !files.areWritesSlow(STAGE_SIZE)) return this.#usualPage
    const spare = this.#roomyPages.pop()
    if (spare !== undefined) return spare
    try {
      const page = pageOf(allocateOwnBuffer(ROOMY_STAGE_SIZE))
      this.#roomy.add(page)
      return page
    } catch {
      // Without memory the usual one serves.
      return this.#usualPage
    }
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
    this.#isRoomy = this.#roomy.has(page)
    if (this.#segment !== undefined) this.#segment.stage = page
  }

  /** What was given up of the reserve is not for puts. @throws as the operating system does where there is no room */
  #assertRoom(size: number, isFreeing: boolean): void {
    const { reserve } = this.#segments
    if (reserve.isShort && !isFreeing) reserve.assertRoom(size)
  }

  /** Writes bytes; where they give room back, once more after each step of the reserve that is given up. */
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

  /** Makes room for what is staged, or leaves none behind it. @throws as the operating system does where there is none */
  #prepare(segment: Segment, isFreeing: boolean): void {
    const size = this.stagedSize
    this.#assertRoom(size, isFreeing)
    const mayBeLone = this.#options.syncsEach && this.page === this.#usualPage
    const isLone = mayBeLone && this.stagedCount === 1 && !this.#segments.dirty
    if (isLone) this.#preallocation.prepare(segment, size)
    else this.finish()
  }

  /** Cuts off what a failed write has left behind the last group. */
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

  /** A record or batch larger than a segment gets one to itself. */
  #hasRoom(segment: Segment, size: number): boolean {
    const end = segment.writtenSize + this.stagedSize
    return end === FILE_HEADER_SIZE || end + size <= this.#options.maxSegmentBytes
  }
}
