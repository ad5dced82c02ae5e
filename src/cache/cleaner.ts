/**
 * The cleaner frees the space of the oldest segment.
 *
 * 1. Scan the segment's records, as many at a time as requested.
 * 2. A record that is still the newest of its key, and worth keeping, is written again at the end
 *    of the log.
 * 3. Once nothing in the segment is live, the segment leaves the set and is deleted. If nothing was
 *    live to begin with, it is deleted unread. The manifest lists it until the next one is written:
 *    opening a cache treats missing oldest segments as deleted. See FORMAT.md.
 *
 * Invariants
 * - Segments are deleted in the order of their sequences. So no segment left can hold an older
 *   record of a key than a deleted one did, and nothing that was replaced, removed or evicted comes
 *   back after a kill. Neither tombstones nor tags need to outlive their segment.
 * - What was written again is in its file before the segment is deleted.
 * - A segment of the tail is deleted only after a manifest has listed the segments after it: a tail
 *   with a gap ends at the gap.
 */

import type { Engine } from '../engine/engine.ts'
import { CorruptionError } from '../errors.ts'
import { FILE_HEADER_SIZE, storeSeed } from '../format/file-header.ts'
import { type Page, PUT, type RecordFields } from '../format/record.ts'
import { type Files, removeIfThere } from '../io/files.ts'
import { type Entry, NO_ENTRY } from '../keydir/keydir.ts'
import { removeCheckpoint } from '../recovery/checkpoint-file.ts'
import { scanSound } from '../segment/scan.ts'
import type { Segment } from '../segment/segment.ts'
import { Window } from '../segment/window.ts'

/** Decides about, and hears of, what a cleaner does. */
interface CleanerListener {
  /** Whether to write a live entry again, whose record is `fields`. If not, the call evicts it. */
  keeps(entry: Entry, fields: RecordFields, page: Page): boolean
  /** An entry was written again, and takes `size` more bytes. */
  moved(size: number): void
  /** A segment and its hint were deleted. */
  deleted(segment: Segment): void
}

/** The cleaner's progress in a segment. */
interface Progress {
  readonly segment: Segment
  readonly window: Window
  offset: number
  /** How many records were live after the previous scan of the whole segment. */
  liveBefore: number
}

/** Cleans the segments of one cache, the oldest first. */
export class Cleaner {
  readonly #engine: Engine
  readonly #listener: CleanerListener
  #progress: Progress | undefined

  constructor(engine: Engine, listener: CleanerListener) {
    this.#engine = engine
    this.#listener = listener
  }

  /** The lowest sequence in any segment; `Infinity` if there is none. */
  get oldestSequence(): number {
    return this.#oldest()?.usage.minSequence ?? Number.POSITIVE_INFINITY
  }

  /**
   * Cleans about `bytes` bytes, at most to the end of a segment. Returns how many were cleaned; 0
   * means that there are none.
   *
   * @throws {@link CorruptionError} if the segment is damaged
   * @throws {@link StoreError} FIRKIN_WRITE_FAILED
   */
  advance(bytes: number): number {
    const progress = this.#progress ?? this.#begin()
    if (progress === undefined) return 0
    this.#progress = progress
    const { segment } = progress
    const { usage } = segment
    const from = progress.offset
    if (usage.livePutCount > 0) {
      progress.offset = this.#scan(progress, bytes)
      if (progress.offset < usage.size) return progress.offset - from
      if (usage.livePutCount > 0) {
        this.#rewind(progress)
        return usage.size - from
      }
    }
    this.#delete(segment)
    return usage.size - from
  }

  /** Deletes every segment except the active one, which must hold nothing live. */
  deleteAll(): void {
    const { segments } = this.#engine
    this.#progress = undefined
    this.#deleteFiles(segments.all.filter((segment) => segment !== segments.active))
  }

  #begin(): Progress | undefined {
    const { segments } = this.#engine
    const oldest = this.#oldest()
    if (oldest === undefined) return undefined
    if (oldest === segments.active) this.#engine.rotate()
    const { files } = segments.context
    // The segment's file may be closed between two steps; `oldest.file` opens it again.
    const read: Files['read'] = (_, ...range) => files.read(oldest.file, ...range)
    const window = new Window({ read }, oldest.file, oldest.usage.size)
    return { segment: oldest, window, offset: FILE_HEADER_SIZE, liveBefore: 0 }
  }

  /**
   * Starts a segment over. Copies may have been undone since, so that their originals are live
   * again.
   *
   * @throws {@link StoreError} FIRKIN_WRITE_FAILED if the copies cannot be written now
   * @throws {@link CorruptionError} if another scan of the segment has changed nothing
   */
  #rewind(progress: Progress): void {
    const { segment, liveBefore } = progress
    this.#engine.commits.flush()
    const { livePutCount } = segment.usage
    if (livePutCount === liveBefore) {
      throw new CorruptionError('The keydir points to a record that is not there', segment.path, 0)
    }
    progress.liveBefore = livePutCount
    progress.offset = FILE_HEADER_SIZE
  }

  #oldest(): Segment | undefined {
    if (this.#progress !== undefined) return this.#progress.segment
    let oldest: Segment | undefined
    for (const segment of this.#engine.segments.all) {
      if (segment.usage.minSequence === 0) continue
      if (oldest === undefined || segment.usage.minSequence < oldest.usage.minSequence) {
        oldest = segment
      }
    }
    return oldest
  }

  #scan({ segment, window, offset: from }: Progress, bytes: number): number {
    const { files, storeId } = this.#engine.segments.context
    return scanSound(
      {
        files,
        file: segment.file,
        from,
        to: segment.usage.size,
        seed: storeSeed(storeId),
        window,
      },
      segment.path,
      (fields, page, offset) => {
        if (fields.kind === PUT) this.#visit(segment, fields, page, offset)
        return offset + fields.size - from < bytes ? undefined : false
      },
    )
  }

  #visit(segment: Segment, fields: RecordFields, page: Page, offset: number): void {
    const engine = this.#engine
    const { bytes } = page
    const key = bytes.subarray(fields.keyAt, fields.valueAt)
    const entry = engine.live.find(key, key.length)
    if (entry === NO_ENTRY) return
    const { entries } = engine.keydir
    if (entries.segmentOf(entry) !== segment.id || entries.offsetOf(entry) !== offset) return
    if (!this.#listener.keeps(entry, fields, page)) return
    const { valueAt, valueSize, expiresAtMs, size } = fields
    engine.key.encode(key)
    engine.put(bytes.subarray(valueAt, valueAt + valueSize), valueSize, expiresAtMs)
    this.#listener.moved(size)
  }

  #delete(segment: Segment): void {
    this.#progress = undefined
    this.#deleteFiles([segment])
  }

  #deleteFiles(going: readonly Segment[]): void {
    const engine = this.#engine
    const { segments } = engine
    engine.commits.flush()
    const isOfTail = going.some((segment) => segments.tail.includes(segment))
    for (const segment of going) engine.retirement.retire(segment)
    // Replacing the manifest for each segment would make the event loop wait for the disk many
    // times a second (measured).
    if (isOfTail) segments.sealNow()
    removeCheckpoint(segments)
    for (const { path, hintPath } of engine.retirement.release()) {
      removeIfThere(segments.context.files, path)
      removeIfThere(segments.context.files, hintPath)
    }
    for (const segment of going) this.#listener.deleted(segment)
  }
}
