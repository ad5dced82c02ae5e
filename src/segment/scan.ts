/**
 * Reads a segment from front to back, for recovery, merges, hints and the tool.
 *
 * 1. Read the next record and verify it.
 * 2. Hold back the members of a batch until its end proves that they are all there.
 * 3. Stop at the first bytes that are not a record. The caller decides whether they are torn or
 *    corrupt; `findRecord` finds out whether records follow them.
 */

import { CorruptionError } from '../errors.ts'
import {
  BATCH_END,
  DAMAGED,
  IN_BATCH,
  KIND_AT,
  keyOffset,
  MAX_HEAD_SIZE,
  MAX_PREALLOCATION_SIZE,
  MAX_SEQUENCE,
  MIN_RECORD_SIZE,
  type Page,
  pageOf,
  RecordFields,
  SHORT,
} from '../format/record.ts'
import type { FileDescriptor, Files } from '../io/files.ts'
import { allocateBuffer } from '../io/memory.ts'
import { Window } from './window.ts'

/** A larger record gets memory only after its checksum matches, because its size may be damaged. */
const UNVOUCHED_SIZE = 1024 * 1024

/**
 * Called for each record; `fields.keyAt` and `valueAt` lie in `page`, the record began at `offset`.
 * If it returns `false` the scan ends after the record.
 */
// biome-ignore lint/suspicious/noConfusingVoidType: most visitors never end the scan.
export type RecordVisitor = (fields: RecordFields, page: Page, offset: number) => void | false

/** The part of a file that is scanned, and what its records must be like. */
export interface ScanOptions {
  readonly files: Files
  readonly file: FileDescriptor
  /** Where the first record begins. */
  readonly from: number
  /** Where the last record ends. */
  readonly to: number
  readonly seed: number
  /**
   * Whether sequences must ascend, as they do in an appended segment.
   *
   * @defaultValue false
   */
  readonly ascending?: boolean
  /**
   * `'whole'` holds a batch's members back until its end is seen, and then visits them without
   * their values. `'loose'` visits each record as it comes, for a sealed segment, in which every
   * batch is known to be whole.
   *
   * @defaultValue 'loose'
   */
  readonly batches?: 'whole' | 'loose'
  /**
   * Whether the values of large records are wanted, too; if not, no memory is taken for them.
   *
   * @defaultValue true
   */
  readonly values?: boolean
  /**
   * From where on zeros up to the end are preallocated space, see FORMAT.md; without it they are a
   * fault everywhere.
   */
  readonly preallocatedFrom?: number | undefined
  /** A window over the same file to go on with; without it, one is lent for the scan. */
  readonly window?: Window
}

/** The end of a scan. */
export interface ScanEnd {
  /** Where the last record that counts ends; of an unfinished batch nothing counts. */
  readonly end: number
  /** The first bytes that are not a record; `undefined` if everything was read. */
  readonly faultAt: number | undefined
  /** A description of the fault, for a message. */
  readonly fault: string
  /** The highest sequence of the records that count. */
  readonly maxSequence: number
  /** Where the last record that counts begins; `undefined` if none does. */
  readonly lastAt: number | undefined
  /**
   * The number of preallocated bytes after `end`, including what was written into them meanwhile.
   * They are not a fault.
   */
  readonly preallocatedSize: number
}

/** Scans the records of a segment, up to the first fault. */
export function scanSegment(options: ScanOptions, visit: RecordVisitor): ScanEnd {
  const { preallocatedFrom = Number.POSITIVE_INFINITY } = options
  const scan = withWindow(options, (window) =>
    scanUntilStable(options, window, preallocatedFrom, visit),
  )
  if (scan.faultAt === undefined || scan.end < preallocatedFrom) return scan
  if (!hasCome(options, scan.end, scan.maxSequence)) return scan
  return { ...scan, faultAt: undefined, fault: '', preallocatedSize: options.to - scan.end }
}

/**
 * Scans records of which none may be damaged. Returns where the last one that was visited ends.
 *
 * @throws {@link CorruptionError} at the first fault
 */
export function scanSound(options: ScanOptions, path: string, visit: RecordVisitor): number {
  const { end, faultAt, fault } = scanSegment(options, visit)
  if (faultAt !== undefined) throw new CorruptionError(fault, path, faultAt)
  return end
}

