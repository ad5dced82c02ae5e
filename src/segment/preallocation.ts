/**
 * Preallocates space at the end of the active segment, for writes that are made durable one by one.
 *
 * If a file grows, a sync writes the file system's journal too; if zeros are overwritten, it writes
 * the record alone, in some three quarters of the time (measured, bench `durable-put`). So zeros
 * are written ahead of the records.
 *
 * Invariants
 * - Only a record that is alone in its group is written into preallocated space, and only if all
 *   before it is durable. A power loss may keep any sectors of unsynced writes: of several records
 *   it could leave a whole one after a hole, which would look like damage. So before a group of
 *   several the preallocation is cut off, durably, and the group makes the file grow.
 * - Preallocation only saves time: if it fails, the record is written without it.
 * - A segment that is not written any more has none.
 */

import { MAX_PREALLOCATION_SIZE } from '../format/record.ts'
import { type Files, writeFully } from '../io/files.ts'
import type { Segment } from './segment.ts'

/**
 * Space is preallocated after this number of lone records in a row; twice as many each time it was
 * removed before it was worth it.
 */
const FEWEST_LONE = 3
const MOST_LONE = 1024
/** From this number of records on, preallocation is worth what it costs. */
const WORTHWHILE = 16
/** Larger records are worth a journal entry each, and would soon use up the space. */
const MAX_RECORD_SIZE = MAX_PREALLOCATION_SIZE / 8

const zeros = Buffer.alloc(MAX_PREALLOCATION_SIZE)

/** The preallocation of one writer. */
export class Preallocation {
  readonly #files: Files
  readonly #maxSegmentBytes: number
  /** Where the file ends; 0 if it ends with its records. */
  #end = 0
  /** The number of records that have come alone since the last group of several. */
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
   * Preallocates space for a record of `size` bytes, and for others after it, if that is worth it.
   * All of the segment must be durable, and the record is written next to its end.
   *
   * @throws the operating system's error if bytes are left after the records that cannot be cut off
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
      // The disk may have space for the record alone.
      this.leave(segment)
    }
  }

  /** Cuts off what is preallocated; not synced. @throws the operating system's error */
  leave(segment: Segment): void {
    if (this.#end > 0) {
      this.#files.truncate(segment.file, segment.writtenSize)
      const wasWorthIt = this.#loneCount - this.#loneNeeded >= WORTHWHILE
      this.#loneNeeded = wasWorthIt ? FEWEST_LONE : Math.min(2 * this.#loneNeeded, MOST_LONE)
    }
    this.forget()
  }

  /** Takes note that the file was cut to its records elsewhere. */
  forget(): void {
    this.#loneCount = 0
    this.#end = 0
  }
}
