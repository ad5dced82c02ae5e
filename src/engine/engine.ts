/**
 * The engine: keys and values as bytes, on top of segments and a keydir.
 *
 *     put: reserve space -> encode the record -> change the keydir (keydir-changes.ts)
 *          -> stage the record
 *     get: find the key -> locate the record -> verify it
 *
 * What is staged is written by group-commit.ts.
 *
 * Invariants
 * - Staging records and changing the keydir are one step, made or not, whatever throws. The keydir
 *   is changed first, with everything that may be refused; staging never fails.
 * - If a group cannot be written, the keydir and all figures are put back to what they were before
 *   it.
 */

import { CorruptionError, StoreError } from '../errors.ts'
import { copyBytes } from '../format/bytes.ts'
import { storeSeed } from '../format/file-header.ts'
import {
  BATCH_END,
  BATCH_END_SIZE,
  copyVerified,
  MAX_SEQUENCE,
  type Page,
  PUT,
  pageOf,
  RecordFields,
  recordSize,
  SHORT_RECORD_SIZE,
  TOMBSTONE,
  valueOffset,
  verifyRecord,
  writeBatchEnd,
  writeChecksum,
  writeRecordHeader,
  writeSequence,
} from '../format/record.ts'
import { Location } from '../keydir/entries.ts'
import { type Entry, type EntryHolder, type KnownKeydir, NO_ENTRY } from '../keydir/keydir.ts'
import type { SyncPolicy } from '../options.ts'
import type { Recovered } from '../recovery/recovery.ts'
import type { EventLoop } from '../scheduling/event-loop.ts'
import type { Segment } from '../segment/segment.ts'
import type { Segments } from '../segment/segments.ts'
import { type Expiry, hasExpired, wholeMs } from '../segment/sweeps.ts'
import { SegmentUsage } from '../segment/usage.ts'
import { STAGE_SIZE } from '../segment/writer.ts'
import { Durability } from './durability.ts'
import { KeyBuffer, ownBytes } from './encoding.ts'
import type { Group } from './group.ts'
import { GroupCommit } from './group-commit.ts'
import { KeydirChanges } from './keydir-changes.ts'
import { LiveKeydir } from './live-keydir.ts'
import type { ResolvedRange } from './range.ts'
import { ReadAhead, type Wanted } from './read-ahead.ts'
import { Retirement } from './retirement.ts'
import { Slab } from './slab.ts'
import type { Span } from './undo.ts'
import type { ViewCursor } from './view-cursor.ts'
import type { View } from './views.ts'

/** The options of an engine. */
interface EngineOptions {
  readonly readOnly: boolean
  readonly verifyReads: boolean
  readonly maxSegmentBytes: number
  readonly maxOpenFiles: number
  readonly sync: SyncPolicy
  readonly clock: () => number
}

/** A moment, and the records that there were at it. */
export interface Present extends Expiry {
  /** The sequence that the next record was to get. */
  readonly nextSequence: number
}

/** Hears what happens in an engine. */
export interface EngineListener {
  /** Everything that was written before is durable. */
  synced(): void
  /** A new segment was begun. */
  rotated(segmentId: number): void
  /**
   * The event loop does not turn: do what is due now, after `byteCount` bytes were written. Nothing
   * is staged.
   */
  stalled(byteCount: number): void
  /** Something failed that no caller waits for. */
  failed(error: StoreError): void
  /** The checkpoint was damaged or unreadable, and the keydir was loaded without it. */
  reloaded(why: StoreError): void
}

/** Keys and values as bytes. */
export class Engine {
  /** The keydir, and the views of it. */
  readonly live: LiveKeydir
  /** Segments that no longer belong to the set. */
  readonly retirement: Retirement
  readonly durability: Durability
  /** Reads ahead for iterators. */
  readAhead: ReadAhead
  readonly options: EngineOptions
  /**
   * The key of the operation that is under way. From its encoding to the operation's end no code of
   * the caller's runs. Codecs, clocks and getters come before, since each of them may begin another
   * operation.
   */
  readonly key = new KeyBuffer()

  /** Holds the value that was read last. */
  page: Page = pageOf(Buffer.alloc(0))
  valueAt = 0
  valueEnd = 0

  #seed: number
  readonly #changes: KeydirChanges
  readonly #slab = new Slab()
  readonly #location = new Location()
  #commits: GroupCommit | undefined
  #nextSequence: number
  /** The last moment that was noted, of those by which entries were forgotten. */
  #marked: Present | undefined

