/**
 * The checkpoint file: an image of the keydir that `close` writes and the next open reads.
 *
 * It fits where every segment that it points into is still there. What was written after it is replayed: the
 * rest of the segment that was active then, and all segments that were appended since. After a merge has
 * retired one of its segments it is stale, and ignored.
 */

import { join } from 'node:path'
import { StoreError } from './errors.ts'
import {
  CHECKPOINT_HEAD_SIZE,
  type CheckpointSummary,
  type ChunkPlace,
  checkpointHeadSize,
  decodeCheckpointHead,
  encodeCheckpointHead,
} from './format/checkpoint.ts'
import { checksum } from './format/checksum.ts'
import { storeSeed } from './format/file-header.ts'
import { CHECKPOINT_NAME, temporaryName } from './format/names.ts'
import {
  createAnew,
  discard,
  errorCode,
  type FileDescriptor,
  type Files,
  readFully,
  removeIfThere,
  writeFully,
} from './io/files.ts'
import { HUGE_PAGE_SIZE, makeHuge, takePage } from './io/pages.ts'
import { CHUNK_SIZE } from './keydir/arena.ts'
import { restoreKeydir } from './keydir/create.ts'
import type { Keydir, KeydirKind } from './keydir/keydir.ts'
import { readFileHeader, type Segment, type SegmentHome } from './segment/segment.ts'
import type { Segments } from './segment/segments.ts'

/** A keydir as of a position in the tail. */
export interface Checkpoint {
  readonly keydir: Keydir
  /** The image reaches to this size of this segment; all older segments are in it. */
  readonly position: { readonly tailId: number; readonly tailSize: number }
  readonly nextSequence: number
}

/** Thrown by a restored keydir where it touches a chunk that is damaged: it has to be loaded anew. */
export class DamagedCheckpoint extends Error {}

/** Writes the checkpoint of a store that is about to be closed; all is written and synced. */
export async function writeCheckpoint(
  segments: Segments,
  keydir: Keydir,
  nextSequence: number,
): Promise<void> {
  const image = keydir.image()
  if (image === undefined) return
  const { files, directory, storeId } = segments.home
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
    const file = createAnew(files, temporary)
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
  removeIfThere(segments.home.files, join(segments.home.directory, CHECKPOINT_NAME))
}

/**
 * Loads the checkpoint, and what it knows of its segments' usage; `undefined` where there is none that fits.
 *
 * The keydir throws {@link DamagedCheckpoint} from whichever operation first touches a damaged chunk.
 */
export function loadCheckpoint(
  segments: Segments,
  tail: readonly Segment[],
  kind: KeydirKind,
): Checkpoint | undefined {
  const { files, directory } = segments.home
  const path = join(directory, CHECKPOINT_NAME)
  let file: FileDescriptor
  try {
    file = files.open(path, 'read')
  } catch (error) {
    if (errorCode(error) !== undefined) return undefined
    throw error
  }
  let source: ChunkReader | undefined
  try {
    const head = readHead(segments.home, file, path)
    if (
      head === undefined ||
      head.summary.kind !== kind ||
      !hasWholeChunks(head) ||
      !fits(head.summary, segments, tail)
    ) {
      files.close(file)
      return undefined
    }
    const reader = new ChunkReader(segments, file, head.summary.arenas, head.chunks)
    source = reader
    const { summary } = head
    const keydir = restoreKeydir(kind, summary.keydir, (arena, chunk) => reader.read(arena, chunk))
    for (const known of summary.segments) {
      const segment = segments.find(known.id)
      if (segment === undefined) continue
      if (tail.includes(segment)) segment.usage.setFigures(known)
      segment.usage.setDead(known)
    }
    return {
      keydir,
      position: { tailId: summary.tailId, tailSize: summary.tailSize },
      nextSequence: summary.nextSequence,
    }
  } catch (error) {
    // A checkpoint is a shortcut: whatever is wrong with it, hints and segments tell the same.
    if (source === undefined) files.close(file)
    else source.close()
    if (error instanceof StoreError || error instanceof RangeError) return undefined
    if (errorCode(error) !== undefined) return undefined
    throw error
  }
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
    if (head === undefined || !hasWholeChunks(head)) return undefined
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

/** Reads a whole checkpoint; where it is damaged, answers about where. */
export function verifyCheckpoint(
  files: Files,
  path: string,
  storeId: Uint8Array,
): number | undefined {
  const file = files.open(path, 'read')
  try {
    const head = readHead({ files, storeId }, file, path)
    if (head === undefined) return 0
    return head.chunks.find((place) => readChunk(files, file, place, storeId) === undefined)?.offset
  } finally {
    files.close(file)
  }
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

function readHead(
  home: Pick<SegmentHome, 'files' | 'storeId'>,
  file: FileDescriptor,
  path: string,
): { summary: CheckpointSummary; chunks: ChunkPlace[] } | undefined {
  const { files, storeId } = home
  const fileSize = files.size(file)
  const start = Buffer.alloc(CHECKPOINT_HEAD_SIZE)
  if (readFully(files, file, start, start.length, 0) < start.length) return undefined
  if (readFileHeader(start, path, 'checkpoint', { storeId }) === 'short') return undefined
  const headSize = checkpointHeadSize(start)
  if (headSize > fileSize) return undefined
  const head = Buffer.allocUnsafe(headSize)
  if (readFully(files, file, head, headSize, 0) < headSize) return undefined
  const decoded = decodeCheckpointHead(head, storeId)
  const last = decoded?.chunks.at(-1)
  const end = last === undefined ? headSize : last.offset + last.size
  return end === fileSize ? decoded : undefined
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
    const isWhole = (chunk: ChunkPlace | undefined) => chunk?.size === CHUNK_SIZE
    if (!chunks.slice(first, first + count - 1).every(isWhole)) return false
    first += count
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

/** Reads and verifies chunks as they are asked for; closes the file with the last one, or with the store. */
class ChunkReader {
  readonly #segments: Segments
  readonly #file: FileDescriptor
  readonly #firstOfArena: readonly number[]
  readonly #chunks: readonly ChunkPlace[]
  #unread: number
  #closed = false

  constructor(
    segments: Segments,
    file: FileDescriptor,
    arenas: readonly number[],
    chunks: readonly ChunkPlace[],
  ) {
    this.#segments = segments
    this.#file = file
    this.#chunks = chunks
    this.#unread = chunks.length
    this.#firstOfArena = firstChunks(arenas)
    if (this.#unread === 0) this.close()
    else segments.closeAlong(this)
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#segments.home.files.close(this.#file)
  }

  read(arena: number, chunk: number): Uint8Array {
    const { files, storeId } = this.#segments.home
    const place = this.#chunks[(this.#firstOfArena[arena] ?? 0) + chunk]
    if (place === undefined) throw new DamagedCheckpoint(`There is no chunk ${chunk} of ${arena}`)
    let bytes: Uint8Array | undefined
    try {
      bytes = readChunk(files, this.#file, place, storeId)
    } catch (error) {
      throw new DamagedCheckpoint('A chunk cannot be read', { cause: error })
    }
    if (bytes === undefined) throw new DamagedCheckpoint('A chunk is damaged')
    if (--this.#unread === 0) this.close()
    return bytes
  }
}

/** Memory for a chunk: a full one fills a huge page. */
function memoryFor(size: number): Uint8Array {
  const page = size === HUGE_PAGE_SIZE ? takePage() : undefined
  if (page === undefined) return new Uint8Array(size)
  makeHuge(page, false)
  return page
}