/** Calls `look` with the caller's window, or with one that is lent to it. */
function withWindow<T>(options: ScanOptions, look: (window: Window) => T): T {
  const { files, file, to, window } = options
  return window === undefined ? Window.lend(files, file, to, look) : look(window)
}

/**
 * Scans until a fault is seen twice at the same place, if there may be preallocated space.
 *
 * Another process may be writing into that space, so that its end was read before what precedes it
 * was written. By now, all that precedes what was seen is there: so a fault counts if it is seen
 * again.
 */
function scanUntilStable(
  options: ScanOptions,
  window: Window,
  preallocatedFrom: number,
  visit: RecordVisitor,
): ScanEnd {
  let scan = scanPart(options, window, options.from, 0, visit)
  for (let seenAt = -1; scan.faultAt !== undefined && scan.end >= preallocatedFrom; ) {
    if (scan.end === seenAt) break
    seenAt = scan.end
    window.forget()
    const rest = scanPart(options, window, scan.end, scan.maxSequence, visit)
    const maxSequence = Math.max(scan.maxSequence, rest.maxSequence)
    scan = { ...rest, maxSequence, lastAt: rest.lastAt ?? scan.lastAt }
  }
  return scan
}

/** Returns whether what begins at `from` is whole, and was written after the scan took the size. */
function hasCome(options: ScanOptions, from: number, above: number): boolean {
  const { files, file } = options
  const to = files.size(file)
  if (to <= options.to) return false
  const now = { ...options, to, preallocatedFrom: undefined }
  return Window.lend(files, file, to, (window) => {
    return scanPart(now, window, from, above, () => false).end > from
  })
}

/** Scans from `from` on, up to the first fault; sequences that ascend are above `above`. */
function scanPart(
  options: ScanOptions,
  window: Window,
  from: number,
  above: number,
  visit: RecordVisitor,
): ScanEnd {
  const { to, seed, ascending } = options
  const holdsBack = options.batches === 'whole'
  const fields = new RecordFields()
  const batch = new PendingBatch()
  let at = from
  let end = from
  let lastSequence = above
  let maxSequence = 0
  let lastAt: number | undefined
  const stop = (faultAt?: number, fault = '', preallocatedSize = 0): ScanEnd => {
    return { end, faultAt, fault, maxSequence, lastAt, preallocatedSize }
  }

  while (at < to) {
    const place = window.show(at, MAX_HEAD_SIZE)
    let size = fields.readHeader(window.page, place, window.end)
    if (size > 0) {
      if (at + size > to) size = SHORT
      else if (place + size > window.end) size = readBeyond(options, window, fields, at)
      else if (!fields.verify(window.page, place, seed)) size = DAMAGED
    }
    if (size <= 0 && at === end && isPreallocated(window, at, options))
      return stop(undefined, '', to - at)
    if (size === SHORT) return stop(at, 'The record reaches beyond the end of the file')
    if (size === DAMAGED) return stop(at, 'The record does not match its checksum')
    const { kind, sequence } = fields
    if (ascending && sequence <= lastSequence) {
      return stop(at, `Sequence ${sequence} follows ${lastSequence}`)
    }
    lastSequence = sequence
    if (holdsBack && kind !== BATCH_END && (fields.flags & IN_BATCH) !== 0) {
      batch.add(window.page, fields, at)
      at += size
      continue
    }
    if (kind === BATCH_END) {
      if (holdsBack && !batch.deliver(fields.batchCount(window.page), sequence, visit)) {
        return stop(at, 'The batch end does not match its members')
      }
    } else if (batch.count > 0) return stop(at, 'A batch has no end')
    lastAt = at
    at += size
    end = at
    if (sequence > maxSequence) maxSequence = sequence
    // A batch end is visited too, since it takes space.
    if (visit(fields, window.page, lastAt) === false) return stop()
  }
  return batch.count > 0 ? stop(at, 'The last batch has no end') : stop()
}

/**
 * Verifies a record that reaches beyond what the window shows, and shows it.
 *
 * @returns its size, {@link SHORT} or {@link DAMAGED}
 */
function readBeyond(
  { seed, values }: ScanOptions,
  window: Window,
  fields: RecordFields,
  at: number,
): number {
  const { size, valueSize } = fields
  if (size <= UNVOUCHED_SIZE) {
    const place = window.show(at, size)
    return fields.read(window.page, place, window.end, seed)
  }
  if (!window.vouchesFor(at, size, seed)) return DAMAGED
  const place = window.show(at, values === false ? size - valueSize : size)
  fields.readHeader(window.page, place, window.end)
  return size
}

