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
 * and failed half-way, all is loaded anew.
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

/** Catches a read-only engine up with its writer. */
export class Follower {
  readonly #engine: Engine
  readonly #options: RecoveryOptions
  readonly #timer: NodeJS.Timeout | undefined
  #refreshing: Promise<boolean> | undefined
  /** Whether catching up ended half-way, so that it is not known what has been seen. */
  #isHalfWay = false

  constructor(
    engine: Engine,
    options: RecoveryOptions,
    intervalMs: number,
    onError: (error: unknown) => void,
  ) {
    this.#engine = engine
    this.#options = options
    if (intervalMs > 0) {
      this.#timer = timers.setInterval(() => this.refresh().catch(onError), intervalMs)
      this.#timer.unref()
    }
  }

  /** Resolves once all that the writer had handed to the operating system is seen; whether anything was new. */
  refresh(): Promise<boolean> {
    this.#refreshing ??= this.#refresh().finally(() => {
      this.#refreshing = undefined
    })
    return this.#refreshing
  }

  async stop(): Promise<void> {
    timers.clearInterval(this.#timer)
    await this.#refreshing?.catch(() => undefined)
  }

  async #refresh(): Promise<boolean> {
    const before = this.#engine.nextSequence
    for (let attempt = 1; ; attempt++) {
      try {
        if (!this.#isHalfWay && !this.#engine.isWhole) {
          if (this.#isUnchanged()) return false
          while (!this.#readMore()) await nextTurn()
        }
        if (this.#isHalfWay || !this.#catchUp()) await this.#reload()
        return this.#engine.nextSequence !== before
      } catch (error) {
        // A merge may have replaced the set between our look at the manifest and at the files.
        if (!(error instanceof CorruptionError) || attempt === MAX_ATTEMPTS) throw error
      }
    }
  }

  /** Whether nothing is there that was not seen. */
  #isUnchanged(): boolean {
    const { segments } = this.#engine
    const { files, directory } = segments.home
    const isUnknown = (name: string): boolean => {
      const parsed = parseName(name)
      return parsed.type === 'segment' && segments.find(parsed.id) === undefined
    }
    return (
      files.list(directory)?.some(isUnknown) === false &&
      readManifest(files, directory)?.generation === segments.manifest.generation &&
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
    const manifest = readManifest(files, directory)
    if (manifest === undefined) throw new CorruptionError('The manifest is missing', directory, 0)
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
    const { files, directory } = this.#engine.segments.home
    this.#engine.replace(await recover(files, directory, this.#options))
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
