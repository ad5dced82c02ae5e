/**
 * The engine: keys and values as bytes, on top of segments and a keydir.
 *
 * put:  reserve room -> encode the record -> find the key -> save its location for the undo and open views -> keydir
 *       -> stage the record
 * get:  find the key -> locate the record -> verify it
 * What is staged is written by group-commit.ts.
 *
 * Invariants
 * - Staging records and changing the keydir are one step, which is made or not, whatever throws. The keydir comes first,
 *   with all that may be refused; staging never fails.
 * - Where what was changed cannot be changed back, the keydir is loaded anew from what is written and staged; where that
 *   fails too the store is poisoned, and shows nothing until it could be loaded.
 * - Where a group cannot be written, the keydir and all figures are put back to what they were before it.
 * - A keydir restored from a checkpoint may turn out to be damaged wherever it is touched; it is then loaded
 *   anew, from all that has been written, and the operation goes on with the new one. Nobody else touches it before
 *   all of it was read: see `wholeKeydir`.
 */

import assert from 'node:assert/strict'
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
import { NoMemory } from '../io/memory.ts'
import { Location } from '../keydir/entries.ts'
import {
  type Entry,
  type EntryHolder,
  type Keydir,
  type KnownKeydir,
  NO_ENTRY,
} from '../keydir/keydir.ts'
import { isSparse, repacked } from '../keydir/repack.ts'
import type { SyncPolicy } from '../options.ts'
import { type ChunkReader, DamagedCheckpoint } from '../recovery/checkpoint-file.ts'
import { type Recovered, reloadKeydir } from '../recovery/recovery.ts'
import type { EventLoop } from '../scheduling/event-loop.ts'
import { Disposal } from '../segment/disposal.ts'
import type { Segment } from '../segment/segment.ts'
import type { Segments } from '../segment/segments.ts'
import { type Expiry, hasExpired, wholeMs } from '../segment/sweeps.ts'
import { SegmentUsage } from '../segment/usage.ts'
import { STAGE_SIZE } from '../segment/writer.ts'
import { Durability } from './durability.ts'
import { KeyBuffer, ownBytes } from './encoding.ts'
import type { Group } from './group.ts'
import { GroupCommit } from './group-commit.ts'
import { KeydirLost, LostKeydir } from './lost-keydir.ts'
import type { ResolvedRange } from './range.ts'
import { ReadAhead, type Wanted } from './read-ahead.ts'
import { Slab } from './slab.ts'
import { type Span, UndoLog } from './undo.ts'
import { type LookAhead, ViewCursor } from './view-cursor.ts'
import { type FoundEntry, type View, Views } from './views.ts'

/** What the engine needs to be told. */
export interface EngineOptions {
  readonly readOnly: boolean
  readonly verifyReads: boolean
  readonly maxSegmentBytes: number
  readonly maxOpenFiles: number
  readonly sync: SyncPolicy
  readonly clock: () => number
}

/** A moment, and which records there were. */
export interface Present extends Expiry {
  /** The sequence that the next record was to get. */
  readonly nextSequence: number
}

/** What the engine tells. */
export interface EngineListener {
  /** All that was written before is durable. */
  synced(): void
  /** A new segment was begun. */
  rotated(segmentId: number): void
  /**
   * The event loop does not turn: what is due is to be done now, after so many bytes were written. Nothing is staged.
   */
  stalled(byteCount: number): void
  /** Something failed that no caller waits for. */
  failed(error: StoreError): void
  /** The checkpoint was damaged, or could not be read; the keydir was loaded anew. */
  reloaded(why: StoreError): void
}

/** More than the places of a keydir's entries: a walk's place says of which keydir it is. */
const PLACES = 2 ** 32
/** So many keys are moved in one go: that takes some milliseconds. */
const MOST_AT_ONCE = 10_000

/** Keys and values as bytes. */
export class Engine {
  readonly views: Views
  readonly durability: Durability
  /** Reads ahead for iterators. */
  readAhead: ReadAhead
  readonly options: EngineOptions
  /**
   * The key of the operation that is under way. From its encoding to the operation's end nothing of the caller's runs:
   * codecs, clocks and getters come before, for each of them may begin another operation.
   */
  readonly key = new KeyBuffer()

