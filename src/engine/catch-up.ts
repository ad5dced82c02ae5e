/**
 * Brings the keydir of a read-only store up to the present state of its writer's files.
 *
 * There may be much to do. It is done in slices, or in the call of a reader that finds a file gone
 * (task.ts). What is read between two slices is a state that the writer's log went through:
 *
 * 1. Replay what was appended to the known segments of the tail, record by record, each batch as a
 *    whole. Their files stay readable after a merge.
 * 2. If the manifest has changed, point the keys whose records a merge has moved to the copies.
 *    Readers see no difference.
 * 3. Search the keydir for entries that still point into segments that are gone. Those that have
 *    expired are forgotten.
 * 4. Replay what was appended since, in its order: the segments that were sealed meanwhile, and the
 *    new tail.
 * 5. Take over the set, and let go of the segments that are gone.
 *
 * If a merge has taken in records that had not been seen here, their order is lost. The merge may
 * have moved a record, or dropped a tombstone together with what it hides, so that a key points
 * into a segment that is gone. All of step 4 is then one step, which also forgets the entries that
 * point there.
 *
 * Invariant: a new segment can be read from step 2 on, and belongs to the set from step 5 on.
 */

import { FILE_HEADER_SIZE } from '../format/file-header.ts'
import type { Manifest } from '../format/manifest.ts'
import { parseName } from '../format/names.ts'
import { BATCH_END, DAMAGED, MAX_HEAD_SIZE, PUT, pageOf, RecordFields } from '../format/record.ts'
import { type Files, readFully } from '../io/files.ts'
import type { Entry } from '../keydir/keydir.ts'
import type { RecoveryOptions } from '../recovery/options.ts'
import { type Enough, Replay, scanOptionsOf } from '../recovery/replay.ts'
import { openTail } from '../recovery/tail.ts'
import { over, turn, type Work } from '../scheduling/task.ts'
import { TimeSlice } from '../scheduling/time-slice.ts'
import { openSealed } from '../segment/open.ts'
import { scanSound } from '../segment/scan.ts'
import type { Segment } from '../segment/segment.ts'
import { hasExpired, Sweeps } from '../segment/sweeps.ts'
import type { Engine } from './engine.ts'

/** The most records applied in one go: applying them takes as long again as reading them. */
const MOST_AT_ONCE = 1024
/** The number of entries looked at in one step. */
const WALK_COUNT = 1024

/** The segments that were not known. */
interface News {
  /** The segments that the manifest lists. */
  readonly arrived: Segment[]
  /** The segments of the tail. */
  readonly tail: Segment[]
}

/** One look of a follower that has found something new. */
export class CatchUp {
  readonly #engine: Engine
  readonly #options: RecoveryOptions
  readonly #manifest: Manifest
  readonly #names: readonly string[]
  readonly #replay: Replay
  readonly #slice = new TimeSlice()
  /**
   * Whether it ended half-way, so that it is not known what has been seen, and everything must be
   * loaded again.
   */
  isHalfWay = false

