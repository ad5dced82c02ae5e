/**
 * Memory in huge pages, on Linux and if memory can be mapped (mmap/); otherwise memory is ordinary.
 * In a huge page, the processor finds an address without a walk through page tables (measured,
 * bench `get`).
 *
 * The system makes a huge page in one of two ways: out of the small pages in use, or at the first
 * touch, if it was advised before. Both block the caller, and for a long time on a virtual machine
 * whose host must fetch the memory (bench `insert-stall`). So the next page is touched ahead, by
 * one of the threads that read files.
 */

import { closeSync, openSync, read, readFileSync } from 'node:fs'
import { monotonicMs } from '../scheduling/time.ts'
import type { FileDescriptor } from './files.ts'
import { LatencyBudget } from './latency-budget.ts'
import { maySpare } from './memory.ts'
import { mapProvider } from './mmap/providers.ts'

/** The size of a huge page, if the system has them. */
export const HUGE_PAGE_SIZE = 2 ** 21

// Linux's names and numbers.
const MADV_DONTNEED = 4
const MADV_HUGEPAGE = 14
const MADV_COLLAPSE = 25

const HUGE_PAGES_FILE = '/sys/kernel/mm/transparent_hugepage/enabled'
/** A file whose first byte is not zero. */
const TOUCHING_FILE = '/proc/self/exe'

/** The budget for making a huge page out of one in use, in milliseconds. */
const latency = new LatencyBudget(0.5)

/** The memory of pages in use. */
const pages = new WeakSet<ArrayBufferLike>()
let pagesAvailable = process.platform === 'linux'
/** Unknown until it is needed. */
let hugePagesAvailable: boolean | undefined

/** The page being touched ahead; its first byte is zero until that is done. */
let ahead: Uint8Array | undefined
let touchingFile: FileDescriptor | undefined
/** The number of touches that have not been reported done. */
let touchCount = 0

/**
 * Returns zeroed memory of {@link HUGE_PAGE_SIZE}, off the JavaScript heap; the system provides it
 * page by page, as it is touched.
 *
 * @returns `undefined` if no such memory is available: use any other
 */
export function takePage(): Uint8Array | undefined {
  if (!pagesAvailable || !maySpare(HUGE_PAGE_SIZE)) return undefined
  try {
    const page = mapProvider()?.mapMemory(HUGE_PAGE_SIZE)
    if (page !== undefined) pages.add(page.buffer)
    return page
  } catch {
    // There may be too many mappings: ordinary memory works as well.
    pagesAvailable = false
    return undefined
  }
}

/**
 * Returns a page like `takePage`, but a huge one, all of which the system has provided.
 *
 * @returns `undefined` if `touchAhead` was not called before, or no page is ready yet
 */
export function takeHugePage(): Uint8Array | undefined {
  const page = ahead
  if (page === undefined || isTouching()) return undefined
  page[0] = 0
  ahead = undefined
  return page
}

/** Has the system prepare a huge page in the background, if there is none. */
export function touchAhead(): void {
  if (ahead !== undefined || mapProvider() === undefined || !areHugePagesAvailable()) return
  try {
    touchingFile ??= openSync(TOUCHING_FILE, 'r')
  } catch {
    // There may be too many open files: pages are then made huge once they are in use.
    return
  }
  const page = takePage()
  if (page === undefined) {
    closeTouchingFile()
    return
  }
  advise(page, MADV_HUGEPAGE)
  ahead = page
  touchCount++
  // The event loop may not turn before the page is needed, so the byte itself shows when it is
  // ready.
  read(touchingFile, page, 0, 1, 0, (error) => {
    if (error !== null && ahead === page) ahead = undefined
    touchCount--
    closeTouchingFile()
  })
}

/** Closes the file once nothing is being touched. */
function closeTouchingFile(): void {
  if (touchCount > 0 || touchingFile === undefined) return
  closeSync(touchingFile)
  touchingFile = undefined
}

/**
 * Makes a page from `takePage` one huge page, which is worth it if all of it is used. Leaves other
 * memory as it is.
 *
 * @param isTouched whether it has contents already, so that the system may take its time
 */
export function makeHuge(page: Uint8Array, isTouched: boolean): void {
  if (!pages.has(page.buffer) || !areHugePagesAvailable()) return
  const beganAtMs = monotonicMs()
  // While another page is touched, the system would wait for that.
  const collapses = isTouched && !isTouching() && latency.lasts(beganAtMs)
  advise(page, MADV_HUGEPAGE)
  if (!collapses) return
  advise(page, MADV_COLLAPSE)
  const nowMs = monotonicMs()
  latency.took(nowMs - beganAtMs, nowMs)
}

/**
 * Gives back a page from `takePage`, which must not be touched any more. The garbage collector does
 * not know how large it is, and would be in no hurry. Other memory is left to the collector.
 */
export function givePage(page: Uint8Array): void {
  if (pages.delete(page.buffer)) advise(page, MADV_DONTNEED)
}

function advise(page: Uint8Array, advice: number): void {
  try {
    mapProvider()?.advise(page, advice)
  } catch {
    // Too many mappings, no free huge page, an older kernel: the memory stays as it is.
  }
}

function areHugePagesAvailable(): boolean {
  hugePagesAvailable ??= readSetting()
  return hugePagesAvailable
}

function readSetting(): boolean {
  try {
    return !readFileSync(HUGE_PAGES_FILE, 'latin1').includes('[never]')
  } catch {
    // A kernel without huge pages, or another system.
    return false
  }
}

function isTouching(): boolean {
  return ahead !== undefined && ahead[0] === 0
}
