/**
 * Takes back a group that could not be written: puts the keydir and the figures of the segments
 * back to what they were.
 */

import {
  BATCH_END,
  BATCH_END_SIZE,
  MIN_RECORD_SIZE,
  type Page,
  PUT,
  RecordFields,
} from '../format/record.ts'
import { allocateBytes } from '../io/memory.ts'
import { type Entry, type Keydir, NO_ENTRY } from '../keydir/keydir.ts'
import type { Segment } from '../segment/segment.ts'
import type { Segments } from '../segment/segments.ts'
import { STAGE_SIZE } from '../segment/writer.ts'

const NUMBER = 0
const SEGMENT = 1
const OFFSET = 2
const SIZE = 3
const SEQUENCE = 4
const EXPIRES_AT = 5
const FIELDS = 6

/** Consecutive records of a group in a page. */
export interface Span {
  readonly page: Page
  readonly start: number
  readonly end: number
  /** The number in the group of the first of them. */
  readonly firstNumber: number
}

/**
 * Remembers what the records of a group replaced, so that the group can be taken back. Records are
 * numbered in their order in the group. Those that replaced nothing are not in the log.
 */
export class UndoLog {
  // As many as fit the stage; memory is taken only as it is touched. Only a larger stage may need
  // more.
  readonly #ofStage = numbers(FIELDS * Math.ceil(STAGE_SIZE / MIN_RECORD_SIZE))
  #replaced = this.#ofStage
  #used = 0

  /**
   * Remembers what the record with this number is about to replace.
   *
   * @throws {@link StoreError} FIRKIN_NO_MEMORY
   */
  remember(number: number, keydir: Keydir, entry: Entry): void {
    // The log may still hold records that were never made, or those of another group.
    if (this.#used > 0 && this.#last(NUMBER) >= number) this.forget(number)
    if (entry === NO_ENTRY) return
    if (this.#used === this.#replaced.length) this.#grow()
    const replaced = this.#replaced
    const at = this.#used
    const { entries } = keydir
    replaced[at + NUMBER] = number
    replaced[at + SEGMENT] = entries.segmentOf(entry)
    replaced[at + OFFSET] = entries.offsetOf(entry)
    replaced[at + SIZE] = entries.sizeOf(entry)
    replaced[at + SEQUENCE] = entries.sequenceOf(entry)
    replaced[at + EXPIRES_AT] = entries.expiresAtOf(entry)
    this.#used = at + FIELDS
  }

  /** Forgets the records from this number on: they are not to be taken back any more. */
  forget(number: number): void {
    if (number === 0) {
      this.#used = 0
      this.#replaced = this.#ofStage
    }
    while (this.#used > 0 && this.#last(NUMBER) >= number) this.#used -= FIELDS
  }

  /**
   * Puts keydir and usage back to what they were before the last records of the group, and forgets
   * them.
   *
   * @param segment the segment in which the records were counted; `undefined` if they were not
   * counted yet
   */
  rollBack(keydir: Keydir, segments: Segments, span: Span, segment: Segment | undefined): void {
    const { page, start, end, firstNumber } = span
    const fields = new RecordFields()
    const starts: number[] = []
    for (let at = start; at < end; at += fields.size) {
      starts.push(at)
      fields.readHeader(page, at, end)
    }
    // A change that failed half-way may have left a later entry.
    this.forget(firstNumber + starts.length)
    for (let index = starts.length - 1; index >= 0; index--) {
      fields.readHeader(page, starts[index] ?? 0, end)
      if (fields.kind === BATCH_END) {
        if (segment !== undefined) segment.usage.deadBytes -= BATCH_END_SIZE
        continue
      }
      const key = page.bytes.subarray(fields.keyAt, fields.keyAt + fields.keySize)
      const number = firstNumber + index
      if (fields.kind === PUT && keydir.find(key, key.length) === NO_ENTRY) {
        // It had expired in the same group, and was forgotten and counted as dead.
        segment?.usage.revive(fields.size)
      }
      this.#restore(number, keydir, segments, key, fields.kind === PUT)
    }
  }

  #restore(
    number: number,
    keydir: Keydir,
    segments: Segments,
    key: Uint8Array,
    wasPut: boolean,
  ): void {
    const entry = keydir.find(key, key.length)
    if (this.#used === 0 || this.#last(NUMBER) !== number) {
      if (wasPut && entry !== NO_ENTRY) keydir.remove(entry)
      return
    }
    const segment = this.#last(SEGMENT)
    const offset = this.#last(OFFSET)
    const size = this.#last(SIZE)
    const sequence = this.#last(SEQUENCE)
    const expiresAtMs = this.#last(EXPIRES_AT)
    if (entry === NO_ENTRY) {
      keydir.insert(key, key.length, segment, offset, size, sequence, expiresAtMs)
    } else {
      keydir.update(entry, segment, offset, size, sequence, expiresAtMs)
    }
    segments.get(segment).usage.revive(size)
    this.#used -= FIELDS
  }

  #last(field: number): number {
    return this.#replaced[this.#used - FIELDS + field] as number
  }

  #grow(): void {
    const grown = numbers(this.#replaced.length * 2)
    grown.set(this.#replaced)
    this.#replaced = grown
  }
}

function numbers(count: number): Float64Array {
  return new Float64Array(allocateBytes(count * Float64Array.BYTES_PER_ELEMENT).buffer)
}
