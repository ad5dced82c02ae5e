/**
 * Memory in huge pages, on Linux and where memory can be mapped (mmap/); elsewhere memory comes as it
 * comes. A huge page costs the processor no walk through tables to find a place in it (measured, bench `get`).
 *
 * The system makes one in either of two ways: of the small pages that are in use, or at the first touch, if it was told
 * so before. Both hold up whoever asks, on a virtual machine whose host has to fetch the memory for a long while (bench
 * `insert-stall`). So the next page is touched ahead, by one of the threads that read files.
 */

import { closeSync, openSync, read, readFileSync } from 'node:fs'
import { monotonicMs } from '../scheduling/time.ts'
import type { FileDescriptor } from './files.ts'
import { LatencyBudget } from './latency-budget.ts'
import { maySpare } from './memory.ts'
import { provider } from './mmap/providers.ts'

/** The size of a huge page, where the system has them. */
export const HUGE_PAGE_SIZE = 2 ** 21

// What Linux calls these.
const MADV_DONTNEED = 4
const MADV_HUGEPAGE = 14
const MADV_COLLAPSE = 25

const HUGE_PAGES_FILE = '/sys/kernel/mm/transparent_hugepage/enabled'
/** Begins with a byte that is not zero. */
const TOUCHING_FILE = '/proc/self/exe'

/** How long it may take, in milliseconds, to make a huge page on the spot of what is in use. */
const latency = new LatencyBudget(0.5)

/** Pages that are in use, by the memory that they lie in. */
const pages = new WeakSet<ArrayBufferLike>()
let pagesAvailable = process.platform === 'linux'
/** Not known before it is needed. */
let hugePagesAvailable: boolean | undefined

/** The page that is touched ahead; its first byte is zero until that is done. */
let ahead: Uint8Array | undefined
let touchingFile: FileDescriptor | undefined
/** How many touches have not been heard of. */
let touchCount = 0

/**
 * Zeroed memory of {@link HUGE_PAGE_SIZE}, off the JavaScript heap; the system takes it bit by bit, as it is touched.
 *
 * @returns `undefined` where there is no such memory to be had: use any other
 */
export function takePage(): Uint8Array | undefined {
  if (provider === undefined || !pagesAvailable || !maySpare(HUGE_PAGE_SIZE)) return undefined
  try {
    const page = provider.mapMemory(HUGE_PAGE_SIZE)
    pages.add(page.buffer)
    return page
  } catch {
    // Too many mappings, say: ordinary memory serves as well.
    pagesAvailable = false
    return undefined
  }
}

/**
 * A page as `takePage` gives it, but huge, and all of it taken from the system.
 *
 * @returns `undefined` where `touchAhead` was not called before, or none is ready yet
 */
export function takeHugePage(): Uint8Array | undefined {
  const page = ahead
  if (page === undefined || isTouching()) return undefined
  page[0] = 0
  ahead = undefined
  return page
}

/** Has the system make a huge page ready in the background, if there is none. */
export function touchAhead(): void {
  if (provider === undefined || ahead !== undefined || !areHugePagesAvailable()) return
  try {
    touchingFile ??= openSync(TOUCHING_FILE, 'r')
  } catch {
    // Too many open files, say: pages are then made huge once they are in use.
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
  // The event loop may not turn before the page is needed, so it is the byte itself that says it is there.
  read(touchingFile, page, 0, 1, 0, (error) => {
    if (error !== null && ahead === page) ahead = undefined
    touchCount--
    closeTouchingFile()
  })
}

/** Closes the file, once nothing is touched. */
function closeTouchingFile(): void {
  if (touchCount > 0 || touchingFile === undefined) return
  closeSync(touchingFile)
  touchingFile = undefined
}

/**
 * Makes what `takePage` gave one huge page, which is worth it where all of it is used. Other memory is left as it is.
 *
 * @param isTouched whether there is something in it already; then the system may be given its time
 */
export function makeHuge(page: Uint8Array, isTouched: boolean): void {
  if (provider === undefined || !pages.has(page.buffer) || !areHugePagesAvailable()) return
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
 * Gives back what `takePage` gave, which must not be touched any more: the collector does not know how much that is,
 * and would be in no hurry. Other memory is left to it.
 */
export function givePage(page: Uint8Array): void {
  if (pages.delete(page.buffer)) advise(page, MADV_DONTNEED)
}

function advise(page: Uint8Array, advice: number): void {
  try {
    provider?.advise(page, advice)
  } catch {
    // Too many mappings, no huge page free, an older kernel: the memory stays as it is.
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
