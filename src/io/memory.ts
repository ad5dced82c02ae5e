/**
 * The one place where memory off the JavaScript heap comes from: keydirs, the stage, large records, copies.
 *
 * Where the runtime has none to give it throws a `RangeError`, which would read as a mistake of the caller's. Here it
 * becomes a {@link StoreError} FIRKIN_NO_MEMORY. Tests refuse memory by `watchAllocations`, as they fail files by
 * another `Files`.
 *
 * What the JavaScript heap itself has no room for ends the process; nothing can be done about it here.
 */

import { StoreError } from '../errors.ts'

/** There is no memory: what asked for it has changed nothing. */
export class NoMemory extends StoreError {
  constructor(message: string, options?: ErrorOptions) {
    super('FIRKIN_NO_MEMORY', message, options)
  }
}

let watch: ((size: number) => void) | undefined

/**
 * Has `watcher` called before each allocation, with its size in bytes; what it throws is taken for the runtime's
 * refusal. For tests.
 */
export function watchAllocations(watcher: ((size: number) => void) | undefined): void {
  watch = watcher
}

/** Zeroed memory. @throws {@link StoreError} FIRKIN_NO_MEMORY */
export function allocateBytes(size: number): Uint8Array<ArrayBuffer> {
  try {
    if (watch !== undefined) watch(size)
    return new Uint8Array(size)
  } catch (error) {
    throw refusedMemory(size, error)
  }
}

/** Zeroed memory, as words. @throws {@link StoreError} FIRKIN_NO_MEMORY */
export function allocateWords(count: number): Uint32Array<ArrayBuffer> {
  return new Uint32Array(allocateBytes(count * 4).buffer)
}

/** Memory with anything in it, of which small pieces share some. @throws {@link StoreError} FIRKIN_NO_MEMORY */
export function allocateBuffer(size: number): Buffer {
  try {
    if (watch !== undefined) watch(size)
    return Buffer.allocUnsafe(size)
  } catch (error) {
    throw refusedMemory(size, error)
  }
}

/** Memory with anything in it, that is shared with nothing. @throws {@link StoreError} FIRKIN_NO_MEMORY */
export function allocateOwnBuffer(size: number): Buffer {
  try {
    if (watch !== undefined) watch(size)
    return Buffer.allocUnsafeSlow(size)
  } catch (error) {
    throw refusedMemory(size, error)
  }
}

/** Whether memory that can be done without is to be had. */
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
  // The runtime says so by a RangeError; whatever else is thrown is a bug.
  if (!(cause instanceof RangeError)) return cause
  return new NoMemory(`No ${size} bytes of memory are available`, { cause })
}
