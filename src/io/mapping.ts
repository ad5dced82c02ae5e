/**
 * Memory-mapped files, and memory in huge pages, where the optional package `mmap-io` could be built; elsewhere the
 * engine reads by position, and memory comes as it comes.
 *
 * Safety: a mapping is unmapped by the garbage collector only, and reading it behind the end of its file is
 * fatal to the process. So a mapping is made of files that nobody else cuts, is read only where its owner
 * knows the file to reach, and what is handed out of it is copied.
 */

import { createRequire } from 'node:module'
import type { FileDescriptor } from './files.ts'

/** Sizes are C ints in the package. */
export const MAX_MAPPING_SIZE = 2 ** 31 - 1

/** Memory of this size comes as one huge page, where the system has them. */
export const HUGE_PAGE_SIZE = 2 ** 21

// What Linux calls these; the package passes on any number.
const MAP_ANONYMOUS = 0x20
const MADV_HUGEPAGE = 14
const NO_FILE = -1

interface MmapIo {
  readonly PROT_READ: number
  readonly PROT_WRITE: number
  readonly MAP_SHARED: number
  readonly MAP_PRIVATE: number
  readonly MADV_DONTNEED: number
  map(
    size: number,
    protection: number,
    flags: number,
    file: FileDescriptor,
    offset?: number,
    advice?: number,
  ): Buffer
  advise(buffer: Uint8Array, advice: number): void
}

const mmapIo = load()

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

/** Huge pages that are in use; each holds the only reference to itself beside its owner's. */
const hugePages = new WeakSet<ArrayBufferLike>()
let hugePagesAvailable = process.platform === 'linux'

/**
 * Zeroed memory off the JavaScript heap. A huge page costs the processor no walk through page tables at each access
 * to a place that it has not seen for a while (measured, bench `get`).
 */
export function allocateMemory(size: number): Uint8Array {
  return (size === HUGE_PAGE_SIZE ? allocateHugePage() : undefined) ?? new Uint8Array(size)
}

/**
 * Gives back what `allocateMemory` gave, which must not be touched any more: the collector does not know how much
 * a huge page takes, and would be in no hurry.
 */
export function freeMemory(memory: Uint8Array): void {
  if (!hugePages.delete(memory.buffer)) return
  mmapIo?.advise(memory, mmapIo.MADV_DONTNEED)
}

function allocateHugePage(): Uint8Array | undefined {
  if (mmapIo === undefined || !hugePagesAvailable) return undefined
  try {
    const { PROT_READ, PROT_WRITE, MAP_PRIVATE } = mmapIo
    const flags = MAP_PRIVATE | MAP_ANONYMOUS
    const page = mmapIo.map(
      HUGE_PAGE_SIZE,
      PROT_READ | PROT_WRITE,
      flags,
      NO_FILE,
      0,
      MADV_HUGEPAGE,
    )
    hugePages.add(page.buffer)
    return page
  } catch {
    // A kernel without huge pages, or too many mappings: ordinary memory serves as well.
    hugePagesAvailable = false
    return undefined
  }
}

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
