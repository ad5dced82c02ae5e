/** What maps memory here: one of the optional packages that give access to the system's own calls. */

import type { FileDescriptor } from '../files.ts'

/** Maps memory. */
export interface MapProvider {
  readonly name: 'koffi' | 'mmap-io'
  /**
   * The first `size` bytes of a file, to be read.
   *
   * @throws where the system or the runtime refuses it
   */
  mapFile(file: FileDescriptor, size: number): Buffer
  /** `size` bytes of zeroed memory, page by page as it is touched. @throws as {@link MapProvider.mapFile} */
  mapMemory(size: number): Buffer
  /** Tells the system how memory will be used: a number of Linux's. @throws where the system refuses it */
  advise(bytes: Uint8Array, advice: number): void
  /**
   * Unmaps what `mapFile` gave, by a thread; nobody may read it any more. Where this is missing the garbage collector
   * unmaps it, on the thread that runs it.
   *
   * @returns resolves once the file is let go of
   */
  unmap?(bytes: Uint8Array): Promise<void>
}
