/**
 * The lock on a store's directory: a kernel lock held on an open file. It dies with its owner, whatever
 * became of the owner; the text in the file only names the holder for the others' error message.
 */

import * as fs from 'node:fs'
import { createRequire } from 'node:module'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { StoreError } from '../errors.ts'
import { LOCK_NAME } from '../format/names.ts'
import { type Identity, identityOf } from './files.ts'

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

/** A look at a lock holds it for an instant; who still holds it after so many milliseconds is a writer. */
const LOOK_MS = 10
/** How often the name of a holder is looked for that has just got the lock, and not written it yet. */
const MOST_LOOKS = 20

/**
 * Takes the lock of a directory.
 *
 * @throws {@link StoreError} FIRKIN_LOCKED where another holds it; FIRKIN_LOCK_UNAVAILABLE where the
 * kernel cannot be asked
 */
export function takeLock(directory: string): Lock {
  const { tryLock } = load(directory)
  const path = join(directory, LOCK_NAME)
  let file: number | undefined
  try {
    // Opened without truncation: what it says is the holder's until the lock is ours.
    file = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o644)
    if (!tryLock(file) && !tryLockLater(tryLock, file)) {
      const holder = readHolder(file)
      throw new StoreError(
        'FIRKIN_LOCKED',
        `The store in ${directory} is open for writing${holder === '' ? '' : ` by ${holder}`}`,
      )
    }
    const text = `process ${process.pid} on ${hostname()} since ${new Date().toISOString()}\n`
    fs.ftruncateSync(file)
    fs.writeSync(file, text, 0)
  } catch (error) {
    if (file !== undefined) fs.closeSync(file)
    if (error instanceof StoreError) throw error
    const reason = error instanceof Error ? `: ${error.message}` : ''
    throw new StoreError('FIRKIN_LOCK_UNAVAILABLE', `Cannot lock ${path}${reason}`, {
      cause: error,
    })
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
  const path = join(directory, LOCK_NAME)
  let file: number
  try {
    file = fs.openSync(path, fs.constants.O_RDONLY | (fs.constants.O_NONBLOCK ?? 0))
  } catch {
    return undefined
  }
  try {
    // Readers share a lock, so that two looks do not see each other.
    if (load(directory).tryLock(file, { shared: true })) return undefined
    return fs.readFileSync(file, 'utf8').trim()
  } catch {
    return undefined
  } finally {
    fs.closeSync(file)
  }
}

function tryLockLater(tryLock: FsNativeExtensions['tryLock'], file: number): boolean {
  pause()
  return tryLock(file)
}

/** What the holder of a lock that is not ours has written of itself; empty where it does not come to that. */
function readHolder(file: number): string {
  for (let look = 1; ; look++) {
    const bytes = Buffer.alloc(fs.fstatSync(file).size)
    const holder = bytes.toString('utf8', 0, fs.readSync(file, bytes, 0, bytes.length, 0)).trim()
    if (holder !== '' || look === MOST_LOOKS) return holder
    pause()
  }
}

function pause(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LOOK_MS)
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
