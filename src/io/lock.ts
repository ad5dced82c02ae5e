/**
 * The lock on a store's directory: a kernel lock held on an open file. It dies with its owner, whatever
 * became of the owner; the text in the file only names the holder for the others' error message.
 *
 * Invariant: a file is neither cut nor written before it is known to be a lock's. It is a regular file in the directory
 * itself, and it holds nothing or what a lock says.
 */

import * as fs from 'node:fs'
import { createRequire } from 'node:module'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { StoreError } from '../errors.ts'
import { LOCK_NAME } from '../format/names.ts'
import { accessCode, type Identity, identityOf } from './files.ts'

/** A held lock. */
export interface Lock {
  /** The file that the lock is held on. */
  readonly identity: Identity
  /** Gives the lock up; idempotent. */
  release(): void
}

interface FsNativeExtensions {
  tryLock(file: number, options?: { readonly shared: boolean }): boolean
}

const { O_RDONLY, O_RDWR, O_CREAT } = fs.constants
/** A symbolic link is no lock, and a pipe must not hold up who opens it. Windows has neither flag. */
const CAREFUL = (fs.constants.O_NOFOLLOW ?? 0) | (fs.constants.O_NONBLOCK ?? 0)

/** A look at a lock holds it for an instant; who still holds it after so many milliseconds is a writer. */
const LOOK_MS = 10
/** How often the name of a holder is looked for that has just got the lock, and not written it yet. */
const MOST_LOOKS = 20
/** No lock says more than this, in bytes. */
const MAX_TEXT_SIZE = 4096
/** How what a lock says begins. */
const TEXT_START = /^process \d+( |$)/

/**
 * Takes the lock of a directory.
 *
 * @throws {@link StoreError} FIRKIN_LOCKED where another holds it; FIRKIN_NOT_PERMITTED and
 * FIRKIN_READ_ONLY_FILE_SYSTEM where its file may not be written; FIRKIN_LOCK_UNAVAILABLE where the kernel cannot be
 * asked, or the file is no lock's
 */
export function takeLock(directory: string): Lock {
  const { tryLock } = load(directory)
  const path = join(directory, LOCK_NAME)
  let file: number | undefined
  try {
    // Opened without truncation: what it says is the holder's until the lock is ours.
    file = openCarefully(path, O_RDWR | O_CREAT)
    if (!tryLock(file) && !tryLockLater(tryLock, file)) {
      const holder = readHolder(file)
      throw new StoreError(
        'FIRKIN_LOCKED',
        `The store in ${directory} is open for writing${holder === '' ? '' : ` by ${holder}`}`,
      )
    }
    assertOurs(file)
    const text = `process ${process.pid} on ${hostname()} since ${new Date().toISOString()}\n`
    fs.ftruncateSync(file)
    fs.writeSync(file, text, 0)
  } catch (error) {
    if (file !== undefined) fs.closeSync(file)
    throw asLockError(error, path)
  }
  const locked = file
  let held = true
  return {
    identity: identityOf(fs.fstatSync(locked, { bigint: true })),
    release() {
      if (!held) return
      held = false
      try {
        // Who comes next must not be told of us.
        fs.ftruncateSync(locked)
      } finally {
        fs.closeSync(locked)
      }
    },
  }
}

/**
 * Who holds the lock of a directory, as the holder has written it; `undefined` where nobody does, or where that
 * cannot be found out. The lock is not taken.
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
    if (load(directory).tryLock(file, { shared: true })) return undefined
    return readText(file)
  } catch {
    return undefined
  } finally {
    fs.closeSync(file)
  }
}

/** Why a file is no lock's. */
class NoLock extends Error {}

/** Opens a file by a name that is its own, and that leads to nothing but a file. */
function openCarefully(path: string, flags: number): number {
  assertRegular(fs.lstatSync(path, { bigint: true, throwIfNoEntry: false }))
  // As many may write it as the umask says.
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

/** @throws where a file holds what no lock says: it is another program's */
function assertOurs(file: number): void {
  const { size } = fs.fstatSync(file)
  // A power loss may leave zeros in the place of what was said.
  const text = size > MAX_TEXT_SIZE ? undefined : readText(file).replaceAll('\0', '')
  if (text === undefined || (text !== '' && !TEXT_START.test(text))) {
    throw new NoLock('it is a file of another program')
  }
}

function tryLockLater(tryLock: FsNativeExtensions['tryLock'], file: number): boolean {
  pause()
  return tryLock(file)
}

/** What the holder of a lock that is not ours has written of itself; empty where it does not come to that. */
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

/** What stands in the way of a lock, by what can be done about it. */
function asLockError(error: unknown, path: string): StoreError {
  if (error instanceof StoreError) return error
  const reason = error instanceof Error ? `: ${error.message}` : ''
  const message = `Cannot lock ${path}${reason}`
  return new StoreError(accessCode(error, 'FIRKIN_LOCK_UNAVAILABLE'), message, { cause: error })
}

function load(directory: string): FsNativeExtensions {
  try {
    return createRequire(import.meta.url)('fs-native-extensions')
  } catch (error) {
    throw new StoreError(
      'FIRKIN_LOCK_UNAVAILABLE',
      `Kernel file locks are not available here, so ${directory} cannot be protected from a second ` +
        'writer; open it with `lock: false` if nothing else writes to it',
      { cause: error },
    )
  }
}
