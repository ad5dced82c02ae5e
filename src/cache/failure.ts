import { StoreError } from '../errors.ts'

/** An error as a cache keeps it. */
interface StoredFailure {
  readonly name: string
  readonly message: string
  readonly code?: string | number
}

/** So much of a message is kept, in characters. */
const MAX_LENGTH = 64 * 1024

/** What is kept of whatever a loader threw; never throws itself. */
export function encodeFailure(error: unknown): string {
  const code = read(error, 'code')
  const stored: StoredFailure = {
    name: nameOf(error),
    message: describe(error),
    ...((typeof code === 'string' || typeof code === 'number') && { code }),
  }
  return JSON.stringify(stored)
}

/** A load has failed before, and is not tried again yet: the error has its name, message and code. */
export function decodeFailure(text: string): Error {
  // Safety: whatever has the mark of a failure was written by encodeFailure.
  const { name, message, code } = JSON.parse(text) as StoredFailure
  const error = new Error(message)
  error.name = name
  return code === undefined ? error : Object.assign(error, { code })
}

/** Whatever was thrown, as an error. */
export function asError(thrown: unknown): Error {
  return isError(thrown) ? thrown : new StoreError('FIRKIN_IO_FAILED', describe(thrown))
}

/** The message of whatever was thrown; never throws itself. */
export function describe(thrown: unknown): string {
  try {
    const message = isError(thrown) ? thrown.message : thrown
    return String(message).slice(0, MAX_LENGTH)
  } catch {
    // An object without a prototype, a revoked proxy, or a getter or `toString` that throws.
    return `Thrown was what has no text: ${typeof thrown}`
  }
}

function nameOf(thrown: unknown): string {
  const name = isError(thrown) ? read(thrown, 'name') : undefined
  return typeof name === 'string' ? name.slice(0, MAX_LENGTH) : 'Error'
}

function isError(thrown: unknown): thrown is Error {
  try {
    return thrown instanceof Error
  } catch {
    return false
  }
}

/** A property of whatever was thrown; `undefined` where it cannot be read. */
function read(thrown: unknown, name: string): unknown {
  try {
    if (typeof thrown !== 'object' || thrown === null) return undefined
    return Reflect.get(thrown, name)
  } catch {
    return undefined
  }
}
