/** Errors with the codes of abstract-level. */

import { StoreError } from '../../index.ts'

/** An error with one of Level's codes. */
export class LevelError extends Error {
  /** A code that abstract-level documents. */
  readonly code: string

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'LevelError'
    this.code = code
  }
}

/**
 * Level's code for each code of the store. `undefined` means that Level has none; a code that is
 * missing here is an I/O error.
 */
const LEVEL_CODES: Readonly<Record<string, string | undefined>> = {
  FIRKIN_CLOSED: 'LEVEL_DATABASE_NOT_OPEN',
  FIRKIN_CORRUPT: 'LEVEL_CORRUPTION',
  FIRKIN_LOCKED: 'LEVEL_LOCKED',
  FIRKIN_READ_ONLY: 'LEVEL_READONLY',
  FIRKIN_NOT_FOUND: undefined,
  FIRKIN_EXISTS: undefined,
  FIRKIN_NOT_LOCAL: undefined,
  FIRKIN_OTHER_KIND: undefined,
  FIRKIN_VERSION: undefined,
}

/** Returns a store's error with Level's code for it, and any other error unchanged. */
export function asLevelError(error: unknown): unknown {
  if (!(error instanceof StoreError)) return error
  const code = error.code in LEVEL_CODES ? LEVEL_CODES[error.code] : 'LEVEL_IO_ERROR'
  return code === undefined ? error : new LevelError(code, error.message, { cause: error })
}
