/**
 * The engine: keys and values as bytes, on top of segments and a keydir.
 *
 * put:  reserve room -> find the key -> save the old location for open views -> stage the record -> keydir
 * get:  find the key -> locate the record -> verify it
 * What is staged is written by group-commit.ts.
 *
 * Invariants
 * - Staging a record and changing the keydir are one step: nothing runs between them.
 * - Where a group cannot be written, the keydir and all figures are put back to what they were before it.
 * - A keydir restored from a checkpoint may turn out to be damaged wherever it is touched; it is then loaded
 *   anew, from all that has been written, and the operation goes on with the new one. Nobody else touches it before
 *   all of it was read: see `wholeKeydir`.
 */

import assert from 'node:assert/strict'
import { type ChunkReader, DamagedCheckpoint } from './checkpoint.ts'
import { Durability } from './durability.ts'
import { KeyBuffer, ownBytes } from './encoding.ts'
import { CorruptionError, StoreError } from './errors.ts'
import type { EventLoop } from './event-loop.ts'
import { copyBytes } from './format/bytes.ts'
import { storeSeed } from './format/file-header.ts'
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
  splitChecksum,
  TOMBSTONE,
  valueOffset,
  verifyRecord,
  writeBatchEnd,
  writeChecksum,
  writeRecordHeader,
  writeSequence,
} from './format/record.ts'
import type { Group } from './group.ts'
import { GroupCommit } from './group-commit.ts'
import { Location } from './keydir/entries.ts'
import { type Entry, type Keydir, type KnownKeydir, NO_ENTRY } from './keydir/keydir.ts'
import type { SyncPolicy } from './options.ts'
import type { ResolvedRange } from './range.ts'
import { ReadAhead, type Wanted } from './read-ahead.ts'
import { type Recovered, reloadKeydir } from './recovery.ts'
import type { Segment } from './segment/segment.ts'
import type { Segments } from './segment/segments.ts'
import { STAGE_SIZE, type Writer } from './segment/writer.ts'
import { Slab } from './slab.ts'
import { UndoLog } from './undo.ts'
import { type Found, type LookAhead, type View, ViewCursor, Views } from './view.ts'

/** What the engine needs to be told. */
export interface EngineOptions {
  readonly readOnly: boolean
  readonly verifyReads: boolean
  readonly maxSegmentBytes: number
  readonly sync: SyncPolicy
  readonly clock: () => number
}

/** What the engine tells. */
export interface EngineListener {
  /** All that was written before is durable. */
  synced(): void
  /** A new segment was begun. */
  rotated(segmentId: number): void
  /** The event loop does not turn: what is due by time is to be done now. Nothing is staged. */
  stalled(): void
  /** Something failed that no caller waits for. */
  failed(error: StoreError): void
  /** The checkpoint was damaged, or could not be read; the keydir was loaded anew. */
  reloaded(why: StoreError): void
}

/** Keys and values as bytes. */
export class Engine {
  readonly views: Views
  readonly durability: Durability
  readonly readAhead: ReadAhead
  readonly options: EngineOptions
  /** The key of the operation that is under way. */
  readonly key = new KeyBuffer()

  /** Where the value that was read last lies. */
  page: Page = pageOf(Buffer.alloc(0))
  valueAt = 0
  valueEnd = 0

  readonly #seed: number
  readonly #listener: EngineListener
  readonly #undo = new UndoLog()
  readonly #slab = new Slab()
  readonly #location = new Location()
  #segments: Segments
  /** Segments that are not of the set any more, and the id of the first view that cannot look into them. */
  #retired: { readonly segment: Segment; readonly viewId: number }[] = []
  #keydir: Keydir
  /** Where the keydir gets what it has not been asked for yet. */
  #chunks: ChunkReader | undefined
  #commits: GroupCommit | undefined
  #nextSequence: number

