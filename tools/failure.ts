/** What can go wrong, in one line for people, and as an exit status for scripts. */

import { CommanderError } from 'commander'
import { type ErrorCode, StoreError } from '../src/errors.ts'
import { errorCode } from '../src/io/files.ts'

/**
 * How the tool ends: all is well; damage was found, or something failed; it was called in a wrong way; there is no
 * such key; the person who called has ended it.
 */
export const STATUS = { fine: 0, failed: 1, usage: 2, noKey: 3, interrupted: 130 } as const
export type Status = (typeof STATUS)[keyof typeof STATUS]

/** The tool was called in a wrong way. */
export class UsageError extends Error {}

/** The person who called has ended it. */
export class Interrupted extends Error {}

/** Whoever read the output has gone. */
export class OutputClosed extends Error {}

/** What is said of an error, and the status that it ends with; nothing is said where the message is empty. */
export interface Failure {
  readonly message: string
  readonly status: Status
}

/** So many characters of a message are shown. */
const MAX_MESSAGE_LENGTH = 2000

const BEFORE: Partial<Record<ErrorCode, string>> = {
  FIRKIN_LOCKED: 'In use',
  FIRKIN_CORRUPT: 'Damaged',
}

const BEHIND: Partial<Record<ErrorCode, string>> = {
  FIRKIN_CORRUPT: 'see `firkin verify` and `firkin repair`',
}

/** The operating system's reasons, in words. */
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

/** The error as it happened, not what then went wrong in clearing up behind it. */
function withoutCleanup(error: unknown): unknown {
  return error instanceof Error && error.name === 'SuppressedError' && 'suppressed' in error
    ? withoutCleanup(error.suppressed)
    : error
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const system = systemError(error)
  const reason = system === undefined ? undefined : reasonOf(system)
  if (error === system && reason !== undefined) {
    return 'path' in error ? `${error.path}: ${reason}` : reason
  }
  const message = withReason(error.message, system, reason)
  if (!(error instanceof StoreError)) return message
  const parts = [BEFORE[error.code], message].filter((part) => part !== undefined)
  return error.code in BEHIND ? `${parts.join(': ')}; ${BEHIND[error.code]}` : parts.join(': ')
}

/** What the operating system says: in words where there are some here, in its own where there are none. */
function reasonOf(system: Error): string {
  const [, own] = /^E[A-Z0-9]+: (.+?), \w+/.exec(system.message) ?? []
  return REASONS[errorCode(system) ?? ''] ?? own ?? system.message
}

/** A message with the operating system's reason in words, in place of its own where that is part of it. */
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

/** The operating system's error at the bottom of an error's causes, or the error itself. */
function systemError(error: unknown): Error | undefined {
  if (!(error instanceof Error)) return undefined
  const code = error instanceof StoreError ? undefined : errorCode(error)
  // Parsers have codes too; what they say of the input is said already.
  const isSystem = code !== undefined && /^(E[A-Z]|Z_)/.test(code)
  return isSystem ? error : systemError(error.cause)
}

/** A message as one line, however much of the input it names. */
function oneLine(message: string): string {
  const shown =
    message.length > MAX_MESSAGE_LENGTH ? `${message.slice(0, MAX_MESSAGE_LENGTH)}…` : message
  return shown.replace(/\s*\n\s*/g, '; ')
}
