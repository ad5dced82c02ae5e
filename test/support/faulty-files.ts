/**
 * Files in memory that fail on demand.
 *
 * 1. Every call is recorded, and has a number.
 * 2. `fail` makes a call fail: the nth of a kind, once or from then on. A failed sync loses for
 *    good what it was to write, although the running process still sees it. Each descriptor of the
 *    file gets the failure once, as on Linux.
 * 3. `crash` ends the process. The listener `onCall` gets every call, and can make a copy of the
 *    machine as if the process had ended in that call, so that one run serves for crashes at all
 *    calls.
 * 4. `restart` returns the same machine with a new process, and `afterPowerLoss` the machine after
 *    a power loss.
 *
 * All chance follows from one seed.
 */

import { basename, dirname } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import {
  errorCode,
  type FileDescriptor,
  type Files,
  type HeldDirectory,
  type Identity,
  type OpenMode,
} from '../../src/io/files.ts'
import { Disk, DiskDirectory, DiskFile, type PowerLoss } from './disk.ts'
import { Random } from './random.ts'

/** The kinds of calls of the operating system. All except `'close'` can fail. */
export type CallKind =
  | 'open'
  | 'close'
  | 'read'
  | 'write'
  | 'truncate'
  | 'sync'
  | 'syncDirectory'
  | 'size'
  | 'rename'
  | 'remove'
  | 'link'
  | 'list'
  | 'freeBytes'
  | 'fileSystemType'
  | 'makeDirectory'
  | 'hold'
  | 'identify'

/** The codes of failures. `'SHORT'` is not an error: the call reads or writes fewer bytes. */
export type FaultCode = 'ENOSPC' | 'EIO' | 'EMFILE' | 'EACCES' | 'EDQUOT' | 'SHORT'

/** A call of the operating system. */
export interface Call {
  /** Its number, from 1 on. */
  readonly number: number
  readonly kind: CallKind
  readonly path: string
}

/** The call that fails, and the way in which it does. */
export interface Fault {
  /** Only calls of these kinds; calls of any kind if it is missing. */
  readonly kinds?: readonly CallKind[]
  /** Only calls on paths that match. */
  readonly path?: RegExp
  /** The number of the call among those that match from now on; the first is 1. */
  readonly nth: number
  readonly code: FaultCode
  /** Whether all later ones fail too. @defaultValue false */
  readonly lasting?: boolean
}

/** Thrown by every call after a crash. */
export class CrashError extends Error {
  readonly code = 'ECRASHED'

  constructor() {
    super('The process has crashed')
    this.name = 'CrashError'
  }
}

/** Gets a call before it is made. `crash` returns the machine as if the process had ended in it. */
export type CallListener = (call: Call, crash: () => FaultyFiles) => void

interface OpenFile {
  readonly file: DiskFile
  path: string
  readonly mode: OpenMode
  /** A failed sync of the file that this descriptor has not yet reported. */
  failure: Error | undefined
}

/** Finds the file on the disk on which the call is made. */
type FileLookup = (file: DiskFile) => DiskFile

/** The most turns of the event loop that a background sync takes. */
const MAX_SYNC_TURNS = 3

/** An operating system in memory. */
export class FaultyFiles implements Files {
  /** All calls so far. */
  readonly calls: Call[] = []
  /** The size of the disk in bytes. */
  capacity = Number.POSITIVE_INFINITY
  /** Whether writes should be left to a thread. */
  slow = false
  /** Linux's number for the type of the file system, which is ext4. */
  type = 0xef53
  onCall: CallListener | undefined

  readonly #disk: Disk
  readonly #random: Random
  readonly #open = new Map<FileDescriptor, OpenFile>()
  #nextDescriptor = 3
  readonly #identities = new WeakMap<DiskFile | DiskDirectory, Identity>()
  #identityCount = 0
  #crashed = false
  #faults: { readonly fault: Fault; left: number }[] = []
  #faultCount = 0

  constructor(seed: number, disk = new Disk()) {
    this.#random = new Random(seed)
    this.#disk = disk
  }

  /** The number of calls that were made to fail. */
  get faultCount(): number {
    return this.#faultCount
  }