/** Returns whether all from `at` on is preallocated; it may have been cut off meanwhile. */
function isPreallocated(
  window: Window,
  at: number,
  { to, preallocatedFrom }: ScanOptions,
): boolean {
  const size = to - at
  const mayBe = preallocatedFrom !== undefined && at >= preallocatedFrom
  if (!mayBe || size > MAX_PREALLOCATION_SIZE) return false
  const place = window.show(at, size)
  const end = Math.min(place + size, window.end)
  return window.page.bytes.subarray(place, end).every((byte) => byte === 0)
}

/**
 * Looks for the next whole record from `options.from` on, byte by byte.
 *
 * @param above the record's sequence must be higher
 * @returns its offset, or `undefined` if there is none
 */
export function findRecord(options: ScanOptions, above: number): number | undefined {
  return withWindow(options, (window) => findIn(window, options, above))
}

function findIn(window: Window, options: ScanOptions, above: number): number | undefined {
  const { to, seed } = options
  const fields = new RecordFields()
  for (let at = options.from; at + MIN_RECORD_SIZE <= to; at++) {
    const place = window.show(at, MAX_HEAD_SIZE)
    // The file was cut meanwhile, so that nothing is left to read.
    if (window.end - place < MIN_RECORD_SIZE) return undefined
    const size = fields.readHeader(window.page, place, window.end)
    if (size === DAMAGED) {
      // A record's kind is never zero, so that none begins before these zeros end.
      const zeros = window.zerosFrom(place + KIND_AT)
      if (zeros > 0) at += zeros - 1
      continue
    }
    if (at + fields.size > to || fields.sequence <= above) continue
    // Sequences are dense: a number far beyond what the file can hold is not a sequence.
    if (options.ascending && above > 0 && fields.sequence > nextPlausible(above, to)) continue
    if (fields.size > UNVOUCHED_SIZE) {
      if (window.vouchesFor(at, fields.size, seed)) return at
      continue
    }
    const start = window.show(at, fields.size)
    if (fields.read(window.page, start, window.end, seed) > 0) return at
  }
  return undefined
}

/** Failed groups may have left a gap in the sequences, but not an endless one. */
function nextPlausible(above: number, fileSize: number): number {
  return Math.min(MAX_SEQUENCE, above + fileSize * 1024)
}

/** The members of a batch whose end has not been seen: their records without the values. */
class PendingBatch {
  /** The number of members. */
  count = 0
  #heads = pageOf(Buffer.allocUnsafe(4096))
  #filled = 0
  /** Where each member lies in `heads`, and where it began in the file. */
  #places: number[] = []
  #firstSequence = 0
  #lastSequence = 0

  /** Adds the member that `fields` has read of a page, and that begins at `offset` of the file. */
  add(page: Page, fields: RecordFields, offset: number): void {
    const at = fields.keyAt - keyOffset(fields.flags)
    const size = keyOffset(fields.flags) + fields.keySize
    if (this.#filled + size > this.#heads.bytes.length) {
      const grown = allocateBuffer((this.#filled + size) * 2)
      this.#heads.bytes.copy(grown, 0, 0, this.#filled)
      this.#heads = pageOf(grown)
    }
    page.bytes.copy(this.#heads.bytes, this.#filled, at, at + size)
    this.#places.push(this.#filled, offset)
    this.#filled += size
    if (this.count === 0) this.#firstSequence = fields.sequence
    this.#lastSequence = fields.sequence
    this.count++
  }

  /**
   * Lets the members be visited at the end of their batch, if they are what the end says.
   *
   * @param count how many members the end counts
   * @param sequence the end's own
   * @returns whether they are
   */
  deliver(count: number, sequence: number, visit: RecordVisitor): boolean {
    if (!this.#isComplete(count, sequence)) return false
    const fields = new RecordFields()
    for (let index = 0; index < this.#places.length; index += 2) {
      fields.readHeader(this.#heads, this.#places[index] as number, this.#filled)
      visit(fields, this.#heads, this.#places[index + 1] as number)
    }
    this.count = 0
    this.#filled = 0
    this.#places = []
    return true
  }

  #isComplete(count: number, sequence: number): boolean {
    return (
      this.count > 0 &&
      this.count === count &&
      this.#lastSequence === sequence - 1 &&
      this.#firstSequence === sequence - count
    )
  }
}
