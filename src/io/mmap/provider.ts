/**
 * The interface of a memory mapper: one of the optional packages that give access to the system's
 * calls.
 */

import type { FileDescriptor } from '../files.ts'

/** Maps memory. */
export interface MapProvider {
  readonly name: 'koffi' | 'mmap-io'
  /**
   * Maps the first `size` bytes of a file for reading.
   *
   * @throws if the system or the runtime refuses it
   */
  mapFile(file: FileDescriptor, size: number): Buffer
  /**
   * Maps `size` bytes of zeroed memory, provided page by page as it is touched. @throws as {@link
   * MapProvider.mapFile}
   */
  mapMemory(size: number): Buffer
  /**
   * Tells the system how memory will be used, by one of Linux's numbers. @throws if the system
   * refuses it
   */
  advise(bytes: Uint8Array, advice: number): void
  /**
   * Unmaps what `mapFile` returned, in a thread; nobody may read it any more. If this method is
   * missing, the garbage collector unmaps it, on the thread that runs it.
   *
   * @returns a promise that resolves once the file is released
   */
  unmap?(bytes: Uint8Array): Promise<void>
}