  /** Where the value that was read last lies. */
  page: Page = pageOf(Buffer.alloc(0))
  valueAt = 0
  valueEnd = 0

  #seed: number
  readonly #listener: EngineListener
  readonly #undo = new UndoLog()
  readonly #slab = new Slab()
  readonly #location = new Location()
  #segments: Segments
  /** Segments that are not of the set any more, and the id of the first view that cannot look into them. */
  #retired: { readonly segment: Segment; readonly viewId: number }[] = []
  /** The segments of a store that another has taken the place of, likewise. */
  #former: { readonly segments: Segments; readonly viewId: number }[] = []
  #keydir: Keydir
  /** How often the keydir was replaced. */
  #keydirNumber = 0
  /** Where the keydir gets what it has not been asked for yet. */
  #chunks: ChunkReader | undefined
  #commits: GroupCommit | undefined
  #nextSequence: number
  /** The moment that was noted last of those by which entries were forgotten. */
  #marked: Present | undefined
  readonly #disposal: Disposal

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
    this.#seed = storeSeed(recovered.segments.context.storeId)
    this.#listener = listener
    this.readAhead = new ReadAhead(this.#seed)
    this.#disposal = new Disposal(
      () => this.#segments.context.files,
      options.maxOpenFiles,
      (error) => listener.failed(error),
    )
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
      undo: (page, stagedSize) => this.#undoGroup(page, stagedSize),
      stalled: (byteCount) => {
        this.durability.catchUp()
        listener.stalled(byteCount)
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

  /**
   * The moment that `lookup` holds what expires against: the clock is looked at only where anything expires. The clock
   * is the caller's, and may call any method: so this comes before the key is encoded.
   */
  moment(): number {
    return this.mayExpire() ? this.options.clock() : 0
  }

  /** Whether anything expires at some time. */
  mayExpire(): boolean {
    try {
      return this.#keydir.entries.expiringCount > 0
    } catch (error) {
      this.reload(error)
      return this.#keydir.entries.expiringCount > 0
    }
  }

  /** Finds the key in `this.key`; {@link NO_ENTRY} where it is not there or had expired at {@link moment}. */
  lookup(nowMs: number): Entry {
    const entry = this.find()
    return entry === NO_ENTRY || !this.#hasExpired(entry, nowMs) ? entry : NO_ENTRY
  }

  /**
   * Does what is due by time where no timer can. It comes before a write begins, and before its key is encoded: what is
   * due may look at the caller's clock.
   */
  attend(): void {
    this.#commits?.attend()
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

  /**
   * Opens a view of the present. What is staged is written before, so that the view shows nothing that a failed write
   * could take back; where that fails its callers are told, and the view shows what there was without it.
   */
  openView(): View {
    const nowMs = this.options.clock()
    this.#commits?.writeStaged()
    try {
      return this.views.open({ nowMs, sweeps: this.#segments.sweeps })
    } catch (error) {
      this.reload(error)
      return this.views.open({ nowMs, sweeps: this.#segments.sweeps })
    }
  }

  /** Finds the key in `this.key` as a view sees it. */
  findIn(view: View, found: FoundEntry): boolean {
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
   * Reads the record of an entry that `holder` has, the keydir or the versions of a view; its value then lies in
   * `this.page` from `valueAt` up to `valueEnd`, until the next read.
   *
   * @throws {@link CorruptionError} where it does not match its checksum
   */
  read(holder: EntryHolder, entry: Entry): void {
    const location = this.#location
    holder.entries.locate(entry, location)
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
   * @throws {@link StoreError} FIRKIN_NO_MEMORY, FIRKIN_WRITE_FAILED, FIRKIN_POISONED; nothing has changed then
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
    this.#applyPut(writer.stagedCount, writer.segment.id, offset, total, sequence, expiresAtMs)
    if (isLarge) writer.stageUnsealed(PUT, total, sequence, expiresAtMs)
    else writer.stage(PUT, total, sequence, expiresAtMs)
    this.#nextSequence = sequence + 1
    return this.commits.join(1, total)
  }

  /**
   * Removes the key in `this.key`.
   *
   * @param nowMs {@link moment}
   * @returns the group that the tombstone is written with; `undefined` where the key was not there
   */
  remove(nowMs: number): Group | undefined {
    const { key } = this
    const { commits } = this
    if (this.lookup(nowMs) === NO_ENTRY) return undefined
    const size = recordSize(key.size, 0, false)
    const writer = commits.reserveFreeing(size)
    // Making room may have taken back a group that could not be written, and the key with it.
    const entry = this.lookup(nowMs)
    if (entry === NO_ENTRY) return undefined
    const sequence = this.#freeSequence()
    const { page, stagedSize: at } = writer
    const keyAt = writeRecordHeader(page.view, at, TOMBSTONE, 0, key.size, 0, sequence, 0)
    copyBytes(key.bytes, 0, key.size, page.bytes, keyAt)
    writeChecksum(page, at, at + size, this.#seed)
    this.#applyRemove(writer.stagedCount, entry)
    writer.stage(TOMBSTONE, size, sequence, 0)
    this.#nextSequence = sequence + 1
    return this.commits.joinFreeing(1, size)
  }

  /**
   * Writes the members of a batch: whole records but for sequence and checksum, `page` from 0 up to `size`.
   * The page is the engine's to change.
   *
   * @param isFreeing whether it consists of deletes, which give room back
   * @throws {@link StoreError} FIRKIN_NO_MEMORY, FIRKIN_WRITE_FAILED, FIRKIN_POISONED; nothing has changed then
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
    const added = this.#sealBatch(span, count)
    const sequence = this.#nextSequence + count
    writeBatchEnd(stage, span.end, count, sequence, this.#seed)
    this.#applyBatch(span, writer.segment.id, offset - start)
    writer.stageAll(added, total, count + 1)
    this.#nextSequence = sequence + 1
    return isFreeing ? commits.joinFreeing(count, total) : commits.join(count, total)
  }

  /** The present, for a look for what has expired; what is put while that goes on is none of it. */
  present(): Present {
    const nowMs = wholeMs(this.options.clock())
    const { sweeps } = this.#segments
    this.#segments.clockMs = nowMs
    return { nowMs, sweeps, nextSequence: this.#nextSequence }
  }

  /** Whether an entry had expired at some moment, and was there already. */
  hasExpired(entry: Entry, at: Present): boolean {
    const { entries } = this.#keydir
    return hasExpired(entries, entry, at) && entries.sequenceOf(entry) < at.nextSequence
  }

  /**
   * Removes an entry that has expired, without a tombstone: whoever reads its record sees the same.
   *
   * @param at the moment by which it had expired, so that it stays gone whatever the clock says later; without it, the
   * record goes as well
   */
  forget(entry: Entry, at?: Present): void {
    if (at !== undefined && at !== this.#marked) this.#mark(at)
    try {
      const view = this.#keydir.entries.keyView(entry)
      this.#drop(entry, view, view.length)
    } catch (error) {
      this.#mend(error)
    }
  }

  /**
   * Visits entries of the keydir from `place` on; see `Entries.walk`. Where the keydir is replaced meanwhile the walk
   * ends, and is to begin again: a place that it has answered before is the beginning of another keydir.
   */
  walk(place: number, limit: number, visit: (entry: Entry) => void): number {
    const keydir = this.#keydir
    const first = this.#keydirNumber * PLACES
    const isOfThis = place >= first && place < first + PLACES
    try {
      const next = keydir.entries.walk(isOfThis ? place - first : 0, limit, (entry) => {
        if (this.#keydir === keydir) visit(entry)
      })
      if (this.#keydir !== keydir) return 0
      return next === -1 ? -1 : next + first
    } catch (error) {
      this.reload(error)
      return 0
    }
  }

  /**
   * Points a key to the copy of its record, or counts the copy as dead where the key has a newer record; answers whether
   * the key points to it.
   */
  repoint(segment: Segment, offset: number, fields: RecordFields, page: Page): boolean {
    const { size, sequence, expiresAtMs, keySize } = fields
    const key = page.bytes.subarray(fields.keyAt, fields.keyAt + keySize)
    const keydir = this.#keydir
    try {
      const entry = keydir.find(key, keySize)
      if (entry !== NO_ENTRY && keydir.entries.sequenceOf(entry) === sequence) {
        keydir.update(entry, segment.id, offset, size, sequence, expiresAtMs)
        return true
      }
      segment.usage.kill(size)
    } catch (error) {
      // A merge cannot be taken back by now. One that is loaded anew has seen the copies.
      if (isLost(error)) this.reload(error)
      else this.rebuild()
    }
    return false
  }

  /** Begins a new segment, so that the active one can be merged; false where it is empty. */
  rotate(): boolean {
    const { active } = this.segments
    this.commits.writeStaged()
    if (active === undefined || active.usage.maxSequence === 0) return false
    this.commits.rotate(true)
    return true
  }

  /** Loads the keydir anew after it was found to be damaged, or lost. @throws `error` where it was something else */
  reload(error: unknown): void {
    if (!isLost(error)) throw error
    this.rebuild()
    if (error instanceof DamagedCheckpoint) this.#listener.reloaded(error.told)
  }

  /**
   * Loads the keydir anew, from all that the segments of the set hold, and what is staged. Where that fails the store
   * is poisoned; each read tries once more.
   *
   * @throws {@link StoreError} FIRKIN_POISONED
   */
  rebuild(): void {
    const staged = this.#commits?.writer ?? { page: this.page, stagedSize: 0 }
    const { kind } = this.#keydir
    try {
      this.#take(reloadKeydir(this.segments, kind, staged.page, staged.stagedSize))
    } catch (error) {
      const why = 'The keydir was lost and could not be rebuilt; open the store again to write'
      const poison = this.durability.poison(error, why)
      const lost = new LostKeydir(this.#keydir, error)
      this.#keydir = lost
      this.#keydirNumber++
      this.views.loseKeydir(lost)
      throw poison
    }
    this.views.replaceKeydir(this.#keydir)
  }

  /**
   * Gives back the memory of entries that are gone, step by step, where that is worth it; nothing may write meanwhile.
   * Open views go on with the new keydir, and cursors find their place in it.
   */
  *shrink(): Generator<void, void> {
    const keydir = this.#keydir
    if (!isSparse(keydir)) return
    try {
      const fresh = yield* repacked(keydir)
      if (this.#keydir !== keydir) return
      this.#take(fresh)
      this.views.replaceKeydir(fresh)
      // A cursor may still read the key that it gave last.
      if (this.views.openCount === 0) keydir.release()
    } catch (error) {
      // Where there is no memory for a smaller one, the present one serves.
      if (error instanceof NoMemory) return
      // What is loaded anew is as small.
      this.reload(error)
    }
  }

  /** As {@link shrink}, at once, where that takes no longer than a moment. */
  shrinkNow(): void {
    if (this.#keydir.size > MOST_AT_ONCE) return
    for (const _ of this.shrink());
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
    this.#install(recovered)
  }

  /** Takes the store that has taken the place of the one that a read-only store was opened on; open views end. */
  replaceByAnother(recovered: Recovered): void {
    // Their segments may have the same ids. Who copies from them goes on to the end.
    this.#former.push({ segments: this.#segments, viewId: this.views.nextId })
    this.#retired = []
    this.views.end(
      new StoreError(
        'FIRKIN_READ_FAILED',
        `Another store has taken the place of ${this.#segments.context.directory}; this shows what is gone`,
      ),
    )
    this.#seed = storeSeed(recovered.segments.context.storeId)
    this.readAhead = new ReadAhead(this.#seed)
    this.#install(recovered)
  }

  #install(recovered: Recovered): void {
    this.#segments = recovered.segments
    this.#keydir = recovered.keydir
    this.#keydirNumber++
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

  /**
   * Lets go of the retired segments that no view can look into any more, of up to `most`, and returns them. Their files are
   * closed after this turn: delete what is to be deleted of them before. Where many wait to be closed, that is one.
   */
  releaseRetired(most = Number.POSITIVE_INFINITY): Segment[] {
    const oldest = this.views.oldestOpenId
    for (const { segments, viewId } of this.#former) if (viewId <= oldest) segments.close()
    this.#former = this.#former.filter(({ viewId }) => viewId > oldest)
    const atMost =
      most === Number.POSITIVE_INFINITY ? most : Math.min(most, this.#disposal.room + 1)
    const released: Segment[] = []
    this.#retired = this.#retired.filter(({ segment, viewId }) => {
      if (viewId > oldest || released.length === atMost) return true
      released.push(segment)
      return false
    })
    for (const segment of released) {
      this.segments.drop(segment)
      const remains = segment.leave()
      if (remains !== undefined) this.#disposal.take(remains)
    }
    return released
  }

  /** Whether {@link releaseRetired} has something to let go of. */
  get mayRelease(): boolean {
    const oldest = this.views.oldestOpenId
    return this.#retired.some(({ viewId }) => viewId <= oldest)
  }

  /** Resolves when the files of all segments that were let go of are closed. */
  async settle(): Promise<void> {
    await this.#disposal.settle()
  }

  /** Closes every file, and gives the keydir's memory back. */
  close(): void {
    this.segments.close()
    for (const { segments } of this.#former) segments.close()
    this.#keydir.release()
  }

  /** Verifies a record, and finds its value in it, or in a copy where that costs nothing more. */
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

  /** Takes note of a moment by which entries are forgotten. */
  #mark(at: Present): void {
    const { nowMs: atMs, nextSequence } = at
    this.#segments.sweeps = this.#segments.sweeps.with({ atMs, nextSequence })
    this.#marked = at
  }

  /** Takes another keydir, all of which is in memory. */
  #take(keydir: Keydir): void {
    this.#keydir = keydir
    this.#keydirNumber++
    this.#chunks?.close()
    this.#chunks = undefined
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

  #hasExpired(entry: Entry, nowMs: number): boolean {
    if (nowMs === 0) return false
    const { entries } = this.#keydir
    const expiresAtMs = entries.expiresAtOf(entry)
    if (expiresAtMs === 0) return false
    if (expiresAtMs <= nowMs) return true
    const { sweeps } = this.#segments
    return expiresAtMs <= sweeps.latestMs && sweeps.covers(expiresAtMs, entries.sequenceOf(entry))
  }

  /** Puts the keydir back to what it was before the group that was staged. */
  #undoGroup(page: Page, stagedSize: number): void {
    const { segment } = this.commits.writer
    this.#takeBack({ page, start: 0, end: stagedSize, firstNumber: 0 }, segment)
  }

  /**
   * Puts the keydir back to what it was before some records. Never fails: where that cannot be done the keydir is loaded
   * anew, by this call or by the next read.
   *
   * @param segment what the records were counted in; `undefined` where they were not counted yet
   */
  #takeBack(span: Span, segment: Segment | undefined): void {
    // An iterator may have found its place since, in what is taken back.
    this.views.version++
    try {
      this.#undo.rollBack(this.#keydir, this.segments, span, segment)
    } catch (error) {
      this.#reloadIfPossible(error)
    }
  }

  /**
   * Sees to it that the keydir is sound after a change of it has failed: as it was, or loaded anew. Returns where the
   * change is to be made again, in a keydir that was loaded anew.
   *
   * @throws `error` where the keydir is not to blame
   */
  #mend(error: unknown): void {
    if (isLost(error)) this.reload(error)
    else {
      // For want of memory a change is not begun. What else there is may have come in the middle of it.
      if (!(error instanceof NoMemory)) this.#reloadIfPossible(error)
      throw error
    }
  }

  #reloadIfPossible(error: unknown): void {
    try {
      if (isLost(error)) this.reload(error)
      else this.rebuild()
    } catch {
      // The store is poisoned by now, has told why, and tries again with each read.
    }
  }

  /** The sequence of the next record, which is taken once the record stands. */
  #freeSequence(): number {
    if (this.#nextSequence >= MAX_SEQUENCE) throw sequencesUsedUp()
    return this.#nextSequence
  }

  /** Points the key in `this.key` to the record with a number in the group; or changes nothing, and throws. */
  #applyPut(
    number: number,
    segment: number,
    offset: number,
    size: number,
    sequence: number,
    expiresAtMs: number,
  ): void {
    const { bytes, size: keySize } = this.key
    const entry = this.find()
    try {
      this.#point(number, entry, bytes, keySize, segment, offset, size, sequence, expiresAtMs)
    } catch (error) {
      this.#mend(error)
      const found = this.find()
      this.#point(number, found, bytes, keySize, segment, offset, size, sequence, expiresAtMs)
    }
  }

  /** Removes the entry of the key in `this.key`; or changes nothing, and throws. */
  #applyRemove(number: number, entry: Entry): void {
    const { bytes, size } = this.key
    try {
      this.#undo.remember(number, this.#keydir, entry)
      this.#drop(entry, bytes, size)
    } catch (error) {
      this.#mend(error)
      const found = this.find()
      this.#undo.remember(number, this.#keydir, found)
      if (found !== NO_ENTRY) this.#drop(found, bytes, size)
    }
  }

  /** Points a key to a record, whose number in the group is for the undo. Where it throws nothing has changed. */
  #point(
    number: number,
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
    this.#undo.remember(number, keydir, entry)
    if (this.views.openCount > 0) this.views.save(entry, key, keySize)
    if (entry === NO_ENTRY) {
      keydir.insert(key, keySize, segment, offset, size, sequence, expiresAtMs)
      return
    }
    const { entries } = keydir
    const { usage } = this.segments.get(entries.segmentOf(entry))
    const replacedSize = entries.sizeOf(entry)
    keydir.update(entry, segment, offset, size, sequence, expiresAtMs)
    usage.kill(replacedSize)
  }

  /** Takes an entry out of the keydir. Where it throws nothing has changed. */
  #drop(entry: Entry, key: Uint8Array, keySize: number): void {
    const keydir = this.#keydir
    if (this.views.openCount > 0) this.views.save(entry, key, keySize)
    const { entries } = keydir
    const { usage } = this.segments.get(entries.segmentOf(entry))
    const size = entries.sizeOf(entry)
    keydir.remove(entry)
    usage.kill(size)
  }

  /** Gives a batch's members their sequences and checksums, and counts them with the batch's end. */
  #sealBatch({ page, start, end }: Span, count: number): SegmentUsage {
    const fields = new RecordFields()
    const added = new SegmentUsage()
    let sequence = this.#nextSequence
    for (let at = start; at < end; at += fields.size) {
      fields.readHeader(page, at, end)
      writeSequence(page.view, at, sequence)
      writeChecksum(page, at, at + fields.size, this.#seed)
      added.add(fields.kind, fields.size, sequence++, fields.expiresAtMs)
    }
    if (sequence !== this.#nextSequence + count) throw new Error('A batch has lost a member')
    added.add(BATCH_END, BATCH_END_SIZE, sequence, 0)
    return added
  }

  /**
   * Applies a batch's members to the keydir: all of them; or none, and throws.
   *
   * @param shift what to add to a place in the page for its offset in the file
   */
  #applyBatch(span: Span, segment: number, shift: number): void {
    const { page, start, end, firstNumber } = span
    const fields = new RecordFields()
    let number = firstNumber
    let at = start
    try {
      for (; at < end; at += fields.size) {
        fields.readHeader(page, at, end)
        const { keyAt, keySize } = fields
        const key = page.bytes.subarray(keyAt, keyAt + keySize)
        const entry = this.#keydir.find(key, keySize)
        if (fields.kind === PUT) {
          const { size, sequence, expiresAtMs } = fields
          const offset = at + shift
          this.#point(number, entry, key, keySize, segment, offset, size, sequence, expiresAtMs)
        } else {
          this.#undo.remember(number, this.#keydir, entry)
          if (entry !== NO_ENTRY) this.#drop(entry, key, keySize)
        }
        number++
      }
    } catch (error) {
      if (error instanceof NoMemory)
        this.#takeBack({ page, start, end: at, firstNumber }, undefined)
      this.#mend(error)
      // The one that was loaded anew has seen none of them.
      this.#applyBatch(span, segment, shift)
    }
  }
}

/** Whether a keydir is of no use any more, and is to be loaded anew. */
function isLost(error: unknown): boolean {
  return error instanceof DamagedCheckpoint || error instanceof KeydirLost
}

function sequencesUsedUp(): StoreError {
  return new StoreError('FIRKIN_WRITE_FAILED', 'All sequences are used up')
}
