/**
 * The files of a directory that is kept open.
 *
 * A file is open by its descriptor and changed by its name. If a directory is moved, removed or
 * replaced while it is open, the two no longer match: names then lead into the directory of another
 * store. So
 *
 * - the directory is opened once, by its real path, and is synced by that descriptor;
 * - one more descriptor is kept, for when the process has as many files open as it may;
 * - before anything in it is created, written, renamed, linked or removed by name, its path and the
 *   name of the lock must still lead to what was opened.
 *
 * Invariants
 * - Once a name has led elsewhere, nothing is changed by name any more, wherever it leads later:
 *   others may have written what is there.
 * - Once a sync of the directory has failed, every later one fails: nobody knows which names are
 *   durable, and another attempt would prove nothing.
 */

import { dirname, join } from 'node:path'
import { StoreError } from '../errors.ts'
import { LOCK_NAME } from '../format/names.ts'
import {
  errorCode,
  type FileDescriptor,
  type Files,
  type HeldDirectory,
  type Identity,
  type OpenMode,
} from './files.ts'
import { type Lock, takeLock } from './lock.ts'

/**
 * Identifies a directory as it was opened. It is plain data, so that another thread can check for
 * it too.
 */
export interface DirectoryId {
  /** The real path. */
  readonly directory: string
  readonly identity: Identity
  /** The lock's file; `undefined` if no lock is held. */
  readonly lock: Identity | undefined
}

/**
 * The operating system's codes for a process, or a machine, that has as many files open as it may.
 */
const OUT_OF_DESCRIPTORS: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE'])

/**
 * The way a directory is held: for writing under its lock, for writing without one, or for reading,
 * which changes nothing by name.
 */
type Hold = 'locked' | 'unlocked' | 'read'

/**
 * Files that change a directory only while its path leads to it. They access other directories as
 * the underlying files do.
 */
export class HeldFiles implements Files {
  readonly directoryId: DirectoryId
  /**
   * Called once, when the directory turns out to be another one, or when a sync of it has failed.
   */
  onLoss: (error: unknown) => void = () => {}
  readonly #files: Files
  /** `undefined` on a thread that only checks for a directory that another thread holds. */
  readonly #held: HeldDirectory | undefined
  readonly #lock: Lock | undefined
  readonly #lockPath: string
  readonly #isWritten: boolean
  #moved: StoreError | undefined
  /** Whether the spare descriptor is in use. */
  #isSpent = false
  #syncFailure: { readonly error: unknown } | undefined

  private constructor(
    files: Files,
    directoryId: DirectoryId,
    held: HeldDirectory | undefined,
    lock: Lock | undefined,
    isWritten: boolean,
  ) {
    this.#files = files
    this.directoryId = directoryId
    this.#held = held
    this.#lock = lock
    this.#isWritten = isWritten
    this.#lockPath = join(directoryId.directory, LOCK_NAME)
  }

  /**
   * Opens a directory, and takes its lock if requested; `release` gives both up. A directory that
   * is only read may be replaced by another one: a reader that follows it detects that by its
   * contents.
   *
   * @throws the operating system's error; {@link StoreError} FIRKIN_MOVED, and as {@link takeLock}
   */
  static hold(files: Files, directory: string, how: Hold): HeldFiles {
    const held = files.hold(directory)
    let lock: Lock | undefined
    try {
      lock = how === 'locked' ? takeLock(held.directory) : undefined
      const { directory: path, identity } = held
      const directoryId = { directory: path, identity, lock: lock?.identity }
      const bound = new HeldFiles(files, directoryId, held, lock, how !== 'read')
      // The lock was found by name: it must be the one in this directory.
      bound.assertThere()
      return bound
    } catch (error) {
      lock?.release()
      held.close()
      throw error
    }
  }

  /** Returns the files of a directory that another thread of the process holds. */
  static at(files: Files, directoryId: DirectoryId): HeldFiles {
    return new HeldFiles(files, directoryId, undefined, undefined, true)
  }

  /** The real path of the directory. */
  get directory(): string {
    return this.directoryId.directory
  }

