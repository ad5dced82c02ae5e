/** Names the file in the error of a read that failed. */

import { StoreError } from '../errors.ts'
import { errorCode } from '../io/files.ts'

/** Returns an error of the operating system as a `StoreError` that names the file. */
export function asReadFailure(error: unknown, path: string): unknown {
  if (error instanceof StoreError || errorCode(error) === undefined) return error
  return new StoreError('FIRKIN_READ_FAILED', `Cannot read ${path}`, { cause: error })
}
