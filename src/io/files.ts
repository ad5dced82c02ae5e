/**
 * The operating system's files, as the engine needs them. Everything that touches a disk goes through
 * one object of this shape, so that a test can put another in its place and let any call fail.
 *
 * Errors are the operating system's own, with their `code` (ENOSPC, EIO, ...).
 */

import * as fs from 'node:fs'
import { dirname } from 'node:path'
import { type ErrorCode, StoreError } from '../errors.ts'
import { monotonicMs } from '../scheduling/time.ts'
import { LatencyBudget } from './latency-budget.ts'
import { allocateBuffer } from './memory.ts'
import { Stalls } from './stalls.ts'

/** An open file. */
export type FileDescriptor = number

/** Which file or directory something is: the same for all names of one, and for no other while it is held open. */
export type Identity = string

/** A directory that is held open. */
export interface HeldDirectory {
  /** Its path when it was opened, without symbolic links. */
  readonly directory: string
  readonly identity: Identity
  /** On return the directory's entries survive a power loss. */
  sync(): void
  /** Settles once the directory's entries survive a power loss. */
  syncLater(): Promise<void>
  /** Closes a descriptor that is kept for when no other is to be had; whether there was one. */
  spendSpare(): boolean
  /** Keeps such a descriptor again; whether one could be had. */
  saveSpare(): boolean
  close(): void
}

/** How a file is opened: to be read, to be read and written, or created anew for both. */
export type OpenMode = 'read' | 'write' | 'create'

const { O_RDONLY, O_RDWR, O_CREAT, O_EXCL } = fs.constants
/** A pipe in the place of a file must not hold up whoever opens or reads it; of files this means nothing. */
const O_NONBLOCK = fs.constants.O_NONBLOCK ?? 0

const DIRECTORY_FLAGS = O_RDONLY | (fs.constants.O_DIRECTORY ?? 0)

const FLAGS: Readonly<Record<OpenMode, number>> = {
  read: O_RDONLY | O_NONBLOCK,
  write: O_RDWR | O_NONBLOCK,
  create: O_RDWR | O_CREAT | O_EXCL,
}

/** What the engine asks of an operating system. All paths are absolute. */
export interface Files {
  /** `'create'` fails where the file exists. */
  open(path: string, mode: OpenMode): FileDescriptor
  /** As `open`, by a thread. */
  openLater(path: string, mode: OpenMode): Promise<FileDescriptor>
  /** Never fails: what must be on disk was synced before, and what was read was read. */
  close(file: FileDescriptor): void
  /** As `close`, by a thread: where it is the last that holds a deleted file, to free that takes its time. */
  closeLater(file: FileDescriptor): Promise<void>
  /** Reads up to `size` bytes at `position` into `target` at `at`; answers how many there were. */
  read(file: FileDescriptor, target: Uint8Array, at: number, size: number, position: number): number
  /** Writes up to `size` bytes of `source` from `at`, at `position`; answers how many were taken. */
  write(
    file: FileDescriptor,
    source: Uint8Array,
    at: number,
    size: number,
    position: number,
  ): number
  /**
   * As `write`, by a thread; until it settles, `source` must stay as it is and the file open.
   */
  writeLater(
    file: FileDescriptor,
    source: Uint8Array,
    at: number,
    size: number,
    position: number,
  ): Promise<number>
  /** Whether writes of so many bytes hold up the process at present, so that they are better left to a thread. */
  areWritesSlow(byteCount: number): boolean
  /** Cuts the file to `size` bytes. */
  truncate(file: FileDescriptor, size: number): void
  /** On return the file's contents and size survive a power loss. */
  sync(file: FileDescriptor): void
  /**
   * Settles once the file's contents and size survive a power loss.
   *
   * @param dirtyBytes how much was written since the last sync, where that is known: a little may be synced on the
   * spot, if little was written to other files too
   */
  syncLater(file: FileDescriptor, dirtyBytes?: number): Promise<void>
  /** On return the directory's entries survive a power loss. */
  syncDirectory(directory: string): void
  /** Settles once the directory's entries survive a power loss. */
  syncDirectoryLater(directory: string): Promise<void>
  /** The file's size in bytes. */
  size(file: FileDescriptor): number
  rename(from: string, to: string): void
  remove(path: string): void
  /** Gives the file a second name, without copying it. */
  link(from: string, to: string): void
  /** The names in a directory; `undefined` where there is no such directory. */
  list(directory: string): string[] | undefined
  /** How many bytes may still be written to the file system that a directory is on. */
  freeBytes(directory: string): number
  /**
   * Creates a directory with all that lead to it, where they are missing. On return all these names survive a power
   * loss, whoever has made them.
   */
  makeDirectory(directory: string): void
  /** Opens a directory by its real path, and keeps it open: then a sync of it needs no descriptor more. */
  hold(directory: string): HeldDirectory
  /** Which file or directory a path leads to, or which file is open; `undefined` where a path leads nowhere. */
  identify(at: string | FileDescriptor): Identity | undefined
}

