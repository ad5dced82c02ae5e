/**
 * The errors that a caller may see, and how errors of others are told apart.
 *
 * Code may run in a realm of its own, as with `node:vm` or Jest, where `Error` is another class
 * than that of the system's errors. So nothing but the functions here and `isBytes` asks for an
 * instance of a built-in class.
 */

import { types } from 'node:util'

/** The codes of errors. They are stable within a major version; messages are not. */
export type ErrorCode =
  /** The store, snapshot or iterator was used after `close()`. */
  | 'FIRKIN_CLOSED'
  /** Another process, or another `open` of this one, holds the store for writing. */
  | 'FIRKIN_LOCKED'
  /** The kernel lock is not available here, or could not be taken although nobody holds it. */
  | 'FIRKIN_LOCK_UNAVAILABLE'
  /** The permissions of a file or directory do not allow it. */
  | 'FIRKIN_NOT_PERMITTED'
  /** The file system is mounted read-only. */
  | 'FIRKIN_READ_ONLY_FILE_SYSTEM'
  /** There is no store at the path, and none was to be created. */
  | 'FIRKIN_NOT_FOUND'
  /** A store was to be created in a directory that holds files of others. */
  | 'FIRKIN_NOT_EMPTY'
  /** The directory holds a cache and not a store, or the reverse; nothing there is changed. */
  | 'FIRKIN_OTHER_KIND'
  /** The directory may be on another machine, and `localOnly` refuses that. */
  | 'FIRKIN_NOT_LOCAL'
  /** A write was requested of a store that was opened with `readOnly`. */
  | 'FIRKIN_READ_ONLY'
  /** Bytes on disk do not match their checksum, or contradict each other. */
  | 'FIRKIN_CORRUPT'
  /** A file was written by a newer format than this version reads. */
  | 'FIRKIN_VERSION'
  /** An earlier sync failed; the store reads, and refuses writes until it is opened again. */
  | 'FIRKIN_POISONED'
  /** A write did not reach the operating system; it was undone. */
  | 'FIRKIN_WRITE_FAILED'
  /** A file could not be read, for a reason other than damage. */
  | 'FIRKIN_READ_FAILED'
  /** There was not enough memory; nothing has changed. */
  | 'FIRKIN_NO_MEMORY'
  /** The operating system refused something other than reading or writing records. */
  | 'FIRKIN_IO_FAILED'
  /** A merge was requested while one was running. */
  | 'FIRKIN_MERGE_RUNNING'
  /** A merge could not finish; the store is as it was before it. */
  | 'FIRKIN_MERGE_FAILED'
  /** A cache's `valueEncoding` could not decode a value; its key is then not there. */
  | 'FIRKIN_DECODE_FAILED'
  /** The target of a backup is not empty. */
  | 'FIRKIN_EXISTS'
  /**
   * The directory, or its lock, is no longer the one that was opened; the store reads, and changes
   * nothing.
   */
  | 'FIRKIN_MOVED'

/**
 * A failure that is not the caller's mistake: `code` says what happened, `cause` why. If the cause
 * is an error of the operating system, the message includes its reason.
 */
export class StoreError extends Error {
  /** The kind of failure. Codes are stable within a major version. */
  readonly code: ErrorCode

  /** Firkin makes these errors; a program only catches them. */
  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(withReason(code, message, options?.cause), options)
    this.name = 'StoreError'
    this.code = code
  }
}

/**
 * Returns a message with the operating system's reason, unless the message has it already, or the
 * bytes are corrupt, which no such reason explains.
 */
function withReason(code: ErrorCode, message: string, cause: unknown): string {
  const isSystem = isError(cause) && 'syscall' in cause
  if (!isSystem || code === 'FIRKIN_CORRUPT' || message.includes(cause.message)) return message
  return `${message}: ${cause.message}`
}

const KINDS = { RangeError, SyntaxError, TypeError }

/** Whether a value is an error, of any realm. */
export function isError(value: unknown): value is Error {
  try {
    return value instanceof Error || types.isNativeError(value)
  } catch {
    // The value is a proxy.
    return false
  }
}

/** Whether a value is an error of one of the language's kinds, of any realm. */
export function isErrorOf(kind: keyof typeof KINDS, value: unknown): value is Error {
  return isError(value) && (value instanceof KINDS[kind] || value.name === kind)
}

/** Whether an error says that a directory is not the one that was opened. */
export function isMoved(error: unknown): error is StoreError {
  return error instanceof StoreError && error.code === 'FIRKIN_MOVED'
}

/** A {@link StoreError} for bytes on disk that are not those that were written. */
export class CorruptionError extends StoreError {
  /** The path of the damaged file. */
  readonly file: string
  /** Where in the file the damage begins, in bytes. */
  readonly offset: number

  /** Firkin makes these errors; a program only catches them. */
  constructor(message: string, file: string, offset: number, options?: ErrorOptions) {
    super('FIRKIN_CORRUPT', `${message} (${file}, offset ${offset})`, options)
    this.name = 'CorruptionError'
    this.file = file
    this.offset = offset
  }
}

/** The codes of causes that pass by themselves: no space, descriptors, memory or thread. */
const PASSING: ReadonlySet<unknown> = new Set([
  'ENOSPC',
  'EDQUOT',
  'EMFILE',
  'ENFILE',
  'ENOMEM',
  'EAGAIN',
  'ERR_WORKER_INIT_FAILED',
  'ERR_WORKER_OUT_OF_MEMORY',
])

/**
 * Returns the code of a cause that passes by itself, from an error or from what caused it;
 * `undefined` if there is none. With such a cause it is worth trying again soon.
 */
export function passingCode(error: unknown): string | undefined {
  for (let each = error; isError(each); each = each.cause) {
    if ('code' in each && PASSING.has(each.code)) return String(each.code)
  }
  return undefined
}

/**
 * Asserts what the code around it relies on. Node's own assertions take longer to load than the
 * engine.
 */
export function assert(holds: boolean, message: string): asserts holds {
  if (!holds) throw new Error(message)
}
