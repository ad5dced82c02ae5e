/**
 * Maps memory through the package `mmap-io`, a native add-on that is compiled when it is installed.
 */

import { requirePackage } from '../../packages.ts'
import type { FileDescriptor } from '../files.ts'
import type { MapProvider } from './provider.ts'

interface MmapIo {
  readonly PROT_READ: number
  readonly PROT_WRITE: number
  readonly MAP_SHARED: number
  readonly MAP_PRIVATE: number
  map(size: number, protection: number, flags: number, file: FileDescriptor): Buffer
  advise(buffer: Uint8Array, advice: number): void
}

/** Linux's number; the package passes on any number. */
const MAP_ANONYMOUS = 0x20
const NO_FILE = -1

/** Returns the provider; `undefined` if the package is not installed. */
export function loadMmapIo(): MapProvider | undefined {
  let mmapIo: MmapIo
  try {
    const loaded = requirePackage('mmap-io') as MmapIo | { default: MmapIo }
    mmapIo = 'default' in loaded ? loaded.default : loaded
  } catch {
    // It is missing if it could not be compiled.
    return undefined
  }
  const { PROT_READ, PROT_WRITE, MAP_SHARED, MAP_PRIVATE } = mmapIo
  return {
    name: 'mmap-io',
    mapFile: (file, size) => mmapIo.map(size, PROT_READ, MAP_SHARED, file),
    mapMemory: (size) =>
      mmapIo.map(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, NO_FILE),
    advise: (bytes, advice) => mmapIo.advise(bytes, advice),
  }
}
