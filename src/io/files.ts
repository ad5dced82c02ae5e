/**
 * The operating system's files, as the engine needs them. Everything that touches a disk goes
 * through one object of this shape, so that a test can replace it and make any call fail.
 *
 * Errors are the operating system's own, with their `code` (ENOSPC, EIO, ...).
 */

import * as fs from 'node:fs'
import { dirname } from 'node:path'
import { type ErrorCode, isError, StoreError } from '../errors.ts'
import { monotonicMs } from '../scheduling/time.ts'
import { LatencyBudget } from './latency-budget.ts'
import { allocateBuffer } from './memory.ts'
import { maySync } from './permission.ts'
import { Stalls } from './stalls.ts'

/** An open file. */
export type FileDescriptor = number

/**
 * Identifies a file or directory: the same for all its names, and for no other one while it is held
 * open.
 */
export type Identity = string

/** A directory that is kept open. */
export interface HeldDirectory {
  /** Its path when it was opened, without symbolic links. */
  readonly directory: string
  readonly identity: Identity
  /** Syncs the directory: on return its entries survive a power loss. */
  sync(): void
  /** Like `sync`; settles once the entries survive a power loss. */
  syncLater(): Promise<void>
  /**
   * Closes a descriptor that is kept for when no other one is available; returns whether there was
   * one.
   */
  spendSpare(): boolean
  /** Opens such a spare descriptor again; returns whether one was available. */
  saveSpare(): boolean
  close(): void
}

/** The mode of opening a file: for reading, for reading and writing, or creating it for both. */
export type OpenMode = 'read' | 'write' | 'create'

const { O_RDONLY, O_RDWR, O_CREAT, O_EXCL } = fs.constants
/**
 * Keeps a pipe that has a file's name from holding up whoever opens or reads it; has no effect on
 * files.
 */
const O_NONBLOCK = fs.constants.O_NONBLOCK ?? 0

const DIRECTORY_FLAGS = O_RDONLY | (fs.constants.O_DIRECTORY ?? 0)

const FLAGS: Readonly<Record<OpenMode, number>> = {
  read: O_RDONLY | O_NONBLOCK,
  write: O_RDWR | O_NONBLOCK,
  create: O_RDWR | O_CREAT | O_EXCL,
}

/** The engine's interface to the operating system. All paths are absolute. */
export interface Files {
  /** Opens a file. `'create'` fails if the file exists. */
  open(path: string, mode: OpenMode): FileDescriptor
  /** Like `open`, in a thread. */
  openLater(path: string, mode: OpenMode): Promise<FileDescriptor>
  /**
   * Closes a file. Never fails: everything that must be on disk was synced before, and everything
   * needed was read.
   */
  close(file: FileDescriptor): void
  /**
   * Like `close`, in a thread: closing the last descriptor of a deleted file takes the time to free
   * it.
   */
  closeLater(file: FileDescriptor): Promise<void>
  /** Reads up to `size` bytes at `position` into `target` at `at`; returns how many there were. */
  read(file: FileDescriptor, target: Uint8Array, at: number, size: number, position: number): number
  /**
   * Writes up to `size` bytes of `source` from `at`, at `position`; returns how many were written.
   */
  write(
    file: FileDescriptor,
    source: Uint8Array,
    at: number,
    size: number,
    position: number,
  ): number
  /**
   * Like `write`, in a thread. Until it settles, `source` must not change and the file must stay
   * open.
   */
  writeLater(
    file: FileDescriptor,
    source: Uint8Array,
    at: number,
    size: number,
    position: number,
  ): Promise<number>
  /**
   * Whether writes of this many bytes currently hold up the process, so that a thread should do
   * them.
   */
  areWritesSlow(byteCount: number): boolean
  /** Cuts the file to `size` bytes. */
  truncate(file: FileDescriptor, size: number): void
  /** Syncs a file: on return its contents and size survive a power loss. */
  sync(file: FileDescriptor): void
  /**
   * Like `sync`; settles once the file's contents and size survive a power loss.
   *
   * @param dirtyBytes the number of bytes written since the last sync, if known: a few may be
   * synced in this call, if few were written to other files too
   */
  syncLater(file: FileDescriptor, dirtyBytes?: number): Promise<void>
  /** Syncs a directory: on return its entries survive a power loss. */
  syncDirectory(directory: string): void
  /** Like `syncDirectory`; settles once the directory's entries survive a power loss. */
  syncDirectoryLater(directory: string): Promise<void>
  /** Returns the file's size in bytes. */
  size(file: FileDescriptor): number
  rename(from: string, to: string): void
  remove(path: string): void
  /** Gives the file a second name, without copying it. */
  link(from: string, to: string): void
  /** Returns the names in a directory; `undefined` if it does not exist. */
  list(directory: string): string[] | undefined
  /** Returns how many bytes may still be written to the file system of a directory. */
  freeBytes(directory: string): number
  /**
   * Returns the type of the file system of a directory: Linux's number, unsigned with 32 bits.
   * `undefined` on systems that do not number types in this way.
   */
  fileSystemType(directory: string): number | undefined
  /**
   * Creates a directory and its missing ancestors. On return all these names survive a power loss,
   * whoever created them.
   */
  makeDirectory(directory: string): void
  /**
   * Opens a directory by its real path and keeps it open, so that syncing it needs no further
   * descriptor.
   */
  hold(directory: string): HeldDirectory
  /**
   * Identifies the file or directory that a path leads to, or an open file; returns `undefined` if
   * the path leads nowhere.
   */
  identify(at: string | FileDescriptor): Identity | undefined
}

