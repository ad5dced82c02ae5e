/** Stable within a major version; messages are not. */
export type ErrorCode =
  /** The store, snapshot or iterator was used after `close()`. */
  | 'FIRKIN_CLOSED'
  /** Another process, or another `open` of this one, holds the store for writing. */
  | 'FIRKIN_LOCKED'
  /** The kernel lock could not be taken for another reason than a holder, or is not available here. */
  | 'FIRKIN_LOCK_UNAVAILABLE'
  /** The permissions of a file or directory are in the way. */
  | 'FIRKIN_NOT_PERMITTED'
  /** The file system is mounted for reading only. */
  | 'FIRKIN_READ_ONLY_FILE_SYSTEM'
  /** There is no store at the path, and none was to be created. */
  | 'FIRKIN_NOT_FOUND'
  /** There are files of others in the directory in which a store was to be created. */
  | 'FIRKIN_NOT_EMPTY'
  /** The directory holds a cache where a store was asked for, or a store where a cache was; nothing there is changed. */
  | 'FIRKIN_OTHER_KIND'
  /** A write was asked of a store that was opened with `readOnly`. */
  | 'FIRKIN_READ_ONLY'
  /** Bytes on disk do not match their checksum, or contradict each other. */
  | 'FIRKIN_CORRUPT'
  /** A file was written by a newer format than this version reads. */
  | 'FIRKIN_VERSION'
  /** An earlier sync failed; the store reads, and refuses writes until it is opened again. */
  | 'FIRKIN_POISONED'
  /** A write did not reach the operating system; it was undone. */
  | 'FIRKIN_WRITE_FAILED'
  /** A file could not be read, for a reason that is not damage. */
  | 'FIRKIN_READ_FAILED'
  /** There was no memory for it; nothing has changed. */
  | 'FIRKIN_NO_MEMORY'
  /** The operating system refused something else than reading or writing records. */
  | 'FIRKIN_IO_FAILED'
  /** A merge was asked for while one was running. */
  | 'FIRKIN_MERGE_RUNNING'
  /** A merge could not finish; the store is as it was before it. */
  | 'FIRKIN_MERGE_FAILED'
  /** A value of a cache could not be decoded by its `valueEncoding`; its key is then not there. */
  | 'FIRKIN_DECODE_FAILED'
  /** The target of a backup exists already. */
  | 'FIRKIN_EXISTS'
  /** The directory, or its lock, is not the one that was opened any more; the store reads, and changes nothing. */
  | 'FIRKIN_MOVED'

/**
 * The state of the world stands in the way: what happened is in `code`, why in `cause`. Where that is an error of the
 * operating system the message says so too.
 */
export class StoreError extends Error {
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(withReason(code, message, options?.cause), options)
    this.name = 'StoreError'
    this.code = code
  }
}

/** A message with the operating system's reason, unless it has it. Of bytes that are wrong it would say nothing more. */
function withReason(code: ErrorCode, message: string, cause: unknown): string {
  const isSystem = cause instanceof Error && 'syscall' in cause
  if (!isSystem || code === 'FIRKIN_CORRUPT' || message.includes(cause.message)) return message
  return `${message}: ${cause.message}`
}

/** Whether an error says that a directory is not the one that was opened. */
export function isMoved(error: unknown): error is StoreError {
  return error instanceof StoreError && error.code === 'FIRKIN_MOVED'
}

/** Bytes on disk are not what was written there. */
export class CorruptionError extends StoreError {
  /** The path of the damaged file. */
  readonly file: string
  /** Where in the file the damage begins, in bytes. */
  readonly offset: number

  constructor(message: string, file: string, offset: number, options?: ErrorOptions) {
    super('FIRKIN_CORRUPT', `${message} (${file}, offset ${offset})`, options)
    this.name = 'CorruptionError'
    this.file = file
    this.offset = offset
  }
}

/** What passes by itself: no room, no descriptors, no memory, no thread. */
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

/** The code of what passes by itself in an error or in what caused it, so that it is worth trying again soon. */
export function passingCode(error: unknown): string | undefined {
  for (let each = error; each instanceof Error; each = each.cause) {
    if ('code' in each && PASSING.has(each.code)) return String(each.code)
  }
  return undefined
}