  /**
   * Checks that the path still leads to the directory that was opened.
   *
   * @throws {@link StoreError} FIRKIN_MOVED if the directory, or its lock, is not the one that was
   * opened; the operating system's error if that cannot be determined
   */
  assertThere(): void {
    if (!this.#isWritten) return
    if (this.#moved !== undefined) throw this.#moved
    const { directory, identity, lock } = this.directoryId
    let what = `The directory ${directory} is`
    if (this.#files.identify(directory) === identity) {
      if (lock === undefined || this.#files.identify(this.#lockPath) === lock) return
      what = `The lock ${this.#lockPath} is`
    }
    this.#moved = new StoreError(
      'FIRKIN_MOVED',
      `${what} not the one that was opened; it was moved, removed or replaced, and is left as it is`,
    )
    this.onLoss(this.#moved)
    throw this.#moved
  }

  /**
   * Returns the reason for a failure to read by name: if the directory was moved, the names are
   * those of other files.
   */
  reasonOf(error: unknown): unknown {
    try {
      this.assertThere()
      return error
    } catch (reason) {
      return reason
    }
  }

  /** Gives the lock up, and closes the directory. */
  release(): void {
    this.#lock?.release()
    this.#held?.close()
  }

  /** If the process or the system is out of descriptors, uses the one that is kept for that. */
  open(path: string, mode: OpenMode): FileDescriptor {
    if (mode !== 'read') this.#guard(path)
    this.#saveSpare()
    try {
      return this.#files.open(path, mode)
    } catch (error) {
      // A file may be missing because the path leads to another directory.
      if (errorCode(error) === 'ENOENT') this.#guard(path)
      if (!OUT_OF_DESCRIPTORS.has(errorCode(error) ?? '') || !this.#spendSpare()) throw error
    }
    return this.#files.open(path, mode)
  }

  /** Does not use the spare descriptor. */
  async openLater(path: string, mode: OpenMode): Promise<FileDescriptor> {
    if (mode !== 'read') this.#guard(path)
    return await this.#files.openLater(path, mode)
  }

  close(file: FileDescriptor): void {
    this.#files.close(file)
    this.#saveSpare()
  }

  async closeLater(file: FileDescriptor): Promise<void> {
    await this.#files.closeLater(file)
    this.#saveSpare()
  }

  read(
    file: FileDescriptor,
    target: Uint8Array,
    at: number,
    size: number,
    position: number,
  ): number {
    return this.#files.read(file, target, at, size, position)
  }

  write(
    file: FileDescriptor,
    source: Uint8Array,
    at: number,
    size: number,
    position: number,
  ): number {
    return this.#files.write(file, source, at, size, position)
  }

  writeLater(
    file: FileDescriptor,
    source: Uint8Array,
    at: number,
    size: number,
    position: number,
  ): Promise<number> {
    return this.#files.writeLater(file, source, at, size, position)
  }

  areWritesSlow(byteCount: number): boolean {
    return this.#files.areWritesSlow(byteCount)
  }

  truncate(file: FileDescriptor, size: number): void {
    this.#files.truncate(file, size)
  }

  sync(file: FileDescriptor): void {
    this.#files.sync(file)
  }

  syncLater(file: FileDescriptor, dirtyBytes?: number): Promise<void> {
    return this.#files.syncLater(file, dirtyBytes)
  }

  /** Syncs the held directory by its descriptor. @throws also the error of an earlier sync of it */
  syncDirectory(directory: string): void {
    const held = this.#heldAs(directory)
    if (held === undefined) {
      this.#files.syncDirectory(directory)
      return
    }
    if (this.#syncFailure !== undefined) throw this.#syncFailure.error
    try {
      held.sync()
    } catch (error) {
      this.#syncFailed(error)
      throw error
    }
  }

  /** Like {@link syncDirectory}. */
  async syncDirectoryLater(directory: string): Promise<void> {
    const held = this.#heldAs(directory)
    if (held === undefined) return await this.#files.syncDirectoryLater(directory)
    if (this.#syncFailure !== undefined) throw this.#syncFailure.error
    try {
      await held.syncLater()
    } catch (error) {
      this.#syncFailed(error)
      throw error
    }
  }

  size(file: FileDescriptor): number {
    return this.#files.size(file)
  }

  freeBytes(directory: string): number {
    return this.#files.freeBytes(directory)
  }

  rename(from: string, to: string): void {
    this.#guard(from)
    this.#guard(to)
    this.#files.rename(from, to)
  }

  remove(path: string): void {
    this.#guard(path)
    this.#files.remove(path)
  }

  link(from: string, to: string): void {
    // A file that is linked elsewhere must also still be the one that was opened.
    this.#guard(from)
    this.#guard(to)
    this.#files.link(from, to)
  }

  fileSystemType(directory: string): number | undefined {
    return this.#files.fileSystemType(directory)
  }

  list(directory: string): string[] | undefined {
    return this.#files.list(directory)
  }

  makeDirectory(directory: string): void {
    this.#files.makeDirectory(directory)
  }

  hold(directory: string): HeldDirectory {
    return this.#files.hold(directory)
  }

  identify(at: string | FileDescriptor): Identity | undefined {
    return this.#files.identify(at)
  }

  #spendSpare(): boolean {
    this.#isSpent = this.#held?.spendSpare() ?? false
    return this.#isSpent
  }

  #saveSpare(): void {
    if (this.#isSpent) this.#isSpent = this.#held?.saveSpare() === false
  }

  #guard(path: string): void {
    if (dirname(path) === this.directoryId.directory) this.assertThere()
  }

  #heldAs(directory: string): HeldDirectory | undefined {
    return directory === this.directoryId.directory ? this.#held : undefined
  }

  #syncFailed(error: unknown): void {
    if (this.#syncFailure !== undefined) return
    this.#syncFailure = { error }
    this.onLoss(error)
  }
}
