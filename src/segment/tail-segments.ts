/**
 * The tail of an open store: the appended segments that the manifest does not list, and how much of
 * each is durable. The last of them is the active one.
 *
 * Invariants
 * - Segments are synced oldest first, and the directory before anything in a new file is promised.
 *   So what a power loss cuts off one of them takes away only what was never promised.
 * - A file is synced in the background by another descriptor than on return. An operating system
 *   reports a failure once per descriptor: of two syncs at a time by the same one, one would not
 *   hear what the other has lost.
 */

import type { FileDescriptor } from '../io/files.ts'
import type { HeldSegmentContext, Segment } from './segment.ts'

/** Up to this number of segments are synced before it is reported that they are durable. */
const SEGMENTS_AT_ONCE = 4

/** Segments at the beginning of the tail that may be listed as sealed. */
interface SealableSegments {
  readonly full: readonly Segment[]
  /** The one after them, with which the tail begins then. */
  readonly next: Segment
}

/** The tail of one store. */
export class TailSegments {
  readonly #context: HeldSegmentContext
  /** Oldest first. */
  readonly #segments: Segment[] = []
  /** The number of bytes of each segment that are durable. */
  readonly #syncedSizes = new Map<Segment, number>()
  /** The descriptors by which segments are synced in the background. */
  readonly #syncFiles = new Map<Segment, FileDescriptor>()
  /** The segment that is being synced in the background. */
  #inUse: Segment | undefined
  /** The newest segment that was begun, and the newest one whose name survives a power loss. */
  #newestId: number
  #durableId: number

  /** @param newestId the highest segment id there is; its name survives a power loss */
  constructor(context: HeldSegmentContext, newestId: number) {
    this.#context = context
    this.#newestId = newestId
    this.#durableId = newestId
  }

  /** Every segment of the tail, oldest first. */
  get all(): readonly Segment[] {
    return this.#segments
  }

  /** The last segment, which is written; `undefined` if none was begun. */
  get active(): Segment | undefined {
    return this.#segments.at(-1)
  }

  /** Adds a segment after the others, of which `syncedSize` bytes are durable. */
  add(segment: Segment, syncedSize: number): void {
    this.#segments.push(segment)
    this.#syncedSizes.set(segment, syncedSize)
  }

  /** Adds a segment whose file was just created: its name is not durable yet. */
  begin(segment: Segment): void {
    this.#newestId = segment.id
    this.add(segment, 0)
  }

  /** Removes a segment, if it is there. */
  remove(segment: Segment): void {
    const place = this.#segments.indexOf(segment)
    if (place !== -1) this.#segments.splice(place, 1)
    this.#syncedSizes.delete(segment)
    this.#closeSyncFile(segment)
  }

  /** Whether anything written has not been synced. */
  get dirty(): boolean {
    return this.#segments.some((segment) => this.#isDirty(segment))
  }

  /** Returns how many bytes of a segment are durable; `undefined` if it is not of the tail. */
  syncedSizeOf(segment: Segment): number | undefined {
    return this.#syncedSizes.get(segment)
  }

  /** Returns the segments that are durable, as are the header and the name of the next one. */
  get sealable(): SealableSegments | undefined {
    const full = this.#segments.slice(0, this.#sealableCount())
    const next = this.#segments[full.length]
    return next === undefined || full.length === 0 ? undefined : { full, next }
  }

  /**
   * Makes all that is written durable.
   *
   * @param progressed called once some of many segments are durable, so that whoever waits for
   *   those need not wait for the others
   */
  async syncLater(progressed?: () => void): Promise<void> {
    const dirty = this.#segments.filter((segment) => this.#isDirty(segment))
    for (let from = 0; from < dirty.length; from += SEGMENTS_AT_ONCE) {
      if (from > 0) {
        await this.#syncNames()
        progressed?.()
      }
      for (const segment of dirty.slice(from, from + SEGMENTS_AT_ONCE)) {
        await this.#syncSegment(segment)
      }
    }
    await this.#syncNames()
  }

  /** Makes all that is written durable, on return. */
  syncNow(): void {
    const { files, directory } = this.#context
    for (const segment of this.#segments) {
      if (!this.#isDirty(segment)) continue
      files.sync(segment.file)
      this.#markSynced(segment, segment.writtenSize)
    }
    if (this.#newestId === this.#durableId) return
    files.syncDirectory(directory)
    this.#durableId = this.#newestId
  }

  /** Closes the descriptors for syncs, but no segment. */
  close(): void {
    for (const segment of this.#syncFiles.keys()) this.#closeSyncFile(segment)
  }

  async #syncSegment(segment: Segment): Promise<void> {
    const { files } = this.#context
    const size = segment.writtenSize
    if (!this.#isDirty(segment)) return
    const file = this.#syncFile(segment)
    if (file === undefined) files.sync(segment.file)
    else {
      this.#inUse = segment
      try {
        await files.syncLater(file, size - (this.#syncedSizes.get(segment) ?? 0))
      } finally {
        this.#inUse = undefined
        // It may have been made durable on return meanwhile, and sealed.
        if (!this.#syncedSizes.has(segment)) this.#closeSyncFile(segment)
      }
    }
    this.#markSynced(segment, size)
    if (segment !== this.active && !this.#isDirty(segment)) this.#closeSyncFile(segment)
  }

  async #syncNames(): Promise<void> {
    const { files, directory } = this.#context
    const newest = this.#newestId
    if (newest === this.#durableId) return
    await files.syncDirectoryLater(directory)
    this.#durableId = Math.max(this.#durableId, newest)
  }

  #isDirty(segment: Segment): boolean {
    const synced = this.#syncedSizes.get(segment)
    return synced !== undefined && segment.writtenSize > synced
  }

  #markSynced(segment: Segment, size: number): void {
    const before = this.#syncedSizes.get(segment)
    if (before !== undefined && size > before) this.#syncedSizes.set(segment, size)
  }

  /** Returns how many segments, oldest first, may be listed as sealed. */
  #sealableCount(): number {
    const segments = this.#segments
    let count = 0
    for (let clean = 0; clean < segments.length - 1; clean++) {
      const [segment, next] = [segments[clean], segments[clean + 1]]
      if (segment === undefined || next === undefined || this.#isDirty(segment)) break
      if (next.id <= this.#durableId && this.#syncedSizes.get(next) !== 0) count = clean + 1
    }
    return count
  }

  /**
   * Returns the descriptor to sync a segment by in the background; `undefined` if there is none.
   */
  #syncFile(segment: Segment): FileDescriptor | undefined {
    let file = this.#syncFiles.get(segment)
    if (file !== undefined) return file
    try {
      file = this.#context.files.open(segment.path, 'write')
    } catch {
      // The segment is synced on return then, which takes no second descriptor.
      return undefined
    }
    this.#syncFiles.set(segment, file)
    return file
  }

  #closeSyncFile(segment: Segment): void {
    const file = this.#syncFiles.get(segment)
    if (file === undefined || segment === this.#inUse) return
    this.#syncFiles.delete(segment)
    this.#context.files.close(file)
  }
}
