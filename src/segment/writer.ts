/**
 * The end of the store that is written.
 *
 * 1. Reserve. Make room in the active segment and in the stage, beginning a new segment where needed.
 * 2. Stage. The record's bytes are put in memory, at the place that they will have in the file.
 * 3. Flush. One write hands all that is staged, a *group*, to the operating system.
 *
 * Invariants
 * - A record's location is final when it is staged.
 * - A group reaches the file whole or not at all: after a failed write the file is cut to where the group
 *   began, at once, and the writer's owner undoes what it had done in memory. Where it cannot be cut, or the cut
 *   cannot be made durable, nobody knows what a crash would bring back: the store is poisoned.
 */

import type { StoreError } from '../errors.ts'
import { FILE_HEADER_SIZE } from '../format/file-header.ts'
import { type Page, pageOf, type RecordKind } from '../format/record.ts'
import { writeFully } from '../io/files.ts'
import { allocateOwnBuffer } from '../io/memory.ts'
import { Room } from './room.ts'
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

/** Writes the active segment. */
export class Writer {
  /** The stage; the group's records begin at 0. */
  readonly page: Page = pageOf(allocateOwnBuffer(STAGE_SIZE))
  /** How many bytes are staged. */
  stagedSize = 0
  /** How many records are staged, batch ends included. */
  stagedCount = 0

  readonly #segments: Segments
  readonly #options: WriterOptions
  readonly #room: Room
  readonly #poison: (error: unknown) => StoreError
  #segment: Segment | undefined
  /** The figures of the active segment when the group began. */
  readonly #figuresBefore = new SegmentUsage()

  /** @param poison refuses every write from now on; answers what they are refused with */
  constructor(segments: Segments, options: WriterOptions, poison: (error: unknown) => StoreError) {
    this.#segments = segments
    this.#options = options
    this.#room = new Room(segments.home.files, options.maxSegmentBytes)
    this.#poison = poison
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
      segment !== undefined && this.stagedSize + size <= STAGE_SIZE && this.#hasRoom(segment, size)
    )
  }

  /** Whether the active segment has room for `size` bytes; if not, `rotate`. Nothing must be staged to ask. */
  needsRotation(size: number): boolean {
    return this.#segment === undefined || !this.#hasRoom(this.#segment, size)
  }

  /** Begins a new segment. Nothing may be staged. */
  rotate(): void {
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
    const { isThere } = this.#room
    this.#room.leave(this.#segment)
    if (!isThere) return
    try {
      // What it holds may be durable already, so that no later sync would see to it.
      this.#segments.home.files.sync(this.#segment.file)
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

  /** As {@link stage}, for `count` records, which `added` has counted. */
  stageAll(added: SegmentUsage, size: number, count: number): void {
    const { usage } = this.segment
    if (this.stagedSize === 0) this.#figuresBefore.setFigures(usage)
    usage.addAll(added)
    this.stagedSize += size
    this.stagedCount += count
  }

  /**
   * Writes what is staged. Where that fails the group's records are no longer counted, and the operating
   * system's error is thrown; the stage still holds the group's bytes.
   *
   * @param isFreeing whether it gives room back, so that the reserve is there for it
   * @throws {@link StoreError} FIRKIN_POISONED where what was written cannot be cut off again
   */
  flush(isFreeing = false): void {
    if (this.stagedSize === 0) return
    const { segment } = this
    const size = this.stagedSize
    try {
      this.#assertRoom(size, isFreeing)
      this.#prepare(segment, size)
      this.#write(segment, this.page.bytes, size, segment.writtenSize, isFreeing)
      segment.writtenSize += size
    } catch (error) {
      segment.usage.setFigures(this.#figuresBefore)
      this.#cut(segment)
      throw error
    } finally {
      this.stagedSize = 0
      this.stagedCount = 0
    }
  }

  /**
   * Writes pieces too large for the stage, one behind the other, as one group. Nothing may be staged.
   * Where that fails nothing has changed, and the operating system's error is thrown.
   *
   * @param isFreeing as for {@link flush}
   * @throws {@link StoreError} FIRKIN_POISONED where what was written cannot be cut off again
   */
  writeThrough(pieces: readonly Uint8Array[], isFreeing = false): void {
    const { segment } = this
    let position = segment.writtenSize
    try {
      const size = pieces.reduce((sum, { length }) => sum + length, 0)
      this.#assertRoom(size, isFreeing)
      this.finish()
      for (const piece of pieces) {
        this.#write(segment, piece, piece.length, position, isFreeing)
        position += piece.length
      }
    } catch (error) {
      this.#cut(segment)
      throw error
    }
    segment.writtenSize = position
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
        writeFully(this.#segments.home.files, segment.file, bytes, size, position)
        return
      } catch (error) {
        if (!isFreeing || !this.#segments.reserve.giveUpFor(error)) throw error
      }
    }
  }

  /** Makes room for what is staged, or leaves none behind it. */
  #prepare(segment: Segment, size: number): void {
    const isLone = this.#options.syncsEach && this.stagedCount === 1 && !this.#segments.dirty
    if (isLone) this.#room.prepare(segment, size)
    else this.finish()
  }

  /** Cuts off what a failed write has left behind the last group. */
  #cut(segment: Segment): void {
    const { files } = this.#segments.home
    try {
      // A full disk has mostly taken nothing.
      if (files.size(segment.file) === segment.writtenSize) return
      files.truncate(segment.file, segment.writtenSize)
      // A power loss must not bring back what has failed either.
      files.sync(segment.file)
      this.#room.forget()
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
