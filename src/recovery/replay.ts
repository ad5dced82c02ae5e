/**
 * Replay: fills a keydir from records. Only this file decides which of two records of a key is
 * newer.
 *
 * Invariants
 * - A record replaces another one of its key only if its sequence is higher. If the sequences are
 *   equal it is the same record, moved by a merge.
 * - A tombstone stays in the keydir, as an absence, while a segment that is still to be read may
 *   hold an older record of its key. `finish` removes absences.
 * - Records are applied in batches and in another order (load-batch.ts), except that the records of
 *   one key keep their order.
 * - Every put that is not in the keydir afterwards is counted as dead in its segment.
 */

import { StoreError } from '../errors.ts'
import { FILE_HEADER_SIZE, storeSeed } from '../format/file-header.ts'
import { HintDecoder } from '../format/hint.ts'
import { BATCH_END, type Page, PUT, RecordFields, TOMBSTONE } from '../format/record.ts'
import { errorCode } from '../io/files.ts'
import { growEagerly } from '../keydir/arena.ts'
import { type Entry, type Keydir, NO_ENTRY } from '../keydir/keydir.ts'
import { readFileHeader, type SegmentContext } from '../segment/file.ts'
import { readHintFile } from '../segment/hint-file.ts'
import { findRecord, type ScanEnd, scanSegment, scanSound } from '../segment/scan.ts'
import type { Segment } from '../segment/segment.ts'
import type { Segments } from '../segment/segments.ts'
import type { HeldRecord } from './held-records.ts'
import { LoadBatch } from './load-batch.ts'

/** The number of records from which on a keydir that takes them is given memory in large pieces. */
const MANY = 2 ** 16

/** Returns whether the records so far are enough for now. Once it returns true it always does. */
export type Enough = () => boolean

const NEVER: Enough = () => false

/** Called before each change of the keydir, with the key's entry, or none. */
type ChangeListener = (entry: Entry, key: Uint8Array, keySize: number) => void

/** Fills a keydir. */
export class Replay {
  readonly keydir: Keydir
  /** The number of records added. */
  recordCount = 0
  /**
   * Every record up to this sequence has been applied before. One that comes again was moved by a
   * merge, and counts only if it is still the newest of its key.
   */
  knownUpTo = 0
  readonly #segments: Segments
  readonly #beforeChange: ChangeListener
  /** The records that were added and are not applied yet. */
  #batch: LoadBatch | undefined
  #mayHaveAbsences = false

  constructor(keydir: Keydir, segments: Segments, beforeChange: ChangeListener = () => {}) {
    this.keydir = keydir
    this.#segments = segments
    this.#beforeChange = beforeChange
  }

