/**
 * Memory-mapped files, where one of the optional packages that map them is there; elsewhere the engine reads by position.
 *
 * Safety: to read a mapping behind the end of its file is fatal to the process. So a mapping is made of files that nobody
 * else cuts, is read only where its owner knows the file to reach, and what is handed out of it is copied.
 */

import type { FileDescriptor } from './files.ts'
import { provider } from './mmap/providers.ts'

/** Sizes are C ints in `mmap-io`. */
export const MAX_MAPPING_SIZE = 2 ** 31 - 1

/** Whether files can be mapped here. */
export const mappingAvailable = provider !== undefined

/**
 * Maps the first `size` bytes of a file for reading; `size` may reach beyond the file's end.
 *
 * @returns `undefined` where files cannot be mapped, or this one cannot
 */
export function mapFile(file: FileDescriptor, size: number): Buffer | undefined {
  if (provider === undefined || size === 0 || size > MAX_MAPPING_SIZE) return undefined
  try {
    return provider.mapFile(file, size)
  } catch {
    // Too many mappings, or a file system without them: positional reads serve as well.
    return undefined
  }
}

/**
 * Unmaps what {@link mapFile} gave, by a thread. Nobody may read it any more.
 *
 * @returns whether that is under way; `false` where it is left to the garbage collector
 */
export function unmapFile(mapped: Uint8Array): boolean {
  if (provider?.unmap === undefined) return false
  void provider.unmap(mapped)
  return true
}
