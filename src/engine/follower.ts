/**
 * Keeps a read-only store up to date with its writer.
 *
 * 1. If anything is new, read what still lies in a checkpoint of the keydir. If a chunk turned out
 *    to be damaged half-way through a change, open views would lack what the change replaces.
 * 2. Apply what was appended, and what merges have changed (catch-up.ts).
 *
 * That cannot be done if the writer took back a failed write that had been seen here, or if
 * catching up failed half-way. Then everything is loaded again. The same happens if another store
 * has taken the place of the one that was opened: what was seen of that store is gone, and views of
 * it end. A copy of the same store is another store too, since it may have other records under the
 * same names and numbers. It is recognised by its files, which are not those that are open.
 *
 * Invariant: whoever asks for a look gets one that begins afterwards. One that is under way may
 * have missed what was written since it began.
 */

import { CorruptionError, StoreError } from '../errors.ts'
import type { Manifest } from '../format/manifest.ts'
import { parseName } from '../format/names.ts'
import type { Identity } from '../io/files.ts'
import type { RecoveryOptions } from '../recovery/options.ts'
import { recover } from '../recovery/recovery.ts'
import { Task } from '../scheduling/task.ts'
import { nextSlice, nextTurn, timers } from '../scheduling/time.ts'
import { readManifest } from '../segment/manifest-file.ts'
import type { Segment } from '../segment/segment.ts'
import { CatchUp, isLastAsSeen } from './catch-up.ts'
import type { Engine } from './engine.ts'

/** The most attempts at a set of segments that changes while it is read. */
const MAX_ATTEMPTS = 10

/** Hears of the looks that are taken by time. */
interface FollowListener {
  /** A look has failed, or has failed for another reason than the one before. */
  failed(error: unknown): void
  /** Looks no longer fail. */
  resumed(): void
}

/** Keeps a read-only engine up to date with its writer. */
export class Follower {
  readonly #engine: Engine
  readonly #options: RecoveryOptions
  readonly #listener: FollowListener
  readonly #timer: NodeJS.Timeout | undefined
  /** The look that is under way, and the one that begins after it. */
  #looking: Promise<void> | undefined
  #next: Promise<void> | undefined
  /** The number of looks that have found anything new. */
  #newsCount = 0
  /** The failure of looks by time that was reported last. */
  #told: string | undefined
  /** The identities of the files that the known segments are in. */
  readonly #identities = new WeakMap<Segment, Identity | undefined>()
  /** Whether catching up ended half-way, so that it is not known what has been seen. */
  #isHalfWay = false
  /** The part of a look that a reader can carry out in its own call. */
  #catchingUp: Task<void> | undefined

  constructor(
    engine: Engine,
    options: RecoveryOptions,
    intervalMs: number,
    listener: FollowListener,
  ) {
    this.#engine = engine
    this.#options = options
    this.#listener = listener
    this.#identify()
    if (intervalMs > 0) {
      // A look that takes longer is not waited for: the next one comes soon enough.
      const look = (): void => void (this.#looking ?? this.#lookByTime())
      this.#timer = timers.setInterval(look, intervalMs)
      this.#timer.unref()
    }
  }

  /**
   * Resolves once everything is seen that the writer had handed to the operating system when this
   * was called. Returns whether anything has become new since then.
   */
  async refresh(): Promise<boolean> {
    const before = this.#newsCount
    await this.#look()
    return this.#newsCount !== before
  }

  async stop(): Promise<void> {
    timers.clearInterval(this.#timer)
    while (this.#looking !== undefined) await this.#looking.catch(() => undefined)
  }

  /** Looks, after the look that is under way, and together with all callers that ask meanwhile. */
  #look(): Promise<void> {
    if (this.#looking === undefined) return this.#begin()
    this.#next ??= this.#looking.then(
      () => this.#begin(),
      () => this.#begin(),
    )
    return this.#next
  }

  #begin(byTime = false): Promise<void> {
    this.#next = undefined
    const looking = this.#refresh(byTime).finally(() => {
      if (this.#looking === looking) this.#looking = undefined
    })
    this.#looking = looking
    return looking
  }

