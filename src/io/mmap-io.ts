/** The optional package `mmap-io`, where it could be built and is wanted. */

import { createRequire } from 'node:module'
import type { FileDescriptor } from './files.ts'

interface MmapIo {
  readonly PROT_READ: number
  readonly PROT_WRITE: number
  readonly MAP_SHARED: number
  readonly MAP_PRIVATE: number
  readonly MADV_DONTNEED: number
  map(size: number, protection: number, flags: number, file: FileDescriptor): Buffer
  advise(buffer: Uint8Array, advice: number): void
}

export const mmapIo = load()

function load(): MmapIo | undefined {
  if (process.env.FIRKIN_MMAP === 'off') return undefined
  try {
    const loaded: MmapIo | { default: MmapIo } = createRequire(import.meta.url)('mmap-io')
    return 'default' in loaded ? loaded.default : loaded
  } catch {
    // The package is optional: it is absent where it could not be compiled.
    return undefined
  }
}
