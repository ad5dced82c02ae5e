/**
 * A read-only store that catches up with its writer.
 *
 * 1. Where anything is new, read what of the keydir still lies in a checkpoint: a chunk that turned out to be damaged
 *    half-way through a change would leave open views without what it replaces.
 * 2. Replay what was appended to the segments that are known; their files stay readable after a merge.
 * 3. Where the manifest is another one: load the segments that came, by sequence, as recovery does.
 * 4. Forget the keys that still point into segments that went: they were deleted, or have expired.
 *
 * Where that cannot be done, because the writer took a failed write back that had been seen, or because it was begun
 * and failed half-way, all is loaded anew. So it is where another store has taken the place of the one that was opened:
 * what was seen of that one is then gone, and views of it end.
 *
 * Invariant: whoever asks for a look gets one that begins afterwards. One that is under way may have passed by what was
 * written since.
 */

import type { Engine } from './engine.ts'
import { CorruptionError, StoreError } from './errors.ts'
import { FILE_HEADER_SIZE } from './format/file-header.ts'
import type { Manifest } from './format/manifest.ts'
import { parseName } from './format/names.ts'
import { DAMAGED, MAX_HEAD_SIZE, pageOf, RecordFields } from './format/record.ts'
import { type Files, readFully } from './io/files.ts'
import type { Entry } from './keydir/keydir.ts'
import { readManifest } from './manifest-file.ts'
import { openTail, type RecoveryOptions, recover } from './recovery.ts'
import { Replay } from './replay.ts'
import { openSealed } from './segment/open.ts'
import type { Segment } from './segment/segment.ts'
import { nextTurn, timers } from './time.ts'

/** How often a set of segments that changes under the reader's hands is looked at again. */
const MAX_ATTEMPTS = 10

/** What a follower tells of the looks that it takes by time. */
export interface FollowListener {
  /** One has failed, or has failed by another reason than the one before. */
  failed(error: unknown): void
  /** They fail no more. */
  resumed(): void
}

/** Catches a read-only engine up with its writer. */
export class Follower {
  readonly #engine: Engine
  readonly #options: RecoveryOptions
  readonly #listener: FollowListener
  readonly #timer: NodeJS.Timeout | undefined
  /** The look that is under way, and the one that begins behind it. */
  #looking: Promise<void> | undefined
  #next: Promise<void> | undefined
  /** How many looks have found anything new. */
  #newsCount = 0
  /** What the looks by time have failed by, as it was told. */
  #told: string | undefined
  /** Whether catching up ended half-way, so that it is not known what has been seen. */
  #isHalfWay = false

  constructor(
    engine: Engine,
    options: RecoveryOptions,
    intervalMs: number,
    listener: FollowListener,
  ) {
    this.#engine = engine
    this.#options = options
    this.#listener = listener
    if (intervalMs > 0) {
      // A look that takes longer is not waited for: the next one comes soon enough.
      const look = (): void => void (this.#looking ?? this.#lookByTime())
      this.#timer = timers.setInterval(look, intervalMs)
      this.#timer.unref()
    }
  }

  /**
   * Resolves once all is seen that the writer had handed to the operating system when this was called; whether anything
   * was new since then.
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

  /** Looks, behind the look that is under way, and together with all who ask meanwhile. */
  #look(): Promise<void> {
    if (this.#looking === undefined) return this.#begin()
    this.#next ??= this.#looking.then(
      () => this.#begin(),
      () => this.#begin(),
    )
    return this.#next
  }

