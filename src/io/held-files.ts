/**
 * The files of a directory that is held open.
 *
 * A file is held by its descriptor and changed by its name. Where a directory is moved, removed or replaced while it is
 * open, the two come apart: names then lead into the directory of another store. So
 *
 * - the directory is opened once, by its real path, and is synced by that descriptor;
 * - one descriptor more is kept, for a moment in which the process has as many files open as it may;
 * - before anything in it is created, written, renamed, linked or removed by name, its path and the lock's name must still
 *   lead to what was opened.
 *
 * Invariants
 * - Once a name has led elsewhere nothing is changed by name any more, wherever it leads later: others may have written
 *   what is there.
 * - Once a sync of the directory has failed every later one fails: nobody knows which names are durable, and asking again
 *   would prove nothing.
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

/** A directory as it was opened; plain data, so that another thread can look for it too. */
export interface Place {
  /** The real path. */
  readonly directory: string
  readonly identity: Identity
  /** The lock's file; `undefined` where none is held. */
  readonly lock: Identity | undefined
}

/** What the operating system says where the process, or the machine, has as many files open as it may. */
const OUT_OF_DESCRIPTORS: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE'])

/** How a directory is held: written under its lock, written without one, or read, which changes nothing by name. */
export type Hold = 'locked' | 'unlocked' | 'read'

/** Files that change a directory only while its path leads to it. Other directories are as in the files beneath. */
export class HeldFiles implements Files {
  readonly place: Place
  /** Told once, when the directory turns out to be another, or when a sync of it has failed. */
  onLoss: (error: unknown) => void = () => {}
  readonly #files: Files
  /** None on a thread that only looks for a directory that another one holds. */
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
    place: Place,
    held: HeldDirectory | undefined,
    lock: Lock | undefined,
    isWritten: boolean,
  ) {
    this.#files = files
    this.place = place
    this.#held = held
    this.#lock = lock
    this.#isWritten = isWritten
    this.#lockPath = join(place.directory, LOCK_NAME)
  }

  /**
   * Opens a directory, and takes its lock where that is wanted; `release` gives both up. One that is only read may
   * become another: whoever follows it finds that out by what it holds.
   *
   * @throws the operating system's error; {@link StoreError} FIRKIN_MOVED, and as {@link takeLock}
   */
  static hold(files: Files, directory: string, how: Hold): HeldFiles {
    const held = files.hold(directory)
    let lock: Lock | undefined
    try {
      lock = how === 'locked' ? takeLock(held.directory) : undefined
      const { directory: path, identity } = held
      const place = { directory: path, identity, lock: lock?.identity }
      const bound = new HeldFiles(files, place, held, lock, how !== 'read')
      // The lock was found by name: it must be the one in this directory.
      bound.assertThere()
      return bound
    } catch (error) {
      lock?.release()
      held.close()
      throw error
    }
  }

  /** The files of a directory that is held by another thread of the process. */
  static at(files: Files, place: Place): HeldFiles {
    return new HeldFiles(files, place, undefined, undefined, true)
  }

  /** The real path of the directory. */
  get directory(): string {
    return this.place.directory
  }

  /**
   * @throws {@link StoreError} FIRKIN_MOVED where the directory, or its lock, is not the one that was opened; the
   * operating system's error where that cannot be found out
   */
  assertThere(): void {
    if (!this.#isWritten) return
    if (this.#moved !== undefined) throw this.#moved
    const { directory, identity, lock } = this.place
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

  /** Why reading by name has failed: where the directory was moved, the names are those of other files. */
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

  /** Where the process or the system is out of descriptors, takes the one that is kept for that. */
  open(path: string, mode: OpenMode): FileDescriptor {
    if (mode !== 'read') this.#guard(path)
    this.#saveSpare()
    try {
      return this.#files.open(path, mode)
    } catch (error) {
      // What is missing may be so because another directory was looked into.
      if (errorCode(error) === 'ENOENT') this.#guard(path)
      if (!OUT_OF_DESCRIPTORS.has(errorCode(error) ?? '') || !this.#spendSpare()) throw error
    }
    return this.#files.open(path, mode)
  }

  /** Leaves the spare descriptor alone. */
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

  /** The held directory is synced by its descriptor. @throws also what an earlier sync of it has thrown */
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

  /** As {@link syncDirectory}. */
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
    // Also the name of what is linked elsewhere must be that of the file that was opened.
    this.#guard(from)
    this.#guard(to)
    this.#files.link(from, to)
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
    if (dirname(path) === this.place.directory) this.assertThere()
  }

  #heldAs(directory: string): HeldDirectory | undefined {
    return directory === this.place.directory ? this.#held : undefined
  }

  #syncFailed(error: unknown): void {
    if (this.#syncFailure !== undefined) return
    this.#syncFailure = { error }
    this.onLoss(error)
  }
}