  /** The paths of the open files. */
  get openPaths(): string[] {
    return [...this.#open.values()].map(({ path }) => path)
  }

  /** The bytes of all files. */
  get usedSize(): number {
    return this.#disk.usedSize
  }

  /** Makes a call fail. */
  fail(fault: Fault): void {
    this.#faults.push({ fault, left: fault.nth })
  }

  /** Lets calls succeed again. */
  heal(): void {
    this.#faults = []
    this.capacity = Number.POSITIVE_INFINITY
  }

  /** Ends the process: every later call throws and changes nothing. */
  crash(): void {
    this.#crashed = true
  }

  /** Returns the same machine with a new process; this one stays as it is. */
  restart(seed: number): FaultyFiles {
    return this.#successor(seed, this.#disk.copy())
  }

  /** Returns the machine with a new process after a power loss; this one stays as it is. */
  afterPowerLoss(loss: PowerLoss, seed: number): FaultyFiles {
    return this.#successor(seed, this.#disk.afterPowerLoss(loss, new Random(seed)))
  }

  #successor(seed: number, disk: Disk): FaultyFiles {
    const files = new FaultyFiles(seed, disk)
    files.slow = this.slow
    files.type = this.type
    return files
  }

  /** A digest of what a process sees of the disk. */
  get digest(): string {
    return this.#disk.digest()
  }

  /** Returns a digest of what a process sees of a directory. */
  digestOf(directory: string): string {
    return this.#disk.digest(directory)
  }

  /** Returns the bytes of a file, past all faults; `undefined` if there is no such file. */
  peek(path: string): Buffer | undefined {
    const file = this.#disk.directories.get(dirname(path))?.entries.get(basename(path))
    return file === undefined ? undefined : Buffer.from(file.bytes)
  }

  /** Puts bytes into a file or removes it, durably and past all faults. */
  poke(path: string, bytes: Uint8Array | undefined): void {
    const directory = this.#directory(path, 'open')
    const file = bytes === undefined ? undefined : new DiskFile()
    if (bytes !== undefined) file?.write(0, bytes)
    file?.persist(file.changeCount)
    directory.change([basename(path), file])
    directory.persist(directory.changeCount)
  }

  open(path: string, mode: OpenMode): FileDescriptor {
    this.#call('open', path)
    const directory = this.#directory(path, 'open')
    const name = basename(path)
    let file = directory.entries.get(name)
    if (mode === 'create') {
      if (file !== undefined) throw systemError('EEXIST', 'open', path)
      file = new DiskFile()
      directory.change([name, file])
    }
    if (file === undefined) throw systemError('ENOENT', 'open', path)
    const descriptor = this.#nextDescriptor++
    this.#open.set(descriptor, { file, path, mode, failure: undefined })
    return descriptor
  }

  async openLater(path: string, mode: OpenMode): Promise<FileDescriptor> {
    const descriptor = this.open(path, mode)
    await this.#passTime()
    return descriptor
  }

  close(descriptor: FileDescriptor): void {
    const { path } = this.#get(descriptor, 'close')
    this.#open.delete(descriptor)
    this.#call('close', path)
  }

  async closeLater(descriptor: FileDescriptor): Promise<void> {
    this.close(descriptor)
    await this.#passTime()
  }

  read(
    descriptor: FileDescriptor,
    target: Uint8Array,
    at: number,
    size: number,
    position: number,
  ): number {
    const { file, path } = this.#get(descriptor, 'read')
    const short = this.#call('read', path)
    const there = Math.max(0, Math.min(size, file.size - position))
    const taken = short && there > 1 ? 1 + this.#random.below(there - 1) : there
    target.set(file.bytes.subarray(position, position + taken), at)
    return taken
  }

  write(
    descriptor: FileDescriptor,
    source: Uint8Array,
    at: number,
    size: number,
    position: number,
  ): number {
    const { file, path, mode } = this.#get(descriptor, 'write')
    if (mode === 'read') throw systemError('EBADF', 'write', path)
    const short = this.#call('write', path, (disk) => {
      disk(file).write(position, source.subarray(at, at + this.#random.below(size)))
    })
    let taken = short && size > 1 ? 1 + this.#random.below(size - 1) : size
    if (position + taken > file.size && this.capacity !== Number.POSITIVE_INFINITY) {
      const room = this.capacity - this.usedSize
      taken = Math.min(taken, file.size - position + Math.max(0, room))
      if (taken < size) this.#faultCount++
      if (taken <= 0) throw systemError('ENOSPC', 'write', path)
    }
    file.write(position, source.subarray(at, at + taken))
    return taken
  }

