/** Describes failures in one line for people, and by an exit status for scripts. */

import { CommanderError } from 'commander'
import { type ErrorCode, isError, StoreError } from '../src/errors.ts'
import { errorCode } from '../src/io/files.ts'

/**
 * The exit status: success; damage was found or something failed; wrong usage; there is no such
 * key; the user has interrupted it.
 */
export const STATUS = { fine: 0, failed: 1, usage: 2, noKey: 3, interrupted: 130 } as const
/** An exit status. */
export type Status = (typeof STATUS)[keyof typeof STATUS]

/** Thrown if the tool is called in a wrong way. */
export class UsageError extends Error {}

/** Thrown if the user has interrupted the tool. */
export class Interrupted extends Error {}

/** Thrown if nobody reads the output any more. */
export class OutputClosed extends Error {}

/** The message for an error, and the exit status. Nothing is printed if the message is empty. */
export interface Failure {
  readonly message: string
  readonly status: Status
}

/** The most characters of a message that are shown. */
const MAX_MESSAGE_LENGTH = 2000

/** Text before a message, by code. */
const BEFORE: Partial<Record<ErrorCode, string>> = {
  FIRKIN_LOCKED: 'In use',
  FIRKIN_CORRUPT: 'Damaged',
}

/** Text after a message, by code. */
const AFTER: Partial<Record<ErrorCode, string>> = {
  FIRKIN_CORRUPT: 'see `firkin verify` and `firkin repair`',
}

/** The errors of the operating system, in words. */
const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EBUSY: 'it is in use',
  EDQUOT: 'the disk quota is used up',
  EEXIST: 'the file exists',
  EFBIG: 'the file would be too large',
  EIO: 'the device failed',
  EISDIR: 'it is a directory',
  ELOOP: 'its links lead in a circle',
  EMFILE: 'too many files are open',
  ENAMETOOLONG: 'the name is too long',
  ENOENT: 'there is no such file or directory',
  ENOSPC: 'no space is left on the device',
  ENOTDIR: 'it is not a directory',
  ENOTEMPTY: 'the directory is not empty',
  EPERM: 'that is not permitted',
  EROFS: 'the file system is read-only',
}

/** Describes an error for people. */
export function describeFailure(error: unknown): Failure {
  const cause = withoutCleanup(error)
  if (cause instanceof OutputClosed) return { message: '', status: STATUS.fine }
  if (cause instanceof CommanderError) {
    return { message: '', status: cause.exitCode === 0 ? STATUS.fine : STATUS.usage }
  }
  if (cause instanceof Interrupted) return { message: cause.message, status: STATUS.interrupted }
  if (cause instanceof UsageError) return { message: cause.message, status: STATUS.usage }
  return { message: oneLine(describe(cause)), status: STATUS.failed }
}

/** Returns the first error, not one that happened while resources were disposed of after it. */
function withoutCleanup(error: unknown): unknown {
  return isError(error) && error.name === 'SuppressedError' && 'suppressed' in error
    ? withoutCleanup(error.suppressed)
    : error
}

function describe(error: unknown): string {
  if (!isError(error)) return String(error)
  const system = systemError(error)
  const reason = system === undefined ? undefined : reasonOf(system)
  if (error === system && reason !== undefined) {
    return 'path' in error ? `${error.path}: ${reason}` : reason
  }
  const message = withReason(error.message, system, reason)
  if (!(error instanceof StoreError)) return message
  const parts = [BEFORE[error.code], message].filter((part) => part !== undefined)
  return error.code in AFTER ? `${parts.join(': ')}; ${AFTER[error.code]}` : parts.join(': ')
}

/** Returns an error of the operating system in the words above, or else in its own. */
function reasonOf(system: Error): string {
  const [, own] = /^E[A-Z0-9]+: (.+?), \w+/.exec(system.message) ?? []
  return REASONS[errorCode(system) ?? ''] ?? own ?? system.message
}

/** Adds a reason to a message, or puts it in place of the operating system's own message. */
function withReason(
  message: string,
  system: Error | undefined,
  reason: string | undefined,
): string {
  if (system === undefined || reason === undefined) return message
  return message.includes(system.message)
    ? message.replace(system.message, reason)
    : `${message}: ${reason}`
}

/** Returns the operating system's error among an error and its causes. */
function systemError(error: unknown): Error | undefined {
  if (!isError(error)) return undefined
  const code = error instanceof StoreError ? undefined : errorCode(error)
  // Parsers have codes too; their messages already describe the input.
  const isSystem = code !== undefined && /^(E[A-Z]|Z_)/.test(code)
  return isSystem ? error : systemError(error.cause)
}

/** Returns a message as one line, however much of the input it quotes. */
function oneLine(message: string): string {
  const shown =
    message.length > MAX_MESSAGE_LENGTH ? `${message.slice(0, MAX_MESSAGE_LENGTH)}…` : message
  return shown.replace(/\s*\n\s*/g, '; ')
}
