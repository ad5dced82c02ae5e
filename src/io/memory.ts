/**
 * The only source of memory off the JavaScript heap: for keydirs, the stage, large records and
 * copies.
 *
 * If the runtime has none left, it throws a `RangeError`, which would read as a mistake of the
 * caller. Here it becomes a {@link StoreError} FIRKIN_NO_MEMORY. Tests refuse memory with
 * `watchAllocations`, as they fail files with another `Files`.
 *
 * If the JavaScript heap itself is full, the process ends; nothing can be done about that here.
 */

import { isErrorOf, StoreError } from '../errors.ts'

/** There is no memory; whatever asked for it has changed nothing. */
export class NoMemory extends StoreError {
  constructor(message: string, options?: ErrorOptions) {
    super('FIRKIN_NO_MEMORY', message, options)
  }
}

let watch: ((size: number) => void) | undefined

/**
 * Has `watcher` called before each allocation, with its size in bytes; an error that it throws
 * counts as the runtime's refusal. For tests.
 */
export function watchAllocations(watcher: ((size: number) => void) | undefined): void {
  watch = watcher
}

/** Returns zeroed memory. @throws {@link StoreError} FIRKIN_NO_MEMORY */
export function allocateBytes(size: number): Uint8Array<ArrayBuffer> {
  try {
    if (watch !== undefined) watch(size)
    return new Uint8Array(size)
  } catch (error) {
    throw refusedMemory(size, error)
  }
}

/** Returns zeroed memory as words. @throws {@link StoreError} FIRKIN_NO_MEMORY */
export function allocateWords(count: number): Uint32Array<ArrayBuffer> {
  return new Uint32Array(allocateBytes(count * 4).buffer)
}

/**
 * Returns memory with arbitrary contents; small pieces share one allocation. @throws {@link
 * StoreError} FIRKIN_NO_MEMORY
 */
export function allocateBuffer(size: number): Buffer {
  try {
    if (watch !== undefined) watch(size)
    return Buffer.allocUnsafe(size)
  } catch (error) {
    throw refusedMemory(size, error)
  }
}

/**
 * Returns memory with arbitrary contents, in an allocation of its own. @throws {@link StoreError}
 * FIRKIN_NO_MEMORY
 */
export function allocateOwnBuffer(size: number): Buffer {
  try {
    if (watch !== undefined) watch(size)
    return Buffer.allocUnsafeSlow(size)
  } catch (error) {
    throw refusedMemory(size, error)
  }
}

/** Whether memory for an optional purpose is available. */
export function maySpare(size: number): boolean {
  if (watch === undefined) return true
  try {
    watch(size)
    return true
  } catch {
    return false
  }
}

function refusedMemory(size: number, cause: unknown): unknown {
  // The runtime refuses memory with a RangeError; any other error is a bug.
  if (!isErrorOf('RangeError', cause)) return cause
  return new NoMemory(`No ${size} bytes of memory are available`, { cause })
}
