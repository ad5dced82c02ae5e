/**
 * A disk in memory, with the changes that the operating system holds and has not written back.
 *
 * A file consists of durable bytes and of the changes since, in the order in which they were made.
 * A sync makes those changes durable that were made before it began. A directory is the same, with
 * names in place of bytes: a rename is one change, which happens or does not.
 *
 * A process crash loses nothing of this. A power loss leaves the durable part, and any of the
 * changes that the operating system had written back: see {@link FileLoss} and {@link EntryLoss}.
 */

import { createHash } from 'node:crypto'
import type { Random } from './random.ts'

/** Disks write sectors whole or not at all. */
export const SECTOR_SIZE = 512

/**
 * The effect of a power loss on a file's changes. It leaves none; all; those up to some moment, the
 * last one cut at a sector's end; the file's new size with zeros after some sector; or each sector
 * as it was at some moment.
 */
export type FileLoss = 'dropped' | 'kept' | 'cut' | 'zeroed' | 'scattered'

/** The effect of a power loss on a directory's changes: it leaves none, all, or any of them. */
export type EntryLoss = 'dropped' | 'kept' | 'scattered'

/** The effects of a power loss. Each file draws one of the ways for files. */
export interface PowerLoss {
  readonly files: readonly FileLoss[]
  readonly entries: EntryLoss
}

/** Bytes that can grow. Copies share them until one is changed. */
class Contents {
  size = 0
  #bytes: Buffer = Buffer.alloc(0)
  #isShared = false

  /** The bytes, which must not be changed. */
  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.size)
  }

  copy(): Contents {
    const copy = new Contents()
    copy.size = this.size
    copy.#bytes = this.#bytes
    copy.#isShared = true
    this.#isShared = true
    return copy
  }

  write(at: number, source: Uint8Array): void {
    this.#reserve(at + source.length)
    this.#bytes.set(source, at)
    this.size = Math.max(this.size, at + source.length)
  }

  /** Sets the size. New bytes are zero. */
  resize(size: number): void {
    this.#reserve(size)
    if (size < this.size) this.#bytes.fill(0, size, this.size)
    this.size = size
  }

  #reserve(size: number): void {
    const { length } = this.#bytes
    if (size <= length && !this.#isShared) return
    const grown = Buffer.alloc(size <= length ? length : Math.max(size, length * 2))
    this.bytes.copy(grown)
    this.#bytes = grown
    this.#isShared = false
  }
}

/** A write if it has bytes; otherwise a cut or an extension to `size`. */
interface Change {
  readonly at: number
  readonly bytes: Uint8Array | undefined
}

/** A file, independent of its names. */
export class DiskFile {
  /** The contents that the running system sees. */
  readonly #current: Contents
  readonly #durable: Contents
  /** The changes that are in `current` and may not be in `durable`. */
  readonly #changes: Change[]
  /** The number of changes before those. */
  #settledCount = 0

  constructor(current = new Contents(), durable = new Contents(), changes: Change[] = []) {
    this.#current = current
    this.#durable = durable
    this.#changes = changes
  }

  get size(): number {
    return this.#current.size
  }

  /** The bytes that the running system sees; they must not be changed. */
  get bytes(): Buffer {
    return this.#current.bytes
  }

  /** The number of all changes so far. */
  get changeCount(): number {
    return this.#settledCount + this.#changes.length
  }

  write(at: number, source: Uint8Array): void {
    const bytes = Uint8Array.from(source)
    this.#current.write(at, bytes)
    this.#changes.push({ at, bytes })
  }

  truncate(size: number): void {
    this.#current.resize(size)
    this.#changes.push({ at: size, bytes: undefined })
  }

