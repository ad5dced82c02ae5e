/**
 * The set of segments that make up a store, and the manifest that says so.
 *
 * Segments that the manifest lists are sealed. The appended segments from its tail id on are the *tail*: they
 * belong to the store without being listed, so that beginning a new segment costs no manifest. The last of
 * them is the active one.
 *
 * Invariants
 * - Segments are synced oldest first, and the directory before anything in a new file is promised. So after a
 *   power loss a cut in one tail segment condemns only what was never promised: all that is behind it.
 * - A segment is listed as sealed only when it is durable and the next one's header and name are. That next one is the
 *   first of the tail then, and need not be the active one: what is full is sealed however fast segments fill.
 * - The manifest changes by commits alone, one at a time and in the order in which they were asked for: write, sync, rename,
 *   sync the directory. One that is to be over on return finishes those before it; see task.ts.
 * - A file is synced in the background by another descriptor than on return. An operating system tells of a failure
 *   once per descriptor: of two syncs at a time by the same one, one would not hear what the other has lost.
 * - A segment's id is never used again.
 */

import { join } from 'node:path'
import { StoreError } from '../errors.ts'
import { encodeManifest, type Manifest } from '../format/manifest.ts'
import { MANIFEST_NAME, MAX_SEGMENT_ID, temporaryName } from '../format/names.ts'
import { discard, type FileDescriptor } from '../io/files.ts'
import { writeNewFile, writeNewFileLater } from '../io/new-file.ts'
import { either, over, Task, type Wait, type Work } from '../scheduling/task.ts'
import { NextFile } from './next-file.ts'
import { OpenFiles } from './open-files.ts'
import { Reserve } from './reserve.ts'
import { type HeldSegmentContext, Segment } from './segment.ts'
import { Sweeps } from './sweeps.ts'

/** With more segments than this in the tail, writers wait for those that are full to be sealed. */
const LONG_TAIL = 16
/** So many segments are synced before what is durable by then is told. */
const SEGMENTS_AT_ONCE = 4

/** What a commit changes of the installed manifest. */
export type ManifestEdit = (installed: Manifest) => Partial<Manifest>

/** The segments of an open store. */
export class Segments {
  readonly context: HeldSegmentContext
  /** Whether files are mapped, and how far the active one. */
  readonly #mappingSize: number
  readonly #byId = new Map<number, Segment>()
  readonly #openFiles: OpenFiles
  #lastGot: Segment | undefined
  /** Appended segments that the manifest does not list, oldest first; the last one is active. */
  readonly #tail: Segment[] = []
  /** How much of each tail segment has been synced. */
  readonly #syncedSizes = new Map<Segment, number>()
  /** The descriptors that tail segments are synced by in the background. */
  readonly #syncFiles = new Map<Segment, FileDescriptor>()
  /** The segment that is being synced in the background. */
  #inUse: Segment | undefined
  /** What a manifest may use where the disk is full. */
  reserve: Reserve
  /** What has expired and was forgotten; the next manifest says so too. */
  sweeps: Sweeps
  /** When the clock was looked at last, in milliseconds since 1970. */
  clockMs: number
  #installed: Manifest
  #nextId: number
  /** Segments that the manifest does not list any more, but that are still read. */
  readonly #retired = new Set<Segment>()
  /** The newest file that was begun, and the newest one whose name survives a power loss. */
  #newestId: number
  #durableId: number
  /** What the next segment's file will be. */
  readonly nextFile: NextFile
  /** The commits that are not over; the first one is under way. */
  readonly #commits: Task<void>[] = []
  /** What still goes on of commits that were finished on return. */
  #leftovers: Promise<unknown> = Promise.resolve()
  /** How many manifests were begun to be written. */
  #writtenCount = 0
  /** What else holds files open as long as the store is. */
  readonly #companions: { close(): void }[] = []

  /**
   * @param mappingSize how far the mapping of an active segment reaches; 0 for no mappings
   * @param maxOpenFiles how many sealed segments have their files open at a time
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
    this.#installed = installed
    this.#nextId = nextId
    this.#newestId = nextId - 1
    this.#durableId = nextId - 1
    this.nextFile = new NextFile(context.files, context.directory)
    this.#mappingSize = mappingSize
  }

  /** The manifest that is installed. */
  get manifest(): Manifest {
    return this.#installed
  }

  /** The segment that is written, if any has been begun. */
  get active(): Segment | undefined {
    return this.#tail.at(-1)
  }