  #begin(): Promise<void> {
    this.#next = undefined
    const looking = this.#refresh().finally(() => {
      if (this.#looking === looking) this.#looking = undefined
    })
    this.#looking = looking
    return looking
  }

  /** Looks; tells a failure once, and once it is over. */
  async #lookByTime(): Promise<void> {
    try {
      await this.#look()
      if (this.#told !== undefined) this.#listener.resumed()
      this.#told = undefined
    } catch (error) {
      const text = String(error)
      if (text !== this.#told) this.#listener.failed(error)
      this.#told = text
    }
  }

  async #refresh(): Promise<void> {
    const before = this.#engine.nextSequence
    for (let attempt = 1; ; attempt++) {
      try {
        const manifest = this.#manifest()
        if (this.#isAnother(manifest)) {
          await this.#reload()
          return
        }
        if (!this.#isHalfWay && !this.#engine.isWhole) {
          if (this.#isUnchanged(manifest)) return
          while (!this.#readMore()) await nextTurn()
        }
        if (this.#isHalfWay || !this.#catchUp()) await this.#reload()
        if (this.#engine.nextSequence !== before) this.#newsCount++
        return
      } catch (error) {
        // A merge may have replaced the set between our look at the manifest and at the files.
        if (!(error instanceof CorruptionError) || attempt === MAX_ATTEMPTS) throw error
      }
    }
  }

  /** @throws {@link StoreError} FIRKIN_NOT_FOUND; {@link CorruptionError} */
  #manifest(): Manifest {
    const { files, directory } = this.#engine.segments.home
    const manifest = readManifest(files, directory)
    if (manifest !== undefined) return manifest
    throw new StoreError('FIRKIN_NOT_FOUND', `There is no store in ${directory} any more`)
  }

  /** Whether a manifest is of another store, or of an older state of this one, such as a backup that was put back. */
  #isAnother({ storeId, generation }: Manifest): boolean {
    const { home, manifest } = this.#engine.segments
    return Buffer.compare(storeId, home.storeId) !== 0 || generation < manifest.generation
  }

  /** Whether nothing is there that was not seen. */
  #isUnchanged(manifest: Manifest): boolean {
    const { segments } = this.#engine
    const { files, directory } = segments.home
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

  /** Reads more of the keydir; whether that was all. Where what is known cannot be loaded anew, all is that is there. */
  #readMore(): boolean {
    try {
      return this.#engine.readMore()
    } catch (error) {
      // The engine has told what is wrong with what is known.
      if (!(error instanceof StoreError)) throw error
      this.#isHalfWay = true
      return true
    }
  }

  /** @returns whether it could be done in this way */
  #catchUp(): boolean {
    const engine = this.#engine
    const { segments } = engine
    const { files, directory } = segments.home
    // The names first: a segment that is begun meanwhile is seen the next time, and never without those before it.
    const names = files.list(directory) ?? []
    const manifest = this.#manifest()
    const replay = new Replay(engine.wholeKeydir, segments, (entry, key, keySize) =>
      engine.views.save(entry, key, keySize),
    )
    this.#isHalfWay = true
    for (const segment of segments.tail) {
      const size = files.size(segment.file)
      if (size < segment.writtenSize) return false
      if (!extend(replay, segment, files, size)) return false
    }
    replay.finish()
    this.#isHalfWay = false
    const seen = Math.max(0, ...segments.all.map(({ usage }) => usage.maxSequence))
    const isNewSet = manifest.generation !== segments.manifest.generation
    const { arrived, tail } = this.#openNew(manifest, names)
    this.#isHalfWay = true
    segments.adopt(manifest, arrived, tail)
    if (arrived.length > 0) {
      replay.knownUpTo = seen
      replay.loadSealed(arrived, true)
    }
    for (const segment of tail) {
      const size = segment.writtenSize
      segment.writtenSize = FILE_HEADER_SIZE
      extend(replay, segment, files, size)
    }
    replay.finish()
    if (isNewSet) this.#forgetGone(manifest)
    engine.advanceSequence()
    this.#isHalfWay = false
    return true
  }

  /** Opens the segments that are not known yet: those that the manifest lists, and those of the tail. */
  #openNew(manifest: Manifest, names: readonly string[]): Record<'arrived' | 'tail', Segment[]> {
    const { segments } = this.#engine
    const unknown = names.filter((name) => {
      const parsed = parseName(name)
      return parsed.type !== 'segment' || segments.find(parsed.id) === undefined
    })
    const arrived: Segment[] = []
    try {
      for (const sealed of manifest.segments) {
        if (segments.find(sealed.id) !== undefined) continue
        arrived.push(openSealed(segments.home, sealed, this.#options.mapping))
      }
      const found = openTail(segments.home, { ...manifest, tailSize: 0 }, unknown, this.#options)
      return { arrived, tail: found.segments }
    } catch (error) {
      for (const segment of arrived) segment.close()
      throw error
    }
  }

  /** Forgets the segments that the writer retired, and the keys that still point there. */
  #forgetGone(manifest: Manifest): void {
    const engine = this.#engine
    const { segments } = engine
    const listed = new Set(manifest.segments.map(({ id }) => id))
    const gone = segments.all.filter(
      (segment) => !listed.has(segment.id) && !segments.tail.includes(segment),
    )
    if (gone.length === 0) return
    const ids = new Set(gone.map((segment) => segment.id))
    const visit = (entry: Entry): void => {
      if (ids.has(engine.keydir.entries.segmentOf(entry))) engine.expire(entry)
    }
    for (let place = 0; place !== -1; ) place = engine.walk(place, 4096, visit)
    for (const segment of gone) engine.retire(segment)
    engine.releaseRetired()
  }

  async #reload(): Promise<void> {
    const { files } = this.#engine.segments.home
    const recovered = await recover(files, this.#options)
    const isAnother = this.#isAnother(recovered.segments.manifest)
    if (isAnother) this.#engine.replaceByAnother(recovered)
    else this.#engine.replace(recovered)
    if (isAnother) this.#newsCount++
    this.#isHalfWay = false
  }
}

/** Replays what was appended to a segment of the tail; false where what was there before has changed. */
function extend(replay: Replay, segment: Segment, files: Files, size: number): boolean {
  const { lastReadAt } = segment
  const lastSequence = segment.usage.maxSequence
  if (size > segment.writtenSize) {
    const scan = replay.replay(segment, segment.writtenSize, size)
    const grew = scan.end > segment.writtenSize
    segment.writtenSize = scan.end
    // What is not whole may be on its way. Where a record follows it, it is the middle of one that took the place
    // of what was seen before.
    if (!grew && scan.faultAt !== undefined) {
      if (replay.findFrom(segment, scan.faultAt, size) !== undefined) return false
    }
  }
  // Looked at last: while the last record is there that was seen before, so is all that is older.
  return lastReadAt === 0 || sequenceAt(segment, files, lastReadAt) === lastSequence
}

/** Whether the last record is there that was read from a segment. */
function isLastAsSeen(segment: Segment, files: Files): boolean {
  const { lastReadAt, usage } = segment
  return lastReadAt === 0 || sequenceAt(segment, files, lastReadAt) === usage.maxSequence
}

/** The sequence of the record at a place in a segment's file; 0 where there is none. */
function sequenceAt(segment: Segment, files: Files, offset: number): number {
  const head = pageOf(Buffer.alloc(MAX_HEAD_SIZE))
  const size = readFully(files, segment.file, head.bytes, MAX_HEAD_SIZE, offset)
  const fields = new RecordFields()
  return fields.readHeader(head, 0, size) === DAMAGED ? 0 : fields.sequence
}
