/**
 * The lock on a store's directory: a kernel lock held on an open file. It dies with its owner,
 * however the owner ends. The text in the file only names the holder, for the error messages of
 * other processes.
 *
 * Invariant: a file is neither truncated nor written before it is known to be a lock. It must be a
 * regular file in the directory itself, and be empty or contain a lock's text.
 */

import * as fs from 'node:fs'
import { join } from 'node:path'
import { isError, StoreError } from '../errors.ts'
import { LOCK_NAME } from '../format/names.ts'
import { accessCode, type Identity, identityOf } from './files.ts'
import { kernelLock, type TryLock } from './kernel-lock.ts'
import { mayLoadAddons } from './permission.ts'

/** A held lock. */
export interface Lock {
  /** The identity of the file that the lock is held on. */
  readonly identity: Identity
  /** Gives the lock up; idempotent. */
  release(): void
}

const { O_RDONLY, O_RDWR, O_CREAT } = fs.constants
/**
 * A symbolic link is not a lock, and a pipe must not hold up whoever opens it. Windows has neither
 * flag.
 */
const CAREFUL = (fs.constants.O_NOFOLLOW ?? 0) | (fs.constants.O_NONBLOCK ?? 0)

/**
 * A reader's look at a lock holds it for an instant; whoever still holds it after this many
 * milliseconds is a writer.
 */
const LOOK_MS = 10
/**
 * The number of times to look for the name of a holder that has just got the lock and not written
 * it yet.
 */
const MOST_LOOKS = 20
/** The largest text of a lock, in bytes. */
const MAX_TEXT_SIZE = 4096
/** The locks that this thread holds. */
const heldHere = new Set<Identity>()
/** The start of a lock's text. */
const TEXT_START = /^process \d+( |$)/

/**
 * Takes the lock of a directory.
 *
 * @throws {@link StoreError} FIRKIN_LOCKED if another process holds it; FIRKIN_NOT_PERMITTED and
 * FIRKIN_READ_ONLY_FILE_SYSTEM if its file may not be written; FIRKIN_LOCK_UNAVAILABLE if the
 * kernel cannot be asked, or the file is not a lock's
 */
export function takeLock(directory: string): Lock {
  const tryLock = load(directory)
  const path = join(directory, LOCK_NAME)
  let file: number | undefined
  try {
    // Opened without truncation: the text is the current holder's until the lock is taken.
    file = openCarefully(path, O_RDWR | O_CREAT)
    if (!tryLock(file) && !tryLockLater(tryLock, file)) {
      const holder = describeHolder(file)
      throw new StoreError(
        'FIRKIN_LOCKED',
        `The store in ${directory} is open for writing${holder === '' ? '' : ` by ${holder}`}`,
      )
    }
    assertOurs(file)
    const text = `process ${process.pid} on ${process.getBuiltinModule('node:os').hostname()} since ${new Date().toISOString()}\n`
    fs.ftruncateSync(file)
    fs.writeSync(file, text, 0)
  } catch (error) {
    if (file !== undefined) fs.closeSync(file)
    throw asLockError(error, path)
  }
  const locked = file
  const identity = identityOf(fs.fstatSync(locked, { bigint: true }))
  heldHere.add(identity)
  let held = true
  return {
    identity,
    release() {
      if (!held) return
      held = false
      heldHere.delete(identity)
      try {
        // The next process to look must not be told of this one.
        fs.ftruncateSync(locked)
      } finally {
        fs.closeSync(locked)
      }
    },
  }
}

/**
 * Asserts that this process can take locks, before anything is made.
 *
 * @throws {@link StoreError} FIRKIN_LOCK_UNAVAILABLE
 */
export function assertLocks(directory: string): void {
  load(directory)
}

/**
 * Returns who holds the lock of a directory, in the holder's own words; `undefined` if nobody does,
 * or if that cannot be determined. Does not take the lock.
 */
export function lockHolder(directory: string): string | undefined {
  let file: number
  try {
    file = openCarefully(join(directory, LOCK_NAME), O_RDONLY)
  } catch {
    return undefined
  }
  try {
    // Readers share a lock, so that two looks do not see each other.
    if (load(directory)(file, { shared: true })) return undefined
    return readText(file)
  } catch {
    return undefined
  } finally {
    fs.closeSync(file)
  }
}

/** The reason why a file is not a lock's. */
class NoLock extends Error {}

/** Opens a file by its own name, which must lead to a regular file. */
function openCarefully(path: string, flags: number): number {
  assertRegular(fs.lstatSync(path, { bigint: true, throwIfNoEntry: false }))
  // The umask determines who may write it.
  const file = fs.openSync(path, flags | CAREFUL, 0o666)
  try {
    const opened = fs.fstatSync(file, { bigint: true })
    const named = fs.lstatSync(path, { bigint: true, throwIfNoEntry: false })
    assertRegular(opened)
    assertRegular(named)
    if (named === undefined || identityOf(named) !== identityOf(opened)) {
      throw new NoLock('it was replaced while it was opened')
    }
    return file
  } catch (error) {
    fs.closeSync(file)
    throw error
  }
}

function assertRegular(stats: fs.BigIntStats | undefined): void {
  if (stats === undefined || stats.isFile()) return
  throw new NoLock(stats.isSymbolicLink() ? 'it is a symbolic link' : 'it is not a regular file')
}

/** @throws if a file contains anything other than a lock's text: it belongs to another program */
function assertOurs(file: number): void {
  const { size } = fs.fstatSync(file)
  // A power loss may leave zeros in place of the text.
  const text = size > MAX_TEXT_SIZE ? undefined : readText(file).replaceAll('\0', '')
  if (text === undefined || (text !== '' && !TEXT_START.test(text))) {
    throw new NoLock('it is a file of another program')
  }
}

function tryLockLater(tryLock: TryLock, file: number): boolean {
  pause()
  return tryLock(file)
}

/** Returns who holds a lock, as an error says it. */
function describeHolder(file: number): string {
  const holder = readHolder(file)
  const isHere = heldHere.has(identityOf(fs.fstatSync(file, { bigint: true })))
  return isHere ? holder.replace(/^process .* since/, 'this process since') : holder
}

/**
 * Returns what the holder of a lock has written about itself; empty if it does not do so in time.
 */
function readHolder(file: number): string {
  for (let look = 1; ; look++) {
    const holder = readText(file)
    if (holder !== '' || look === MOST_LOOKS) return holder
    pause()
  }
}

function readText(file: number): string {
  const bytes = Buffer.alloc(Math.min(fs.fstatSync(file).size, MAX_TEXT_SIZE))
  return bytes.toString('utf8', 0, fs.readSync(file, bytes, 0, bytes.length, 0)).trim()
}

function pause(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LOOK_MS)
}

/** Returns the error for a failure to take a lock, by what can be done about it. */
function asLockError(error: unknown, path: string): StoreError {
  if (error instanceof StoreError) return error
  const reason = isError(error) ? `: ${error.message}` : ''
  const message = `Cannot lock ${path}${reason}`
  return new StoreError(accessCode(error, 'FIRKIN_LOCK_UNAVAILABLE'), message, { cause: error })
}

function load(directory: string): TryLock {
  try {
    return kernelLock()
  } catch (error) {
    const hint = mayLoadAddons() ? '' : "run with Node's option --allow-addons, or "
    throw new StoreError(
      'FIRKIN_LOCK_UNAVAILABLE',
      `Kernel file locks are not available here, so ${directory} cannot be protected from a second ` +
        `writer; ${hint}open it with \`lock: false\` if nothing else writes to it`,
      { cause: error },
    )
  }
}