  async writeLater(
    descriptor: FileDescriptor,
    source: Uint8Array,
    at: number,
    size: number,
    position: number,
  ): Promise<number> {
    // A thread may get to it early or late.
    const isEarly = this.#random.below(2) === 0
    if (!isEarly) await this.#passTime()
    const written = this.write(descriptor, source, at, size, position)
    if (isEarly) await this.#passTime()
    return written
  }

  areWritesSlow(): boolean {
    return this.slow
  }

  truncate(descriptor: FileDescriptor, size: number): void {
    const { file, path, mode } = this.#get(descriptor, 'truncate')
    if (mode === 'read') throw systemError('EINVAL', 'truncate', path)
    this.#call('truncate', path)
    file.truncate(size)
  }

  sync(descriptor: FileDescriptor): void {
    const open = this.#get(descriptor, 'sync')
    const { changeCount } = open.file
    this.#beginSync(open, changeCount)
    endSync(open, changeCount)
  }

  async syncLater(descriptor: FileDescriptor): Promise<void> {
    const open = this.#get(descriptor, 'sync')
    const { changeCount } = open.file
    this.#beginSync(open, changeCount)
    // The data of a failed sync is lost at once, and the failure is known only later.
    await this.#passTime()
    endSync(open, changeCount)
  }

  syncDirectory(path: string): void {
    this.#call('syncDirectory', path)
    const directory = this.#at(path, 'syncDirectory')
    directory.persist(directory.changeCount)
  }

  async syncDirectoryLater(path: string): Promise<void> {
    this.#call('syncDirectory', path)
    const directory = this.#at(path, 'syncDirectory')
    const count = directory.changeCount
    await this.#passTime()
    directory.persist(count)
  }

  size(descriptor: FileDescriptor): number {
    const { file, path } = this.#get(descriptor, 'size')
    this.#call('size', path)
    return file.size
  }

