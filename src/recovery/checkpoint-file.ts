/**
 * The checkpoint file: an image of the keydir that `close` writes and the next open reads.
 *
 * It fits where every segment that it points into is still there. What was written after it is replayed: the
 * rest of the segment that was active then, and all segments that were appended since. After a merge has
 * retired one of its segments it is stale, and ignored.
 */

import { join } from 'node:path'
import { CorruptionError, StoreError } from '../errors.ts'
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
  createOrReplace,
  discard,
  errorCode,
  type FileDescriptor,
  type Files,
  readFully,
  removeIfThere,
  withFile,
  writeFully,
} from '../io/files.ts'
import { allocateBytes, NoMemory } from '../io/memory.ts'
import { HUGE_PAGE_SIZE, makeHuge, takePage } from '../io/pages.ts'
import { fileChecksum, readVouched } from '../io/vouched.ts'
import { CHUNK_SIZE } from '../keydir/arena.ts'
import { restoreKeydir } from '../keydir/create.ts'
import type { Keydir } from '../keydir/keydir.ts'
import { monotonicMs } from '../scheduling/time.ts'
import { readFileHeader, type SegmentContext } from '../segment/file.ts'
import type { Segment } from '../segment/segment.ts'
import type { Segments } from '../segment/segments.ts'

/** A keydir as of a position in the tail. */
export interface Checkpoint {
  readonly keydir: Keydir
  /** Where the keydir gets what it has not been asked for yet. */
  readonly chunks: ChunkReader
  /** The image reaches to this size of this segment; all older segments are in it. */
  readonly position: { readonly tailId: number; readonly tailSize: number }
  readonly nextSequence: number
}

/**
 * Thrown where a checkpoint turns out to be damaged, or cannot be read, by a restored keydir when it touches a chunk:
 * it is of no use any more, and has to be loaded anew. Whoever catches it tells {@link told}.
 */
export class DamagedCheckpoint extends Error {
  /** What callers are told: where the damage is, or why the file cannot be read. */
  readonly told: StoreError

  constructor(told: StoreError) {
    super(told.message, { cause: told })
    this.told = told
  }

  /** Bytes are not what was written. */
  static at(path: string, offset: number): DamagedCheckpoint {
    return new DamagedCheckpoint(new CorruptionError('The checkpoint is damaged', path, offset))
  }

  /** The operating system refuses to read. */
  static unreadable(path: string, cause: unknown): DamagedCheckpoint {
    const reason = cause instanceof Error ? cause.message : String(cause)
    const message = `The checkpoint ${path} cannot be read: ${reason}`
    return new DamagedCheckpoint(new StoreError('FIRKIN_READ_FAILED', message, { cause }))
  }
}

/** Writes the checkpoint of a store that is about to be closed; all is written and synced. */
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
  try {
    const file = createOrReplace(files, temporary)
    try {
      let position = 0
      for (const piece of [head, ...chunks]) {
        writeFully(files, file, piece, piece.length, position)
        position += piece.length
      }
      await files.syncLater(file)
    } finally {
      files.close(file)
    }
    files.rename(temporary, path)
  } catch (error) {
    discard(files, temporary)
    throw error
  }
}

/** Removes a checkpoint that a merge has made stale. */
export function removeCheckpoint(segments: Segments): void {
  removeIfThere(segments.context.files, join(segments.context.directory, CHECKPOINT_NAME))
}

/**
 * Loads the checkpoint, and what it knows of its segments' usage; `undefined` where there is none that fits.
 *
 * The keydir throws {@link DamagedCheckpoint} from whichever operation first touches a damaged chunk.
 *
 * @throws {@link DamagedCheckpoint} where what stands before the chunks is damaged already; nothing has changed then
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
    error instanceof RangeError || (error instanceof StoreError && error.code === 'FIRKIN_VERSION')
  )
}

/** What was found while a checkpoint was read, as damage of it; what is neither that nor a failed read stays as it is. */
function asDamage(error: unknown, path: string): unknown {
  if (error instanceof CorruptionError) return new DamagedCheckpoint(error)
  return errorCode(error) === undefined || error instanceof StoreError
    ? error
    : DamagedCheckpoint.unreadable(path, error)
}

/** A checkpoint by itself, whatever has become of the segments that it points into. */
export interface KnownCheckpoint {
  readonly keydir: Keydir
  readonly summary: CheckpointSummary
}

/** Reads a whole checkpoint; `undefined` where there is none that is sound, or that this machine can read. */
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
    if (error instanceof StoreError || error instanceof RangeError) return undefined
    if (errorCode(error) !== undefined) return undefined
    throw error
  } finally {
    if (file !== undefined) files.close(file)
  }
}

/**
 * Reads a whole checkpoint, where there is one: a writer may remove it at any time.
 *
 * @throws {@link CorruptionError} where it is damaged
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

/** Reads a chunk; `undefined` where it is damaged. */
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

/** Which of all chunks is the first one of each arena. */
function firstChunks(counts: readonly number[]): number[] {
  let first = 0
  return counts.map((count) => {
    first += count
    return first - count
  })
}

/**
 * Reads what stands before the chunks.
 *
 * @throws {@link CorruptionError} where it is damaged
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

/** Whether each arena has the chunks that it would have here: all of them full but the last. */
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

/** Whether every segment that the checkpoint points into is there, and no other older one. */
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

/** How long chunks are read in one go that nobody has asked for, in milliseconds. */
const STEP_MS = 4

/**
 * Reads and verifies chunks as they are asked for; closes the file with the last one, or with the store.
 *
 * Invariant: once one was found to be damaged, or could not be read, each further one is refused for the same reason:
 * a keydir that missed one is of no use, should it be tried again.
 */
export class ChunkReader {
  readonly #segments: Segments
  readonly #file: FileDescriptor
  readonly #path: string
  readonly #firstOfArena: readonly number[]
  readonly #chunks: readonly ChunkPlace[]
  /** Which chunks were read; they are read once. */
  readonly #isRead: boolean[]
  /** Those of them that were not asked for yet. */
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

  /** Whether every chunk was read, so that no touch of the keydir can find damage any more. */
  get isDone(): boolean {
    return this.#unread === 0
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#segments.context.files.close(this.#file)
  }

  /** The bytes of a chunk. @throws {@link DamagedCheckpoint} */
  read(arena: number, chunk: number): Uint8Array {
    const index = (this.#firstOfArena[arena] ?? 0) + chunk
    const bytes = this.#ready.get(index) ?? this.#read(index)
    this.#ready.delete(index)
    return bytes
  }

  /** Reads what was not asked for yet, for some milliseconds. @throws {@link DamagedCheckpoint} */
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

/** Memory for a chunk: a full one fills a huge page. */
function memoryFor(size: number): Uint8Array {
  const page = size === HUGE_PAGE_SIZE ? takePage() : undefined
  if (page === undefined) return allocateBytes(size)
  makeHuge(page, false)
  return page
}
