/**
 * The part of a merge that reads and writes files. It runs on any thread and knows nothing of the
 * keydir.
 *
 * 1. Read each source from front to back; every record is verified.
 * 2. Copy the puts that were live when the merge began, which are given by their offsets.
 * 3. Keep what still hides an older record: tombstones, and expired puts as tombstones; only the
 *    newest one of each key.
 * 4. Write targets up to the segment size, each with its hint, and sync both.
 *
 * A put that dies while this runs is copied all the same; the commit counts it as dead.
 */

import { join } from 'node:path'
import { CorruptionError, isError, passingCode, StoreError } from '../errors.ts'
import { FILE_HEADER_SIZE, storeSeed } from '../format/file-header.ts'
import { segmentName } from '../format/names.ts'
import { EXPIRES, type Page, PUT, type RecordFields, TOMBSTONE } from '../format/record.ts'
import { errorCode, type Files } from '../io/files.ts'
import { type DirectoryId, HeldFiles } from '../io/held-files.ts'
import { scanSound } from '../segment/scan.ts'
import { Window } from '../segment/window.ts'
import { sortOffsets } from './offsets.ts'
import { type CopyTarget, type TargetHome, Targets } from './targets.ts'

/** A segment to be rewritten. */
interface CopySource {
  readonly id: number
  readonly size: number
  /**
   * The offsets of its live puts, in any order and perhaps repeated. The copy may sort them in
   * place.
   */
  readonly live: Uint32Array
}

/** @internal A copy to be made; plain data, so that it can be sent to another thread. */
export interface CopyJob extends Omit<TargetHome, 'directory'> {
  /** The directory of the sources and the targets. */
  readonly directoryId: DirectoryId
  readonly sources: readonly CopySource[]
  /** Tombstones and expired puts below this sequence are dropped. */
  readonly dropBelow: number
  /** The limit for the bytes read; 0 means no limit. */
  readonly maxBytesPerSecond: number
}

/** The progress of a copy. */
export interface CopyProgress {
  readonly bytesRead: number
  readonly bytesWritten: number
}

/** @internal A source that cannot be read, for a reason that is not damage and does not pass. */
export class SourceError extends StoreError {
  /** The path of the source. */
  readonly file: string

  constructor(file: string, cause: unknown) {
    const reason = isError(cause) ? cause.message : String(cause)
    super('FIRKIN_READ_FAILED', `Cannot read ${file}: ${reason}`, { cause })
    this.file = file
  }
}

/** The number of bytes read between two reports of progress. */
const STEP_SIZE = 1024 * 1024

/**
 * @internal Copies, and yields after every step. If it throws or is ended early, the targets are
 * removed.
 *
 * @throws {@link CorruptionError} if a source is damaged, {@link SourceError} if it cannot be read;
 * any other error has nothing to do with a particular source
 */
export function* copySegments(
  system: Files,
  job: CopyJob,
): Generator<CopyProgress, readonly CopyTarget[]> {
  const files = HeldFiles.at(system, job.directoryId)
  const targets = new Targets(files, { ...job, directory: files.directory })
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
  const path = join(job.directoryId.directory, segmentName(source.id))
  const file = reading(path, () => files.open(path, 'read'))
  try {
    const read: Files['read'] = (...range) => reading(path, () => files.read(...range))
    const window = new Window({ read }, file, source.size)
    const live = sortOffsets(source.live)
    let next = 0
    let from = FILE_HEADER_SIZE
    while (from < source.size) {
      from = scanSound(
        {
          files,
          file,
          from,
          to: source.size,
          seed: storeSeed(job.storeId),
          window,
        },
        path,
        (fields, page, offset) => {
          if (fields.kind === PUT && live[next] === offset) {
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
      yield from
    }
    const missingAt = live[next]
    if (missingAt !== undefined) {
      throw new CorruptionError('A record that is live is not there', path, missingAt)
    }
  } finally {
    files.close(file)
  }
}

/**
 * Runs a read of a source. Throws what prevents it, for longer than a moment, as a
 * {@link SourceError}.
 */
function reading<T>(path: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    const isOfSource = passingCode(error) === undefined && errorCode(error) !== undefined
    throw isOfSource ? new SourceError(path, error) : error
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

  /** Drops the tombstone of a key that has a newer put, which hides older records as well. */
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
