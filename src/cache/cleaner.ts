/**
 * The cleaner gives the room of the oldest segment back.
 *
 * 1. Go through the segment's records, as many at a time as is asked for.
 * 2. Whatever is still the record of its key, and worth keeping, is written again at the end of the log.
 * 3. When nothing of the segment is in use any more, it is taken out of the set and deleted; if that is so from the
 *    beginning, it is deleted unread. The manifest goes on listing it until the next one is written: who opens a cache
 *    takes the oldest segments that are missing for deleted. See FORMAT.md.
 *
 * Invariants
 * - Segments go in the order of their sequences. So no segment can hold an older record of a key than one that went,
 *   and nothing that was replaced, removed or given up comes back when the process is killed: neither tombstones nor
 *   tags need to outlive their segment.
 * - What was written again is in its file before the segment is deleted.
 * - A segment of the tail is deleted once a manifest has listed what is behind it: a tail with a gap ends there.
 */

import type { Engine } from '../engine/engine.ts'
import { CorruptionError } from '../errors.ts'
import { FILE_HEADER_SIZE, storeSeed } from '../format/file-header.ts'
import { type Page, PUT, type RecordFields } from '../format/record.ts'
import { type Files, removeIfThere } from '../io/files.ts'
import { type Entry, NO_ENTRY } from '../keydir/keydir.ts'
import { removeCheckpoint } from '../recovery/checkpoint-file.ts'
import { scanSegment } from '../segment/scan.ts'
import type { Segment } from '../segment/segment.ts'
import { Window } from '../segment/window.ts'

/** What a cleaner asks and tells. */
export interface CleanerListener {
  /** Whether a live entry, whose record is `fields`, is to be written again; where not, it is given up in the call. */
  keeps(entry: Entry, fields: RecordFields, page: Page): boolean
  /** An entry was written again: so many more bytes are in use. */
  moved(size: number): void
  /** A segment was deleted, and its hint. */
  deleted(segment: Segment): void
}

interface Progress {
  readonly segment: Segment
  readonly window: Window
  offset: number
  /** How many live records it still had when it had been gone through. */
  liveBefore: number
}

/** Cleans the segments of one cache, oldest first. */
export class Cleaner {
  readonly #engine: Engine
  readonly #listener: CleanerListener
  #progress: Progress | undefined

  constructor(engine: Engine, listener: CleanerListener) {
    this.#engine = engine
    this.#listener = listener
  }

  /** The lowest sequence that any segment holds; infinite where there is none. */
  get oldestSequence(): number {
    return this.#oldest()?.usage.minSequence ?? Number.POSITIVE_INFINITY
  }

  /**
   * Goes through about so many bytes, at most to the end of a segment; answers how many, 0 where there are none.
   *
   * @throws {@link CorruptionError} where the segment is damaged
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

  /** Deletes every segment but the active one, which may hold nothing that is in use. */
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
    // Its file may be closed between two steps, and is opened again then.
    const read: Files['read'] = (_, ...range) => files.read(oldest.file, ...range)
    const window = new Window({ read }, oldest.file, oldest.usage.size)
    return { segment: oldest, window, offset: FILE_HEADER_SIZE, liveBefore: 0 }
  }

  /**
   * Goes through a segment again: what was written again may have been undone since, and lies there as before.
   *
   * @throws {@link StoreError} FIRKIN_WRITE_FAILED where that is so now
   * @throws {@link CorruptionError} where going through it once more has changed nothing
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
    const scan = scanSegment(
      {
        files,
        file: segment.file,
        from,
        to: segment.usage.size,
        seed: storeSeed(storeId),
        ascending: false,
        batches: 'loose',
        window,
      },
      (fields, page, offset) => {
        if (fields.kind === PUT) this.#visit(segment, fields, page, offset)
        return offset + fields.size - from < bytes ? undefined : false
      },
    )
    if (scan.faultAt !== undefined) {
      throw new CorruptionError(scan.fault, segment.path, scan.faultAt)
    }
    return scan.end
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
    // To replace the manifest for each would keep the loop waiting for the disk, many times a second (measured).
    if (isOfTail) segments.sealNow()
    removeCheckpoint(segments)
    for (const { path, hintPath } of engine.retirement.release()) {
      removeIfThere(segments.context.files, path)
      removeIfThere(segments.context.files, hintPath)
    }
    for (const segment of going) this.#listener.deleted(segment)
  }
}