/**
 * Handing a sync over to a thread and being woken costs as much as a good disk takes for the sync
 * (measured, bench `durable-put`). So quick syncs are done in the call.
 */
const latency = new LatencyBudget(1)
/** A disk that is quick on average may hold up the process for 50 ms now and then. */
const syncStalls = new Stalls(15)
/**
 * If more bytes than this were written since the last sync, it is not done in the call: the disk
 * has enough to do.
 */
const QUICK_BYTES = 256 * 1024
/**
 * The bytes that this thread has written, and how many of them precede the last sync in the
 * background.
 */
let writtenBytes = 0
let syncedBytes = 0
/**
 * How long a disk counts as busy after that, in milliseconds; no sync is done in a call meanwhile.
 */
const BUSY_MS = 1000
let busyUntilMs = 0

const stalls = new Stalls(8)
/**
 * Shorter writes are neither timed nor left to a thread: reading the clock takes a noticeable part
 * of their time, and a round trip to a thread some 50 us.
 */
const LEAST_FOR_THREAD = 4 * 1024

/** The files of the machine that this runs on. */
export const systemFiles: Files = {
  open: (path, mode) => fs.openSync(path, FLAGS[mode]),
  openLater(path, mode) {
    return new Promise((resolve, reject) => {
      fs.open(path, FLAGS[mode], (error, file) => (error === null ? resolve(file) : reject(error)))
    })
  },
  close(file) {
    try {
      fs.closeSync(file)
    } catch (error) {
      // Closing a file that is not open is a bug here.
      if (errorCode(error) === 'EBADF') throw error
    }
  },
  closeLater(file) {
    return new Promise((resolve, reject) => {
      fs.close(file, (error) => (error?.code === 'EBADF' ? reject(error) : resolve()))
    })
  },
  read: (file, target, at, size, position) => fs.readSync(file, target, at, size, position),
  write(file, source, at, size, position) {
    writtenBytes += size
    if (size < LEAST_FOR_THREAD) return fs.writeSync(file, source, at, size, position)
    const beganAtMs = monotonicMs()
    try {
      return fs.writeSync(file, source, at, size, position)
    } finally {
      const nowMs = monotonicMs()
      stalls.took(nowMs - beganAtMs, nowMs)
    }
  },
  writeLater(file, source, at, size, position) {
    writtenBytes += size
    return new Promise((resolve, reject) => {
      fs.write(file, source, at, size, position, (error, written) => {
        if (error === null) resolve(written)
        else reject(error)
      })
    })
  },
  areWritesSlow: (byteCount) =>
    byteCount >= LEAST_FOR_THREAD && stalls.haveBeen && stalls.areLikely(monotonicMs()),
  truncate: (file, size) => fs.ftruncateSync(file, size),
  sync(file) {
    if (maySync()) fs.fdatasyncSync(file)
  },
  async syncLater(file, dirtyBytes = Number.POSITIVE_INFINITY) {
    if (!maySync()) return
    const beganAtMs = monotonicMs()
    if (writtenBytes - syncedBytes > QUICK_BYTES) busyUntilMs = beganAtMs + BUSY_MS
    syncedBytes = writtenBytes
    const isLittle = dirtyBytes <= QUICK_BYTES && beganAtMs >= busyUntilMs
    const isQuick = latency.lasts(beganAtMs) && !syncStalls.areLikely(beganAtMs)
    if (!isLittle || !isQuick) return await syncByThread(file)
    fs.fdatasyncSync(file)
    const nowMs = monotonicMs()
    latency.took(nowMs - beganAtMs, nowMs)
    syncStalls.took(nowMs - beganAtMs, nowMs)
  },
  syncDirectory,
  async syncDirectoryLater(directory) {
    if (process.platform === 'win32' || !maySync()) return
    const file = await systemFiles.openLater(directory, 'read')
    try {
      await fsyncByThread(file)
    } finally {
      await systemFiles.closeLater(file)
    }
  },
  size: (file) => fs.fstatSync(file).size,
  rename: (from, to) => freedByThread(to, () => fs.renameSync(from, to)),
  remove: (path) => freedByThread(path, () => fs.unlinkSync(path)),
  link: (from, to) => fs.linkSync(from, to),
  list(directory) {
    try {
      return fs.readdirSync(directory)
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return undefined
      throw error
    }
  },
  freeBytes(directory) {
    const { bavail, bsize } = fs.statfsSync(directory)
    return bavail * bsize
  },
  fileSystemType(directory) {
    if (process.platform !== 'linux') return undefined
    // A number of 32 bits that was extended by its sign is not exact as a number of 64.
    const { type } = fs.statfsSync(directory, { bigint: true })
    return Number(BigInt.asUintN(32, type))
  },
  makeDirectory(directory) {
    const firstMade = fs.mkdirSync(directory, { recursive: true })
    if (maySync()) syncNames(directory, firstMade)
  },
  hold: (directory) => new SystemDirectory(fs.realpathSync.native(directory)),
  identify(at) {
    const options = { bigint: true } as const
    try {
      return identityOf(
        typeof at === 'string' ? fs.statSync(at, options) : fs.fstatSync(at, options),
      )
    } catch (error) {
      if (LEADS_NOWHERE.has(errorCode(error) ?? '')) return undefined
      throw error
    }
  },
}

