/**
 * The part of a merge that reads and writes files; it runs on any thread and knows nothing of the keydir.
 *
 * 1. Read each source from front to back; every record is verified.
 * 2. Copy the puts that were live when the merge began, told by their offsets.
 * 3. Keep what still hides an older record: tombstones, and expired puts as tombstones; of each key only the newest.
 * 4. Write targets up to the segment size, each with its hint, and sync both.
 *
 * A put that dies while this runs is copied all the same; the commit counts it as dead.
 */

import { join } from 'node:path'
import { CorruptionError } from '../errors.ts'
import { encodeFileHeader, FILE_HEADER_SIZE, storeSeed } from '../format/file-header.ts'
import { HintEncoder } from '../format/hint.ts'
import type { SealedSegment } from '../format/manifest.ts'
import { hintName, segmentName, temporaryName } from '../format/names.ts'
import {
  clearBatchFlag,
  EXPIRES,
  IN_BATCH,
  type Page,
  PUT,
  pageOf,
  RecordFields,
  recordSize,
  TOMBSTONE,
  writeChecksum,
  writeRecordHeader,
} from '../format/record.ts'
import { type FileDescriptor, type Files, writeFully } from '../io/files.ts'
import { writeHintFile } from '../segment/hint-file.ts'
import { scanSegment, Window } from '../segment/scan.ts'
import { SegmentUsage } from '../segment/usage.ts'

/** A segment to be rewritten. */
export interface CopySource {
  readonly id: number
  readonly size: number
  /** The offsets of its live puts, ascending. */
  readonly live: Uint32Array
}

/** What is to be copied; plain data, so that it can be sent to another thread. */
export interface CopyJob {
  readonly directory: string
  readonly storeId: Uint8Array
  readonly sources: readonly CopySource[]
  /** Ids for the targets; there are enough. */
  readonly targetIds: readonly number[]
  readonly maxSegmentBytes: number
  /** Tombstones and expired puts below this sequence are dropped. */
  readonly dropBelow: number
  /** 0 is no limit. */
  readonly maxBytesPerSecond: number
}

/** A segment that a copy wrote, and its hint. */
export interface CopyTarget {
  readonly sealed: SealedSegment
  /** The whole hint file. */
  readonly hint: Uint8Array
}

/** How far a copy has come. */
export interface CopyProgress {
  readonly bytesRead: number
  readonly bytesWritten: number
}

/** Runs a copy somewhere, and tells how far it has come. */
export type CopyRunner = (
  job: CopyJob,
  onProgress: (progress: CopyProgress) => void,
  signal: AbortSignal,
) => Promise<readonly CopyTarget[]>

/** Progress is told after so many bytes were read. */
const STEP_SIZE = 1024 * 1024
/** A target is written in pieces of this size. */
const BUFFER_SIZE = 1024 * 1024

/**
 * Copies, and yields after every step. Where it throws or is left, the targets are removed.
 *
 * @throws {@link CorruptionError} where a source is damaged
 */
export function* copySegments(
  files: Files,
  job: CopyJob,
): Generator<CopyProgress, readonly CopyTarget[]> {
  const targets = new Targets(files, job)
  let finished = false
  try {
    let bytesRead = 0
    const tombstones = new Tombstones(job.dropBelow)
    for (const source of job.sources) {
      for (const read of copySource(files, job, source, targets, tombstones)) {
        yield { bytesRead: bytesRead + read, bytesWritten: targets.bytesWritten }
      }
      bytesRead += source.size
    }
    tombstones.writeTo(targets)
    const written = targets.finish()
    finished = true
    return written
  } finally {
    if (!finished) targets.discard()
  }
}