  rename(from: string, to: string): void {
    this.#call('rename', to)
    if (dirname(from) !== dirname(to)) throw systemError('EXDEV', 'rename', from)
    const directory = this.#directory(from, 'rename')
    const file = directory.entries.get(basename(from))
    if (file === undefined) throw systemError('ENOENT', 'rename', from)
    directory.change([basename(from), undefined], [basename(to), file])
    for (const open of this.#open.values()) if (open.path === from) open.path = to
  }

  remove(path: string): void {
    this.#call('remove', path)
    const directory = this.#directory(path, 'remove')
    if (!directory.entries.has(basename(path))) throw systemError('ENOENT', 'remove', path)
    directory.change([basename(path), undefined])
  }

  link(from: string, to: string): void {
    this.#call('link', to)
    const file = this.#directory(from, 'link').entries.get(basename(from))
    const target = this.#directory(to, 'link')
    if (file === undefined) throw systemError('ENOENT', 'link', from)
    if (target.entries.has(basename(to))) throw systemError('EEXIST', 'link', to)
    target.change([basename(to), file])
  }

  list(path: string): string[] | undefined {
    this.#call('list', path)
    const directory = this.#disk.directories.get(path)
    return directory === undefined ? undefined : [...directory.entries.keys()]
  }

  freeBytes(path: string): number {
    this.#call('freeBytes', path)
    return Math.max(0, this.capacity - this.usedSize)
  }

  fileSystemType(path: string): number {
    this.#call('fileSystemType', path)
    if (path !== '/') this.#at(path, 'fileSystemType')
    return this.type
  }

  makeDirectory(path: string): void {
    try {
      this.#call('makeDirectory', path)
    } catch (error) {
      // A disk that fails refuses to sync the names, which exist by then.
      if (errorCode(error) === 'EIO') this.#directoriesTo(path)
      throw error
    }
    for (const directory of this.#directoriesTo(path)) directory.isNamed = true
  }

  hold(path: string): HeldDirectory {
    this.#call('hold', path)
    const directory = this.#at(path, 'hold')
    return {
      directory: path,
      identity: this.#identityOf(directory),
      sync: () => {
        this.#call('syncDirectory', path)
        directory.persist(directory.changeCount)
      },
      syncLater: async () => {
        this.#call('syncDirectory', path)
        const count = directory.changeCount
        await this.#passTime()
        directory.persist(count)
      },
      spendSpare: () => false,
      saveSpare: () => true,
      close() {},
    }
  }

  identify(path: string | FileDescriptor): Identity | undefined {
    if (typeof path === 'number') return this.#identityOf(this.#get(path, 'identify').file)
    this.#call('identify', path)
    const { directories } = this.#disk
    const named =
      directories.get(path) ?? directories.get(dirname(path))?.entries.get(basename(path))
    return named === undefined ? undefined : this.#identityOf(named)
  }

  /** Removes a directory, or puts an empty one in its place. Held descriptors stay valid. */
  replaceDirectory(path: string, by: 'nothing' | 'empty'): void {
    const { directories } = this.#disk
    directories.delete(path)
    if (by === 'empty') this.#directoriesTo(path)
  }

  #identityOf(named: DiskFile | DiskDirectory): Identity {
    let identity = this.#identities.get(named)
    if (identity === undefined) {
      identity = `${++this.#identityCount}`
      this.#identities.set(named, identity)
    }
    return identity
  }

  /**
   * Records a call, and fails if a fault asks for it.
   *
   * @param part does the part of the call that may happen if the process ends in it
   * @returns whether the call must be short
   */
  #call(kind: CallKind, path: string, part?: (file: FileLookup) => void): boolean {
    if (this.#crashed) throw new CrashError()
    const call: Call = { number: this.calls.length + 1, kind, path }
    this.calls.push(call)
    this.onCall?.(call, () => this.#crashHere(part))
    let short = false
    for (const planned of this.#faults) {
      const { fault } = planned
      if (kind === 'close') continue
      if (!(fault.kinds?.includes(kind) ?? true) || !(fault.path?.test(path) ?? true)) continue
      planned.left--
      if (planned.left > 0 || (planned.left < 0 && fault.lasting !== true)) continue
      if (fault.code === 'SHORT' && kind !== 'write' && kind !== 'read') continue
      this.#faultCount++
      if (fault.code !== 'SHORT') throw systemError(fault.code, kind, path)
      short = true
    }
    return short
  }

  /**
   * Begins a sync. If it is to fail, its data is lost, and each open descriptor gets the failure.
   */
  #beginSync(open: OpenFile, changeCount: number): void {
    try {
      this.#call('sync', open.path)
    } catch (error) {
      if (this.#crashed || !(error instanceof Error)) throw error
      open.file.abandon(changeCount)
      for (const other of this.#open.values()) {
        if (other.file === open.file) other.failure = error
      }
    }
  }

  #crashHere(part: ((file: FileLookup) => void) | undefined): FaultyFiles {
    const copies = new Map<DiskFile, DiskFile>()
    const disk = this.#disk.copy((original, copy) => copies.set(original, copy))
    // The next process cannot use a file without a name.
    part?.((file) => copies.get(file) ?? new DiskFile())
    return this.#successor(this.#random.below(2 ** 32), disk)
  }

  async #passTime(): Promise<void> {
    for (let turns = 1 + this.#random.below(MAX_SYNC_TURNS); turns > 0; turns--) {
      await setImmediate()
      if (this.#crashed) throw new CrashError()
    }
  }

  #get(descriptor: FileDescriptor, kind: CallKind): OpenFile {
    const open = this.#open.get(descriptor)
    if (open === undefined) throw systemError('EBADF', kind, `descriptor ${descriptor}`)
    return open
  }

  /** Returns a directory and its parents, and creates those that are missing. */
  #directoriesTo(path: string): DiskDirectory[] {
    const { directories } = this.#disk
    const directory = directories.get(path) ?? new DiskDirectory()
    directories.set(path, directory)
    const parent = dirname(path)
    return parent === path ? [directory] : [...this.#directoriesTo(parent), directory]
  }

  #at(path: string, kind: CallKind): DiskDirectory {
    const directory = this.#disk.directories.get(path)
    if (directory === undefined) throw systemError('ENOENT', kind, path)
    return directory
  }

  #directory(path: string, kind: CallKind): DiskDirectory {
    return this.#at(dirname(path), kind)
  }
}

/**
 * Throws a descriptor's failure once, as Linux does; without one, the changes so far are durable.
 */
function endSync(open: OpenFile, changeCount: number): void {
  const { file, failure } = open
  open.failure = undefined
  if (failure !== undefined) throw failure
  file.persist(changeCount)
}

function systemError(code: string, kind: CallKind, path: string): Error {
  return Object.assign(new Error(`${code}: ${kind} '${path}'`), { code, syscall: kind, path })
}
