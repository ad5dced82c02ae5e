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
import { Patience } from './patience.ts'

/** Sizes are C ints in the package. */
export const MAX_MAPPING_SIZE = 2 ** 31 - 1

/** The size of a huge page, where the system has them. */
export const HUGE_PAGE_SIZE = 2 ** 21

// What Linux calls these; the package passes on any number.
const MAP_ANONYMOUS = 0x20
const MADV_HUGEPAGE = 14
const MADV_COLLAPSE = 25
const NO_FILE = -1

interface MmapIo {
  readonly PROT_READ: number
  readonly PROT_WRITE: number
  readonly MAP_SHARED: number
  readonly MAP_PRIVATE: number
  readonly MADV_DONTNEED: number
  map(size: number, protection: number, flags: number, file: FileDescriptor): Buffer
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

/** Some virtual machines have to fetch a huge page from their host, for which everything would wait (bench `insert-stall`). */
const patience = new Patience(0.5)

/** Pages that are in use, by the memory that they lie in. */
const pages = new WeakSet<ArrayBufferLike>()
let pagesAvailable = process.platform === 'linux'

/**
 * Zeroed memory of {@link HUGE_PAGE_SIZE}, off the JavaScript heap; the system takes it bit by bit, as it is touched.
 *
 * @returns `undefined` where there is no such memory to be had: use any other
 */
export function takePage(): Uint8Array | undefined {
  if (mmapIo === undefined || !pagesAvailable) return undefined
  try {
    const { PROT_READ, PROT_WRITE, MAP_PRIVATE } = mmapIo
    const flags = MAP_PRIVATE | MAP_ANONYMOUS
    const page = mmapIo.map(HUGE_PAGE_SIZE, PROT_READ | PROT_WRITE, flags, NO_FILE)
    pages.add(page.buffer)
    return page
  } catch {
    // Too many mappings, say: ordinary memory serves as well.
    pagesAvailable = false
    return undefined
  }
}

/**
 * Makes what `takePage` gave one huge page, which is worth it where all of it is used: it costs the processor no walk
 * through tables to find a place in it (measured, bench `get`). Other memory is left as it is.
 *
 * @param isTouched whether there is something in it already; then the system may be given its time
 */
export function makeHuge(page: Uint8Array, isTouched: boolean): void {
  if (mmapIo === undefined || !pages.has(page.buffer)) return
  const beganAtMs = performance.now()
  const collapses = isTouched && patience.lasts(beganAtMs)
  try {
    mmapIo.advise(page, MADV_HUGEPAGE)
    if (collapses) mmapIo.advise(page, MADV_COLLAPSE)
  } catch {
    // A kernel without huge pages, or none free now: the memory stays as it is.
  }
  if (!collapses) return
  const nowMs = performance.now()
  patience.took(nowMs - beganAtMs, nowMs)
}

/**
 * Gives back what `takePage` gave, which must not be touched any more: the collector does not know how much that is,
 * and would be in no hurry. Other memory is left to it.
 */
export function givePage(page: Uint8Array): void {
  if (pages.delete(page.buffer)) mmapIo?.advise(page, mmapIo.MADV_DONTNEED)
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