function* copySource(
  files: Files,
  job: CopyJob,
  source: CopySource,
  targets: Targets,
  tombstones: Tombstones,
): Generator<number> {
  const path = join(job.directory, segmentName(source.id))
  const file = files.open(path, 'read')
  try {
    const window = new Window(files, file, source.size)
    let next = 0
    let from = FILE_HEADER_SIZE
    while (from < source.size) {
      const scan = scanSegment(
        {
          files,
          file,
          from,
          to: source.size,
          seed: storeSeed(job.storeId),
          ascending: false,
          batches: 'loose',
          window,
        },
        (fields, page, offset) => {
          if (fields.kind === PUT && source.live[next] === offset) {
            next++
            targets.copy(fields, page)
            tombstones.supersede(fields, page)
          } else if (
            fields.kind === TOMBSTONE ||
            (fields.kind === PUT && (fields.flags & EXPIRES) !== 0)
          ) {
            tombstones.keep(fields, page)
          }
          return offset + fields.size - from < STEP_SIZE ? undefined : false
        },
      )
      if (scan.faultAt !== undefined) throw new CorruptionError(scan.fault, path, scan.faultAt)
      from = scan.end
      yield from
    }
  } finally {
    files.close(file)
  }
}

/** The newest tombstone of each key that must be kept. */
class Tombstones {
  readonly #dropBelow: number
  readonly #sequences = new Map<string, number>()

  constructor(dropBelow: number) {
    this.#dropBelow = dropBelow
  }

  keep(fields: RecordFields, page: Page): void {
    if (fields.sequence < this.#dropBelow) return
    const key = keyText(fields, page)
    if ((this.#sequences.get(key) ?? 0) < fields.sequence) this.#sequences.set(key, fields.sequence)
  }

  /** A newer put hides what is older as well. */
  supersede(fields: RecordFields, page: Page): void {
    if (this.#sequences.size === 0) return
    const key = keyText(fields, page)
    if ((this.#sequences.get(key) ?? fields.sequence) < fields.sequence) this.#sequences.delete(key)
  }

  writeTo(targets: Targets): void {
    for (const [key, sequence] of this.#sequences) {
      targets.addTombstone(Buffer.from(key, 'latin1'), sequence)
    }
  }
}

function keyText(fields: RecordFields, page: Page): string {
  return page.bytes.toString('latin1', fields.keyAt, fields.keyAt + fields.keySize)
}

/** Writes the copied records into new segments. */
class Targets {
  bytesWritten = 0
  readonly #files: Files
  readonly #job: CopyJob
  readonly #seed: number
  readonly #fields = new RecordFields()
  readonly #written: CopyTarget[] = []
  #usedIds = 0
  #open: OpenTarget | undefined

  constructor(files: Files, job: CopyJob) {
    this.#files = files
    this.#job = job
    this.#seed = storeSeed(job.storeId)
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

  /** Removes all that was written. */
  discard(): void {
    this.#open?.close()
    this.#open = undefined
    for (const id of this.#job.targetIds.slice(0, this.#usedIds)) {
      for (const name of [segmentName(id), hintName(id), temporaryName(hintName(id), 0)]) {
        try {
          this.#files.remove(join(this.#job.directory, name))
        } catch {
          // What was not created, or cannot be removed, is a leftover that the next open removes.
        }
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
    if (open !== undefined && open.usage.size + size <= this.#job.maxSegmentBytes) return open
    this.#finishTarget()
    const id = this.#job.targetIds[this.#usedIds++]
    if (id === undefined) throw new Error('A merge has more targets than ids')
    this.#open = new OpenTarget(this.#files, this.#job, id)
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
  /** How much of the page is used. */
  filled = 0
  readonly #files: Files
  readonly #job: CopyJob
  readonly #id: number
  readonly #file: FileDescriptor
  readonly #hint = new HintEncoder()
  #position = 0
  #closed = false

  constructor(files: Files, job: CopyJob, id: number) {
    this.#files = files
    this.#job = job
    this.#id = id
    this.#file = files.open(join(job.directory, segmentName(id)), 'create')
    const header = encodeFileHeader({
      type: 'segment',
      storeId: job.storeId,
      fileId: id,
      origin: 'merged',
    })
    header.copy(this.page.bytes)
    this.filled = header.length
  }

  /** Makes room in the page for a record; answers where it goes. */
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
    const hint = this.#hint.finish(this.#job.storeId, this.#id, 'merged', usage.size)
    writeHintFile(this.#files, this.#job.directory, this.#id, hint)
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
