/**
 * Reading what a file says the size of. Such a size is believed only once a checksum vouches for the bytes: neither the
 * file's size, which costs a sparse file nothing, nor what stands in it is worth memory before that.
 */

import { checksum } from '../format/checksum.ts'
import { type FileDescriptor, type Files, readFully } from './files.ts'
import { allocateBuffer } from './memory.ts'

/** So much is read without being vouched for. */
const UNVOUCHED_SIZE = 64 * 1024

/** A run of bytes of a file. */
export interface FileRange {
  readonly from: number
  readonly to: number
}

/**
 * The checksum of ranges of a file, one behind the other, of which little is in memory at a time; `undefined` where the
 * file ends before they do.
 */
export function fileChecksum(
  files: Files,
  file: FileDescriptor,
  ranges: readonly FileRange[],
  seed: number,
): number | undefined {
  const longest = ranges.reduce((size, { from, to }) => Math.max(size, to - from), 0)
  const buffer = allocateBuffer(Math.min(longest, UNVOUCHED_SIZE))
  let crc = seed
  for (const { from, to } of ranges) {
    for (let at = from; at < to; at += buffer.length) {
      const size = Math.min(buffer.length, to - at)
      if (readFully(files, file, buffer, size, at) < size) return undefined
      crc = checksum(buffer, 0, size, crc)
    }
  }
  return crc
}

/**
 * The first `size` bytes of a file, which has as many, if `vouches` finds them to be right.
 *
 * @param vouches asked before memory is taken, but for a few bytes, which are worth no second look
 */
export function readVouched(
  files: Files,
  file: FileDescriptor,
  size: number,
  vouches: () => boolean,
): Buffer | undefined {
  if (size > UNVOUCHED_SIZE && !vouches()) return undefined
  const bytes = allocateBuffer(size)
  return readFully(files, file, bytes, size, 0) < size ? undefined : bytes
}
