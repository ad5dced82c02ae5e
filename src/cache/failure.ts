/** An error as a cache keeps it. */
interface StoredFailure {
  readonly name: string
  readonly message: string
  readonly code?: string | number
}

/** What is kept of an error. */
export function encodeFailure(error: unknown): string {
  if (!(error instanceof Error)) {
    return JSON.stringify({ name: 'Error', message: String(error) } satisfies StoredFailure)
  }
  const { name, message } = error
  const code = 'code' in error ? error.code : undefined
  const stored: StoredFailure =
    typeof code === 'string' || typeof code === 'number'
      ? { name, message, code }
      : { name, message }
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
