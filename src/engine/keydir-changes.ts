/**
 * Applies the records of a group to the keydir, and takes them back.
 *
 * 1. Remember what a record replaces, for the undo.
 * 2. Save it for the views that are open.
 * 3. Point the key to the record, or take it out, and count what it replaces as dead.
 *
 * Invariants
 * - A change is made, or it throws and nothing has changed.
 * - If a change cannot be taken back, the keydir is loaded again from what is written and staged.
 */

import { type Page, PUT, RecordFields } from '../format/record.ts'
import { NoMemory } from '../io/memory.ts'
import { type Entry, NO_ENTRY } from '../keydir/keydir.ts'
import type { Segment } from '../segment/segment.ts'
import type { LiveKeydir } from './live-keydir.ts'
import { type Span, UndoLog } from './undo.ts'

/** Applies records to a keydir. */
export class KeydirChanges {
  readonly #live: LiveKeydir
  readonly #undo = new UndoLog()

  constructor(live: LiveKeydir) {
    this.#live = live
  }

  /** Points a key to the record with this number in the group; or throws, and changes nothing. */
  put(
    key: Uint8Array,
    keySize: number,
    words: Uint32Array,
    number: number,
    segment: number,
    offset: number,
    size: number,
    sequence: number,
    expiresAtMs: number,
  ): void {
    const live = this.#live
    const entry = live.find(key, keySize, words)
    try {
      this.#point(number, entry, key, keySize, segment, offset, size, sequence, expiresAtMs)
    } catch (error) {
      live.mend(error)
      const found = live.find(key, keySize)
      this.#point(number, found, key, keySize, segment, offset, size, sequence, expiresAtMs)
    }
  }

  /**
   * Removes a key's entry by the tombstone with this number in the group; or throws, and changes
   * nothing.
   */
  remove(key: Uint8Array, keySize: number, number: number, entry: Entry): void {
    const live = this.#live
    try {
      this.#undo.remember(number, live.unguarded, entry)
      this.#drop(entry, key, keySize)
    } catch (error) {
      live.mend(error)
      const found = live.find(key, keySize)
      this.#undo.remember(number, live.unguarded, found)
      if (found !== NO_ENTRY) this.#drop(found, key, keySize)
    }
  }

  /**
   * Applies all members of a batch; or throws, and applies none.
   *
   * @param shift the difference between a record's offset in the file and its place in the page
   */
  applyBatch(span: Span, segment: number, shift: number): void {
    const live = this.#live
    const { page, start, end, firstNumber } = span
    const fields = new RecordFields()
    let number = firstNumber
    let at = start
    try {
      for (; at < end; at += fields.size) {
        fields.readHeader(page, at, end)
        const { keyAt, keySize } = fields
        const key = page.bytes.subarray(keyAt, keyAt + keySize)
        const entry = live.unguarded.find(key, keySize)
        if (fields.kind === PUT) {
          const { size, sequence, expiresAtMs } = fields
          const offset = at + shift
          this.#point(number, entry, key, keySize, segment, offset, size, sequence, expiresAtMs)
        } else {
          this.#undo.remember(number, live.unguarded, entry)
          if (entry !== NO_ENTRY) this.#drop(entry, key, keySize)
        }
        number++
      }
    } catch (error) {
      if (error instanceof NoMemory) this.takeBack({ page, start, end: at, firstNumber }, undefined)
      live.mend(error)
      // A keydir that was loaded again has seen none of them.
      this.applyBatch(span, segment, shift)
    }
  }

  /**
   * Removes an entry without a record: whoever reads its former record sees that it has expired.
   */
  forget(entry: Entry): void {
    const live = this.#live
    try {
      const view = live.keydir.entries.keyView(entry)
      this.#drop(entry, view, view.length)
    } catch (error) {
      live.mend(error)
    }
  }

  /**
   * Points a key to the copy of its record, or counts the copy as dead if the key has a newer
   * record. Returns whether the key points to it.
   */
  repoint(segment: Segment, offset: number, fields: RecordFields, page: Page): boolean {
    const { size, sequence, expiresAtMs, keySize } = fields
    const key = page.bytes.subarray(fields.keyAt, fields.keyAt + keySize)
    const keydir = this.#live.unguarded
    try {
      const entry = keydir.find(key, keySize)
      if (entry !== NO_ENTRY && keydir.entries.sequenceOf(entry) === sequence) {
        keydir.update(entry, segment.id, offset, size, sequence, expiresAtMs)
        return true
      }
      segment.usage.kill(size)
    } catch (error) {
      // A merge can no longer be taken back. A keydir that is loaded again has seen the copies.
      this.#live.replace(error)
    }
    return false
  }

  /**
   * Puts the keydir back to what it was before some records. Never fails: if that cannot be done,
   * the keydir is loaded again, by this call or by the next read.
   *
   * @param segment the segment in which the records were counted; `undefined` if they were not
   * counted yet
   */
  takeBack(span: Span, segment: Segment | undefined): void {
    const live = this.#live
    // An iterator may since have found its place in what is taken back.
    live.views.version++
    try {
      this.#undo.rollBack(live.unguarded, live.segments, span, segment)
    } catch (error) {
      live.replaceIfPossible(error)
    }
  }

  /**
   * Points a key to a record, whose number in the group is for the undo. If it throws, nothing has
   * changed.
   */
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
    const { unguarded: keydir, views, segments } = this.#live
    this.#undo.remember(number, keydir, entry)
    if (views.openCount > 0) views.save(entry, key, keySize)
    if (entry === NO_ENTRY) {
      keydir.insert(key, keySize, segment, offset, size, sequence, expiresAtMs)
      return
    }
    const { entries } = keydir
    const { usage } = segments.get(entries.segmentOf(entry))
    const replacedSize = entries.sizeOf(entry)
    keydir.update(entry, segment, offset, size, sequence, expiresAtMs)
    usage.kill(replacedSize)
  }

  /** Takes an entry out of the keydir. If it throws, nothing has changed. */
  #drop(entry: Entry, key: Uint8Array, keySize: number): void {
    const { unguarded: keydir, views, segments } = this.#live
    if (views.openCount > 0) views.save(entry, key, keySize)
    const { entries } = keydir
    const { usage } = segments.get(entries.segmentOf(entry))
    const size = entries.sizeOf(entry)
    keydir.remove(entry)
    usage.kill(size)
  }
}