  /** Makes the changes up to this count durable. */
  persist(changeCount: number): void {
    for (const change of this.#settle(changeCount)) apply(change, this.#durable)
  }

  /**
   * Drops the writes up to this count, as operating systems do after a failed sync: the running
   * system still sees them, and a later sync succeeds without them. Sizes are in the file system's
   * own log.
   */
  abandon(changeCount: number): void {
    const cuts = this.#settle(changeCount).filter(({ bytes }) => bytes === undefined)
    this.#changes.unshift(...cuts)
    this.#settledCount -= cuts.length
  }

  copy(): DiskFile {
    const copy = new DiskFile(this.#current.copy(), this.#durable.copy(), [...this.#changes])
    copy.#settledCount = this.#settledCount
    return copy
  }

  afterPowerLoss(loss: FileLoss, random: Random): DiskFile {
    const left = this.#left(loss, random)
    return new DiskFile(left, left.copy())
  }

  #settle(changeCount: number): Change[] {
    const settled = this.#changes.splice(0, Math.max(0, changeCount - this.#settledCount))
    this.#settledCount += settled.length
    return settled
  }

  #left(loss: FileLoss, random: Random): Contents {
    const changes = this.#changes
    const left = this.#durable.copy()
    switch (loss) {
      case 'dropped':
        break
      case 'kept':
        for (const change of changes) apply(change, left)
        break
      case 'cut': {
        const count = random.below(changes.length + 1)
        for (const change of changes.slice(0, count)) apply(change, left)
        const last = changes[count]
        if (last?.bytes !== undefined) applyPart(last.at, last.bytes, left, random)
        break
      }
      case 'zeroed': {
        const durableSize = left.size
        for (const change of changes) apply(change, left)
        const sectors = Math.floor(Math.max(0, left.size - durableSize) / SECTOR_SIZE)
        const from = sectorEnd(durableSize) + random.below(sectors + 1) * SECTOR_SIZE
        if (from < left.size) left.write(from, Buffer.alloc(left.size - from))
        break
      }
      case 'scattered':
        this.#scatter(left, random)
        break
    }
    return left
  }

  #scatter(left: Contents, random: Random): void {
    const sized = left.copy()
    for (const change of this.#changes.slice(0, random.below(this.#changes.length + 1))) {
      apply(change, sized)
    }
    left.resize(sized.size)
    for (let from = 0; from < left.size; from += SECTOR_SIZE) {
      const to = Math.min(from + SECTOR_SIZE, left.size)
      const seen = this.#durable.copy()
      for (const change of this.#changes.slice(0, random.below(this.#changes.length + 1))) {
        apply(change, seen)
      }
      seen.resize(Math.max(seen.size, to))
      left.write(from, seen.bytes.subarray(from, to))
    }
  }
}

/** The names of a directory. */
export class DiskDirectory {
  /** The entries that the running system sees. */
  readonly entries: Map<string, DiskFile>
  /** Whether its own name is durable, with those of its parents. */
  isNamed = false
  readonly #durable: Map<string, DiskFile>
  readonly #changes: EntryChange[]
  #settledCount = 0

  constructor(
    entries = new Map<string, DiskFile>(),
    durable = new Map<string, DiskFile>(),
    changes: EntryChange[] = [],
  ) {
    this.entries = entries
    this.#durable = durable
    this.#changes = changes
  }

  get changeCount(): number {
    return this.#settledCount + this.#changes.length
  }

  /** Sets or removes names in one step. */
  change(...change: EntryChange): void {
    this.#changes.push(change)
    applyEntries(change, this.entries)
  }

