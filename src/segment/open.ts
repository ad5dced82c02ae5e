import { join } from 'node:path'
import { CorruptionError, StoreError } from '../errors.ts'
import { FILE_HEADER_SIZE } from '../format/file-header.ts'
import type { SealedSegment } from '../format/manifest.ts'
import { segmentName } from '../format/names.ts'
import { errorCode, type FileDescriptor, type Files, readFully } from '../io/files.ts'
import { readFileHeader, Segment, type SegmentHome } from './segment.ts'
import { SegmentUsage } from './usage.ts'

/** Opens a segment that the manifest lists. */
export function openSealed(home: SegmentHome, sealed: SealedSegment, mapping: boolean): Segment {
  const { path, file, size } = openSegmentFile(home, sealed.id)
  try {
    const header = readSegmentHeader(home, file, path, sealed.id)
    if (header === 'short' || size !== sealed.size) {
      throw new CorruptionError(
        `The file has ${size} bytes; the manifest says ${sealed.size}`,
        path,
        Math.min(size, sealed.size),
      )
    }
    const usage = new SegmentUsage(sealed)
    const { origin } = sealed
    return new Segment(home, sealed.id, origin, file, usage, mapping ? sealed.size : 0)
  } catch (error) {
    home.files.close(file)
    throw error
  }
}

/** Opens a segment's file. @throws {@link CorruptionError} where it is missing */
export function openSegmentFile(
  home: SegmentHome,
  id: number,
  toWrite = false,
): { path: string; file: number; size: number } {
  const { files, directory } = home
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

/** Reads the header of a segment's file; `'short'` where the file ends before it does. */
export function readSegmentHeader(home: SegmentHome, file: number, path: string, id: number) {
  const bytes = Buffer.alloc(FILE_HEADER_SIZE)
  const read = readFully(home.files, file, bytes, FILE_HEADER_SIZE, 0)
  const expected = { storeId: home.storeId, fileId: id }
  return readFileHeader(bytes.subarray(0, read), path, 'segment', expected)
}

/** Whether a file's header was never written: it is cut short or all zeros. */
export function isBlank(files: Files, file: number, size: number): boolean {
  if (size < FILE_HEADER_SIZE) return true
  const bytes = Buffer.alloc(FILE_HEADER_SIZE)
  readFully(files, file, bytes, FILE_HEADER_SIZE, 0)
  return bytes.every((byte) => byte === 0)
}
