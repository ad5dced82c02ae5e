/**
 * Memory-mapped files, if one of the optional packages that map them is installed; otherwise the
 * engine reads by position.
 *
 * Safety: reading a mapping beyond the end of its file is fatal to the process. So only files that
 * nobody else truncates are mapped, a mapping is read only where its owner knows that the file
 * reaches, and whatever is returned to callers is copied.
 */

import type { FileDescriptor } from './files.ts'
import { mapProvider } from './mmap/providers.ts'

/** Sizes are C ints in `mmap-io`. */
export const MAX_MAPPING_SIZE = 2 ** 31 - 1

/** Whether files can be mapped here. */
export function canMap(): boolean {
  return mapProvider() !== undefined
}

/**
 * Maps the first `size` bytes of a file for reading; `size` may reach beyond the file's end.
 *
 * @returns `undefined` if files cannot be mapped, or this one cannot
 */
export function mapFile(file: FileDescriptor, size: number): Buffer | undefined {
  if (size === 0 || size > MAX_MAPPING_SIZE) return undefined
  try {
    return mapProvider()?.mapFile(file, size)
  } catch {
    // There may be too many mappings, or the file system has none: positional reads work as well.
    return undefined
  }
}

/**
 * Unmaps what {@link mapFile} returned, in a thread. Nobody may read it any more.
 *
 * @returns whether that has begun; `false` if it is left to the garbage collector
 */
export function unmapFile(mapped: Uint8Array): boolean {
  const provider = mapProvider()
  if (provider?.unmap === undefined) return false
  void provider.unmap(mapped)
  return true
}
