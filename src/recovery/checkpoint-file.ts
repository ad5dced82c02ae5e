/**
 * The checkpoint file: an image of the keydir that `close` writes and the next open reads.
 *
 * It fits if every segment that it points into is still there. What was written after it is
 * replayed: the rest of the segment that was active then, and the segments appended since. Once a
 * merge has retired one of its segments it is stale, and ignored.
 */

import { join } from 'node:path'
import { CorruptionError, isError, isErrorOf, StoreError } from '../errors.ts'
import {
  CHECKPOINT_HEAD_SIZE,
  type CheckpointSummary,
  type ChunkPlace,
  checkpointHeadChecksum,
  checkpointHeadSize,
  decodeCheckpointHead,
  encodeCheckpointHead,
  isPlausibleHead,
} from '../format/checkpoint.ts'
import { checksum } from '../format/checksum.ts'
import { FILE_HEADER_SIZE, storeSeed } from '../format/file-header.ts'
import type { KeydirKind } from '../format/keydir-kind.ts'
import { CHECKPOINT_NAME, temporaryName } from '../format/names.ts'
import {
  errorCode,
  type FileDescriptor,
  type Files,
  readFully,
  removeIfThere,
  withFile,
} from '../io/files.ts'
import { allocateBytes, NoMemory } from '../io/memory.ts'
import { installNewFile, writeNewFileLater } from '../io/new-file.ts'
import { HUGE_PAGE_SIZE, makeHuge, takePage } from '../io/pages.ts'
import { fileChecksum, readVouched } from '../io/vouched.ts'
import { CHUNK_SIZE } from '../keydir/arena.ts'
import { restoreKeydir } from '../keydir/create.ts'
import type { Keydir } from '../keydir/keydir.ts'
import { monotonicMs } from '../scheduling/time.ts'
import { readFileHeader, type SegmentContext } from '../segment/file.ts'
import type { Segment } from '../segment/segment.ts'
import type { Segments } from '../segment/segments.ts'

/** A keydir up to a position in the tail. */
export interface Checkpoint {
  readonly keydir: Keydir
  /** The source of the chunks that the keydir has not read yet. */
  readonly chunks: ChunkReader
  /** The image covers this segment up to this size, and all older segments. */
  readonly position: { readonly tailId: number; readonly tailSize: number }
  readonly nextSequence: number
}

/**
 * Thrown if a checkpoint turns out to be damaged or cannot be read. A restored keydir throws it
 * when it touches a chunk: the keydir is then unusable and must be loaded again. The catcher
 * reports {@link told}.
 */
export class DamagedCheckpoint extends Error {
  /** The error for callers: the place of the damage, or the reason why the file cannot be read. */
  readonly told: StoreError

  constructor(told: StoreError) {
    super(told.message, { cause: told })
    this.told = told
  }

  /** Returns the error for bytes that are not those that were written. */
  static at(path: string, offset: number): DamagedCheckpoint {
    return new DamagedCheckpoint(new CorruptionError('The checkpoint is damaged', path, offset))
  }

  /** Returns the error for a file that the operating system refuses to read. */
  static unreadable(path: string, cause: unknown): DamagedCheckpoint {
    const reason = isError(cause) ? cause.message : String(cause)
    const message = `The checkpoint ${path} cannot be read: ${reason}`
    return new DamagedCheckpoint(new StoreError('FIRKIN_READ_FAILED', message, { cause }))
  }
}

/** Writes the checkpoint of a store that is being closed, whose records are all synced. */
export async function writeCheckpoint(
  segments: Segments,
  keydir: Keydir,
  nextSequence: number,
): Promise<void> {
  const image = keydir.image()
  if (image === undefined) return
  const { files, directory, storeId } = segments.context
  const { active } = segments
  const summary: CheckpointSummary = {
    kind: keydir.kind,
    keydir: image.meta,
    tailId: active?.id ?? segments.manifest.tailId,
    tailSize: active?.writtenSize ?? 0,
    nextSequence,
    segments: [...segments.all].map(({ id, usage }) => ({ id, ...usage })),
    arenas: image.arenas.map((chunks) => chunks.length),
  }
  const chunks = image.arenas.flat()
  const { generation } = segments.manifest
  const head = encodeCheckpointHead(storeId, generation, summary, chunks)
  const path = join(directory, CHECKPOINT_NAME)
  const temporary = join(directory, temporaryName(CHECKPOINT_NAME, generation))
  await writeNewFileLater(files, temporary, [head, ...chunks])
  installNewFile(files, temporary, path)
}

