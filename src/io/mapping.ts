/**
 * Memory-mapped files, where the optional package `mmap-io` could be built; elsewhere the engine reads by position.
 *
 * Safety: a mapping is unmapped by the garbage collector only, and reading it behind the end of its file is
 * fatal to the process. So a mapping is made of files that nobody else cuts, is read only where its owner
 * knows the file to reach, and what is handed out of it is copied.
 */

import type { FileDescriptor } from './files.ts'
import { mmapIo } from './mmap-io.ts'

/** Sizes are C ints in the package. */
export const MAX_MAPPING_SIZE = 2 ** 31 - 1

/** Whether files can be mapped here. */
export const mappingAvailable = mmapIo !== undefined

/**
 * Maps the first `size` bytes of a file for reading; `size` may reach beyond the file's end.
 *
 * @returns `undefined` where files cannot be mapped, or this one cannot
 */
export function mapFile(file: FileDescriptor, size: number): Buffer | undefined {
  if (mmapIo === undefined || size === 0 || size > MAX_MAPPING_SIZE) return undefined
  try {
    return mmapIo.map(size, mmapIo.PROT_READ, mmapIo.MAP_SHARED, file)
  } catch {
    // Too many mappings, or a file system without them: positional reads serve as well.
    return undefined
  }
}
