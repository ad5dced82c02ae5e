/** Reads a directory's manifest. */

import { join } from 'node:path'
import { CorruptionError, StoreError } from '../errors.ts'
import { FILE_HEADER_SIZE, storeSeed } from '../format/file-header.ts'
import {
  decodeManifest,
  isManifestSize,
  MANIFEST_CRC_SIZE,
  MANIFEST_HEAD_SIZE,
  type Manifest,
  type SealedSegment,
} from '../format/manifest.ts'
import { CACHE_MARKER_NAME, MANIFEST_NAME, segmentName } from '../format/names.ts'
import { errorCode, type FileDescriptor, type Files, readFully, withFile } from '../io/files.ts'
import { fileChecksum, readVouched } from '../io/vouched.ts'
import { readFileHeader } from './file.ts'

/**
 * Reads the manifest of a directory; returns `undefined` if there is none. A cache's manifest is
 * returned without the segments that the cache has deleted since it was written.
 *
 * @throws {@link CorruptionError} if it is damaged
 * @throws {@link StoreError} FIRKIN_VERSION, FIRKIN_READ_FAILED
 */
export function readManifest(files: Files, directory: string): Manifest | undefined {
  const path = join(directory, MANIFEST_NAME)
  let manifest: Manifest | undefined
  try {
    manifest = withFile(files, path, (file) => readOpened(files, file, path))
  } catch (error) {
    if (errorCode(error) === undefined) throw error
    throw new StoreError('FIRKIN_READ_FAILED', `Cannot read ${path}`, { cause: error })
  }
  return manifest && withoutDeleted(manifest, files.list(directory) ?? [])
}

/**
 * Leaves out the segments that a cache has deleted.
 *
 * A cache deletes its segments in the order of their sequences, and writes a new manifest only
 * after many of them. So a missing segment was deleted if all that are there are newer. Any other
 * missing one is lost, and stays listed.
 */
function withoutDeleted(manifest: Manifest, names: readonly string[]): Manifest {
  if (!names.includes(CACHE_MARKER_NAME)) return manifest
  const there = new Set(names)
  const isThere = ({ id }: SealedSegment): boolean => there.has(segmentName(id))
  const oldest = manifest.segments
    .filter(isThere)
    .reduce((least, { minSequence }) => Math.min(least, minSequence), Number.POSITIVE_INFINITY)
  const segments = manifest.segments.filter(
    (segment) => isThere(segment) || segment.minSequence > oldest,
  )
  return { ...manifest, segments }
}

function readOpened(files: Files, file: FileDescriptor, path: string): Manifest {
  const size = files.size(file)
  const bytes = readVouched(files, file, size, () => isVouchedFor(files, file, path, size))
  if (bytes === undefined) {
    const message = 'The manifest does not match its checksum'
    throw new CorruptionError(message, path, Math.min(size, FILE_HEADER_SIZE))
  }
  const header = readFileHeader(bytes, path, 'manifest', {})
  if (header === 'short') {
    throw new CorruptionError('The file ends inside its header', path, bytes.length)
  }
  const manifest = decodeManifest(bytes, header.storeId, header.fileId)
  if (typeof manifest === 'number') {
    throw new CorruptionError('The manifest does not match its checksum', path, manifest)
  }
  return manifest
}

/** Returns whether the checksum of a manifest of this size matches. */
function isVouchedFor(files: Files, file: FileDescriptor, path: string, size: number): boolean {
  const head = Buffer.alloc(MANIFEST_HEAD_SIZE)
  readFully(files, file, head, head.length, 0)
  const header = readFileHeader(head, path, 'manifest', {})
  if (header === 'short' || !isManifestSize(head, size)) return false
  const end = size - MANIFEST_CRC_SIZE
  const crc = Buffer.alloc(MANIFEST_CRC_SIZE)
  readFully(files, file, crc, crc.length, end)
  const ranges = [{ from: FILE_HEADER_SIZE, to: end }]
  return fileChecksum(files, file, ranges, storeSeed(header.storeId)) === crc.readUInt32LE(0)
}