/**
 * To hand a sync over to a thread and to be woken costs as much as a good disk takes for it (measured, bench
 * `durable-put`): so what is quick is done on the spot.
 */
const latency = new LatencyBudget(1)
/** A disk that is quick on average may hold up the process for 50 ms now and then. */
const syncStalls = new Stalls(15)
/** With more than this written since the last sync, in bytes, none is made on the spot: the disk has enough to do. */
const QUICK_BYTES = 256 * 1024
/** How many bytes this thread has written, and how many of them before the last sync in the background. */
let writtenBytes = 0
let syncedBytes = 0
/** How long a disk is busy with more than that, in milliseconds; no sync is made on the spot meanwhile. */
const BUSY_MS = 1000
let busyUntilMs = 0

const stalls = new Stalls(8)
/**
 * Shorter writes are neither timed nor left to a thread: to look at the clock takes a part of what they do, and to ask a
 * thread and to hear of it some 50 us.
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
      // A file that is not open is our own bug.
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
  sync: (file) => fs.fdatasyncSync(file),
  async syncLater(file, dirtyBytes = Number.POSITIVE_INFINITY) {
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
    if (process.platform === 'win32') return
    const handle = await fs.promises.open(directory, 'r')
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  },
  size: (file) => fs.fstatSync(file).size,
  rename: (from, to) => outliving(to, () => fs.renameSync(from, to)),
  remove: (path) => outliving(path, () => fs.unlinkSync(path)),
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
  makeDirectory(directory) {
    syncNames(directory, fs.mkdirSync(directory, { recursive: true }))
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

/** So many files may wait for a thread to free them, at most. */
const MOST_OUTLIVING = 8
let outlivingCount = 0

/**
 * Takes a file's last name away, and leaves it to a thread to free it: a file system that tells its disk of the blocks at
 * once (mount option `discard`) takes tens of milliseconds for that. So the file is held open meanwhile.
 */
function outliving(path: string, takeNameAway: () => void): void {
  const file = outlivingCount < MOST_OUTLIVING ? openToOutlive(path) : undefined
  try {
    takeNameAway()
  } finally {
    if (file !== undefined) {
      outlivingCount++
      fs.close(file, () => outlivingCount--)
    }
  }
}

function openToOutlive(path: string): FileDescriptor | undefined {
  // Windows gives no name back while the file is open.
  if (process.platform === 'win32') return undefined
  try {
    return fs.openSync(path, FLAGS.read)
  } catch {
    // There may be no such file, or no descriptor: whoever takes the name away says what is wrong, or frees it himself.
    return undefined
  }
}

/** What the operating system says where a path leads to nothing. */
const LEADS_NOWHERE: ReadonlySet<string> = new Set(['ENOENT', 'ENOTDIR', 'ELOOP'])