/** Removes a checkpoint that a merge has made stale. */
export function removeCheckpoint(segments: Segments): void {
  removeIfThere(segments.context.files, join(segments.context.directory, CHECKPOINT_NAME))
}

/**
 * Loads the checkpoint and the usage of its segments. Returns `undefined` if there is none that
 * fits.
 *
 * Any operation of the keydir throws {@link DamagedCheckpoint} if it is the first to touch a
 * damaged chunk.
 *
 * @throws {@link DamagedCheckpoint} if the bytes before the chunks are damaged; nothing has changed
 */
export function loadCheckpoint(
  segments: Segments,
  tail: readonly Segment[],
  kind: KeydirKind,
): Checkpoint | undefined {
  const { files, directory } = segments.context
  const path = join(directory, CHECKPOINT_NAME)
  let file: FileDescriptor
  try {
    file = files.open(path, 'read')
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    throw asDamage(error, path)
  }
  let source: ChunkReader | undefined
  try {
    const head = readHead(segments.context, file, path)
    if (
      head.summary.kind !== kind ||
      !hasWholeChunks(head) ||
      !fits(head.summary, segments, tail)
    ) {
      files.close(file)
      return undefined
    }
    const { summary } = head
    const reader = new ChunkReader(segments, file, path, summary.arenas, head.chunks)
    source = reader
    const keydir = restoreKeydir(kind, summary.keydir, (arena, chunk) => reader.read(arena, chunk))
    for (const known of summary.segments) {
      const segment = segments.find(known.id)
      if (segment === undefined) continue
      if (tail.includes(segment)) segment.usage.setFigures(known)
      segment.usage.setDead(known)
    }
    return {
      keydir,
      chunks: reader,
      position: { tailId: summary.tailId, tailSize: summary.tailSize },
      nextSequence: summary.nextSequence,
    }
  } catch (error) {
    if (source === undefined) files.close(file)
    else source.close()
    if (isOfAnother(error)) return undefined
    throw asDamage(error, path)
  }
}

/** Whether a checkpoint is sound, but of another version or made on another kind of machine. */
function isOfAnother(error: unknown): boolean {
  return (
    isErrorOf('RangeError', error) ||
    (error instanceof StoreError && error.code === 'FIRKIN_VERSION')
  )
}

/** Returns damage, or a failed read, as a `DamagedCheckpoint`, and any other error as it is. */
function asDamage(error: unknown, path: string): unknown {
  if (error instanceof CorruptionError) return new DamagedCheckpoint(error)
  return errorCode(error) === undefined || error instanceof StoreError
    ? error
    : DamagedCheckpoint.unreadable(path, error)
}

/** A checkpoint that was read without regard to the segments that it points into. */
export interface KnownCheckpoint {
  readonly keydir: Keydir
  readonly summary: CheckpointSummary
}

/** Reads a whole checkpoint; `undefined` if there is none that is sound and readable here. */
export function readCheckpoint(
  files: Files,
  path: string,
  storeId: Uint8Array,
): KnownCheckpoint | undefined {
  let file: FileDescriptor | undefined
  try {
    file = files.open(path, 'read')
    const head = readHead({ files, storeId }, file, path)
    if (!hasWholeChunks(head)) return undefined
    const { summary } = head
    const chunks: Uint8Array[] = []
    for (const place of head.chunks) {
      const bytes = readChunk(files, file, place, storeId)
      if (bytes === undefined) return undefined
      chunks.push(bytes)
    }
    const firstOfArena = firstChunks(summary.arenas)
    const keydir = restoreKeydir(summary.kind, summary.keydir, (arena, chunk) => {
      const bytes = chunks[(firstOfArena[arena] ?? 0) + chunk]
      if (bytes === undefined) throw new RangeError(`There is no chunk ${chunk} of ${arena}`)
      return bytes
    })
    return { keydir, summary }
  } catch (error) {
    if (error instanceof StoreError || isErrorOf('RangeError', error)) return undefined
    if (errorCode(error) !== undefined) return undefined
    throw error
  } finally {
    if (file !== undefined) files.close(file)
  }
}

