/**
 * The checkpoint: an image of the keydir, for opening without rebuilding it.
 *
 *   offset  size  field
 *        0    44  file header (type "C", file id: the generation of the manifest it was made under)
 *       44     4  size of the summary
 *       48     4  count of chunks
 *       52     4  CRC-32 of the two fields before, the chunk table and the summary, continued from
 *                 the store's seed
 *       56     8  each chunk: size, CRC-32 continued from the store's seed
 *        +        the summary: JSON, see CheckpointSummary
 *        +        the chunks, back to back
 *
 * A chunk is verified when it is first touched, so that opening does not read them all.
 */

import { viewOf } from './bytes.ts'
import { checksum } from './checksum.ts'
import { encodeFileHeader, FILE_HEADER_SIZE, storeSeed } from './file-header.ts'
import type { KeydirKind } from './keydir-kind.ts'
import type { SegmentFigures } from './manifest.ts'

const SUMMARY_SIZE_AT = FILE_HEADER_SIZE
const COUNT_AT = SUMMARY_SIZE_AT + 4
const CRC_AT = COUNT_AT + 4
const TABLE_AT = CRC_AT + 4
const CHUNK_ENTRY_SIZE = 8

/** The size of what precedes the chunk table. */
export const CHECKPOINT_HEAD_SIZE = TABLE_AT

/** The figures of a segment, and what of it is dead, as far as the checkpoint reaches. */
interface CheckpointUsage extends Readonly<SegmentFigures> {
  readonly id: number
  readonly deadPutCount: number
  readonly deadBytes: number
}

/** The contents of a checkpoint other than the keydir's chunks. */
export interface CheckpointSummary {
  readonly kind: KeydirKind
  /** Whatever the kind put in its image. */
  readonly keydir: unknown
  /** The id of the tail's last segment, and its size up to which the image reaches. */
  readonly tailId: number
  readonly tailSize: number
  readonly nextSequence: number
  /** Every segment of the store when the image was made. */
  readonly segments: readonly CheckpointUsage[]
  /** The number of chunks of each arena. */
  readonly arenas: readonly number[]
}

/** The position of a chunk in the file. */
export interface ChunkPlace {
  readonly offset: number
  readonly size: number
  readonly crc: number
}

/** Returns everything that precedes the chunks, which must follow in the order given. */
export function encodeCheckpointHead(
  storeId: Uint8Array,
  generation: number,
  summary: CheckpointSummary,
  chunks: readonly Uint8Array[],
): Buffer {
  const seed = storeSeed(storeId)
  const json = Buffer.from(JSON.stringify(summary))
  const summaryAt = TABLE_AT + chunks.length * CHUNK_ENTRY_SIZE
  const bytes = Buffer.alloc(summaryAt + json.length)
  encodeFileHeader({ type: 'checkpoint', storeId, fileId: generation, origin: 'none' }).copy(bytes)
  bytes.writeUInt32LE(json.length, SUMMARY_SIZE_AT)
  bytes.writeUInt32LE(chunks.length, COUNT_AT)
  for (const [index, chunk] of chunks.entries()) {
    const at = TABLE_AT + index * CHUNK_ENTRY_SIZE
    bytes.writeUInt32LE(chunk.length, at)
    bytes.writeUInt32LE(checksum(chunk, 0, chunk.length, seed), at + 4)
  }
  json.copy(bytes, summaryAt)
  bytes.writeUInt32LE(headChecksum(bytes, seed), CRC_AT)
  return bytes
}

/** A generous limit: the summary of a hundred thousand segments takes 25 MB. */
const MAX_SUMMARY_SIZE = 64 * 1024 * 1024
/** No keydir has as many arenas. All chunks of an arena except the last one have this size. */
const ARENA_COUNT_LIMIT = 64
const WHOLE_CHUNK_SIZE = 2 * 1024 * 1024

/**
 * Returns the size of everything before the chunks, from its first {@link CHECKPOINT_HEAD_SIZE}
 * bytes.
 */
export function checkpointHeadSize(bytes: Uint8Array): number {
  const view = viewOf(bytes)
  return (
    TABLE_AT +
    view.getUint32(COUNT_AT, true) * CHUNK_ENTRY_SIZE +
    view.getUint32(SUMMARY_SIZE_AT, true)
  )
}

/**
 * Whether a file of this size can have the head that its first {@link CHECKPOINT_HEAD_SIZE} bytes
 * describe.
 */
export function isPlausibleHead(bytes: Uint8Array, fileSize: number): boolean {
  const view = viewOf(bytes)
  return (
    view.getUint32(SUMMARY_SIZE_AT, true) <= MAX_SUMMARY_SIZE &&
    view.getUint32(COUNT_AT, true) <= fileSize / WHOLE_CHUNK_SIZE + ARENA_COUNT_LIMIT &&
    checkpointHeadSize(bytes) <= fileSize
  )
}

/** Returns the byte ranges that the head's checksum covers, in order, and the checksum. */
export function checkpointHeadChecksum(bytes: Uint8Array): {
  readonly ranges: readonly { readonly from: number; readonly to: number }[]
  readonly crc: number
} {
  return {
    ranges: [
      { from: SUMMARY_SIZE_AT, to: CRC_AT },
      { from: TABLE_AT, to: checkpointHeadSize(bytes) },
    ],
    crc: viewOf(bytes).getUint32(CRC_AT, true),
  }
}

/**
 * Reads everything before the chunks.
 *
 * @returns `undefined` if it is damaged
 */
export function decodeCheckpointHead(
  bytes: Buffer,
  storeId: Uint8Array,
): { summary: CheckpointSummary; chunks: ChunkPlace[] } | undefined {
  const seed = storeSeed(storeId)
  if (bytes.readUInt32LE(CRC_AT) !== headChecksum(bytes, seed)) return undefined
  const count = bytes.readUInt32LE(COUNT_AT)
  const summaryAt = TABLE_AT + count * CHUNK_ENTRY_SIZE
  const chunks: ChunkPlace[] = []
  let offset = bytes.length
  for (let at = TABLE_AT; at < summaryAt; at += CHUNK_ENTRY_SIZE) {
    const size = bytes.readUInt32LE(at)
    chunks.push({ offset, size, crc: bytes.readUInt32LE(at + 4) })
    offset += size
  }
  // The checksum guarantees that encodeCheckpointHead wrote this.
  const summary = JSON.parse(bytes.toString('utf8', summaryAt)) as CheckpointSummary
  return { summary, chunks }
}

function headChecksum(bytes: Uint8Array, seed: number): number {
  const fieldsCrc = checksum(bytes, SUMMARY_SIZE_AT, CRC_AT, seed)
  return checksum(bytes, TABLE_AT, bytes.length, fieldsCrc)
}