  /** Makes the changes up to this count durable. */
  persist(changeCount: number): void {
    const settled = this.#changes.splice(0, Math.max(0, changeCount - this.#settledCount))
    this.#settledCount += settled.length
    for (const change of settled) applyEntries(change, this.#durable)
  }

  copy(file: (original: DiskFile) => DiskFile): DiskDirectory {
    const copyAll = (entries: Map<string, DiskFile>) =>
      new Map([...entries].map(([name, original]) => [name, file(original)]))
    const changes = this.#changes.map((change) =>
      change.map(([name, original]): EntryChange[number] => [name, original && file(original)]),
    )
    const copy = new DiskDirectory(copyAll(this.entries), copyAll(this.#durable), changes)
    copy.#settledCount = this.#settledCount
    copy.isNamed = this.isNamed
    return copy
  }

  afterPowerLoss(
    loss: EntryLoss,
    random: Random,
    file: (original: DiskFile) => DiskFile,
  ): DiskDirectory | undefined {
    const survives = (): boolean => (loss === 'scattered' ? random.chance(0.5) : loss === 'kept')
    if (!this.isNamed && !survives()) return undefined
    const left = new Map(this.#durable)
    for (const change of this.#changes) {
      if (survives()) applyEntries(change, left)
    }
    const entries = new Map([...left].map(([name, original]) => [name, file(original)]))
    const directory = new DiskDirectory(entries, new Map(entries))
    directory.isNamed = true
    return directory
  }
}

/** Names with their new files; a name without a file is removed. */
type EntryChange = (readonly [name: string, file: DiskFile | undefined])[]

/** All directories, by path. */
export class Disk {
  readonly directories: Map<string, DiskDirectory>

  constructor(directories = new Map<string, DiskDirectory>()) {
    this.directories = directories
  }

  /** The bytes of all files; a file with several names counts once. */
  get usedSize(): number {
    const files = new Set<DiskFile>()
    for (const { entries } of this.directories.values()) {
      for (const file of entries.values()) files.add(file)
    }
    let size = 0
    for (const file of files) size += file.size
    return size
  }

  /**
   * Copies the disk, so that it can go on in two ways. Calls `onCopy` with each file and its copy.
   */
  copy(onCopy?: (original: DiskFile, copy: DiskFile) => void): Disk {
    const file = once((original) => {
      const copy = original.copy()
      onCopy?.(original, copy)
      return copy
    })
    return this.#map((directory) => directory.copy(file))
  }

  /** Returns a digest of what a running system sees of the disk, or of one directory. */
  digest(directory?: string): string {
    const hash = createHash('sha1')
    for (const [path, { entries }] of this.directories) {
      if (directory !== undefined && path !== directory) continue
      for (const name of [...entries.keys()].sort()) {
        const bytes = entries.get(name)?.bytes ?? Buffer.alloc(0)
        hash.update(`${path}/${name}:${bytes.length}:`).update(bytes)
      }
    }
    return hash.digest('hex')
  }

  afterPowerLoss({ files, entries }: PowerLoss, random: Random): Disk {
    const file = once((original) => original.afterPowerLoss(random.pick(files), random))
    return this.#map((directory) => directory.afterPowerLoss(entries, random, file))
  }

  #map(change: (directory: DiskDirectory) => DiskDirectory | undefined): Disk {
    const changed = new Map<string, DiskDirectory>()
    for (const [path, directory] of this.directories) {
      const left = change(directory)
      if (left !== undefined) changed.set(path, left)
    }
    return new Disk(changed)
  }
}

function apply({ at, bytes }: Change, contents: Contents): void {
  if (bytes === undefined) contents.resize(at)
  else contents.write(at, bytes)
}

/** Writes the beginning of `bytes`, up to the end of some sector. */
function applyPart(at: number, bytes: Uint8Array, contents: Contents, random: Random): void {
  const first = sectorEnd(at + 1)
  const sectors = Math.max(0, Math.ceil((at + bytes.length - first) / SECTOR_SIZE))
  const end = first + random.below(sectors + 1) * SECTOR_SIZE
  if (end < at + bytes.length) contents.write(at, bytes.subarray(0, end - at))
}

function applyEntries(change: EntryChange, entries: Map<string, DiskFile>): void {
  for (const [name, file] of change) {
    if (file === undefined) entries.delete(name)
    else entries.set(name, file)
  }
}

function sectorEnd(offset: number): number {
  return Math.ceil(offset / SECTOR_SIZE) * SECTOR_SIZE
}

/** Makes a copying function that copies a file with several names only once. */
function once(copy: (file: DiskFile) => DiskFile): (file: DiskFile) => DiskFile {
  const copies = new Map<DiskFile, DiskFile>()
  return (file) => {
    let made = copies.get(file)
    if (made === undefined) {
      made = copy(file)
      copies.set(file, made)
    }
    return made
  }
}
