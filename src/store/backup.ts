/**
 * Makes a consistent copy of a store while it is written, by its writer or beside it.
 *
 * 1. Note which segments there are and how far the active one reaches, and make that durable.
 * 2. Hard-link each segment that no longer changes into the target; if that is impossible, copy it.
 * 3. Copy the active segment, up to the noted size.
 * 4. Copy the mark of a cache, if the directory holds one: before the manifest, as in a cache.
 * 5. Sync the directory, then write the target's manifest. It comes last, because without it the
 *    target is not a store.
 */

import { join } from 'node:path'
import type { Engine } from '../engine/engine.ts'
import { StoreError } from '../errors.ts'
import type { Manifest } from '../format/manifest.ts'
import { CACHE_MARKER_NAME, hintName, MANIFEST_NAME, segmentName } from '../format/names.ts'
import { copySlices } from '../io/copy.ts'
import { discard, errorCode, type Files, writeFully } from '../io/files.ts'
import { HeldFiles } from '../io/held-files.ts'
import { checkNames, checkObject } from '../options.ts'
import { nextTurn } from '../scheduling/time.ts'
import { cacheMarkIn } from '../segment/kind.ts'
import { heldContext, type Segment } from '../segment/segment.ts'
import { Segments } from '../segment/segments.ts'

/** Options of one call of `store.backup`. */
export interface BackupOptions {
  /** Ends the backup; the files made so far are removed. */
  readonly signal?: AbortSignal
  /**
   * Called after about every mebibyte that is copied, and after each segment. What it throws ends
   * the backup.
   */
  readonly onProgress?: (progress: BackupProgress) => void
}

/** The progress of a backup, in bytes of segments. */
export interface BackupProgress {
  readonly bytesDone: number
  readonly bytesTotal: number
}

/** The report of a backup. */
export interface BackupReport {
  readonly directory: string
  readonly segments: number
  /** The bytes that were hard-linked. */
  readonly bytesLinked: number
  readonly bytesCopied: number
}

/**
 * @internal Backs up a store into a directory that is empty or does not exist. If that fails,
 * nothing is left of it.
 *
 * @param closing ends the backup, as `options.signal` does
 * @throws {@link StoreError} FIRKIN_EXISTS, FIRKIN_WRITE_FAILED
 */
export async function backUp(
  engine: Engine,
  target: string,
  options: BackupOptions,
  closing: AbortSignal,
): Promise<BackupReport> {
  checkObject(options, 'Backup options')
  checkNames(options, ['signal', 'onProgress'], 'backup option')
  const signal = AbortSignal.any(
    options.signal === undefined ? [closing] : [closing, options.signal],
  )
  signal.throwIfAborted()
  const { files } = engine.segments.context
  if (!isFree(listTarget(files, target))) throw notEmpty(target)
  // While a view is open, the segments that a merge retires stay open.
  const view = engine.openView()
  let held: HeldFiles | undefined
  let backup: Backup | undefined
  try {
    if (!engine.options.readOnly) engine.commits.flush()
    const state = stateOf(engine)
    await engine.durability.sync()
    files.makeDirectory(target)
    held = HeldFiles.hold(files, target, 'unlocked')
    backup = new Backup(held, { ...options, signal })
    return { directory: target, ...(await backup.make(state)) }
  } catch (error) {
    backup?.discard()
    // An error that is not the operating system's was thrown by `onProgress`.
    if (error === signal.reason || errorCode(error) === undefined) throw error
    if (error instanceof StoreError) throw error
    // Another backup has begun to fill the target since it was listed.
    if (errorCode(error) === 'EEXIST') throw notEmpty(target, { cause: error })
    throw new StoreError('FIRKIN_WRITE_FAILED', `Cannot back up to ${target}`, { cause: error })
  } finally {
    held?.release()
    engine.live.views.close(view)
  }
}

/** A segment, up to the size that is backed up. */
interface BackedUp {
  readonly segment: Segment
  readonly size: number
}

/** The parts of a store at some moment. */
interface StoreState {
  readonly manifest: Manifest
  readonly nextSequence: number
  readonly nextSegmentId: number
  /** The segments that are no longer written, whether the manifest lists them yet or not. */
  readonly unchanging: readonly BackedUp[]
  /** The active segment. */
  readonly last: BackedUp | undefined
  /** The mark of a cache's directory. */
  readonly cacheMark: Buffer | undefined
}

function stateOf({ segments, nextSequence }: Engine): StoreState {
  const { files, directory } = segments.context
  // A store that is only read may end in a torn segment; nothing after the tear counts.
  const tail = segments.tail
    .filter(({ writtenSize }) => writtenSize > 0)
    .map((segment) => ({ segment, size: segment.writtenSize }))
  const last = tail.pop()
  return {
    manifest: {
      ...segments.manifest,
      clockMs: segments.clockMs,
      sweeps: segments.sweeps.list,
    },
    nextSequence,
    nextSegmentId: segments.nextId,
    unchanging: [
      ...segments.listed.map((segment) => ({ segment, size: segment.usage.size })),
      ...tail,
    ],
    last,
    cacheMark: cacheMarkIn(files, directory),
  }
}

