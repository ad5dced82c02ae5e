/**
 * Space on the disk that is kept for what frees space.
 *
 * A delete, a merge and an orderly close write before they free anything. So a file of
 * `reserveBytes` lies beside the segments. If one of them finds the disk full, the file is cut down
 * a step at a time, and the operation is tried again after each step. The file is filled in the
 * background, and refilled once the disk has space for what is missing and for as much as the whole
 * file besides.
 *
 * It is filled with random bytes, because a file system that compresses would store zeros in no
 * space.
 *
 * Invariants
 * - What was given up is not for puts: as long as some of it is missing they are refused, unless
 *   the disk has space for the missing part as well.
 * - The reserve is a convenience: nothing that goes wrong with it hinders anything else.
 * - A file of its name that is not this store's is left alone.
 */

import { join } from 'node:path'
import { isError, isMoved } from '../errors.ts'
import { decodeFileHeader, encodeFileHeader, FILE_HEADER_SIZE } from '../format/file-header.ts'
import { RESERVE_NAME } from '../format/names.ts'
import { errorCode, type FileDescriptor, type Files, readFully, writeFully } from '../io/files.ts'
import { randomBytes } from '../io/random.ts'
import { timers } from '../scheduling/time.ts'
import { isBlank, type SegmentContext } from './file.ts'

/** The file is filled in pieces of this size, one in each turn of the event loop. */
const PIECE_SIZE = 256 * 1024
/** The number of steps in which the file is given up. */
const STEP_COUNT = 16
const MIN_STEP_SIZE = 16 * 1024
/** The time between two looks for free space to refill the file, in milliseconds. */
const LOOK_MS = 2000

/** The reserve of one store. */
export class Reserve {
  readonly #context: SegmentContext
  readonly #path: string
  /** The size that the file should have; 0 if there should be none. */
  readonly #wanted: number
  #file: FileDescriptor | undefined
  /** The size of the file. */
  #held = 0
  #hasLooked = false
  /** Whether the file may be created or used at all. */
  #isUsable: boolean
  #isShort = false
  /** Whether a quota was exceeded, which the disk's free space does not show. */
  #byQuota = false
  #isStopped = false
  #next: NodeJS.Immediate | undefined
  #timer: NodeJS.Timeout | undefined

  /** Does no I/O; `begin` has the file filled. */
  constructor(context: SegmentContext, wanted: number) {
    this.#context = context
    this.#path = join(context.directory, RESERVE_NAME)
    this.#wanted = wanted
    this.#isUsable = wanted > 0
  }

  /** Whether some of the file was given up, and is still missing. */
  get isShort(): boolean {
    return this.#isShort
  }

  /** The number of bytes that can be given up. */
  get spareBytes(): number {
    this.#look()
    return Math.max(0, this.#held - FILE_HEADER_SIZE)
  }

  /** Fills the file in the background. */
  begin(): void {
    if (!this.#isUsable || this.#isStopped || this.#next !== undefined) return
    this.#next = timers.setImmediate(() => {
      this.#next = undefined
      this.#fill()
    })
    this.#next.unref()
  }