/** Which file or directory these are the figures of. */
export function identityOf({ dev, ino }: { readonly dev: bigint; readonly ino: bigint }): Identity {
  return `${dev}:${ino}`
}

class SystemDirectory implements HeldDirectory {
  readonly directory: string
  readonly identity: Identity
  /** None on Windows, which cannot open a directory; its file systems log the names themselves. */
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
    if (this.#file !== undefined) fs.fsyncSync(this.#file)
  }

  syncLater(): Promise<void> {
    const file = this.#file
    if (file === undefined) return Promise.resolve()
    return new Promise((resolve, reject) => {
      fs.fsync(file, (error) => (error === null ? resolve() : reject(error)))
    })
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

/** The operating system's code of an error, such as `'ENOENT'`; `undefined` for errors of the store's own. */
export function errorCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || error instanceof StoreError) return undefined
  return 'code' in error && typeof error.code === 'string' ? error.code : undefined
}

/** The store's code for what keeps it out of a directory: permissions, a file system for reading only, or `other`. */
export function accessCode(error: unknown, other: ErrorCode): ErrorCode {
  switch (errorCode(error)) {
    case 'EACCES':
    case 'EPERM':
      return 'FIRKIN_NOT_PERMITTED'
    case 'EROFS':
      return 'FIRKIN_READ_ONLY_FILE_SYSTEM'
    default:
      return other
  }
}

/** Writes all of `source` at `position`, however many calls that takes. */
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

/** As {@link writeFully}, by a thread: what is between `at` and `end` of `source`. */
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

/** Reads up to `size` bytes at `position`; fewer only where the file ends. */
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
 * The whole of a file; `undefined` where there is none.
 *
 * @param maxSize so much is read of a file that is larger than it may be, whatever that is
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

/** Answers what `read` makes of a file that is open for it; `undefined` where the file is missing. */
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

/** Creates a file, in the place of what a failure has left there. */
export function createAnew(files: Files, path: string): FileDescriptor {
  try {
    return files.open(path, 'create')
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw error
  }
  files.remove(path)
  return files.open(path, 'create')
}

/** Failures to create a file about which there is more to do, or to say: a spare descriptor, a directory that was moved. */
const WORTH_ANOTHER: ReadonlySet<string> = new Set(['EEXIST', 'EMFILE', 'ENFILE', 'ENOENT'])

/** As {@link createAnew}, by a thread. */
export async function createAnewLater(files: Files, path: string): Promise<FileDescriptor> {
  try {
    return await files.openLater(path, 'create')
  } catch (error) {
    if (!WORTH_ANOTHER.has(errorCode(error) ?? '')) throw error
    return createAnew(files, path)
  }
}

/** Removes a file that is of no store, if that can be done: the error behind it is what counts, and open removes the rest. */
export function discard(files: Files, path: string): void {
  try {
    files.remove(path)
  } catch {
    // It was never created, or stays for the next open.
  }
}

/** Removes a file that may be missing. */
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

function syncDirectory(directory: string): void {
  // Windows cannot open a directory; its file systems log the names themselves.
  if (process.platform === 'win32') return
  const file = fs.openSync(directory, 'r')
  try {
    fs.fsyncSync(file)
  } finally {
    fs.closeSync(file)
  }
}

/**
 * Syncs what has the names that lead to a directory, up to the root of its file system. Not only the names that were
 * made just now: who made the others may have failed, or been killed, before it had synced them.
 *
 * @param firstMade the topmost directory that was made just now
 */
function syncNames(directory: string, firstMade: string | undefined): void {
  let isNew = firstMade !== undefined
  for (let named = directory; ; named = dirname(named)) {
    const parent = dirname(named)
    if (parent === named || fs.statSync(parent).dev !== fs.statSync(named).dev) return
    try {
      syncDirectory(parent)
    } catch (error) {
      // What may not be read cannot be synced: its names are the care of others.
      if (isNew || errorCode(error) !== 'EACCES') throw error
    }
    if (named === firstMade) isNew = false
  }
}
