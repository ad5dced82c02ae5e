/** Failures of loads, as a cache keeps them, and whatever else may be thrown. */

import { isError, StoreError } from '../errors.ts'

/** An error as a cache keeps it. */
interface StoredFailure {
  readonly name: string
  readonly message: string
  readonly code?: string | number
}

/** The most that is kept of a message or a name, in characters. */
const MAX_LENGTH = 64 * 1024

/** Encodes whatever a loader threw; never throws. */
export function encodeFailure(error: unknown): string {
  const code = read(error, 'code')
  const stored: StoredFailure = {
    name: nameOf(error),
    message: describe(error),
    ...((typeof code === 'string' || typeof code === 'number') && { code }),
  }
  return JSON.stringify(stored)
}

/** Decodes the failure of a load. The error has the name, message and code of the original. */
export function decodeFailure(text: string): Error {
  // Safety: whatever has the mark of a failure was written by encodeFailure.
  const { name, message, code } = JSON.parse(text) as StoredFailure
  const error = new Error(message)
  error.name = name
  return code === undefined ? error : Object.assign(error, { code })
}

/** Returns whatever was thrown as an error. */
export function asError(thrown: unknown): Error {
  return isError(thrown) ? thrown : new StoreError('FIRKIN_IO_FAILED', describe(thrown))
}

/** Returns the message of whatever was thrown; never throws. */
export function describe(thrown: unknown): string {
  try {
    const message = isError(thrown) ? thrown.message : thrown
    return String(message).slice(0, MAX_LENGTH)
  } catch {
    // An object without a prototype, a revoked proxy, or a getter or `toString` that throws.
    return `A value without text was thrown: ${typeof thrown}`
  }
}

function nameOf(thrown: unknown): string {
  const name = isError(thrown) ? read(thrown, 'name') : undefined
  return typeof name === 'string' ? name.slice(0, MAX_LENGTH) : 'Error'
}

/** Returns a property of whatever was thrown; `undefined` if it cannot be read. */
function read(thrown: unknown, name: string): unknown {
  try {
    if (typeof thrown !== 'object' || thrown === null) return undefined
    return Reflect.get(thrown, name)
  } catch {
    return undefined
  }
}