/**
 * Reads a whole checkpoint, if there is one: a writer may remove it at any time.
 *
 * @throws {@link CorruptionError} if it is damaged
 */
export function verifyCheckpoint(files: Files, path: string, storeId: Uint8Array): void {
  withFile(files, path, (file) => {
    for (const place of readHead({ files, storeId }, file, path).chunks) {
      if (readChunk(files, file, place, storeId) === undefined) {
        throw new CorruptionError('A chunk does not match its checksum', path, place.offset)
      }
    }
  })
}

/** Reads a chunk; `undefined` if it is damaged. */
function readChunk(
  files: Files,
  file: FileDescriptor,
  { offset, size, crc }: ChunkPlace,
  storeId: Uint8Array,
): Uint8Array | undefined {
  const bytes = memoryFor(size)
  if (readFully(files, file, bytes, size, offset) < size) return undefined
  return checksum(bytes, 0, size, storeSeed(storeId)) === crc ? bytes : undefined
}

/** Returns the index of the first chunk of each arena. */
function firstChunks(counts: readonly number[]): number[] {
  let first = 0
  return counts.map((count) => {
    first += count
    return first - count
  })
}

/**
 * Reads the head: the bytes before the chunks.
 *
 * @throws {@link CorruptionError} if it is damaged
 * @throws {@link StoreError} FIRKIN_VERSION
 */
function readHead(
  context: Pick<SegmentContext, 'files' | 'storeId'>,
  file: FileDescriptor,
  path: string,
): { summary: CheckpointSummary; chunks: ChunkPlace[] } {
  const { files, storeId } = context
  const fileSize = files.size(file)
  const start = Buffer.alloc(CHECKPOINT_HEAD_SIZE)
  const read = readFully(files, file, start, start.length, 0)
  if (
    readFileHeader(start.subarray(0, read), path, 'checkpoint', { storeId }) === 'short' ||
    read < start.length
  ) {
    throw new CorruptionError('The file ends inside its head', path, read)
  }
  const headSize = checkpointHeadSize(start)
  if (!isPlausibleHead(start, fileSize)) {
    const message = `The file has ${fileSize} bytes; its head cannot take ${headSize}`
    throw new CorruptionError(message, path, FILE_HEADER_SIZE)
  }
  const { ranges, crc } = checkpointHeadChecksum(start)
  const vouches = (): boolean => fileChecksum(files, file, ranges, storeSeed(storeId)) === crc
  const head = readVouched(files, file, headSize, vouches)
  const decoded = head && decodeCheckpointHead(head, storeId)
  if (decoded === undefined) {
    throw new CorruptionError('The head does not match its checksum', path, FILE_HEADER_SIZE)
  }
  const last = decoded.chunks.at(-1)
  const end = last === undefined ? headSize : last.offset + last.size
  if (end !== fileSize) {
    const message = `The file has ${fileSize} bytes; its head says ${end}`
    throw new CorruptionError(message, path, Math.min(end, fileSize))
  }
  return decoded
}

/** Whether the chunks are cut as they are here: all of an arena are full except the last. */
function hasWholeChunks({
  summary,
  chunks,
}: {
  summary: CheckpointSummary
  chunks: ChunkPlace[]
}): boolean {
  let first = 0
  for (const count of summary.arenas) {
    const isWhole = (chunk: ChunkPlace) => chunk.size === CHUNK_SIZE
    const end = first + count
    if (!chunks.slice(first, end - 1).every(isWhole)) return false
    if (count > 0 && (chunks[end - 1]?.size ?? 0) > CHUNK_SIZE) return false
    first = end
  }
  return first === chunks.length
}