  /** The appended segments that the manifest does not list, oldest first. */
  get tail(): readonly Segment[] {
    return this.#tail
  }

  /** The segments that the manifest lists. */
  get listed(): Segment[] {
    return this.all.filter((segment) => !this.#tail.includes(segment))
  }

  /** Every segment of the set. */
  get all(): Segment[] {
    return [...this.#byId.values()].filter((segment) => !this.#retired.has(segment))
  }

  /** How many segments there are, those that are only still read included. */
  get count(): number {
    return this.#byId.size
  }

  /** The bytes of all segments. */
  get byteSize(): number {
    let size = 0
    for (const segment of this.all) size += segment.usage.size
    return size
  }

  /** Whether tail segments wait for being listed as sealed. */
  get sealPending(): boolean {
    return this.#tail.length > 1
  }

  /** Whether segments fill faster than they are synced and sealed. Each of the tail takes a descriptor, and is not merged. */
  get isTailLong(): boolean {
    return this.#tail.length > LONG_TAIL
  }

  /** The segment with this id, which must be of the store. */
  get(id: number): Segment {
    // Many reads in a row are of one segment, which then costs no look-up (measured, bench `iterate`).
    if (this.#lastGot?.id === id) return this.#lastGot
    const segment = this.#byId.get(id)
    if (segment === undefined) throw new Error(`There is no segment ${id}`)
    this.#lastGot = segment
    return segment
  }

  find(id: number): Segment | undefined {
    return this.#byId.get(id)
  }

  /** Adds a segment that the manifest lists. */
  addSealed(segment: Segment): void {
    this.#byId.set(segment.id, segment)
    this.bound(segment)
  }

  /** Lets the file of a sealed segment be closed while it is not used, where there are more than may be open. */
  bound(segment: Segment): void {
    segment.shelve(this.#openFiles)
  }

  /** Adds a segment behind those of the tail. */
  addToTail(segment: Segment, syncedSize: number): void {
    this.#byId.set(segment.id, segment)
    this.#tail.push(segment)
    this.#syncedSizes.set(segment, syncedSize)
  }

  /** Takes a segment out of the set; it can still be read until it is dropped. */
  retire(segment: Segment): void {
    this.#retired.add(segment)
  }

  /** Forgets a segment; closing and deleting it is the caller's. */
  drop(segment: Segment): void {
    this.#byId.delete(segment.id)
    this.#lastGot = undefined
    this.#retired.delete(segment)
    this.#leaveTail(segment)
  }

  /** Adds a segment that can be read, and is to be of the set later; see `adopt`. */
  expect(segment: Segment): void {
    this.addSealed(segment)
    this.retire(segment)
  }

  /** Takes over the set that another process has installed: what is not of the tail any more is sealed. */
  adopt(manifest: Manifest, arrived: readonly Segment[], tail: readonly Segment[]): void {
    this.#installed = manifest
    this.sweeps = Sweeps.of(manifest.sweeps)
    for (const segment of [...arrived, ...tail]) this.#retired.delete(segment)
    for (const segment of arrived) this.addSealed(segment)
    const sealed = this.#tail.filter((segment) => segment.id < manifest.tailId)
    for (const segment of sealed) this.#shelve(segment)
    for (const segment of tail) this.addToTail(segment, 0)
  }

  /**
   * Takes the place of a set that was opened before of the same directory: its files are closed, but for those of
   * segments that are not of this set. These are retired here, and answered.
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

  /** Gives out an id that was never used. */
  takeId(): number {
    if (this.#nextId > MAX_SEGMENT_ID) {
      throw new StoreError('FIRKIN_WRITE_FAILED', 'All segment ids are used up')
    }
    return this.#nextId++
  }

  /** The id that `takeId` gives next. */
  get nextId(): number {
    return this.#nextId
  }

  /** Higher than the sequence of every record that was ever written. */
  get nextSequence(): number {
    let next = Math.max(this.#installed.nextSequence, this.sweeps.nextSequence)
    for (const { usage } of this.#byId.values()) next = Math.max(next, usage.maxSequence + 1)
    return next
  }

  /** Begins a new active segment; the one before becomes sealed with the next sync. */
  rotate(): Segment {
    const { active } = this
    const predecessor = active && { id: active.id, size: active.writtenSize }
    const id = this.takeId()
    const segment = Segment.create(this.context, id, predecessor, this.#mappingSize, this.nextFile)
    this.#newestId = id
    this.addToTail(segment, 0)
    // Where one has become full, so does the next one.
    if (active !== undefined) this.nextFile.prepare(id)
    return segment
  }

  /** Whether anything written has not been synced. */
  get dirty(): boolean {
    return this.#tail.some((segment) => this.#isDirty(segment))
  }

  /**
   * Makes all that is written durable.
   *
   * @param progressed called where some of many segments are durable, so that they need not wait for the others
   */
  async syncLater(progressed?: () => void): Promise<void> {
    const dirty = this.#tail.filter((segment) => this.#isDirty(segment))
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

  async #syncSegment(segment: Segment): Promise<void> {
    const { files } = this.context
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
    const { files, directory } = this.context
    const newest = this.#newestId
    if (newest === this.#durableId) return
    await files.syncDirectoryLater(directory)
    this.#durableId = Math.max(this.#durableId, newest)
  }

  /** As {@link syncLater}, on return. */
  syncNow(): void {
    const { files, directory } = this.context
    for (const segment of this.#tail) {
      if (!this.#isDirty(segment)) continue
      files.sync(segment.file)
      this.#markSynced(segment, segment.writtenSize)
    }
    if (this.#newestId === this.#durableId) return
    files.syncDirectory(directory)
    this.#durableId = this.#newestId
  }

  /** Lists what is full of the tail, as far as it is durable; answers what was sealed. */
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
    this.#commitNow(sealing.edit)
    return this.#sealed(sealing.full)
  }

  /** Lists all of the set but the active segment, on return. */
  sealNow(): void {
    const last = this.active
    if (last === undefined) return
    this.syncNow()
    const sealed = this.all.filter((segment) => segment !== last)
    this.#commitNow(() => ({
      tailId: last.id,
      tailSize: last.writtenSize,
      segments: sealed.map((segment) => segment.usage.seal(segment.id, segment.origin)),
    }))
    for (const segment of this.#tail.slice(0, -1)) this.#shelve(segment)
  }

  /**
   * Replaces the manifest by the edited one, behind the commits that are under way. Once it resolves, the
   * change survives a power loss. Where it rejects before the rename, nothing has changed.
   */
  commit(edit: ManifestEdit): Promise<void> {
    return this.#enqueue(edit).promise
  }

  /** A wait for {@link commit}. */
  committing(edit: ManifestEdit): Wait<void> {
    let task: Task<void> | undefined
    return {
      later: () => {
        task = this.#enqueue(edit)
        return task.promise
      },
      now: () => {
        if (task === undefined) this.#commitNow(edit)
        else this.#finish(task)
        return { value: undefined }
      },
    }
  }

  /** A wait for the names of all files that were made to survive a power loss. */
  get syncingNames(): Wait<void> {
    const { files, directory } = this.context
    return either(
      () => files.syncDirectoryLater(directory),
      () => files.syncDirectory(directory),
    )
  }

  /** Resolves when nothing goes on with the files any more. */
  async settle(): Promise<void> {
    await this.#leftovers
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
    for (const segment of this.#syncFiles.keys()) this.#closeSyncFile(segment)
    for (const segment of this.#byId.values()) segment.close()
  }

  /** Whether a segment of the tail has bytes that were not synced; all others are durable. */
  #isDirty(segment: Segment): boolean {
    const synced = this.#syncedSizes.get(segment)
    return synced !== undefined && segment.writtenSize > synced
  }

  #markSynced(segment: Segment, size: number): void {
    const before = this.#syncedSizes.get(segment)
    if (before !== undefined && size > before) this.#syncedSizes.set(segment, size)
  }

  /** How many segments of the tail, oldest first, may be listed as sealed. */
  #sealableCount(): number {
    const tail = this.#tail
    let count = 0
    for (let clean = 0; clean < tail.length - 1; clean++) {
      const [segment, next] = [tail[clean], tail[clean + 1]]
      if (segment === undefined || next === undefined || this.#isDirty(segment)) break
      if (next.id <= this.#durableId && this.#syncedSizes.get(next) !== 0) count = clean + 1
    }
    return count
  }

  /** The descriptor to sync a segment by in the background; `undefined` where none is to be had. */
  #syncFile(segment: Segment): FileDescriptor | undefined {
    let file = this.#syncFiles.get(segment)
    if (file !== undefined) return file
    try {
      file = this.context.files.open(segment.path, 'write')
    } catch {
      // It is synced on return then: that takes no second descriptor.
      return undefined
    }
    this.#syncFiles.set(segment, file)
    return file
  }

  #closeSyncFile(segment: Segment): void {
    const file = this.#syncFiles.get(segment)
    if (file === undefined || segment === this.#inUse) return
    this.#syncFiles.delete(segment)
    this.context.files.close(file)
  }

  /** Takes a segment that is sealed out of the tail. */
  #shelve(segment: Segment): void {
    this.#leaveTail(segment)
    this.bound(segment)
  }

  #leaveTail(segment: Segment): void {
    const place = this.#tail.indexOf(segment)
    if (place !== -1) this.#tail.splice(place, 1)
    this.#syncedSizes.delete(segment)
    this.#closeSyncFile(segment)
  }

  /** What is full and durable of the tail, and how the manifest lists it. */
  #sealing(): { readonly full: readonly Segment[]; readonly edit: ManifestEdit } | undefined {
    const full = this.#tail.slice(0, this.#sealableCount())
    const next = this.#tail[full.length]
    if (next === undefined || full.length === 0) return undefined
    const edit: ManifestEdit = (installed) => {
      // A commit before this one may have listed some of them.
      const added = full.filter((segment) => segment.id >= installed.tailId)
      if (added.length === 0) return {}
      return {
        tailId: next.id,
        tailSize: this.#syncedSizes.get(next) ?? installed.tailSize,
        segments: [
          ...installed.segments,
          ...added.map((segment) => segment.usage.seal(segment.id, segment.origin)),
        ],
      }
    }
    return { full, edit }
  }

  /** Takes what is listed out of the tail; answers what nobody has taken out before. */
  #sealed(full: readonly Segment[]): Segment[] {
    const sealed = full.filter((segment) => this.#tail.includes(segment))
    for (const segment of sealed) this.#shelve(segment)
    return sealed
  }

  #enqueue(edit: ManifestEdit): Task<void> {
    const task = new Task(this.#commit(edit))
    this.#commits.push(task)
    // One that fails has told its own caller; the next one starts from what is installed.
    const next = (): void => void this.#firstCommit()?.begin()
    next()
    task.promise.then(next, next)
    return task
  }

  /** The commit that is to go on; `undefined` where all are over. */
  #firstCommit(): Task<void> | undefined {
    while (this.#commits[0]?.isOver === true) this.#commits.shift()
    return this.#commits[0]
  }

  /** Makes a commit on return, and those before it. */
  #commitNow(edit: ManifestEdit): void {
    const task = new Task(this.#commit(edit))
    this.#commits.push(task)
    this.#finish(task)
  }

  #finish(task: Task<void>): void {
    while (!task.isOver) this.#firstCommit()?.step()
    task.look()
  }

  *#commit(edit: ManifestEdit): Work<void> {
    const { files, directory } = this.context
    const manifest = this.#edited(edit)
    for (let isInstalled = false; !isInstalled; ) {
      let path: string | undefined
      try {
        path = yield* over(this.#writing(manifest))
        files.rename(path, join(directory, MANIFEST_NAME))
        isInstalled = true
      } catch (error) {
        if (path !== undefined) discard(files, path)
        if (!this.reserve.giveUpFor(error)) throw error
      }
    }
    this.#installed = manifest
    yield* over(this.syncingNames)
  }

  /** A wait for a manifest to be durable under a name of its own, which it answers. */
  #writing(manifest: Manifest): Wait<string> {
    const { files } = this.context
    let isLeft = false
    return {
      later: () => {
        const written = this.#write(manifest)
        this.#leftovers = Promise.allSettled([
          this.#leftovers,
          written.then((path) => isLeft && discard(files, path)),
        ])
        return written
      },
      // One that is being synced already is written once more: by its descriptor a sync would not hear what that one lost.
      now: () => {
        isLeft = true
        return { value: this.#writeNow(manifest) }
      },
    }
  }

  #edited(edit: ManifestEdit): Manifest {
    const installed = this.#installed
    return {
      ...installed,
      closed: false,
      nextSegmentId: this.#nextId,
      nextSequence: this.nextSequence,
      clockMs: this.clockMs,
      sweeps: this.sweeps.list,
      ...edit(installed),
      generation: installed.generation + 1,
    }
  }

  async #write(manifest: Manifest): Promise<string> {
    const path = this.#temporaryPath()
    await writeNewFileLater(this.context.files, path, encodeManifest(manifest))
    return path
  }

  #writeNow(manifest: Manifest): string {
    const path = this.#temporaryPath()
    writeNewFile(this.context.files, path, encodeManifest(manifest))
    return path
  }

  #temporaryPath(): string {
    return join(this.context.directory, temporaryName(MANIFEST_NAME, ++this.#writtenCount))
  }
}