  /** Stops filling the file; what it has can still be given up. */
  stop(): void {
    timers.clearImmediate(this.#next)
    timers.clearTimeout(this.#timer)
    this.#isStopped = true
  }

  /** Closes the file, which stays as it is. */
  close(): void {
    this.stop()
    this.#isUsable = false
    this.#held = 0
    if (this.#file === undefined) return
    this.#context.files.close(this.#file)
    this.#file = undefined
  }

  /**
   * Gives up a step of the file if an error reports a full disk; returns whether it did, so that
   * what failed is worth trying again.
   */
  giveUpFor(error: unknown): boolean {
    const step = Math.max(Math.ceil(this.#wanted / STEP_COUNT), MIN_STEP_SIZE)
    return this.#hadNoSpace(error) && this.#giveUp(Math.min(step, this.spareBytes))
  }

  /** Gives up as much as is missing for this number of bytes to fit on the disk. */
  makeSpaceFor(bytes: number): void {
    if (!this.#isUsable) return
    this.#giveUp(Math.min(bytes - this.freeBytes, this.spareBytes))
  }

  /**
   * Does `work`, which only saves time. If the disk is full, gives up all but half of the whole
   * file, which is kept for what counts, and does it again.
   */
  async lendHalf(work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      const spare = this.spareBytes - Math.ceil(this.#wanted / 2)
      if (!this.#hadNoSpace(error) || !this.#giveUp(spare)) throw error
      await work()
    }
  }

  /**
   * @throws an error like the operating system's if a put of `size` bytes would use what was given
   *   up
   */
  assertSpaceFor(size: number): void {
    if (!this.#byQuota && this.freeBytes >= this.#wanted - this.#held + size) return
    const code = this.#byQuota ? 'EDQUOT' : 'ENOSPC'
    const message = `${code}: the space that is left is kept for deletes and merges`
    throw Object.assign(new Error(message), { code })
  }

  /** The free space of the disk in bytes; `Infinity` if it is not known. */
  get freeBytes(): number {
    const { files, directory } = this.#context
    try {
      return files.freeBytes(directory)
    } catch (error) {
      if (errorCode(error) === undefined) throw error
      return Number.POSITIVE_INFINITY
    }
  }

  #hadNoSpace(error: unknown): boolean {
    const code = this.#isUsable ? noSpaceCode(error) : undefined
    if (code === 'EDQUOT') this.#byQuota = true
    return code !== undefined
  }

  #giveUp(bytes: number): boolean {
    const { files } = this.#context
    if (bytes <= 0 || this.#file === undefined) return false
    try {
      files.truncate(this.#file, this.#held - bytes)
    } catch (error) {
      if (!isOfFiles(error)) throw error
      return false
    }
    this.#held -= bytes
    this.#isShort = true
    this.#fillLater()
    return true
  }

  /** Opens the file that an earlier process has left. */
  #look(): void {
    if (this.#hasLooked || !this.#isUsable) return
    this.#hasLooked = true
    const { files } = this.#context
    try {
      this.#file = files.open(this.#path, 'write')
      const size = files.size(this.#file)
      // A power loss may have taken all that the file had.
      if (isBlank(files, this.#file, size)) {
        this.#isShort = true
        return
      }
      this.#isUsable = isReserve(files, this.#file, this.#context.storeId)
      if (!this.#isUsable) return
      if (size > this.#wanted) files.truncate(this.#file, this.#wanted)
      this.#held = Math.min(size, this.#wanted)
      this.#isShort = this.#held < this.#wanted
    } catch (error) {
      if (!isOfFiles(error)) throw error
      if (errorCode(error) !== 'ENOENT') this.#isUsable = false
    }
  }

  /**
   * Fills the next piece, if the disk has space for what is missing and for as much as the whole
   * file besides.
   */
  #fill(): void {
    this.#look()
    if (!this.#isUsable || this.#isStopped) return
    const missing = this.#wanted - this.#held
    if (missing > 0 && (this.freeBytes < missing + this.#wanted || !this.#write())) {
      this.#fillLater()
    } else if (this.#held < this.#wanted) {
      this.begin()
    } else {
      this.#isShort = false
      this.#byQuota = false
    }
  }

  #write(): boolean {
    const { files, storeId } = this.#context
    const isEmpty = this.#held === 0
    try {
      this.#file ??= files.open(this.#path, 'create')
      const bytes = randomBytes(Math.min(PIECE_SIZE, this.#wanted - this.#held))
      if (isEmpty)
        encodeFileHeader({ type: 'reserve', storeId, fileId: 0, origin: 'none' }).copy(bytes)
      writeFully(files, this.#file, bytes, bytes.length, this.#held)
      this.#held += bytes.length
      return true
    } catch (error) {
      if (!isOfFiles(error)) throw error
      return false
    }
  }

  #fillLater(): void {
    if (this.#isStopped || this.#timer !== undefined) return
    this.#timer = timers.setTimeout(() => {
      this.#timer = undefined
      this.#fill()
    }, LOOK_MS)
    this.#timer.unref()
  }
}

/**
 * Returns whether an error comes from the operating system, or says that the directory was moved,
 * which the files report themselves.
 */
function isOfFiles(error: unknown): boolean {
  return errorCode(error) !== undefined || isMoved(error)
}

/** Returns whether a file is the reserve of the store with this id. */
export function isReserve(files: Files, file: FileDescriptor, storeId: Uint8Array): boolean {
  const bytes = Buffer.alloc(FILE_HEADER_SIZE)
  if (readFully(files, file, bytes, bytes.length, 0) < bytes.length) return false
  const header = decodeFileHeader(bytes)
  if ('fault' in header || header.type !== 'reserve') return false
  return Buffer.compare(header.storeId, storeId) === 0
}

/** Returns the operating system's code if an error, or its cause, is that the disk is full. */
export function noSpaceCode(error: unknown): 'ENOSPC' | 'EDQUOT' | undefined {
  for (let each = error; isError(each); each = each.cause) {
    const code = errorCode(each)
    if (code === 'ENOSPC' || code === 'EDQUOT') return code
  }
  return undefined
}
