/**
 * The segments that make up an open store.
 *
 * Segments that the manifest lists are sealed. The appended segments from its tail id on are the
 * *tail* (tail-segments.ts): they belong to the store without being listed, so that beginning a new
 * segment needs no new manifest (manifest-commits.ts). The last of them is the active one.
 *
 * Invariants
 * - A segment is listed as sealed only when it is durable, and so are the next one's header and
 *   name. The next one is then the first of the tail. It need not be the active one: full segments
 *   are sealed however fast others fill.
 * - A segment's id is never used again.
 */

import { StoreError } from '../errors.ts'
import type { Manifest } from '../format/manifest.ts'
import { MAX_SEGMENT_ID } from '../format/names.ts'
import type { Wait } from '../scheduling/task.ts'
import { ManifestCommits, type ManifestEdit } from './manifest-commits.ts'
import { NextFile } from './next-file.ts'
import { OpenFiles } from './open-files.ts'
import { Reserve } from './reserve.ts'
import { type HeldSegmentContext, Segment } from './segment.ts'
import { Sweeps } from './sweeps.ts'
import { TailSegments } from './tail-segments.ts'

/** With more segments than this in the tail, writers wait for full ones to be sealed. */
const LONG_TAIL = 16

/** The set of a store's segments. */
export class Segments {
  readonly context: HeldSegmentContext
  /** The size of the mapping of an active segment; 0 for no mappings. */
  readonly #mappingSize: number
  readonly #byId = new Map<number, Segment>()
  readonly #openFiles: OpenFiles
  /** The segment that `get` returned last. */
  #lastGot: Segment | undefined
  readonly #tail: TailSegments
  readonly #commits: ManifestCommits
  /** The space that a manifest may use if the disk is full. */
  reserve: Reserve
  /** The sweeps of expired keys so far; the next manifest records them. */
  sweeps: Sweeps
  /** When the clock was last read, in milliseconds since 1970. */
  clockMs: number
  #nextId: number
  /** Segments that the manifest does not list any more, but that are still read. */
  readonly #retired = new Set<Segment>()
  /** The file of the next segment, created ahead. */
  readonly nextFile: NextFile
  /** Other holders of files that stay open as long as the store. */
  readonly #companions: { close(): void }[] = []