/** Whether every segment that the checkpoint points into is there, and no other older one is. */
function fits(summary: CheckpointSummary, segments: Segments, tail: readonly Segment[]): boolean {
  const known = new Map(summary.segments.map((usage) => [usage.id, usage]))
  for (const { id, size } of known.values()) {
    const segment = segments.find(id)
    if (segment === undefined) return false
    const isTail = tail.includes(segment)
    const reaches = isTail || id === summary.tailId ? segment.writtenSize >= size : true
    if (!reaches || (!isTail && id !== summary.tailId && segment.usage.size !== size)) return false
  }
  return segments.listed.every(
    ({ id, origin }) => known.has(id) || (origin === 'appended' && id > summary.tailId),
  )
}

/** The milliseconds for which chunks are read ahead in one go. */
const STEP_MS = 4

/**
 * Reads and verifies chunks when they are asked for. Closes the file after the last one, or with
 * the store.
 *
 * Invariant: after one chunk was damaged or could not be read, every further one is refused for the
 * same reason, because a keydir that lacks a chunk is unusable.
 */
export class ChunkReader {
  readonly #segments: Segments
  readonly #file: FileDescriptor
  readonly #path: string
  readonly #firstOfArena: readonly number[]
  readonly #chunks: readonly ChunkPlace[]
  /** Whether each chunk was read: it is read once. */
  readonly #isRead: boolean[]
  /** The chunks that were read and not asked for yet. */
  readonly #ready = new Map<number, Uint8Array>()
  #unread: number
  #closed = false
  #fault: DamagedCheckpoint | undefined

  constructor(
    segments: Segments,
    file: FileDescriptor,
    path: string,
    arenas: readonly number[],
    chunks: readonly ChunkPlace[],
  ) {
    this.#segments = segments
    this.#file = file
    this.#path = path
    this.#chunks = chunks
    this.#isRead = chunks.map(() => false)
    this.#unread = chunks.length
    this.#firstOfArena = firstChunks(arenas)
    if (this.#unread === 0) this.close()
    else segments.closeWith(this)
  }

  /** Whether every chunk was read, so that the keydir can find no more damage. */
  get isDone(): boolean {
    return this.#unread === 0
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#segments.context.files.close(this.#file)
  }

  /** Returns the bytes of a chunk. @throws {@link DamagedCheckpoint} */
  read(arena: number, chunk: number): Uint8Array {
    const index = (this.#firstOfArena[arena] ?? 0) + chunk
    const bytes = this.#ready.get(index) ?? this.#read(index)
    this.#ready.delete(index)
    return bytes
  }

  /** Reads chunks ahead, for some milliseconds. @throws {@link DamagedCheckpoint} */
  readMore(): void {
    const endsAt = monotonicMs() + STEP_MS
    for (const [index, isRead] of this.#isRead.entries()) {
      if (isRead) continue
      this.#ready.set(index, this.#read(index))
      if (monotonicMs() > endsAt) return
    }
  }

  #read(index: number): Uint8Array {
    if (this.#closed) this.#fault ??= DamagedCheckpoint.unreadable(this.#path, 'it was closed')
    if (this.#fault !== undefined) throw this.#fault
    const { files, storeId } = this.#segments.context
    const place = this.#chunks[index]
    let bytes: Uint8Array | undefined
    try {
      bytes = place && readChunk(files, this.#file, place, storeId)
    } catch (error) {
      if (error instanceof NoMemory) throw error
      this.#fault = DamagedCheckpoint.unreadable(this.#path, error)
      throw this.#fault
    }
    if (bytes === undefined) {
      this.#fault = DamagedCheckpoint.at(this.#path, place?.offset ?? 0)
      throw this.#fault
    }
    this.#isRead[index] = true
    if (--this.#unread === 0) this.close()
    return bytes
  }
}

/** Returns memory for a chunk: a huge page for a full one. */
function memoryFor(size: number): Uint8Array {
  const page = size === HUGE_PAGE_SIZE ? takePage() : undefined
  if (page === undefined) return allocateBytes(size)
  makeHuge(page, false)
  return page
}
