/** Counts what is in a segment. */

import { FILE_HEADER_SIZE } from '../format/file-header.ts'
import type { SealedSegment, SegmentFigures } from '../format/manifest.ts'
import { PUT, type RecordKind, TOMBSTONE } from '../format/record.ts'

/**
 * The figures of a segment: what it holds, and how much of it is dead.
 *
 * A put is dead once its key has a newer record, or has been removed. A batch end is dead from the
 * beginning: a merge never copies it. Tombstones are counted separately, because only a merge finds
 * out whether they are still needed.
 */
export class SegmentUsage implements SegmentFigures {
  size = FILE_HEADER_SIZE
  putCount = 0
  tombstoneCount = 0
  tombstoneBytes = 0
  minSequence = 0
  maxSequence = 0
  lastExpiryMs = 0
  deadPutCount = 0
  /** The bytes of dead puts and of batch ends. */
  deadBytes = 0

  constructor(figures?: Readonly<SegmentFigures>) {
    if (figures !== undefined) this.setFigures(figures)
  }

  /** The number of puts that are the newest record of their key. */
  get livePutCount(): number {
    return this.putCount - this.deadPutCount
  }

  /** The bytes of live puts. */
  get liveBytes(): number {
    return this.size - FILE_HEADER_SIZE - this.tombstoneBytes - this.deadBytes
  }

  /** Counts a record that was added at the end. */
  add(kind: RecordKind, size: number, sequence: number, expiresAtMs: number): void {
    this.size += size
    if (this.minSequence === 0 || sequence < this.minSequence) this.minSequence = sequence
    if (sequence > this.maxSequence) this.maxSequence = sequence
    if (kind === PUT) {
      const neverExpires = expiresAtMs === 0 || (this.putCount > 0 && this.lastExpiryMs === 0)
      this.lastExpiryMs = neverExpires ? 0 : Math.max(this.lastExpiryMs, expiresAtMs)
      this.putCount++
    } else if (kind === TOMBSTONE) {
      this.tombstoneCount++
      this.tombstoneBytes += size
    } else {
      this.deadBytes += size
    }
  }

  /**
   * Counts records that were added at the end, all of them newer than those before.
   *
   * @param other has counted them and nothing else
   */
  addAll(other: SegmentUsage): void {
    this.size += other.size - FILE_HEADER_SIZE
    if (this.minSequence === 0) this.minSequence = other.minSequence
    this.maxSequence = Math.max(this.maxSequence, other.maxSequence)
    if (other.putCount > 0) {
      const neverExpires =
        other.lastExpiryMs === 0 || (this.putCount > 0 && this.lastExpiryMs === 0)
      this.lastExpiryMs = neverExpires ? 0 : Math.max(this.lastExpiryMs, other.lastExpiryMs)
    }
    this.putCount += other.putCount
    this.tombstoneCount += other.tombstoneCount
    this.tombstoneBytes += other.tombstoneBytes
    this.deadPutCount += other.deadPutCount
    this.deadBytes += other.deadBytes
  }

  /** Counts a put as dead. */
  kill(size: number): void {
    this.deadPutCount++
    this.deadBytes += size
  }

  /** Counts a put as live again, after what had superseded it was undone. */
  revive(size: number): void {
    this.deadPutCount--
    this.deadBytes -= size
  }

  /** Takes over what `add` counts, except for what is dead. */
  setFigures(figures: Readonly<SegmentFigures>): void {
    this.size = figures.size
    this.putCount = figures.putCount
    this.tombstoneCount = figures.tombstoneCount
    this.tombstoneBytes = figures.tombstoneBytes
    this.minSequence = figures.minSequence
    this.maxSequence = figures.maxSequence
    this.lastExpiryMs = figures.lastExpiryMs
  }

  /** Takes over what `kill` counts. */
  setDead(dead: { readonly deadPutCount: number; readonly deadBytes: number }): void {
    this.deadPutCount = dead.deadPutCount
    this.deadBytes = dead.deadBytes
  }

  /** Returns the figures as the manifest lists them. */
  seal(id: number, origin: SealedSegment['origin']): SealedSegment {
    return {
      id,
      origin,
      size: this.size,
      putCount: this.putCount,
      tombstoneCount: this.tombstoneCount,
      tombstoneBytes: this.tombstoneBytes,
      minSequence: this.minSequence,
      maxSequence: this.maxSequence,
      lastExpiryMs: this.lastExpiryMs,
    }
  }
}
