/**
 * The losses of a damaged store: the keys whose value is gone or has changed.
 *
 * The sound records show what is there. What was there is taken from hints, which list every record
 * of their segment, and from the checkpoint, which lists the newest record of every key as of the
 * last close.
 *
 * Invariants
 * - A key is named only if its value has changed. A lost tombstone that hid nothing, or a lost
 *   record that had expired, changes nothing.
 * - Bytes whose records neither a hint nor the checkpoint lists are counted as unknown.
 */

import { decodeFileHeader, FILE_HEADER_SIZE } from '../format/file-header.ts'
import { HintDecoder } from '../format/hint.ts'
import { type Page, PUT, type RecordFields } from '../format/record.ts'
import type { Files } from '../io/files.ts'
import { createKeydir } from '../keydir/create.ts'
import { type Entry, type Keydir, NO_ENTRY } from '../keydir/keydir.ts'
import { type KnownCheckpoint, readCheckpoint } from '../recovery/checkpoint-file.ts'
import type { LostKey } from '../recovery/report.ts'
import { readHintFile } from '../segment/hint-file.ts'
import { type Expiry, hasExpired } from '../segment/sweeps.ts'

/** A range of bytes of a segment that are not records. */
interface LostRange {
  readonly offset: number
  readonly bytes: number
}

/** The number of entries of a keydir that are walked at a time. */
const STRETCH = 4096

/** Collects the sound and the lost records of a store, and compares them. */
export class Losses {
  /** The number of records known to be lost. */
  recordsLost = 0
  /** The lost bytes whose records are not known. */
  bytesUnknown = 0
  /** Higher than every sequence known to have been used. */
  nextSequence = 1
  readonly #files: Files
  readonly #storeId: Uint8Array
  readonly #expiry: Expiry
  /** The newest sound record of each key; a tombstone has size 0. */
  readonly #sound = createKeydir('hash')
  /** The newest lost record of each key; a tombstone has size 0. */
  readonly #lost = createKeydir('hash')
  /** The lost ranges of segments without a hint, by id. */
  readonly #unhinted = new Map<number, readonly LostRange[]>()

  /** @param expiry the records that count as gone without being lost */
  constructor(files: Files, storeId: Uint8Array, expiry: Expiry) {
    this.#files = files
    this.#storeId = storeId
    this.#expiry = expiry
  }

