/**
 * Room on the disk that is kept for what makes room.
 *
 * A delete, a merge and a close in good order write before they give anything back. So a file of `reserveBytes` lies beside
 * the segments. Where one of them finds the disk full, the file is cut down a step at a time, and the operation is tried
 * again after each. The file is filled in the background, and filled up once there is room for that and as much besides.
 *
 * It is filled with random bytes: a file system that compresses would make nothing of zeros.
 *
 * Invariants
 * - What was given up is not for puts: as long as some of it is missing they are refused, unless the disk has room for the
 *   missing part as well.
 * - It is a convenience: nothing that is wrong with it is in the way of anything else.
 * - A file of its name that is not this store's is left alone.
 */

import { randomFillSync } from 'node:crypto'
import { join } from 'node:path'
import { isMoved } from '../errors.ts'
import { decodeFileHeader, encodeFileHeader, FILE_HEADER_SIZE } from '../format/file-header.ts'
import { RESERVE_NAME } from '../format/names.ts'
import { errorCode, type FileDescriptor, type Files, readFully, writeFully } from '../io/files.ts'
import { timers } from '../scheduling/time.ts'
import { isBlank } from './file.ts'

/** The file is filled in pieces of this size, one in a turn of the event loop. */
const PIECE_SIZE = 256 * 1024
/** It is given up in so many steps. */
const STEP_COUNT = 16
const MIN_STEP_SIZE = 16 * 1024
/** How often it is looked whether there is room again, in milliseconds. */
const LOOK_MS = 2000

/** What a reserve needs to know of its store. */
interface ReserveHome {
  readonly files: Files
  readonly directory: string
  readonly storeId: Uint8Array
}

/** The reserve of one store. */
export class Reserve {
  readonly #home: ReserveHome
  readonly #path: string
  /** How large the file is to be; 0 where there is to be none. */
  readonly #wanted: number
  #file: FileDescriptor | undefined
  #held = 0
  #hasLooked = false
  /** Whether the file may be made or used at all. */
  #isUsable: boolean
  #isShort = false
  /** Whether it was a quota that ended, of which the disk tells nothing. */
  #byQuota = false
  #isStopped = false
  #next: NodeJS.Immediate | undefined
  #timer: NodeJS.Timeout | undefined

  /** Does no I/O; `begin` lets it be filled. */
  constructor(home: ReserveHome, wanted: number) {
    this.#home = home
    this.#path = join(home.directory, RESERVE_NAME)
    this.#wanted = wanted
    this.#isUsable = wanted > 0
  }

  /** Whether some of it was given up, and is still missing. */
  get isShort(): boolean {
    return this.#isShort
  }

  /** How many bytes it can give up. */
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

  /** Fills it no more; what it has can still be given up. */
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
    this.#home.files.close(this.#file)
    this.#file = undefined
  }

  /**
   * Gives up a step where an error says that there was no room; whether it did, so that what failed is worth trying again.
   */
  giveUpFor(error: unknown): boolean {
    const step = Math.max(Math.ceil(this.#wanted / STEP_COUNT), MIN_STEP_SIZE)
    return this.#hadNoRoom(error) && this.#giveUp(Math.min(step, this.spareBytes))
  }

  /** Gives up as much as is missing for so many bytes to fit on the disk. */
  makeRoom(bytes: number): void {
    if (!this.#isUsable) return
    this.#giveUp(Math.min(bytes - this.freeBytes, this.spareBytes))
  }

  /**
   * Does `work`, which only spares time; where there is no room for it, once more by what can be given up, but for half of
   * the whole, which is kept for what counts.
   */
  async lendHalf(work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      const spare = this.spareBytes - Math.ceil(this.#wanted / 2)
      if (!this.#hadNoRoom(error) || !this.#giveUp(spare)) throw error
      await work()
    }
  }

  /** @throws an error as of the operating system where a put of `size` bytes would use what was given up */
  assertRoom(size: number): void {
    if (!this.#byQuota && this.freeBytes >= this.#wanted - this.#held + size) return
    const code = this.#byQuota ? 'EDQUOT' : 'ENOSPC'
    const message = `${code}: what room is left is kept for deletes and merges`
    throw Object.assign(new Error(message), { code })
  }

  /** How much room the disk has; `Infinity` where it does not say. */
  get freeBytes(): number {
    const { files, directory } = this.#home
    try {
      return files.freeBytes(directory)
    } catch (error) {
      if (errorCode(error) === undefined) throw error
      return Number.POSITIVE_INFINITY
    }
  }

  #hadNoRoom(error: unknown): boolean {
    const code = this.#isUsable ? noRoomCode(error) : undefined
    if (code === 'EDQUOT') this.#byQuota = true
    return code !== undefined
  }

  #giveUp(bytes: number): boolean {
    const { files } = this.#home
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

  /** Finds out what an earlier process has left. */
  #look(): void {
    if (this.#hasLooked || !this.#isUsable) return
    this.#hasLooked = true
    const { files } = this.#home
    try {
      this.#file = files.open(this.#path, 'write')
      const size = files.size(this.#file)
      // A power loss may have taken all that the file had.
      if (isBlank(files, this.#file, size)) {
        this.#isShort = true
        return
      }
      this.#isUsable = isReserve(files, this.#file, this.#home.storeId)
      if (!this.#isUsable) return
      if (size > this.#wanted) files.truncate(this.#file, this.#wanted)
      this.#held = Math.min(size, this.#wanted)
      this.#isShort = this.#held < this.#wanted
    } catch (error) {
      if (!isOfFiles(error)) throw error
      if (errorCode(error) !== 'ENOENT') this.#isUsable = false
    }
  }

  /** Fills the next piece, where there is room for what is missing and as much as the whole besides. */
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
    const { files, storeId } = this.#home
    const isEmpty = this.#held === 0
    try {
      this.#file ??= files.open(this.#path, 'create')
      const bytes = randomFillSync(
        Buffer.allocUnsafe(Math.min(PIECE_SIZE, this.#wanted - this.#held)),
      )
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

/** Whether an error is of the operating system, or says that the directory was moved, which its files have told. */
function isOfFiles(error: unknown): boolean {
  return errorCode(error) !== undefined || isMoved(error)
}

/** Whether a file is the reserve of the store with this id. */
export function isReserve(files: Files, file: FileDescriptor, storeId: Uint8Array): boolean {
  const bytes = Buffer.alloc(FILE_HEADER_SIZE)
  if (readFully(files, file, bytes, bytes.length, 0) < bytes.length) return false
  const header = decodeFileHeader(bytes)
  if ('fault' in header || header.type !== 'reserve') return false
  return Buffer.compare(header.storeId, storeId) === 0
}

/** The operating system's code where an error, or what caused it, is that there is no room. */
export function noRoomCode(error: unknown): 'ENOSPC' | 'EDQUOT' | undefined {
  for (let each = error; each instanceof Error; each = each.cause) {
    const code = errorCode(each)
    if (code === 'ENOSPC' || code === 'EDQUOT') return code
  }
  return undefined
}
