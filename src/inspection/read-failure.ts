import { StoreError } from '../errors.ts'
import { errorCode } from '../io/files.ts'

/** Returns the operating system's error as a `StoreError` that names the file; any other error as it is. */
export function asReadFailure(error: unknown, path: string): unknown {
  if (error instanceof StoreError || errorCode(error) === undefined) return error
  return new StoreError('FIRKIN_READ_FAILED', `Cannot read ${path}`, { cause: error })
}
