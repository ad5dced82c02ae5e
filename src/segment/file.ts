/** Opens the files of segments, and checks their headers. */

import { join } from 'node:path'
import { CorruptionError, StoreError } from '../errors.ts'
import {
  decodeFileHeader,
  FILE_HEADER_SIZE,
  type FileHeader,
  type FileType,
} from '../format/file-header.ts'
import { segmentName } from '../format/names.ts'
import { errorCode, type FileDescriptor, type Files, readFully } from '../io/files.ts'

/**
 * The surroundings of a segment: the files, the directory and the id of the store it belongs to.
 */
export interface SegmentContext {
  /** If the directory is held, `assertThere` throws once its path does not lead to it any more. */
  readonly files: Files & { assertThere?(): void }
  readonly directory: string
  readonly storeId: Uint8Array
}

/** Opens a segment's file. @throws {@link CorruptionError} if it is missing */
export function openSegmentFile(
  context: SegmentContext,
  id: number,
  toWrite = false,
): { path: string; file: number; size: number } {
  const { files, directory } = context
  const path = join(directory, segmentName(id))
  let file: FileDescriptor | undefined
  try {
    file = files.open(path, toWrite ? 'write' : 'read')
    return { path, file, size: files.size(file) }
  } catch (error) {
    if (file !== undefined) files.close(file)
    if (errorCode(error) === 'ENOENT') {
      throw new CorruptionError('The segment is missing', path, 0, { cause: error })
    }
    throw new StoreError('FIRKIN_READ_FAILED', `Cannot open ${path}`, { cause: error })
  }
}

/** Reads the header of a segment's file; returns `'short'` if the file ends inside it. */
export function readSegmentHeader(context: SegmentContext, file: number, path: string, id: number) {
  const bytes = Buffer.alloc(FILE_HEADER_SIZE)
  const read = readFully(context.files, file, bytes, FILE_HEADER_SIZE, 0)
  const expected = { storeId: context.storeId, fileId: id }
  return readFileHeader(bytes.subarray(0, read), path, 'segment', expected)
}

/** Returns whether a file's header was never written: it is cut short or all zeros. */
export function isBlank(files: Files, file: number, size: number): boolean {
  if (size < FILE_HEADER_SIZE) return true
  const bytes = Buffer.alloc(FILE_HEADER_SIZE)
  readFully(files, file, bytes, FILE_HEADER_SIZE, 0)
  return bytes.every((byte) => byte === 0)
}

/**
 * Reads a file's header and checks that the file is what it should be.
 *
 * @returns `'short'` if the file ends inside its header
 * @throws {@link CorruptionError} if it is damaged, or belongs to another store or another file
 * @throws {@link StoreError} FIRKIN_VERSION
 */
export function readFileHeader(
  bytes: Uint8Array,
  path: string,
  type: FileType,
  expected: { storeId?: Uint8Array; fileId?: number },
): FileHeader | 'short' {
  const header = decodeFileHeader(bytes.subarray(0, FILE_HEADER_SIZE))
  if ('fault' in header) {
    switch (header.fault) {
      case 'short':
        return 'short'
      case 'damaged':
        throw new CorruptionError('The file header is damaged', path, header.offset)
      case 'version':
        throw new StoreError(
          'FIRKIN_VERSION',
          `${path} is of format version ${header.version}; this version of Firkin reads ` +
            (header.newest === 1 ? 'version 1' : `versions 1 to ${header.newest}`),
        )
    }
  }
  if (header.type !== type) {
    throw new CorruptionError(`The file is a ${header.type}, not a ${type}`, path, 0)
  }
  if (expected.storeId !== undefined && Buffer.compare(expected.storeId, header.storeId) !== 0) {
    throw new CorruptionError('The file belongs to another store', path, 0)
  }
  if (expected.fileId !== undefined && expected.fileId !== header.fileId) {
    throw new CorruptionError(
      `The file says it is number ${header.fileId}, not ${expected.fileId}`,
      path,
      0,
    )
  }
  return header
}