/** The largest number of files that may wait for a thread to free them. */
const MAX_FREED_BY_THREAD = 8
let freedByThreadCount = 0

/**
 * Removes a file's last name, and leaves it to a thread to free the file. File systems that tell
 * the disk about freed blocks at once (mount option `discard`) take tens of milliseconds for that.
 * So the file is held open meanwhile.
 */
function freedByThread(path: string, removeName: () => void): void {
  const file = freedByThreadCount < MAX_FREED_BY_THREAD ? openToDelete(path) : undefined
  try {
    removeName()
  } finally {
    if (file !== undefined) {
      freedByThreadCount++
      fs.close(file, () => freedByThreadCount--)
    }
  }
}

function openToDelete(path: string): FileDescriptor | undefined {
  // Windows does not free the name of a file that is open.
  if (process.platform === 'win32') return undefined
  try {
    return fs.openSync(path, FLAGS.read)
  } catch {
    // There may be no such file, or no descriptor. Then removing the name reports the error, or
    // frees the file in the call.
    return undefined
  }
}

/** The operating system's codes for a path that leads nowhere. */
const LEADS_NOWHERE: ReadonlySet<string> = new Set(['ENOENT', 'ENOTDIR', 'ELOOP'])

/** Returns the identity of the file or directory with these stats. */
export function identityOf({ dev, ino }: { readonly dev: bigint; readonly ino: bigint }): Identity {
  return `${dev}:${ino}`
}