  /** Applies a record. Records of its key that were added before it have been applied already. */
  #apply(record: HeldRecord): void {
    const { keydir } = this
    const { entries } = keydir
    const { kind, key, keySize, offset, size, sequence, expiresAtMs } = record
    const segment = this.#segments.get(record.segment)
    const entry = keydir.find(key, keySize)
    const isOld =
      entry === NO_ENTRY ? sequence <= this.knownUpTo : entries.sequenceOf(entry) > sequence
    if (isOld) {
      if (kind === PUT) segment.usage.kill(size)
      return
    }
    this.#beforeChange(entry, key, keySize)
    if (kind === PUT) {
      if (entry === NO_ENTRY) {
        keydir.insert(key, keySize, segment.id, offset, size, sequence, expiresAtMs)
      } else {
        this.#kill(entry)
        keydir.update(entry, segment.id, offset, size, sequence, expiresAtMs)
      }
    } else if (kind === TOMBSTONE) {
      if (entry !== NO_ENTRY) this.#kill(entry)
      if (record.keepAbsence) {
        this.#mayHaveAbsences = true
        if (entry === NO_ENTRY) keydir.insert(key, keySize, segment.id, 0, 0, sequence, 0)
        else keydir.update(entry, segment.id, 0, 0, sequence, 0)
      } else if (entry !== NO_ENTRY) {
        keydir.remove(entry)
      }
    }
  }

  /**
   * Loads sealed segments, from their hints if these are sound. Returns the segments without a
   * sound hint.
   *
   * @param keepAbsences whether older records of a tombstone's key may come from elsewhere
   * @throws {@link CorruptionError} if a segment without a hint is damaged
   */
  loadSealed(sealed: readonly Segment[], keepAbsences = false): Segment[] {
    const oldestFirst = [...sealed].sort((a, b) => a.usage.minSequence - b.usage.minSequence)
    const unhinted: Segment[] = []
    for (const [index, segment] of oldestFirst.entries()) {
      const following = oldestFirst[index + 1]?.usage.minSequence ?? Number.POSITIVE_INFINITY
      // In a merged segment an older record may follow a newer one.
      const own = segment.origin === 'merged' ? segment.usage.minSequence : Number.POSITIVE_INFINITY
      const olderFrom = keepAbsences ? 0 : Math.min(following, own)
      if (this.#loadHint(segment, olderFrom)) continue
      unhinted.push(segment)
      this.#loadByScan(segment, FILE_HEADER_SIZE, olderFrom)
    }
    return unhinted
  }

  /**
   * Loads the records of sealed segments that are after a position in the former tail: the rest of
   * the segment that was active then, and the segments after it. Returns the segments without a
   * sound hint.
   *
   * @throws {@link CorruptionError}
   */
  loadNewer({ tailId, tailSize }: { tailId: number; tailSize: number }): Segment[] {
    const rest = this.#segments.listed.find(({ id }) => id === tailId)
    if (rest !== undefined) this.#loadByScan(rest, Math.max(tailSize, FILE_HEADER_SIZE), 0)
    return this.loadSealed(
      this.#segments.listed.filter(({ id, origin }) => id > tailId && origin === 'appended'),
    )
  }

  /**
   * Applies the records of an appended segment from `from` on, and counts them in its usage. No
   * older record may come afterwards.
   *
   * @param known the size that is known to be whole; preallocated space may follow it
   * @param isEnough ends the scan after a record or a batch
   */
  replay(
    segment: Segment,
    from: number,
    to: number,
    known = from,
    isEnough: Enough = NEVER,
  ): ScanEnd {
    const { usage } = segment
    const options = { ...this.#scanOptions(segment, from, to), preallocatedFrom: known }
    const scan = scanSegment(options, (fields, page, offset) => {
      usage.add(fields.kind, fields.size, fields.sequence, fields.expiresAtMs)
      this.#add(fields, page, segment, offset, false)
      return isEnough() ? false : undefined
    })
    segment.lastReadAt = scan.lastAt ?? segment.lastReadAt
    return scan
  }

  /**
   * Applies some records of a sealed segment that was appended, from `from` on. No older record may
   * come afterwards. Returns where the rest begins.
   *
   * @throws {@link CorruptionError}
   */
  loadSome(segment: Segment, from: number, isEnough: Enough): number {
    const end = this.#loadByScan(segment, from, Number.POSITIVE_INFINITY, isEnough)
    this.finish()
    return end
  }

  /**
   * Returns the offset of the next record of an appended segment, at a fault or after it;
   * `undefined` if there is none. The fault itself may be a whole record, for example one in the
   * middle of a batch.
   */
  findFrom(segment: Segment, faultAt: number, to: number): number | undefined {
    const options = this.#scanOptions(segment, faultAt, to)
    return findRecord(options, segment.usage.maxSequence)
  }

  /** Applies the records that are staged after those of a segment, and counts them. */
  replayStage(segment: Segment, stage: Page, size: number): void {
    const fields = new RecordFields()
    for (let at = 0; at < size; at += fields.size) {
      fields.readHeader(stage, at, size)
      segment.usage.add(fields.kind, fields.size, fields.sequence, fields.expiresAtMs)
      this.#add(fields, stage, segment, segment.writtenSize + at, false)
    }
  }

  /**
   * Adds a record of a segment, whose fields were just read.
   *
   * @param keepAbsence whether an older record of a tombstone's key may still come
   */
  #add(
    fields: RecordFields,
    page: Page,
    segment: Segment,
    offset: number,
    keepAbsence: boolean,
  ): void {
    this.recordCount++
    if (fields.kind === BATCH_END) return
    this.#batch ??= LoadBatch.obtain(this.keydir)
    this.#batch.add(fields, page, segment.id, offset, keepAbsence)
    if (this.#batch.isFull) this.#applyAll(this.#batch)
  }

  /** Applies all records that were added. */
  #applyAll(batch: LoadBatch): void {
    const apply = (): void => {
      for (let record = batch.take(); record !== undefined; record = batch.take()) {
        this.#apply(record)
      }
    }
    if (batch.count < MANY) apply()
    else growEagerly(apply)
  }

  /** Applies the records that are still held back, and removes absences. */
  finish(): void {
    if (this.#batch !== undefined) {
      this.#applyAll(this.#batch)
      this.#batch.release()
      this.#batch = undefined
    }
    this.#dropAbsences()
  }

  #dropAbsences(): void {
    if (!this.#mayHaveAbsences) return
    const { entries } = this.keydir
    const absences: Entry[] = []
    const collect = (entry: Entry): void => {
      if (entries.sizeOf(entry) === 0) absences.push(entry)
    }
    for (let place = 0; place !== -1; ) {
      place = entries.walk(place, 4096, collect)
      for (const entry of absences.splice(0)) this.keydir.remove(entry)
    }
    this.#mayHaveAbsences = false
  }

  /** Loads a segment from its hint. Returns whether that is sound; if not, nothing was applied. */
  #loadHint(segment: Segment, olderFrom: number): boolean {
    const { files, storeId } = this.#segments.context
    const { usage } = segment
    try {
      const hint = readHintFile(files, segment.hintPath, usage.size)
      if (hint === undefined) return false
      const header = readFileHeader(hint, segment.hintPath, 'hint', {
        storeId,
        fileId: segment.id,
      })
      if (header === 'short') return false
      const decoder = HintDecoder.open(hint, storeId, usage.size)
      if (decoder === undefined) return false
      let putBytes = 0
      const { fields, page } = decoder
      while (decoder.next()) {
        if (fields.kind === PUT) putBytes += fields.size
        this.#add(fields, page, segment, decoder.offset, fields.sequence > olderFrom)
      }
      // The rest of the bytes are batch ends.
      usage.deadBytes += usage.size - FILE_HEADER_SIZE - usage.tombstoneBytes - putBytes
      return true
    } catch (error) {
      // Some of it may have been applied.
      if (error instanceof StoreError && error.code === 'FIRKIN_NO_MEMORY') throw error
      // A hint is a shortcut: whatever is wrong with it, the segment holds the same records.
      if (error instanceof StoreError || errorCode(error) !== undefined) return false
      throw error
    }
  }

  /** Loads the records of a sealed segment from `from` on. Returns the offset of the rest. */
  #loadByScan(segment: Segment, from: number, olderFrom: number, isEnough = NEVER): number {
    const { usage } = segment
    const options = this.#scanOptions(segment, from, usage.size)
    return scanSound(options, segment.path, (fields, page, offset) => {
      if (fields.kind === BATCH_END) usage.deadBytes += fields.size
      else this.#add(fields, page, segment, offset, fields.sequence > olderFrom)
      return isEnough() ? false : undefined
    })
  }

  #scanOptions(segment: Segment, from: number, to: number) {
    return scanOptionsOf(this.#segments.context, segment, from, to)
  }

  /** Counts the put that an entry points to as dead. */
  #kill(entry: Entry): void {
    const { entries } = this.keydir
    const size = entries.sizeOf(entry)
    if (size > 0) this.#segments.get(entries.segmentOf(entry)).usage.kill(size)
  }
}

/** Returns the options for a scan of a segment's records whose values are not needed. */
export function scanOptionsOf(
  { files, storeId }: SegmentContext,
  segment: Segment,
  from: number,
  to: number,
) {
  return {
    files,
    file: segment.file,
    from,
    to,
    seed: storeSeed(storeId),
    ascending: segment.origin === 'appended',
    batches: 'whole',
    values: false,
  } as const
}
