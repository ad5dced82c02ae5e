/**
 * Reading files that state their own size. Such a size is trusted only once a checksum has
 * confirmed the bytes. Until then, neither the file's size, which costs a sparse file nothing, nor
 * its contents justify an allocation.
 */

import { checksum } from '../format/checksum.ts'
import { type FileDescriptor, type Files, readFully } from './files.ts'
import { allocateBuffer } from './memory.ts'

/** Up to this many bytes are read without being confirmed. */
const UNVOUCHED_SIZE = 64 * 1024

/** A range of bytes of a file. */
interface FileRange {
  readonly from: number
  readonly to: number
}

/**
 * Returns the checksum of consecutive ranges of a file, holding little in memory at a time;
 * `undefined` if the file ends before they do.
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
 * Returns the first `size` bytes of a file of at least that size, if `vouches` confirms them.
 *
 * @param vouches called before memory is allocated, unless the bytes are few
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