  constructor(
    recovered: Recovered,
    options: EngineOptions,
    loop: EventLoop,
    listener: EngineListener,
  ) {
    this.options = options
    this.live = new LiveKeydir(recovered, {
      staged: () => this.#commits?.writer ?? { page: this.page, stagedSize: 0 },
      poison: (cause, message) => this.durability.poison(cause, message),
      reloaded: (why) => listener.reloaded(why),
    })
    this.#changes = new KeydirChanges(this.live)
    this.#nextSequence = recovered.nextSequence
    this.#seed = storeSeed(recovered.segments.context.storeId)
    this.readAhead = new ReadAhead(this.#seed)
    const failed = (error: StoreError): void => listener.failed(error)
    this.retirement = new Retirement(this.live, options.maxOpenFiles, failed)
    this.durability = new Durability(
      () => this.segments,
      options.sync,
      loop,
      () => listener.synced(),
      failed,
    )
    if (options.readOnly) return
    const { maxSegmentBytes, sync } = options
    const writing = { maxSegmentBytes, syncsEach: sync.everyWrites === 1 }
    this.#commits = new GroupCommit(this.segments, writing, this.durability, {
      rotated: (segmentId) => listener.rotated(segmentId),
      undo: (page, stagedSize) => {
        const span = { page, start: 0, end: stagedSize, firstNumber: 0 }
        this.#changes.takeBack(span, this.commits.writer.segment)
      },
      stalled: (byteCount) => {
        this.durability.catchUp()
        listener.stalled(byteCount)
      },
    })
  }

  get segments(): Segments {
    return this.live.segments
  }

  /** Takes writes. @throws {@link StoreError} FIRKIN_READ_ONLY */
  get commits(): GroupCommit {
    if (this.#commits === undefined) {
      throw new StoreError('FIRKIN_READ_ONLY', 'The store was opened with readOnly')
    }
    return this.#commits
  }

  get keydir(): KnownKeydir {
    return this.live.keydir
  }

  /** The sequence that the next record gets. */
  get nextSequence(): number {
    return this.#nextSequence
  }

  /**
   * Returns the moment by which `lookup` decides what has expired. The clock is asked only if
   * anything expires. It is the caller's and may call any method, so this comes before the key is
   * encoded.
   */
  moment(): number {
    return this.live.mayExpire() ? this.options.clock() : 0
  }

  /**
   * Finds the key in `this.key`; {@link NO_ENTRY} if it is not there or had expired at
   * {@link moment}.
   */
  lookup(nowMs: number): Entry {
    const entry = this.find()
    if (entry === NO_ENTRY || nowMs === 0) return entry
    const { entries } = this.keydir
    const { sweeps } = this.segments
    return hasExpired(entries, entry, { nowMs, sweeps }) ? NO_ENTRY : entry
  }

  /**
   * Does what is due by time if no timer can. Call it before a write begins and before its key is
   * encoded: what is due may ask the caller's clock.
   */
  attend(): void {
    this.#commits?.attend()
  }

  /** Finds the key in `this.key`, whether it has expired or not. */
  find(): Entry {
    const { bytes, size, words } = this.key
    return this.live.find(bytes, size, words)
  }

  /**
   * Opens a view of the present. What is staged is written first, so that the view shows nothing
   * that a failed write could take back. If that fails, its callers get the error, and the view
   * shows what there was before.
   */
  openView(): View {
    const nowMs = this.options.clock()
    this.#commits?.writeStaged()
    return this.live.openView(nowMs)
  }

  /** Returns a cursor over a range of a view; `wanted` is read ahead, as far as it can be. */
  cursor(view: View, range: ResolvedRange, wanted?: Wanted): ViewCursor {
    return this.live.cursor(view, range, (keydir, list, count) => {
      if (wanted !== undefined) this.readAhead.read(this.segments, keydir, list, count, wanted)
    })
  }

  /**
   * Reads the record of an entry of `holder`, which is the keydir or the versions of a view. Until
   * the next read its value lies in `this.page` from `valueAt` up to `valueEnd`.
   *
   * @throws {@link CorruptionError} if it does not match its checksum
   */
  read(holder: EntryHolder, entry: Entry): void {
    const location = this.#location
    holder.entries.locate(entry, location)
    const { offset, size } = location
    const segment = this.segments.get(location.segment)
    const page = segment.locate(offset, size)
    const { at } = segment
    const head = valueOffset(page.view, at, location.keySize)
    if (!this.options.verifyReads) this.#found(page, at, head, size)
    else if (!this.#verify(page, at, head, size, location.sequence)) this.#readAfresh(segment)
  }

  /** Copies the bytes of what was read last, from `start` on. */
  cut(start: number): Buffer {
    const { page, valueEnd } = this
    return page === this.#slab.page
      ? this.#slab.cut(start, valueEnd)
      : ownBytes(page.bytes, start, valueEnd)
  }

  /**
   * Puts a value under the key in `this.key`.
   *
   * @param size the value's size in bytes
   * @returns the group that it is written with
   * @throws {@link StoreError} FIRKIN_NO_MEMORY, FIRKIN_WRITE_FAILED, FIRKIN_POISONED; nothing has
   * changed then
   */
  put(value: Uint8Array | string, size: number, expiresAtMs: number): Group {
    const { key } = this
    const total = recordSize(key.size, size, expiresAtMs !== 0)
    const writer = this.commits.reserve(total)
    const sequence = this.#freeSequence()
    const { page, stagedSize: at, offset } = writer
    const keyAt = writeRecordHeader(page.view, at, PUT, 0, key.size, size, sequence, expiresAtMs)
    copyBytes(key.bytes, 0, key.size, page.bytes, keyAt)
    const valueAt = keyAt + key.size
    if (typeof value === 'string') page.bytes.write(value, valueAt, 'utf8')
    else copyBytes(value, 0, size, page.bytes, valueAt)
    const isLarge = total > STAGE_SIZE
    if (!isLarge) writeChecksum(page, at, at + total, this.#seed)
    this.#changes.put(
      key.bytes,
      key.size,
      key.words,
      writer.stagedCount,
      writer.segment.id,
      offset,
      total,
      sequence,
      expiresAtMs,
    )
    if (isLarge) writer.stageUnsealed(PUT, total, sequence, expiresAtMs)
    else writer.stage(PUT, total, sequence, expiresAtMs)
    this.#nextSequence = sequence + 1
    return this.commits.join(1, total)
  }

  /**
   * Removes the key in `this.key`.
   *
   * @param nowMs {@link moment}
   * @returns the group that the tombstone is written with; `undefined` if the key was not there
   */
  remove(nowMs: number): Group | undefined {
    const { key, commits } = this
    if (this.lookup(nowMs) === NO_ENTRY) return undefined
    const size = recordSize(key.size, 0, false)
    const writer = commits.reserveFreeing(size)
    // Making space may have taken back a group that could not be written, and the key with it.
    const entry = this.lookup(nowMs)
    if (entry === NO_ENTRY) return undefined
    const sequence = this.#freeSequence()
    const { page, stagedSize: at } = writer
    const keyAt = writeRecordHeader(page.view, at, TOMBSTONE, 0, key.size, 0, sequence, 0)
    copyBytes(key.bytes, 0, key.size, page.bytes, keyAt)
    writeChecksum(page, at, at + size, this.#seed)
    this.#changes.remove(key.bytes, key.size, writer.stagedCount, entry)
    writer.stage(TOMBSTONE, size, sequence, 0)
    this.#nextSequence = sequence + 1
    return this.commits.joinFreeing(1, size)
  }

  /**
   * Writes the members of a batch: `page` up to `size` holds whole records that lack sequence and
   * checksum. The engine may change the page.
   *
   * @param isFreeing whether it consists of deletes, which free space
   * @throws {@link StoreError} FIRKIN_NO_MEMORY, FIRKIN_WRITE_FAILED, FIRKIN_POISONED; nothing has
   * changed then
   */
  commitBatch(page: Page, size: number, count: number, isFreeing: boolean): Group {
    if (count === 0) return this.commits.current()
    const total = size + BATCH_END_SIZE
    if (this.#nextSequence + count >= MAX_SEQUENCE) throw sequencesUsedUp()
    const { commits } = this
    const writer = isFreeing ? commits.reserveFreeing(total) : commits.reserve(total)
    const { stagedSize: start, stagedCount: firstNumber, offset } = writer
    const stage = writer.page
    page.bytes.copy(stage.bytes, start, 0, size)
    const span = { page: stage, start, end: start + size, firstNumber }
    const added = sealBatch(span, this.#nextSequence, this.#seed)
    const sequence = added.maxSequence
    if (sequence !== this.#nextSequence + count) throw new Error('A batch has lost a member')
    writeBatchEnd(stage, span.end, count, sequence, this.#seed)
    this.#changes.applyBatch(span, writer.segment.id, offset - start)
    writer.stageAll(added, total, count + 1)
    this.#nextSequence = sequence + 1
    return isFreeing ? commits.joinFreeing(count, total) : commits.join(count, total)
  }

  /**
   * Returns the present, for a search for what has expired. What is put during the search is not
   * part of it.
   */
  present(): Present {
    const nowMs = wholeMs(this.options.clock())
    const { segments } = this
    segments.clockMs = nowMs
    return { nowMs, sweeps: segments.sweeps, nextSequence: this.#nextSequence }
  }

  /** Whether an entry had expired at some moment, and was there already. */
  hasExpired(entry: Entry, at: Present): boolean {
    const { entries } = this.keydir
    return hasExpired(entries, entry, at) && entries.sequenceOf(entry) < at.nextSequence
  }

  /**
   * Removes an entry that has expired, without a tombstone: whoever reads its record sees that it
   * has expired.
   *
   * @param at the moment by which it had expired, so that it stays gone whatever the clock says
   * later; without it, the record goes as well
   */
  forget(entry: Entry, at?: Present): void {
    if (at !== undefined && at !== this.#marked) {
      const { nowMs: atMs, nextSequence } = at
      this.segments.sweeps = this.segments.sweeps.with({ atMs, nextSequence })
      this.#marked = at
    }
    this.#changes.forget(entry)
  }

  /**
   * Points a key to the copy of its record, or counts the copy as dead if the key has a newer
   * record. Returns whether the key points to it.
   */
  repoint(segment: Segment, offset: number, fields: RecordFields, page: Page): boolean {
    return this.#changes.repoint(segment, offset, fields, page)
  }

  /** Begins a new segment, so that the active one can be merged; returns false if that is empty. */
  rotate(): boolean {
    const { active } = this.segments
    this.commits.writeStaged()
    if (active === undefined || active.usage.maxSequence === 0) return false
    this.commits.rotate(true)
    return true
  }

  /** Takes what a read-only store has loaded again. Open views stay on what there was before. */
  replace(recovered: Recovered): void {
    try {
      // The rest of a checkpoint is read while its file is still open.
      if (this.live.views.openCount > 0) this.live.readAll()
    } catch (error) {
      recovered.segments.close()
      throw error
    }
    this.retirement.replaceWith(recovered.segments)
    this.#install(recovered)
  }

  /**
   * Takes the store that has replaced the one that a read-only store was opened on. Open views end.
   */
  replaceByAnother(recovered: Recovered): void {
    // Whoever copies from the former segments continues to the end.
    this.retirement.replaceWithAnother()
    this.live.views.end(
      new StoreError(
        'FIRKIN_READ_FAILED',
        `Another store has taken the place of ${this.segments.context.directory}; this shows what is gone`,
      ),
    )
    this.#seed = storeSeed(recovered.segments.context.storeId)
    this.readAhead = new ReadAhead(this.#seed)
    this.#install(recovered)
  }

  #install(recovered: Recovered): void {
    this.live.install(recovered)
    this.#nextSequence = recovered.nextSequence
    this.retirement.release()
  }

  /** Takes note of the sequences that a read-only store has seen. */
  advanceSequence(): void {
    this.#nextSequence = Math.max(this.#nextSequence, this.segments.nextSequence)
  }

  /** Closes every file, and frees the keydir's memory. */
  close(): void {
    this.segments.close()
    this.retirement.close()
    this.live.release()
  }

  /** Reads a record that did not match its checksum from the disk, if it was cached. */
  #readAfresh(segment: Segment): void {
    const { offset, size, keySize, sequence } = this.#location
    const page = segment.locateAfresh(offset, size)
    if (page !== undefined) {
      const { at } = segment
      if (this.#verify(page, at, valueOffset(page.view, at, keySize), size, sequence)) return
    }
    throw new CorruptionError('The record does not match its checksum', segment.path, offset)
  }

  /** Verifies a record, and finds its value in it, or in a copy if that costs nothing more. */
  #verify(page: Page, at: number, head: number, size: number, sequence: number): boolean {
    if (size > SHORT_RECORD_SIZE) {
      this.#found(page, at, head, size)
      const isUnsealed = size > STAGE_SIZE && this.#commits?.writer.isUnsealed(page, at)
      return isUnsealed === true || verifyRecord(page, at, size, this.#seed, sequence)
    }
    const slab = this.#slab
    const copyAt = slab.room(size, head)
    this.#found(slab.page, copyAt, head, size)
    return copyVerified(page, at, size, this.#seed, sequence, slab.page, copyAt)
  }

  #found(page: Page, at: number, head: number, size: number): void {
    this.page = page
    this.valueAt = at + head
    this.valueEnd = at + size
  }

  /** Returns the sequence of the next record. It is taken once the record stands. */
  #freeSequence(): number {
    if (this.#nextSequence >= MAX_SEQUENCE) throw sequencesUsedUp()
    return this.#nextSequence
  }
}

/**
 * Gives the members of a batch their sequences, from `first` on, and checksums. Counts them and the
 * batch's end.
 */
function sealBatch({ page, start, end }: Span, first: number, seed: number): SegmentUsage {
  const fields = new RecordFields()
  const added = new SegmentUsage()
  let sequence = first
  for (let at = start; at < end; at += fields.size) {
    fields.readHeader(page, at, end)
    writeSequence(page.view, at, sequence)
    writeChecksum(page, at, at + fields.size, seed)
    added.add(fields.kind, fields.size, sequence++, fields.expiresAtMs)
  }
  added.add(BATCH_END, BATCH_END_SIZE, sequence, 0)
  return added
}

function sequencesUsedUp(): StoreError {
  return new StoreError('FIRKIN_WRITE_FAILED', 'All sequences are used up')
}