  /**
   * @param mappingSize the size of the mapping of an active segment; 0 for no mappings
   * @param maxOpenFiles how many sealed segments may have their files open at a time
   */
  constructor(
    context: HeldSegmentContext,
    installed: Manifest,
    nextId: number,
    mappingSize: number,
    maxOpenFiles = Number.POSITIVE_INFINITY,
  ) {
    this.context = context
    this.#openFiles = new OpenFiles(maxOpenFiles)
    this.reserve = new Reserve(context, 0)
    this.sweeps = Sweeps.of(installed.sweeps)
    this.clockMs = installed.clockMs
    this.#nextId = nextId
    this.#tail = new TailSegments(context, nextId - 1)
    this.#commits = new ManifestCommits(context, installed, {
      describe: () => this.#describe(),
      freeSpaceFor: (error) => this.reserve.giveUpFor(error),
    })
    this.nextFile = new NextFile(context.files, context.directory)
    this.#mappingSize = mappingSize
  }

  /** The manifest that is installed. */
  get manifest(): Manifest {
    return this.#commits.installed
  }

  /** The segment that is written, if any has been begun. */
  get active(): Segment | undefined {
    return this.#tail.active
  }

  /** The appended segments that the manifest does not list, oldest first. */
  get tail(): readonly Segment[] {
    return this.#tail.all
  }

  /** The segments that the manifest lists. */
  get listed(): Segment[] {
    return this.all.filter((segment) => !this.tail.includes(segment))
  }

  /** Every segment of the set. */
  get all(): Segment[] {
    return [...this.#byId.values()].filter((segment) => !this.#retired.has(segment))
  }

  /** The number of segments, including retired ones that are still read. */
  get count(): number {
    return this.#byId.size
  }

  /** The bytes of all segments. */
  get byteSize(): number {
    let size = 0
    for (const segment of this.all) size += segment.usage.size
    return size
  }

  /** The memory that blocks of all segments take, retired ones included. */
  get cachedSize(): number {
    let size = 0
    for (const segment of this.#byId.values()) size += segment.cachedSize
    return size
  }

  /** Whether segments of the tail wait to be listed as sealed. */
  get sealPending(): boolean {
    return this.tail.length > 1
  }

  /**
   * Whether segments fill faster than they are synced and sealed. Each segment of the tail takes a
   * descriptor, and cannot be merged.
   */
  get isTailLong(): boolean {
    return this.tail.length > LONG_TAIL
  }

  /** Returns the segment with this id, which must be of the store. */
  get(id: number): Segment {
    // Reads in a row are often of one segment, and then cost no look-up (measured, bench
    // `iterate`).
    if (this.#lastGot?.id === id) return this.#lastGot
    const segment = this.#byId.get(id)
    if (segment === undefined) throw new Error(`There is no segment ${id}`)
    this.#lastGot = segment
    return segment
  }

  /** Returns the segment with this id, if it is of the store. */
  find(id: number): Segment | undefined {
    return this.#byId.get(id)
  }

  /** Adds a segment that the manifest lists. */
  addSealed(segment: Segment): void {
    this.#byId.set(segment.id, segment)
    this.bound(segment)
  }

  /** Counts the file of a sealed segment among those that may be closed while they are not used. */
  bound(segment: Segment): void {
    segment.shelve(this.#openFiles)
  }

  /** Adds a segment after those of the tail, of which `syncedSize` bytes are durable. */
  addToTail(segment: Segment, syncedSize: number): void {
    this.#byId.set(segment.id, segment)
    this.#tail.add(segment, syncedSize)
  }

  /** Takes a segment out of the set; it can still be read until it is dropped. */
  retire(segment: Segment): void {
    this.#retired.add(segment)
  }

  /** Forgets a segment; closing and deleting it is up to the caller. */
  drop(segment: Segment): void {
    this.#byId.delete(segment.id)
    this.#lastGot = undefined
    this.#retired.delete(segment)
    this.#tail.remove(segment)
  }

  /** Adds a segment that can be read, and becomes a part of the set by {@link adopt}. */
  expect(segment: Segment): void {
    this.addSealed(segment)
    this.retire(segment)
  }

  /** Takes over the set that another process has installed; seals what has left the tail. */
  adopt(manifest: Manifest, arrived: readonly Segment[], tail: readonly Segment[]): void {
    this.#commits.adopt(manifest)
    this.sweeps = Sweeps.of(manifest.sweeps)
    for (const segment of [...arrived, ...tail]) this.#retired.delete(segment)
    for (const segment of arrived) this.addSealed(segment)
    const sealed = this.tail.filter((segment) => segment.id < manifest.tailId)
    for (const segment of sealed) this.#shelve(segment)
    for (const segment of tail) this.addToTail(segment, 0)
  }

  /**
   * Takes the place of a set that was opened earlier of the same directory. Its files are closed,
   * except those of segments that this set lacks: these are retired here, and returned.
   */
  inherit(before: Segments): Segment[] {
    const gone: Segment[] = []
    for (const segment of before.#byId.values()) {
      if (this.#byId.has(segment.id)) continue
      gone.push(segment)
      before.#byId.delete(segment.id)
      before.#lastGot = undefined
    }
    before.close()
    for (const segment of gone) {
      this.addSealed(segment)
      this.retire(segment)
    }
    return gone
  }

  /** Returns an id that was never used. */
  takeId(): number {
    if (this.#nextId > MAX_SEGMENT_ID) {
      throw new StoreError('FIRKIN_WRITE_FAILED', 'All segment ids are used up')
    }
    return this.#nextId++
  }

  /** The id that `takeId` returns next. */
  get nextId(): number {
    return this.#nextId
  }

  /** A sequence higher than that of every record that was ever written. */
  get nextSequence(): number {
    let next = Math.max(this.manifest.nextSequence, this.sweeps.nextSequence)
    for (const { usage } of this.#byId.values()) next = Math.max(next, usage.maxSequence + 1)
    return next
  }

  /** Begins a new active segment; the one before it can be sealed after the next sync. */
  rotate(): Segment {
    const { active } = this
    const predecessor = active && { id: active.id, size: active.writtenSize }
    const id = this.takeId()
    const segment = Segment.create(this.context, id, predecessor, this.#mappingSize, this.nextFile)
    this.#byId.set(id, segment)
    this.#tail.begin(segment)
    // After one segment has filled up, so will the next.
    if (active !== undefined) this.nextFile.prepare(id)
    return segment
  }

  /** Whether anything written has not been synced. */
  get dirty(): boolean {
    return this.#tail.dirty
  }

  /**
   * Makes all that is written durable.
   *
   * @param progressed called once some of many segments are durable, so that whoever waits for
   *   those need not wait for the others
   */
  syncLater(progressed?: () => void): Promise<void> {
    return this.#tail.syncLater(progressed)
  }

  /** Makes all that is written durable, on return. */
  syncNow(): void {
    this.#tail.syncNow()
  }

  /** Lists the full segments of the tail that are durable; returns those that were sealed. */
  async seal(): Promise<Segment[]> {
    const sealing = this.#sealing()
    if (sealing === undefined) return []
    await this.commit(sealing.edit)
    return this.#sealed(sealing.full)
  }

  /** As {@link seal}, on return. */
  sealFullNow(): Segment[] {
    const sealing = this.#sealing()
    if (sealing === undefined) return []
    this.#commits.commitNow(sealing.edit)
    return this.#sealed(sealing.full)
  }

  /** Makes every segment durable and lists all but the active one, on return. */
  sealNow(): void {
    const last = this.active
    if (last === undefined) return
    this.syncNow()
    const sealed = this.all.filter((segment) => segment !== last)
    this.#commits.commitNow(() => ({
      tailId: last.id,
      tailSize: last.writtenSize,
      segments: sealed.map((segment) => segment.usage.seal(segment.id, segment.origin)),
    }))
    for (const segment of this.tail.slice(0, -1)) this.#shelve(segment)
  }

  /**
   * Replaces the manifest by the edited one, after the commits that are under way. Once the promise
   * resolves, the change survives a power loss. If it rejects before the rename, nothing has
   * changed.
   */
  commit(edit: ManifestEdit): Promise<void> {
    return this.#commits.commit(edit)
  }

  /** Returns a wait for {@link commit}. */
  committing(edit: ManifestEdit): Wait<void> {
    return this.#commits.committing(edit)
  }

  /** A wait for the names of all files that were made to survive a power loss. */
  get syncingNames(): Wait<void> {
    return this.#commits.syncingNames
  }

  /** Resolves when nothing is done to the files in the background any more. */
  async settle(): Promise<void> {
    await this.#commits.settle()
    await this.nextFile.settle()
  }

  /** Closes `companion` with the segments; its `close` must be idempotent. */
  closeWith(companion: { close(): void }): void {
    this.#companions.push(companion)
  }

  /** Closes every file. */
  close(): void {
    this.nextFile.close()
    for (const companion of this.#companions) companion.close()
    this.#tail.close()
    for (const segment of this.#byId.values()) segment.close()
  }

  /** Returns what a new manifest says of the store as it is now. */
  #describe(): Partial<Manifest> {
    return {
      nextSegmentId: this.#nextId,
      nextSequence: this.nextSequence,
      clockMs: this.clockMs,
      sweeps: this.sweeps.list,
    }
  }

  /** Takes a segment that is sealed out of the tail. */
  #shelve(segment: Segment): void {
    this.#tail.remove(segment)
    this.bound(segment)
  }

  /** Returns what can be sealed of the tail, and how the manifest lists it. */
  #sealing(): { readonly full: readonly Segment[]; readonly edit: ManifestEdit } | undefined {
    const { sealable } = this.#tail
    if (sealable === undefined) return undefined
    const { full, next } = sealable
    const edit: ManifestEdit = (installed) => {
      // A commit before this one may have listed some of them.
      const added = full.filter((segment) => segment.id >= installed.tailId)
      if (added.length === 0) return {}
      return {
        tailId: next.id,
        tailSize: this.#tail.syncedSizeOf(next) ?? installed.tailSize,
        segments: [
          ...installed.segments,
          ...added.map((segment) => segment.usage.seal(segment.id, segment.origin)),
        ],
      }
    }
    return { full, edit }
  }

  /** Takes listed segments out of the tail; returns those that were still in it. */
  #sealed(full: readonly Segment[]): Segment[] {
    const sealed = full.filter((segment) => this.tail.includes(segment))
    for (const segment of sealed) this.#shelve(segment)
    return sealed
  }
}