class SystemDirectory implements HeldDirectory {
  readonly directory: string
  readonly identity: Identity
  /**
   * `undefined` on Windows, which cannot open a directory; its file systems log the names
   * themselves.
   */
  readonly #file: FileDescriptor | undefined
  #spare: FileDescriptor | undefined
  #closed = false

  constructor(directory: string) {
    this.directory = directory
    this.#file = process.platform === 'win32' ? undefined : fs.openSync(directory, DIRECTORY_FLAGS)
    try {
      const stats =
        this.#file === undefined
          ? fs.statSync(directory, { bigint: true })
          : fs.fstatSync(this.#file, { bigint: true })
      this.identity = identityOf(stats)
    } catch (error) {
      this.close()
      throw error
    }
    this.saveSpare()
  }

  sync(): void {
    if (this.#file !== undefined && maySync()) fs.fsyncSync(this.#file)
  }

  syncLater(): Promise<void> {
    const file = this.#file
    if (file === undefined || !maySync()) return Promise.resolve()
    return fsyncByThread(file)
  }

  spendSpare(): boolean {
    if (this.#spare === undefined) return false
    fs.closeSync(this.#spare)
    this.#spare = undefined
    return true
  }

  saveSpare(): boolean {
    if (this.#file === undefined || this.#spare !== undefined || this.#closed) return true
    try {
      this.#spare = fs.openSync(this.directory, DIRECTORY_FLAGS)
    } catch {
      return false
    }
    return true
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.spendSpare()
    if (this.#file !== undefined) fs.closeSync(this.#file)
  }
}

/**
 * Returns the operating system's code of an error, such as `'ENOENT'`; `undefined` for the store's
 * own errors.
 */
export function errorCode(error: unknown): string | undefined {
  if (!isError(error) || error instanceof StoreError) return undefined
  return 'code' in error && typeof error.code === 'string' ? error.code : undefined
}

/**
 * Returns the store's code for a failure to access a directory: permissions, a read-only file
 * system, or `other`.
 */
export function accessCode(error: unknown, other: ErrorCode): ErrorCode {
  switch (errorCode(error)) {
    case 'EACCES':
    case 'EPERM':
    case 'ERR_ACCESS_DENIED':
      return 'FIRKIN_NOT_PERMITTED'
    case 'EROFS':
      return 'FIRKIN_READ_ONLY_FILE_SYSTEM'
    default:
      return other
  }
}

/** Writes the first `size` bytes of `source` at `position`, with as many calls as that takes. */
export function writeFully(
  files: Files,
  file: FileDescriptor,
  source: Uint8Array,
  size: number,
  position: number,
): void {
  for (let at = 0; at < size; ) {
    const written = files.write(file, source, at, size - at, position + at)
    if (written === 0) throw fullError(position + at)
    at += written
  }
}

/** Like {@link writeFully}, in a thread, for the bytes of `source` between `at` and `end`. */
export async function writeFullyLater(
  files: Files,
  file: FileDescriptor,
  source: Uint8Array,
  at: number,
  end: number,
  position: number,
): Promise<void> {
  for (let from = at; from < end; ) {
    const written = await files.writeLater(file, source, from, end - from, position + from - at)
    if (written === 0) throw fullError(position + from - at)
    from += written
  }
}

function fullError(position: number): Error {
  const message = `EIO: the file took no more bytes at ${position}`
  return Object.assign(new Error(message), { code: 'EIO' })
}

/** Reads up to `size` bytes at `position`; fewer only if the file ends. */
export function readFully(
  files: Pick<Files, 'read'>,
  file: FileDescriptor,
  target: Uint8Array,
  size: number,
  position: number,
): number {
  let at = 0
  while (at < size) {
    const read = files.read(file, target, at, size - at, position + at)
    if (read === 0) break
    at += read
  }
  return at
}

/**
 * Returns the whole contents of a file; `undefined` if it does not exist.
 *
 * @param maxSize reads no more than this, even if the file is larger than it may be
 */
export function readWhole(
  files: Files,
  path: string,
  maxSize = Number.POSITIVE_INFINITY,
): Buffer | undefined {
  return withFile(files, path, (file) => {
    const size = Math.min(files.size(file), maxSize)
    const bytes = allocateBuffer(size)
    return bytes.subarray(0, readFully(files, file, bytes, size, 0))
  })
}

/** Opens a file for `read` and returns its result; `undefined` if the file does not exist. */
export function withFile<T>(
  files: Files,
  path: string,
  read: (file: FileDescriptor) => T,
): T | undefined {
  let file: FileDescriptor
  try {
    file = files.open(path, 'read')
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    throw error
  }
  try {
    return read(file)
  } finally {
    files.close(file)
  }
}

/** Creates a file; replaces one that an earlier failure has left. */
export function createOrReplace(files: Files, path: string): FileDescriptor {
  try {
    return files.open(path, 'create')
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw error
  }
  files.remove(path)
  return files.open(path, 'create')
}

/**
 * Failures to create a file that are worth a second attempt in the call: it can use a spare
 * descriptor, or report that the directory was moved.
 */
const WORTH_RETRYING: ReadonlySet<string> = new Set(['EEXIST', 'EMFILE', 'ENFILE', 'ENOENT'])

/** Like {@link createOrReplace}, in a thread. */
export async function createOrReplaceLater(files: Files, path: string): Promise<FileDescriptor> {
  try {
    return await files.openLater(path, 'create')
  } catch (error) {
    if (!WORTH_RETRYING.has(errorCode(error) ?? '')) throw error
    return createOrReplace(files, path)
  }
}

/**
 * Removes a file that belongs to no store, if possible: the error that led here is what counts, and
 * the next open removes leftovers.
 */
export function discard(files: Files, path: string): void {
  try {
    files.remove(path)
  } catch {
    // It was never created, or stays until the next open.
  }
}

/** Removes a file if it exists. */
export function removeIfThere(files: Files, path: string): void {
  try {
    files.remove(path)
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error
  }
}

function syncByThread(file: FileDescriptor): Promise<void> {
  return new Promise((resolve, reject) => {
    fs.fdatasync(file, (error) => (error === null ? resolve() : reject(error)))
  })
}

function fsyncByThread(file: FileDescriptor): Promise<void> {
  return new Promise((resolve, reject) => {
    fs.fsync(file, (error) => (error === null ? resolve() : reject(error)))
  })
}

function syncDirectory(directory: string): void {
  // Windows cannot open a directory; its file systems log the names themselves.
  if (process.platform === 'win32' || !maySync()) return
  const file = fs.openSync(directory, 'r')
  try {
    fs.fsyncSync(file)
  } finally {
    fs.closeSync(file)
  }
}

/**
 * Syncs the names that lead to a directory, up to the root of its file system. These are not only
 * the names that were created just now: whoever created the others may have failed, or been killed,
 * before syncing them.
 *
 * @param firstMade the topmost directory that was created just now
 */
function syncNames(directory: string, firstMade: string | undefined): void {
  let isNew = firstMade !== undefined
  for (let named = directory; ; named = dirname(named)) {
    const parent = dirname(named)
    if (parent === named || fs.statSync(parent).dev !== fs.statSync(named).dev) return
    try {
      syncDirectory(parent)
    } catch (error) {
      // A directory that may not be read cannot be synced: its names are the responsibility of
      // others.
      if (isNew || errorCode(error) !== 'EACCES') throw error
    }
    if (named === firstMade) isNew = false
  }
}