  constructor(
    recovered: Recovered,
    options: EngineOptions,
    loop: EventLoop,
    listener: EngineListener,
  ) {
    this.#segments = recovered.segments
    this.options = options
    this.views = new Views(recovered.keydir)
    this.#keydir = recovered.keydir
    this.#chunks = recovered.chunks
    this.#nextSequence = recovered.nextSequence
    this.#seed = storeSeed(recovered.segments.home.storeId)
    this.#listener = listener
    this.readAhead = new ReadAhead(this.#seed)
    this.durability = new Durability(
      () => this.#segments,
      options.sync,
      loop,
      () => listener.synced(),
      (error) => listener.failed(error),
    )
    if (options.readOnly) return
    const { maxSegmentBytes, sync } = options
    const writing = { maxSegmentBytes, syncsEach: sync.everyWrites === 1 }
    this.#commits = new GroupCommit(this.segments, writing, this.durability, {
      rotated: (segmentId) => listener.rotated(segmentId),
      undo: (stagedSize) => this.#undoGroup(stagedSize),
      stalled: () => {
        this.durability.catchUp()
        listener.stalled()
      },
    })
  }

  get segments(): Segments {
    return this.#segments
  }

  /** Where writes go. @throws {@link StoreError} FIRKIN_READ_ONLY */
  get commits(): GroupCommit {
    if (this.#commits === undefined) {
      throw new StoreError('FIRKIN_READ_ONLY', 'The store was opened with readOnly')
    }
    return this.#commits
  }

  get keydir(): KnownKeydir {
    return this.#keydir
  }

  /** Whether all of the keydir is in memory, so that it cannot turn out to be damaged any more. */
  get isWhole(): boolean {
    return this.#chunks?.isDone ?? true
  }

  /** The keydir for whoever changes or writes it past the engine; `readMore` first, until that was all. */
  get wholeKeydir(): Keydir {
    assert(this.isWhole, 'Some of the keydir was not read yet')
    return this.#keydir
  }

  /**
   * Reads more of the keydir that still lies in a checkpoint, for some milliseconds; where that is damaged, loads it
   * anew. Answers whether that was all.
   */
  readMore(): boolean {
    try {
      this.#chunks?.readMore()
    } catch (error) {
      this.reload(error)
    }
    return this.isWhole
  }

  /** The sequence that the next record gets. */
  get nextSequence(): number {
    return this.#nextSequence
  }

  /** Finds the key in `this.key`; {@link NO_ENTRY} where it is not there or has expired. */
  lookup(): Entry {
    const entry = this.find()
    return entry === NO_ENTRY || !this.#hasExpired(entry) ? entry : NO_ENTRY
  }

  /** Finds the key in `this.key`, whether it has expired or not. */
  find(): Entry {
    const { bytes, size, words } = this.key
    try {
      return this.#keydir.find(bytes, size, words)
    } catch (error) {
      this.reload(error)
      return this.#keydir.find(bytes, size, words)
    }
  }

  /** Finds a key, whether it has expired or not. */
  findKey(key: Uint8Array, keySize: number): Entry {
    try {
      return this.#keydir.find(key, keySize)
    } catch (error) {
      this.reload(error)
      return this.#keydir.find(key, keySize)
    }
  }

  /** Whether an entry that was answered some time ago is still in use. */
  isLive(entry: Entry): boolean {
    try {
      return this.#keydir.entries.isLive(entry)
    } catch (error) {
      this.reload(error)
      // Entries have other numbers now.
      return false
    }
  }

  /** Finds the key in `this.key` as a view sees it. */
  findIn(view: View, found: Found): boolean {
    try {
      return this.views.find(view, this.key.bytes, this.key.size, found)
    } catch (error) {
      this.reload(error)
      return this.views.find(view, this.key.bytes, this.key.size, found)
    }
  }

  /** A cursor over a range of a view; `wanted` is read ahead, as far as it can be. */
  cursor(view: View, range: ResolvedRange, wanted?: Wanted): ViewCursor {
    const lookAt: LookAhead = (keydir, list, count) => {
      if (wanted !== undefined) this.readAhead.read(this.#segments, keydir, list, count, wanted)
    }
    try {
      return new ViewCursor(this.views, view, range, lookAt)
    } catch (error) {
      this.reload(error)
      return new ViewCursor(this.views, view, range, lookAt)
    }
  }

  /** The cursor's next entry. */
  advance(cursor: ViewCursor): Entry {
    try {
      return cursor.next()
    } catch (error) {
      this.reload(error)
      return cursor.next()
    }
  }

  /**
   * Reads the record of an entry of `keydir`, the present one or a view's layer; its value then lies in
   * `this.page` from `valueAt` up to `valueEnd`, until the next read.
   *
   * @throws {@link CorruptionError} where it does not match its checksum
   */
  read(keydir: KnownKeydir, entry: Entry): void {
    const location = this.#location
    keydir.entries.locate(entry, location)
    const { offset, size } = location
    const segment = this.#segments.get(location.segment)
    const page = segment.locate(offset, size)
    const { at } = segment
    const head = valueOffset(page.view, at, location.keySize)
    if (!this.options.verifyReads) this.#found(page, at, head, size)
    else if (!this.#verify(page, at, head, size, location.sequence)) {
      throw new CorruptionError('The record does not match its checksum', segment.path, offset)
    }
  }

  /** The bytes of what was read last from `start` on, in memory of their own. */
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
   */
  put(value: Uint8Array | string, size: number, expiresAtMs: number): Group {
    const { key } = this
    const total = recordSize(key.size, size, expiresAtMs !== 0)
    if (total > STAGE_SIZE) return this.#putLarge(value, expiresAtMs, total)
    const writer = this.commits.reserve(total)
    const entry = this.find()
    const sequence = this.#takeSequence()
    const { page, stagedSize: at, offset } = writer
    const keyAt = writeRecordHeader(page.view, at, PUT, 0, key.size, size, sequence, expiresAtMs)
    copyBytes(key.bytes, 0, key.size, page.bytes, keyAt)
    const valueAt = keyAt + key.size
    if (typeof value === 'string') page.bytes.write(value, valueAt, 'utf8')
    else copyBytes(value, 0, size, page.bytes, valueAt)
    writeChecksum(page, at, at + total, this.#seed)
    return this.#commitPut(writer, entry, offset, total, sequence, expiresAtMs)
  }

  /**
   * Removes the key in `this.key`.
   *
   * @returns the group that the tombstone is written with; `undefined` where the key was not there
   */
  remove(): Group | undefined {
    const { key } = this
    const { commits } = this
    if (this.lookup() === NO_ENTRY) return undefined
    const size = recordSize(key.size, 0, false)
    const writer = commits.reserve(size)
    // Making room may have taken back a group that could not be written, and the key with it.
    const entry = this.lookup()
    if (entry === NO_ENTRY) return undefined
    const sequence = this.#takeSequence()
    const { page, stagedSize: at } = writer
    const keyAt = writeRecordHeader(page.view, at, TOMBSTONE, 0, key.size, 0, sequence, 0)
    copyBytes(key.bytes, 0, key.size, page.bytes, keyAt)
    writeChecksum(page, at, at + size, this.#seed)
    this.#undo.remember(writer.stagedCount, this.#keydir, entry)
    writer.stage(TOMBSTONE, size, sequence, 0)
    this.#applyRemove(entry, key.bytes, key.size)
    return this.commits.join(1, size)
  }

  /**
   * Writes the members of a batch: whole records but for sequence and checksum, `page` from 0 up to `size`.
   * The page is the engine's to change.
   */
  commitBatch(page: Page, size: number, count: number): Group {
    if (count === 0) return this.commits.current()
    const total = size + BATCH_END_SIZE
    if (this.#nextSequence + count >= MAX_SEQUENCE) throw sequencesUsedUp()
    if (total > STAGE_SIZE) return this.#commitLargeBatch(page, size, count)
    const writer = this.commits.reserve(total)
    const { stagedSize: start, offset } = writer
    const stage = writer.page
    page.bytes.copy(stage.bytes, start, 0, size)
    this.#sealBatch(stage, start, size, count)
    this.#applyBatch(stage, start, size, offset - start, writer)
    const sequence = this.#takeSequence()
    writeBatchEnd(stage, start + size, count, sequence, this.#seed)
    this.#undo.remember(writer.stagedCount, this.#keydir, NO_ENTRY)
    writer.stage(BATCH_END, BATCH_END_SIZE, sequence, 0)
    return this.commits.join(count, total)
  }

  /** Removes an entry that has expired, without a tombstone: whoever reads its record sees the same. */
  expire(entry: Entry): void {
    const view = this.#keydir.entries.keyView(entry)
    this.#applyRemove(entry, view, view.length)
  }

  /**
   * Visits entries of the keydir from `place` on; see `Entries.walk`. Where the keydir is loaded anew meanwhile
   * the walk ends, and is to begin again.
   */
  walk(place: number, limit: number, visit: (entry: Entry) => void): number {
    const keydir = this.#keydir
    try {
      const next = keydir.entries.walk(place, limit, (entry) => {
        if (this.#keydir === keydir) visit(entry)
      })
      return this.#keydir === keydir ? next : 0
    } catch (error) {
      this.reload(error)
      return 0
    }
  }

  /** Points a key to the copy of its record, or counts the copy as dead where the key has a newer record. */
  repoint(segment: Segment, offset: number, fields: RecordFields, page: Page): void {
    const { size, sequence, expiresAtMs, keySize } = fields
    const key = page.bytes.subarray(fields.keyAt, fields.keyAt + keySize)
    const keydir = this.#keydir
    const entry = this.findKey(key, keySize)
    // One that was just loaded anew has seen the copy.
    if (this.#keydir !== keydir) return
    const { entries } = keydir
    if (entry !== NO_ENTRY && entries.sequenceOf(entry) === sequence) {
      this.#keydir.update(entry, segment.id, offset, size, sequence, expiresAtMs)
    } else {
      segment.usage.kill(size)
    }
  }

  /** Begins a new segment, so that the active one can be merged; false where it is empty. */
  rotate(): boolean {
    const { active } = this.segments
    this.commits.flush()
    if (active === undefined || active.usage.maxSequence === 0) return false
    this.commits.rotate()
    return true
  }

  /** Loads the keydir anew after it was found to be damaged. @throws `error` where it was something else */
  reload(error: unknown): void {
    if (!(error instanceof DamagedCheckpoint)) throw error
    this.rebuild()
    this.#listener.reloaded(error.told)
  }

  /**
   * Loads the keydir anew, from all that the segments of the set hold. Where they cannot be read the store is
   * poisoned; each read tries once more.
   */
  rebuild(): void {
    const staged = this.#commits?.writer ?? { page: this.page, stagedSize: 0 }
    const { kind } = this.#keydir
    try {
      this.#keydir = reloadKeydir(this.segments, kind, staged.page, staged.stagedSize)
      this.#chunks?.close()
      this.#chunks = undefined
    } catch (error) {
      const why = 'The keydir was lost and could not be loaded anew; open the store again to write'
      throw this.durability.poison(error, why)
    }
    this.views.replaceKeydir(this.#keydir)
  }

  /** Takes what a read-only store loaded anew; open views stay on what there was before. */
  replace(recovered: Recovered): void {
    try {
      // What a checkpoint has not given yet is read while its file is open.
      if (this.views.openCount > 0) this.#readWhole()
    } catch (error) {
      recovered.segments.close()
      throw error
    }
    this.#retired = recovered.segments.inherit(this.#segments).map((segment) => ({
      segment,
      viewId: this.views.nextId,
    }))
    this.#segments = recovered.segments
    this.#keydir = recovered.keydir
    this.#chunks = recovered.chunks
    this.#nextSequence = recovered.nextSequence
    this.views.moveOn(recovered.keydir)
    this.releaseRetired()
    const { checkpointFault } = recovered.report
    if (checkpointFault !== undefined) this.#listener.reloaded(checkpointFault)
  }

  /** Takes note of the sequences that a read-only store has seen. */
  advanceSequence(): void {
    this.#nextSequence = Math.max(this.#nextSequence, this.segments.nextSequence)
  }

  /** Takes a segment out of the set; it is closed once no view may look into it. */
  retire(segment: Segment): void {
    this.segments.retire(segment)
    this.#retired.push({ segment, viewId: this.views.nextId })
  }

  /** Closes the retired segments that no view can look into any more, and answers them. */
  releaseRetired(): Segment[] {
    const oldest = this.views.oldestOpenId
    const released = this.#retired.filter(({ viewId }) => viewId <= oldest)
    if (released.length === 0) return []
    this.#retired = this.#retired.filter(({ viewId }) => viewId > oldest)
    return released.map(({ segment }) => {
      this.segments.drop(segment)
      segment.close()
      return segment
    })
  }

  /** Closes every file, and gives the keydir's memory back. */
  close(): void {
    this.segments.close()
    this.#keydir.release()
  }

  /** Verifies a record, and finds its value in it, or in a copy where that costs nothing more. */
  #verify(page: Page, at: number, head: number, size: number, sequence: number): boolean {
    if (size > SHORT_RECORD_SIZE) {
      this.#found(page, at, head, size)
      return verifyRecord(page, at, size, this.#seed, sequence)
    }
    const slab = this.#slab
    const copyAt = slab.room(size, head)
    this.#found(slab.page, copyAt, head, size)
    return copyVerified(page, at, size, this.#seed, sequence, slab.page, copyAt)
  }

  #readWhole(): void {
    try {
      this.#keydir.image()
    } catch (error) {
      this.reload(error)
    }
  }

  #found(page: Page, at: number, head: number, size: number): void {
    this.page = page
    this.valueAt = at + head
    this.valueEnd = at + size
  }

  #hasExpired(entry: Entry): boolean {
    const { entries } = this.#keydir
    if (entries.expiringCount === 0) return false
    const expiresAtMs = entries.expiresAtOf(entry)
    return expiresAtMs !== 0 && expiresAtMs <= this.options.clock()
  }

  /** Puts the keydir back to what it was before the group that was staged. */
  #undoGroup(stagedSize: number): void {
    const { writer } = this.commits
    // An iterator may have found its place since, in what is taken back.
    this.views.version++
    try {
      this.#undo.rollBack(this.#keydir, this.segments, writer, stagedSize)
    } catch (error) {
      this.#reloadWithoutGroup(error)
    }
  }

  /** Loads the keydir anew from what was written, which does not have the group that failed. */
  #reloadWithoutGroup(error: unknown): void {
    try {
      this.reload(error)
    } catch (failure) {
      // A store that is poisoned has told so; whoever waits for the group hears why that failed.
      if (this.durability.isSound) throw failure
    }
  }

  #takeSequence(): number {
    if (this.#nextSequence >= MAX_SEQUENCE) throw sequencesUsedUp()
    return this.#nextSequence++
  }

  #commitPut(
    writer: Writer,
    entry: Entry,
    offset: number,
    size: number,
    sequence: number,
    expiresAtMs: number,
  ): Group {
    const { key } = this
    this.#undo.remember(writer.stagedCount, this.#keydir, entry)
    const segment = writer.segment.id
    writer.stage(PUT, size, sequence, expiresAtMs)
    this.#applyPut(entry, key.bytes, key.size, segment, offset, size, sequence, expiresAtMs)
    return this.commits.join(1, size)
  }

  #applyPut(
    entry: Entry,
    key: Uint8Array,
    keySize: number,
    segment: number,
    offset: number,
    size: number,
    sequence: number,
    expiresAtMs: number,
  ): void {
    const keydir = this.#keydir
    try {
      if (this.views.openCount > 0) this.views.save(entry, key, keySize)
      if (entry === NO_ENTRY) {
        keydir.insert(key, keySize, segment, offset, size, sequence, expiresAtMs)
      } else {
        this.#kill(entry)
        keydir.update(entry, segment, offset, size, sequence, expiresAtMs)
      }
    } catch (error) {
      this.reload(error)
    }
  }

  #applyRemove(entry: Entry, key: Uint8Array, keySize: number): void {
    try {
      if (this.views.openCount > 0) this.views.save(entry, key, keySize)
      this.#kill(entry)
      this.#keydir.remove(entry)
    } catch (error) {
      this.reload(error)
    }
  }

  #kill(entry: Entry): void {
    const { entries } = this.#keydir
    this.segments.get(entries.segmentOf(entry)).usage.kill(entries.sizeOf(entry))
  }

  /** A record larger than the stage is written at once, and applied when that has worked. */
  #putLarge(value: Uint8Array | string, expiresAtMs: number, total: number): Group {
    const { key } = this
    const writer = this.commits.reserveLarge(total)
    const entry = this.find()
    const bytes = typeof value === 'string' ? Buffer.from(value) : value
    const sequence = this.#takeSequence()
    const head = pageOf(Buffer.allocUnsafe(total - bytes.length))
    const keyAt = writeRecordHeader(
      head.view,
      0,
      PUT,
      0,
      key.size,
      bytes.length,
      sequence,
      expiresAtMs,
    )
    head.bytes.set(key.bytes.subarray(0, key.size), keyAt)
    head.view.setUint32(0, splitChecksum(head.bytes, bytes, this.#seed), true)
    const { offset, segment } = writer
    this.commits.writeThrough([head.bytes, bytes])
    segment.usage.add(PUT, total, sequence, expiresAtMs)
    this.#applyPut(entry, key.bytes, key.size, segment.id, offset, total, sequence, expiresAtMs)
    return this.commits.join(1, total)
  }

  #commitLargeBatch(page: Page, size: number, count: number): Group {
    const total = size + BATCH_END_SIZE
    const writer = this.commits.reserveLarge(total)
    const { offset, segment } = writer
    const firstSequence = this.#nextSequence
    this.#sealBatch(page, 0, size, count)
    const end = pageOf(Buffer.allocUnsafe(BATCH_END_SIZE))
    const sequence = firstSequence + count
    this.#nextSequence = sequence + 1
    writeBatchEnd(end, 0, count, sequence, this.#seed)
    this.commits.writeThrough([page.bytes.subarray(0, size), end.bytes])
    const keydir = this.#keydir
    this.#applyBatch(page, 0, size, offset, undefined)
    // A keydir that was loaded anew meanwhile has counted the whole batch.
    if (this.#keydir === keydir) segment.usage.add(BATCH_END, BATCH_END_SIZE, sequence, 0)
    return this.commits.join(count, total)
  }

  /** Gives a batch's members their sequences and checksums. */
  #sealBatch(page: Page, start: number, size: number, count: number): void {
    const fields = new RecordFields()
    let sequence = this.#nextSequence
    for (let at = start; at < start + size; at += fields.size) {
      fields.readHeader(page, at, start + size)
      writeSequence(page.view, at, sequence++)
      writeChecksum(page, at, at + fields.size, this.#seed)
    }
    if (sequence !== this.#nextSequence + count) throw new Error('A batch has lost a member')
  }

  /**
   * Applies a batch's members.
   *
   * @param shift what to add to a place in the page for its offset in the file
   * @param stagedBy where the batch is staged; otherwise it is written already
   */
  #applyBatch(
    page: Page,
    start: number,
    size: number,
    shift: number,
    stagedBy: Writer | undefined,
  ): void {
    const fields = new RecordFields()
    const segment = this.commits.writer.segment
    const keydir = this.#keydir
    for (let at = start; at < start + size; at += fields.size) {
      fields.readHeader(page, at, start + size)
      const { kind, sequence, expiresAtMs, keySize } = fields
      const key = page.bytes.subarray(fields.keyAt, fields.keyAt + keySize)
      const entry = this.findKey(key, keySize)
      // A keydir that was loaded anew meanwhile has seen all of a batch that is written.
      if (stagedBy === undefined && this.#keydir !== keydir) return
      if (stagedBy === undefined) {
        segment.usage.add(kind, fields.size, sequence, expiresAtMs)
      } else {
        this.#undo.remember(stagedBy.stagedCount, this.#keydir, entry)
        stagedBy.stage(kind, fields.size, sequence, expiresAtMs)
        this.#nextSequence = sequence + 1
      }
      if (kind === PUT) {
        this.#applyPut(
          entry,
          key,
          keySize,
          segment.id,
          at + shift,
          fields.size,
          sequence,
          expiresAtMs,
        )
      } else if (entry !== NO_ENTRY) {
        this.#applyRemove(entry, key, keySize)
      }
    }
  }
}

function sequencesUsedUp(): StoreError {
  return new StoreError('FIRKIN_WRITE_FAILED', 'All sequences are used up')
}