  /** Notes a sound record that was just read. */
  noteSound(fields: RecordFields, page: Page): void {
    note(this.#sound, fields, page)
  }

  /**
   * Notes the lost records of a segment of `size` bytes that its hint lists. Without a hint they
   * may be in the checkpoint.
   */
  noteLost(id: number, hintPath: string, size: number, ranges: readonly LostRange[]): void {
    const hint = this.#openHint(id, hintPath, size)
    if (hint === undefined) {
      this.#unhinted.set(id, ranges)
      return
    }
    const { fields, page } = hint
    while (hint.next()) {
      if (!touches(ranges, hint.offset, fields.size)) continue
      this.recordsLost++
      this.nextSequence = Math.max(this.nextSequence, fields.sequence + 1)
      note(this.#lost, fields, page)
    }
  }

  /**
   * Notes the lost records of segments without a hint that the checkpoint lists, if there is a
   * sound one. Returns the checkpoint. To be called once, after everything else is noted.
   */
  noteCheckpoint(path: string): KnownCheckpoint | undefined {
    const checkpoint = readCheckpoint(this.#files, path, this.#storeId)
    this.nextSequence = Math.max(this.nextSequence, checkpoint?.summary.nextSequence ?? 1)
    const known = new Map<number, readonly LostRange[]>()
    for (const [id, ranges] of this.#unhinted) {
      const reach = checkpoint?.summary.segments.find((segment) => segment.id === id)?.size ?? 0
      const isKnown = ({ offset, bytes }: LostRange): boolean => offset + bytes <= reach
      known.set(id, ranges.filter(isKnown))
      for (const range of ranges) if (!isKnown(range)) this.bytesUnknown += afterHeader(range)
    }
    if (checkpoint === undefined || [...known.values()].every((ranges) => ranges.length === 0)) {
      return checkpoint
    }
    const { keydir, summary } = checkpoint
    const { nextSequence } = summary
    walk(keydir, (entry) => this.#noteEntry(keydir, entry, known))
    walk(this.#lost, (entry) => this.#noteDeleted(keydir, this.#lost, entry, nextSequence))
    walk(this.#sound, (entry) => this.#noteDeleted(keydir, this.#sound, entry, nextSequence))
    return checkpoint
  }

  /** Returns the keys whose value has changed. */
  keys(): LostKey[] {
    const keys: LostKey[] = []
    walk(this.#lost, (entry) => {
      const { entries } = this.#lost
      const key = Buffer.from(entries.keyView(entry))
      const sequence = entries.sequenceOf(entry)
      const sound = this.#sound.find(key, key.length)
      const left = sound === NO_ENTRY ? 0 : this.#sound.entries.sequenceOf(sound)
      if (left >= sequence) return
      const isShown = sound !== NO_ENTRY && this.#shows(this.#sound, sound)
      if (!isShown && !this.#shows(this.#lost, entry)) return
      // A tombstone known only by its effect was noted with the sequence after the record it hid.
      const isGuess = entries.segmentOf(entry) === GUESSED
      keys.push({
        key,
        sequence: isGuess ? undefined : sequence,
        rolledBackTo: isShown ? left : undefined,
      })
    })
    return keys
  }

  /** Notes an entry of the checkpoint if its record is in a lost range. */
  #noteEntry(keydir: Keydir, entry: Entry, known: ReadonlyMap<number, readonly LostRange[]>): void {
    const { entries } = keydir
    const size = entries.sizeOf(entry)
    const ranges = known.get(entries.segmentOf(entry)) ?? []
    if (size === 0 || !touches(ranges, entries.offsetOf(entry), size)) return
    this.recordsLost++
    const key = entries.keyView(entry)
    raise(this.#lost, key, KNOWN, size, entries.sequenceOf(entry), entries.expiresAtOf(entry))
  }

  /**
   * Notes the lost tombstone of a key. The checkpoint does not list the key, so it was deleted, but
   * its newest known record, sound or lost, is a value.
   */
  #noteDeleted(keydir: Keydir, from: Keydir, entry: Entry, nextSequence: number): void {
    const { entries } = from
    const sequence = entries.sequenceOf(entry)
    if (sequence >= nextSequence || !this.#shows(from, entry)) return
    const key = entries.keyView(entry)
    if (keydir.find(key, key.length) !== NO_ENTRY) return
    if (this.#newestSequence(this.#sound, key) > sequence) return
    if (this.#newestSequence(this.#lost, key) > sequence) return
    this.recordsLost++
    raise(this.#lost, Buffer.from(key), GUESSED, 0, sequence + 1, 0)
  }

  #newestSequence(keydir: Keydir, key: Uint8Array): number {
    const entry = keydir.find(key, key.length)
    return entry === NO_ENTRY ? 0 : keydir.entries.sequenceOf(entry)
  }

  /** Whether a key whose newest record this is has a value. */
  #shows({ entries }: Keydir, entry: Entry): boolean {
    return entries.sizeOf(entry) > 0 && !hasExpired(entries, entry, this.#expiry)
  }

  #openHint(id: number, path: string, size: number): HintDecoder | undefined {
    const bytes = readHintFile(this.#files, path, size)
    if (bytes === undefined) return undefined
    const header = decodeFileHeader(bytes)
    if ('fault' in header || header.fileId !== id) return undefined
    return HintDecoder.open(bytes, this.#storeId, size)
  }
}

// The segment of a record does not matter here. In its place the keydirs keep whether the sequence
// of the record is known.

const KNOWN = 1
const GUESSED = 2

function note(keydir: Keydir, fields: RecordFields, { bytes }: Page): void {
  const { kind, keyAt, keySize, size, sequence, expiresAtMs } = fields
  const key = bytes.subarray(keyAt, keyAt + keySize)
  raise(keydir, key, KNOWN, kind === PUT ? size : 0, sequence, kind === PUT ? expiresAtMs : 0)
}

/** Keeps a record if it is the newest of its key. */
function raise(
  keydir: Keydir,
  key: Uint8Array,
  known: number,
  size: number,
  sequence: number,
  expiresAtMs: number,
): void {
  const entry = keydir.find(key, key.length)
  if (entry === NO_ENTRY) {
    keydir.insert(key, key.length, known, 0, size, sequence, expiresAtMs)
  } else if (keydir.entries.sequenceOf(entry) <= sequence) {
    keydir.update(entry, known, 0, size, sequence, expiresAtMs)
  }
}

function walk(keydir: Keydir, visit: (entry: Entry) => void): void {
  for (let place = 0; place !== -1; ) place = keydir.entries.walk(place, STRETCH, visit)
}

/** Whether a record overlaps any of the ranges, which are sorted by offset. */
function touches(ranges: readonly LostRange[], at: number, size: number): boolean {
  let low = 0
  let high = ranges.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((ranges[middle]?.offset ?? 0) < at + size) low = middle + 1
    else high = middle
  }
  const last = ranges[low - 1]
  return last !== undefined && at < last.offset + last.bytes
}

/** Returns the number of bytes of a range that could hold records. */
function afterHeader({ offset, bytes }: LostRange): number {
  return Math.max(0, offset + bytes - Math.max(offset, FILE_HEADER_SIZE))
}