  /** Looks. Reports a failure once, and its end once. */
  async #lookByTime(): Promise<void> {
    try {
      await this.#begin(true)
      if (this.#told !== undefined) this.#listener.resumed()
      this.#told = undefined
    } catch (error) {
      const text = String(error)
      if (text !== this.#told) this.#listener.failed(error)
      this.#told = text
    }
  }

  async #refresh(byTime: boolean): Promise<void> {
    // Other followers in this process may have begun in the same turn.
    if (byTime) await nextSlice()
    const before = this.#engine.nextSequence
    for (let attempt = 1; ; attempt++) {
      try {
        const manifest = this.#manifest()
        if (this.#isAnother(manifest)) {
          await this.#reload(true)
          return
        }
        if (!this.#isHalfWay && !this.#engine.live.isWhole) {
          if (this.#isUnchanged(manifest)) return
          while (!this.#readMore()) await nextTurn()
        }
        if (!this.#isHalfWay) await this.#catchUp()
        if (this.#isHalfWay) await this.#reload()
        this.#identify()
        if (this.#engine.nextSequence !== before) this.#newsCount++
        return
      } catch (error) {
        // A merge may have replaced the set after the manifest was read and before the files were
        // opened.
        if (!(error instanceof CorruptionError) || attempt === MAX_ATTEMPTS) throw error
      }
    }
  }

  /** @throws {@link StoreError} FIRKIN_NOT_FOUND; {@link CorruptionError} */
  #manifest(): Manifest {
    const { files, directory } = this.#engine.segments.context
    const manifest = readManifest(files, directory)
    if (manifest !== undefined) return manifest
    throw new StoreError('FIRKIN_NOT_FOUND', `There is no store in ${directory} any more`)
  }

  /**
   * Whether a manifest is of another store, of an older state of this one, or of a copy that was
   * put in its place.
   */
  #isAnother(manifest: Manifest): boolean {
    const { context, manifest: seen } = this.#engine.segments
    return (
      Buffer.compare(manifest.storeId, context.storeId) !== 0 ||
      manifest.generation < seen.generation ||
      this.#isCopy(manifest)
    )
  }

  /**
   * Whether the name of a segment leads to another file than the one that was opened; a store never
   * gives a name twice. Sealed segments are checked only if the manifest has changed, since
   * otherwise nothing about them has.
   */
  #isCopy({ generation }: Manifest): boolean {
    const { segments } = this.#engine
    const { files } = segments.context
    const looked = generation === segments.manifest.generation ? segments.tail : segments.all
    return looked.some((segment) => {
      const there = files.identify(segment.path)
      const known = this.#identities.get(segment)
      // A missing file was merged away, or is reported missing by whoever reads it.
      return there !== undefined && known !== undefined && there !== known
    })
  }

  /** Whether there is nothing that was not seen. */
  #isUnchanged(manifest: Manifest): boolean {
    const { segments } = this.#engine
    const { files, directory } = segments.context
    const isUnknown = (name: string): boolean => {
      const parsed = parseName(name)
      return parsed.type === 'segment' && segments.find(parsed.id) === undefined
    }
    return (
      files.list(directory)?.some(isUnknown) === false &&
      manifest.generation === segments.manifest.generation &&
      segments.tail.every(
        (segment) =>
          files.size(segment.file) === segment.writtenSize && isLastAsSeen(segment, files),
      )
    )
  }

  /** Notes the identities of the files of new segments. */
  #identify(): void {
    const { all, context } = this.#engine.segments
    for (const segment of all) {
      if (this.#identities.has(segment)) continue
      this.#identities.set(segment, context.files.identify(segment.whereabouts))
    }
  }

  /**
   * Reads more of the keydir; returns whether nothing is left to read. If the keydir cannot be
   * loaded again, nothing is left either.
   */
  #readMore(): boolean {
    try {
      return this.#engine.live.readMore()
    } catch (error) {
      // The engine has reported what is wrong with the keydir.
      if (!(error instanceof StoreError)) throw error
      this.#isHalfWay = true
      return true
    }
  }

  async #catchUp(): Promise<void> {
    const { files, directory } = this.#engine.segments.context
    // List the names first: a segment that is begun meanwhile is seen the next time, and never
    // without those before it.
    const names = files.list(directory) ?? []
    const catchUp = new CatchUp(this.#engine, this.#options, this.#manifest(), names)
    this.#catchingUp = new Task(catchUp.run())
    try {
      await this.#catchingUp.begin().promise
    } finally {
      this.#isHalfWay = catchUp.isHalfWay
      this.#catchingUp = undefined
    }
  }

  /**
   * Catches up in the call of a reader that finds a file gone, as far as that can be done there.
   * Returns whether what the reader looks for may be elsewhere now.
   */
  catchUpNow(): boolean {
    if (this.#catchingUp !== undefined) return this.#finish(this.#catchingUp)
    const engine = this.#engine
    const { files, directory } = engine.segments.context
    const names = files.list(directory) ?? []
    const before = engine.segments.manifest.generation
    const manifest = this.#manifest()
    const isKnown = this.#isAnother(manifest) || manifest.generation === before
    if (this.#looking !== undefined || this.#isHalfWay || isKnown) return false
    while (!this.#readMore());
    const { nextSequence } = engine
    const catchUp = new CatchUp(engine, this.#options, manifest, names)
    try {
      const isOver = this.#finish(new Task(catchUp.run()))
      this.#identify()
      return isOver && !catchUp.isHalfWay
    } finally {
      this.#isHalfWay = catchUp.isHalfWay
      if (engine.nextSequence !== nextSequence) this.#newsCount++
    }
  }

  #finish(task: Task<void>): boolean {
    while (task.step());
    task.look()
    return task.isOver
  }

  /** @param wasAnother whether another store was seen in the place of the one that is open */
  async #reload(wasAnother = false): Promise<void> {
    const { files } = this.#engine.segments.context
    const recovered = await recover(files, this.#options)
    const isAnother = wasAnother || this.#isAnother(recovered.segments.manifest)
    if (isAnother) this.#engine.replaceByAnother(recovered)
    else this.#engine.replace(recovered)
    if (isAnother) this.#newsCount++
    this.#isHalfWay = false
    this.#identify()
  }
}
