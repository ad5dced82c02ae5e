import { BATCH_END, BATCH_END_SIZE, MIN_RECORD_SIZE, PUT, RecordFields } from './format/record.ts'
import { type Entry, type Keydir, NO_ENTRY } from './keydir/keydir.ts'
import type { Segments } from './segment/segments.ts'
import { STAGE_SIZE, type Writer } from './segment/writer.ts'

const SEGMENT = 0
const OFFSET = 1
const SIZE = 2
const SEQUENCE = 3
const EXPIRES_AT = 4
const FIELDS = 5

/** What each staged record replaced, so that a group which cannot be written can be taken back. */
export class UndoLog {
  // As many records as fit the stage; memory is taken as it is touched.
  readonly #replaced = new Float64Array(FIELDS * Math.ceil(STAGE_SIZE / MIN_RECORD_SIZE))

  /** Remembers what the record with this number in the group is about to replace. */
  remember(index: number, keydir: Keydir, entry: Entry): void {
    const replaced = this.#replaced
    const at = index * FIELDS
    if (entry === NO_ENTRY) {
      replaced[at + SIZE] = 0
      return
    }
    const { entries } = keydir
    replaced[at + SEGMENT] = entries.segmentOf(entry)
    replaced[at + OFFSET] = entries.offsetOf(entry)
    replaced[at + SIZE] = entries.sizeOf(entry)
    replaced[at + SEQUENCE] = entries.sequenceOf(entry)
    replaced[at + EXPIRES_AT] = entries.expiresAtOf(entry)
  }

  /** Puts keydir and usage back, newest record first; the stage still holds the group, `size` bytes. */
  rollBack(keydir: Keydir, segments: Segments, writer: Writer, size: number): void {
    const fields = new RecordFields()
    const starts: number[] = []
    for (let at = 0; at < size; at += fields.size) {
      starts.push(at)
      fields.readHeader(writer.page, at, size)
    }
    for (let index = starts.length - 1; index >= 0; index--) {
      fields.readHeader(writer.page, starts[index] ?? 0, size)
      if (fields.kind === BATCH_END) {
        writer.segment.usage.deadBytes -= BATCH_END_SIZE
        continue
      }
      const key = writer.page.bytes.subarray(fields.keyAt, fields.keyAt + fields.keySize)
      this.#restore(index, keydir, segments, key, fields.kind === PUT)
    }
  }

  #restore(
    index: number,
    keydir: Keydir,
    segments: Segments,
    key: Uint8Array,
    wasPut: boolean,
  ): void {
    const at = index * FIELDS
    const [segment = 0, offset = 0, size = 0, sequence = 0, expiresAtMs = 0] =
      this.#replaced.subarray(at, at + FIELDS)
    const entry = keydir.find(key, key.length)
    if (size === 0) {
      if (wasPut && entry !== NO_ENTRY) keydir.remove(entry)
      return
    }
    if (entry === NO_ENTRY) {
      keydir.insert(key, key.length, segment, offset, size, sequence, expiresAtMs)
    } else {
      keydir.update(entry, segment, offset, size, sequence, expiresAtMs)
    }
    segments.get(segment).usage.revive(size)
  }
}