/** A backup in progress. */
class Backup {
  readonly #files: HeldFiles
  readonly #directory: string
  readonly #options: BackupOptions
  /** The paths of the files that were made so far. */
  readonly #made: string[] = []
  #bytesTotal = 0
  #bytesLinked = 0
  #bytesCopied = 0

  constructor(files: HeldFiles, options: BackupOptions) {
    this.#files = files
    this.#directory = files.directory
    this.#options = options
  }

  async make(state: StoreState): Promise<Omit<BackupReport, 'directory'>> {
    const { manifest, unchanging, last } = state
    this.#bytesTotal = unchanging.reduce((sum, { size }) => sum + size, last?.size ?? 0)

    for (const { segment, size } of unchanging) {
      if (!this.#link(segment, size)) await this.#copy(segment, size)
    }
    if (last !== undefined) await this.#copy(last.segment, last.size)
    if (state.cacheMark !== undefined) await this.#mark(state.cacheMark)
    const copy = new Segments(
      heldContext(this.#files, manifest.storeId),
      { ...manifest, nextSequence: state.nextSequence },
      state.nextSegmentId,
      0,
    )
    // A power loss must not leave the manifest without what it lists.
    await this.#files.syncDirectoryLater(this.#directory)
    this.#made.push(join(this.#directory, MANIFEST_NAME))
    await copy.commit(() => ({
      tailId: last?.segment.id ?? manifest.tailId,
      tailSize: last?.size ?? 0,
      closed: true,
      segments: unchanging.map(({ segment }) => segment.usage.seal(segment.id, segment.origin)),
    }))
    return {
      segments: unchanging.length + (last === undefined ? 0 : 1),
      bytesLinked: this.#bytesLinked,
      bytesCopied: this.#bytesCopied,
    }
  }

  /** Removes what was made, as far as possible. Without a manifest it is not a store anyway. */
  discard(): void {
    for (const path of this.#made.toReversed()) discard(this.#files, path)
  }

  /** Links a segment and its hint into the target; returns whether the file system allows it. */
  #link(segment: Segment, size: number): boolean {
    // What follows a tear must not be backed up.
    if (this.#files.size(segment.file) !== size) return false
    if (!this.#tryLink(segment.path, segmentName(segment.id))) return false
    this.#tryLink(segment.hintPath, hintName(segment.id))
    this.#bytesLinked += size
    this.#reportProgress()
    return true
  }

  #tryLink(from: string, name: string): boolean {
    const to = join(this.#directory, name)
    try {
      this.#files.link(from, to)
      this.#made.push(to)
      return true
    } catch (error) {
      if (errorCode(error) === undefined || errorCode(error) === 'ENOSPC') throw error
      return false
    }
  }

  /** Copies the beginning of a segment's file, by descriptor: a merge may have removed its name. */
  async #copy(segment: Segment, size: number): Promise<void> {
    const files = this.#files
    const path = join(this.#directory, segmentName(segment.id))
    const target = files.open(path, 'create')
    this.#made.push(path)
    try {
      let copied = 0
      for (const bytes of copySlices(files, segment.file, 0, target, size)) {
        copied += bytes
        this.#bytesCopied += bytes
        this.#reportProgress()
        await nextTurn()
      }
      if (copied < size) {
        throw new StoreError('FIRKIN_READ_FAILED', `${segment.path} ends before ${size}`)
      }
      await files.syncLater(target)
    } finally {
      files.close(target)
    }
  }

  /** Marks the copy as a cache's. */
  async #mark(mark: Buffer): Promise<void> {
    const files = this.#files
    const path = join(this.#directory, CACHE_MARKER_NAME)
    const target = files.open(path, 'create')
    this.#made.push(path)
    try {
      writeFully(files, target, mark, mark.length, 0)
      await files.syncLater(target)
    } finally {
      files.close(target)
    }
  }

  /** Reports the progress, unless the backup is to end. */
  #reportProgress(): void {
    const { signal, onProgress } = this.#options
    signal?.throwIfAborted()
    onProgress?.({
      bytesDone: this.#bytesLinked + this.#bytesCopied,
      bytesTotal: this.#bytesTotal,
    })
  }
}

/** The names that file systems create in their root. */
const NAMES_OF_SYSTEM: readonly string[] = [
  'lost+found',
  '.Spotlight-V100',
  '.Trashes',
  '.fseventsd',
  '$RECYCLE.BIN',
  'System Volume Information',
]

/** Whether a directory with these names may be filled, because nobody has put anything there. */
export function isFree(names: readonly string[]): boolean {
  return names.every((name) => NAMES_OF_SYSTEM.includes(name))
}

function listTarget(files: Files, target: string): string[] {
  try {
    return files.list(target) ?? []
  } catch (error) {
    throw new StoreError('FIRKIN_IO_FAILED', `Cannot look into ${target}`, { cause: error })
  }
}

function notEmpty(target: string, options?: ErrorOptions): StoreError {
  return new StoreError('FIRKIN_EXISTS', `${target} is not empty`, options)
}
