/** The segments that a merge writes, each with its hint. */

import { join } from 'node:path'
import { encodeFileHeader, storeSeed } from '../format/file-header.ts'
import { HintEncoder } from '../format/hint.ts'
import type { SealedSegment } from '../format/manifest.ts'
import { hintName, segmentName, temporaryName } from '../format/names.ts'
import {
  clearBatchFlag,
  IN_BATCH,
  type Page,
  pageOf,
  RecordFields,
  recordSize,
  TOMBSTONE,
  writeChecksum,
  writeRecordHeader,
} from '../format/record.ts'
import { discard, type FileDescriptor, type Files, writeFully } from '../io/files.ts'
import { writeHintFile } from '../segment/hint-file.ts'
import { SegmentUsage } from '../segment/usage.ts'

/** A segment that was written, and its hint. */
export interface CopyTarget {
  readonly sealed: SealedSegment
  /** The whole hint file. */
  readonly hint: Uint8Array
}

/** The place of targets, and their limits. */
export interface TargetHome {
  readonly directory: string
  readonly storeId: Uint8Array
  /** Ids for the targets; there are enough. */
  readonly targetIds: readonly number[]
  readonly maxSegmentBytes: number
}

/** The size of the pieces in which a target is written. */
const BUFFER_SIZE = 1024 * 1024

/** Writes copied records into new segments of origin `merged`, each with its hint. */
export class Targets {
  bytesWritten = 0
  readonly #files: Files
  readonly #home: TargetHome
  readonly #seed: number
  readonly #fields = new RecordFields()
  readonly #written: CopyTarget[] = []
  #usedIds = 0
  #open: OpenTarget | undefined

  constructor(files: Files, home: TargetHome) {
    this.#files = files
    this.#home = home
    this.#seed = storeSeed(home.storeId)
  }

  /** Copies a record, out of its batch if it was in one. */
  copy(fields: RecordFields, page: Page): void {
    const start = fields.keyAt - (fields.size - fields.valueSize - fields.keySize)
    const target = this.#targetFor(fields.size)
    const at = target.reserve(fields.size)
    page.bytes.copy(target.page.bytes, at, start, start + fields.size)
    if ((fields.flags & IN_BATCH) !== 0) {
      clearBatchFlag(target.page.view, at)
      writeChecksum(target.page, at, at + fields.size, this.#seed)
    }
    this.#add(target, at)
  }

  addTombstone(key: Buffer, sequence: number): void {
    const size = recordSize(key.length, 0, false)
    const target = this.#targetFor(size)
    const at = target.reserve(size)
    const { page } = target
    const keyAt = writeRecordHeader(page.view, at, TOMBSTONE, 0, key.length, 0, sequence, 0)
    key.copy(page.bytes, keyAt)
    writeChecksum(page, at, at + size, this.#seed)
    this.#add(target, at)
  }

  finish(): readonly CopyTarget[] {
    this.#finishTarget()
    return this.#written
  }

  /** Removes everything that was written. */
  discard(): void {
    this.#open?.close()
    this.#open = undefined
    for (const id of this.#home.targetIds.slice(0, this.#usedIds)) {
      for (const name of [segmentName(id), hintName(id), temporaryName(hintName(id), 0)]) {
        discard(this.#files, join(this.#home.directory, name))
      }
    }
  }

  #add(target: OpenTarget, at: number): void {
    this.#fields.readHeader(target.page, at, target.filled)
    target.add(this.#fields, at)
    this.bytesWritten += this.#fields.size
  }

  #targetFor(size: number): OpenTarget {
    const open = this.#open
    if (open !== undefined && open.usage.size + size <= this.#home.maxSegmentBytes) return open
    this.#finishTarget()
    const id = this.#home.targetIds[this.#usedIds++]
    if (id === undefined) throw new Error('A merge has more targets than ids')
    this.#open = new OpenTarget(this.#files, this.#home, id)
    return this.#open
  }

  #finishTarget(): void {
    const open = this.#open
    if (open === undefined) return
    this.#written.push(open.finish())
    this.#open = undefined
  }
}

/** A target that is being written. */
class OpenTarget {
  readonly usage = new SegmentUsage()
  page = pageOf(Buffer.allocUnsafeSlow(BUFFER_SIZE))
  /** The bytes of the page that are used. */
  filled = 0
  readonly #files: Files
  readonly #home: TargetHome
  readonly #id: number
  readonly #file: FileDescriptor
  readonly #hint = new HintEncoder()
  #position = 0
  #closed = false

  constructor(files: Files, home: TargetHome, id: number) {
    this.#files = files
    this.#home = home
    this.#id = id
    this.#file = files.open(join(home.directory, segmentName(id)), 'create')
    const header = encodeFileHeader({
      type: 'segment',
      storeId: home.storeId,
      fileId: id,
      origin: 'merged',
    })
    header.copy(this.page.bytes)
    this.filled = header.length
  }

  /** Reserves space in the page for a record; returns where it goes. */
  reserve(size: number): number {
    if (this.filled + size > this.page.bytes.length) {
      this.#flush()
      if (size > this.page.bytes.length) this.page = pageOf(Buffer.allocUnsafeSlow(size))
    }
    const at = this.filled
    this.filled += size
    return at
  }

  add(fields: RecordFields, at: number): void {
    this.#hint.add(this.page, at, fields, this.usage.size)
    this.usage.add(fields.kind, fields.size, fields.sequence, fields.expiresAtMs)
  }

  finish(): CopyTarget {
    const { usage } = this
    this.#flush()
    this.#files.sync(this.#file)
    this.close()
    const hint = this.#hint.finish(this.#home.storeId, this.#id, 'merged', usage.size)
    writeHintFile(this.#files, this.#home.directory, this.#id, hint)
    return { sealed: usage.seal(this.#id, 'merged'), hint }
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#files.close(this.#file)
  }

  #flush(): void {
    writeFully(this.#files, this.#file, this.page.bytes, this.filled, this.#position)
    this.#position += this.filled
    this.filled = 0
  }
}
