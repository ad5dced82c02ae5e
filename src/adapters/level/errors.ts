/** The store's errors with the codes that Level has for them. */

import { StoreError } from '../../index.ts'

/** What is wrong, in Level's words. */
export class LevelError extends Error {
  /** One of those that abstract-level documents. */
  readonly code: string

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'LevelError'
    this.code = code
  }
}

/** The codes that Level has for a store's; `undefined` is none, and whatever is not listed is an I/O error to it. */
const LEVEL_CODES: Readonly<Record<string, string | undefined>> = {
  FIRKIN_CLOSED: 'LEVEL_DATABASE_NOT_OPEN',
  FIRKIN_CORRUPT: 'LEVEL_CORRUPTION',
  FIRKIN_LOCKED: 'LEVEL_LOCKED',
  FIRKIN_READ_ONLY: 'LEVEL_READONLY',
  FIRKIN_NOT_FOUND: undefined,
  FIRKIN_EXISTS: undefined,
  FIRKIN_OTHER_KIND: undefined,
  FIRKIN_VERSION: undefined,
}

/** An error of the store with the code that Level has for it; any other error as it is. */
export function asLevelError(error: unknown): unknown {
  if (!(error instanceof StoreError)) return error
  const code = error.code in LEVEL_CODES ? LEVEL_CODES[error.code] : 'LEVEL_IO_ERROR'
  return code === undefined ? error : new LevelError(code, error.message, { cause: error })
}
