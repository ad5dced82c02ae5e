/**
 * Preallocation at the end of the active segment, for writes that are made durable one by one.
 *
 * Where a file grows, a sync writes the file system's journal too; where zeros are overwritten, it writes the record
 * alone, in some three quarters of the time (measured, bench `durable-put`). So zeros are put ahead of the records.
 *
 * Invariants
 * - Into room goes only a record that is alone in its group, when all before it is durable. A power loss may leave the
 *   sectors of what was not synced in any order; of one record it can leave no whole one behind a hole, which would
 *   look like damage. Groups of several make the file grow, as without room: it is cut off durably before.
 * - Preallocation is a convenience: where it cannot be made, the record is written without it.
 * - A segment that is not written any more has none.
 */

import { MAX_PREALLOCATION_SIZE } from '../format/record.ts'
import { type Files, writeFully } from '../io/files.ts'
import type { Segment } from './segment.ts'

/**
 * So many records must have come alone, one after the other, before room is made; twice as many each time it was taken
 * back before it was worth it.
 */
const FEWEST_LONE = 3
const MOST_LONE = 1024
/** What it costs to make room and to take it back is worth it from so many records on. */
const WORTHWHILE = 16
/** Larger records are worth a journal entry each, and would use room up at once. */
const MAX_RECORD_SIZE = MAX_PREALLOCATION_SIZE / 8

const zeros = Buffer.alloc(MAX_PREALLOCATION_SIZE)

/** Makes room in the active segment, and takes it back. */
export class Preallocation {
  readonly #files: Files
  readonly #maxSegmentBytes: number
  /** Where the file ends; 0 where that is where its records end. */
  #end = 0
  /** How many records have come alone since one came in company. */
  #loneCount = 0
  #loneNeeded = FEWEST_LONE

  constructor(files: Files, maxSegmentBytes: number) {
    this.#files = files
    this.#maxSegmentBytes = maxSegmentBytes
  }

  /** Whether the file reaches beyond its records. */
  get isThere(): boolean {
    return this.#end > 0
  }

  /**
   * Makes room for a record of `size` bytes that will be written next to the end of a segment, all of which is durable.
   *
   * @throws the operating system's error where bytes were left behind the records that cannot be cut off
   */
  prepare(segment: Segment, size: number): void {
    const at = segment.writtenSize
    if (++this.#loneCount <= this.#loneNeeded || at + size <= this.#end) return
    const end = Math.min(at + MAX_PREALLOCATION_SIZE, this.#maxSegmentBytes)
    if (size > MAX_RECORD_SIZE || at + size > end) {
      this.leave(segment)
      return
    }
    const from = Math.max(this.#end, at)
    this.#end = end
    try {
      writeFully(this.#files, segment.file, zeros, end - from, from)
    } catch {
      // There may be room on the disk for the record alone.
      this.leave(segment)
    }
  }

  /** Takes the room back; not synced. @throws the operating system's error */
  leave(segment: Segment): void {
    if (this.#end > 0) {
      this.#files.truncate(segment.file, segment.writtenSize)
      const wasWorthIt = this.#loneCount - this.#loneNeeded >= WORTHWHILE
      this.#loneNeeded = wasWorthIt ? FEWEST_LONE : Math.min(2 * this.#loneNeeded, MOST_LONE)
    }
    this.forget()
  }

  /** Takes note that the file was cut to its records by another hand. */
  forget(): void {
    this.#loneCount = 0
    this.#end = 0
  }
}