  /** @param names the names in the directory, listed before `manifest` was read */
  constructor(
    engine: Engine,
    options: RecoveryOptions,
    manifest: Manifest,
    names: readonly string[],
  ) {
    this.#engine = engine
    this.#options = options
    this.#manifest = manifest
    this.#names = names
    this.#replay = new Replay(engine.live.wholeKeydir, engine.segments, (entry, key, keySize) =>
      engine.live.views.save(entry, key, keySize),
    )
  }

  /**
   * Catches up. It ends half-way if what was seen before has changed, or if the keydir was loaded
   * again meanwhile.
   */
  *run(): Work<void> {
    this.isHalfWay = true
    if (!(yield* this.#extend(this.#engine.segments.tail))) return
    this.isHalfWay = false
    const gone = this.#gone()
    const news = this.#openNew()
    this.isHalfWay = true
    this.isHalfWay = !(yield* this.#takeOver(news, gone))
  }

  /** Takes over the set of the manifest: steps 2 to 5. Returns false if it ended half-way. */
  *#takeOver({ arrived, tail }: News, gone: readonly Segment[]): Work<boolean> {
    const engine = this.#engine
    const { segments } = engine
    const seen = Math.max(0, ...segments.all.map(({ usage }) => usage.maxSequence))
    for (const segment of [...arrived, ...tail]) segments.expect(segment)
    const isKnown = ({ usage }: Segment): boolean => usage.maxSequence <= seen
    for (const segment of arrived.filter(isKnown)) {
      if (!(yield* this.#repoint(segment))) return false
    }
    const lost: Entry[] = []
    if (gone.length > 0 && !(yield* this.#findLost(gone, lost))) return false
    this.#replay.knownUpTo = seen
    const newer = arrived.filter((segment) => !isKnown(segment))
    const isOrdered = lost.length === 0 && newer.every(({ origin }) => origin === 'appended')
    if (isOrdered) {
      for (const segment of newer.sort((a, b) => a.id - b.id)) {
        if (!(yield* this.#load(segment))) return false
      }
      for (const segment of tail) segment.writtenSize = FILE_HEADER_SIZE
      if (!(yield* this.#extend(tail))) return false
    } else {
      this.#loadAtOnce(newer, tail)
      this.#forget(lost, gone)
    }
    segments.adopt(this.#manifest, arrived, tail)
    for (const segment of gone) engine.retirement.retire(segment)
    if (gone.length > 0) engine.retirement.release()
    engine.advanceSequence()
    return true
  }

  /** Returns the segments that the writer has retired. */
  #gone(): Segment[] {
    const { segments } = this.#engine
    const { generation, tailId } = this.#manifest
    if (generation === segments.manifest.generation) return []
    const listed = new Set(this.#manifest.segments.map(({ id }) => id))
    return segments.all.filter(
      ({ id }) => !listed.has(id) && !segments.tail.some((each) => each.id === id && id >= tailId),
    )
  }

  /**
   * Opens the segments that are not known yet: those that the manifest lists, and those of the
   * tail.
   */
  #openNew(): News {
    const { segments } = this.#engine
    const unknown = this.#names.filter((name) => {
      const parsed = parseName(name)
      return parsed.type !== 'segment' || segments.find(parsed.id) === undefined
    })
    const arrived: Segment[] = []
    try {
      for (const sealed of this.#manifest.segments) {
        if (segments.find(sealed.id) !== undefined) continue
        const segment = openSealed(segments.context, sealed, this.#options.mapping)
        arrived.push(segment)
        segments.bound(segment)
      }
      const manifest = { ...this.#manifest, tailSize: 0 }
      const found = openTail(segments.context, manifest, unknown, this.#options)
      return { arrived, tail: found.segments }
    } catch (error) {
      for (const segment of arrived) segment.close()
      throw error
    }
  }

  /**
   * Replays what was appended to segments of the tail; returns false if what was there before has
   * changed.
   */
  *#extend(tail: readonly Segment[]): Work<boolean> {
    const { files } = this.#engine.segments.context
    for (const segment of tail) {
      const size = files.size(segment.file)
      if (size < segment.writtenSize) return false
      for (let isCut = true; isCut; ) {
        const portion = this.#portion()
        if (!extend(this.#replay, segment, files, size, portion.isEnough)) return false
        this.#replay.finish()
        isCut = portion.isCut
        // Takes no turn that is not needed: a look is to show what is there at its moment.
        if (isCut && !(yield* this.#giveWay())) return false
      }
    }
    return true
  }

  /** Points keys to the copies in a segment that a merge has made. */
  *#repoint(segment: Segment): Work<boolean> {
    const engine = this.#engine
    const { usage } = segment
    for (let at = FILE_HEADER_SIZE; at < usage.size; ) {
      const portion = this.#portion()
      const options = scanOptionsOf(engine.segments.context, segment, at, usage.size)
      at = scanSound(options, segment.path, (fields, page, offset) => {
        if (fields.kind === PUT) engine.repoint(segment, offset, fields, page)
        else if (fields.kind === BATCH_END) usage.deadBytes += fields.size
        return portion.isEnough() ? false : undefined
      })
      if (!(yield* this.#giveWay())) return false
    }
    return true
  }

  /** Loads an appended segment that was sealed since. */
  *#load(segment: Segment): Work<boolean> {
    for (let at = FILE_HEADER_SIZE; at < segment.usage.size; ) {
      at = this.#replay.loadSome(segment, at, this.#portion().isEnough)
      if (!(yield* this.#giveWay())) return false
    }
    return true
  }

  /**
   * Looks for entries that point into segments that are gone. Forgets those that have expired, and
   * collects the rest.
   */
  *#findLost(gone: readonly Segment[], lost: Entry[]): Work<boolean> {
    const engine = this.#engine
    const expiry = { nowMs: engine.options.clock(), sweeps: Sweeps.of(this.#manifest.sweeps) }
    const ids = new Set(gone.map(({ id }) => id))
    const visit = (entry: Entry): void => {
      const { entries } = engine.keydir
      if (!ids.has(entries.segmentOf(entry))) return
      if (hasExpired(entries, entry, expiry)) engine.forget(entry)
      else lost.push(entry)
    }
    for (let place = 0; place !== -1; ) {
      place = engine.live.walk(place, WALK_COUNT, visit)
      if (!(yield* this.#giveWay())) return false
    }
    return true
  }

  #loadAtOnce(newer: readonly Segment[], tail: readonly Segment[]): void {
    const { files } = this.#engine.segments.context
    this.#replay.loadSealed(newer, true)
    for (const segment of tail) {
      const size = segment.writtenSize
      segment.writtenSize = FILE_HEADER_SIZE
      extend(this.#replay, segment, files, size, () => false)
    }
    this.#replay.finish()
  }

  /** Forgets what still points into segments that are gone: it was deleted. */
  #forget(lost: readonly Entry[], gone: readonly Segment[]): void {
    const engine = this.#engine
    const ids = new Set(gone.map(({ id }) => id))
    for (const entry of lost) {
      // The entry's number may be another key's by now.
      if (engine.live.isLive(entry) && ids.has(engine.keydir.entries.segmentOf(entry)))
        engine.forget(entry)
    }
  }

  #portion(): Portion {
    return new Portion(this.#slice)
  }

  /**
   * Lets the event loop turn if the slice is over; returns whether the keydir is the same as
   * before.
   */
  *#giveWay(): Work<boolean> {
    if (this.#slice.isOver()) {
      yield* over(turn)
      this.#slice.begin()
    }
    return this.#engine.keydir === this.#replay.keydir
  }
}

/** Limits what is applied in one go. */
class Portion {
  /** Whether it ended before everything was applied. */
  isCut = false
  #count = 0
  readonly #slice: TimeSlice

  constructor(slice: TimeSlice) {
    this.#slice = slice
  }

  readonly isEnough: Enough = () => {
    this.isCut ||= ++this.#count >= MOST_AT_ONCE || this.#slice.isOver()
    return this.isCut
  }
}

/**
 * Replays what was appended to a segment of the tail; returns false if what was there before has
 * changed.
 */
function extend(
  replay: Replay,
  segment: Segment,
  files: Files,
  size: number,
  isEnough: Enough,
): boolean {
  const { lastReadAt } = segment
  const lastSequence = segment.usage.maxSequence
  if (size > segment.writtenSize) {
    const from = segment.writtenSize
    const scan = replay.replay(segment, from, size, from, isEnough)
    const grew = scan.end > segment.writtenSize
    segment.writtenSize = scan.end
    // A record that is not whole may still be on its way. If another record follows it, it is the
    // middle of a record that took the place of what was seen before.
    if (!grew && scan.faultAt !== undefined) {
      if (replay.findFrom(segment, scan.faultAt, size) !== undefined) return false
    }
  }
  // Checked last: while the last record that was seen before is there, so is everything older.
  return lastReadAt === 0 || sequenceAt(segment, files, lastReadAt) === lastSequence
}

/** Whether the last record that was read from a segment is still there. */
export function isLastAsSeen(segment: Segment, files: Files): boolean {
  const { lastReadAt, usage } = segment
  return lastReadAt === 0 || sequenceAt(segment, files, lastReadAt) === usage.maxSequence
}

/** Returns the sequence of the record at an offset in a segment's file; 0 if there is none. */
function sequenceAt(segment: Segment, files: Files, offset: number): number {
  const head = pageOf(Buffer.alloc(MAX_HEAD_SIZE))
  const size = readFully(files, segment.file, head.bytes, MAX_HEAD_SIZE, offset)
  const fields = new RecordFields()
  return fields.readHeader(head, 0, size) === DAMAGED ? 0 : fields.sequence
}
