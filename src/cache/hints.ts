/**
 * The hints of a cache's segments: with them, opening after a kill reads the keys and not the values.
 *
 * 1. Once a second the segments that are full are listed as sealed; only of those does an open look for a hint.
 * 2. Those that have none are given one by a thread of its own, all at once, as far as there is room. The newest come
 *    first: they stay longest. Where the oldest go faster than a thread works, its hints are of those that stay.
 *
 * A hint takes room in the budget, and the more the smaller the values are; small values are read about as fast
 * without one. So a hint may take an eighth of its segment, and one that would take more is not made.
 *
 * Invariant: `byteSize` is never below what the files of hints take, from before they are written until after they
 * are removed.
 */

import type { Engine } from '../engine/engine.ts'
import { hintName } from '../format/names.ts'
import { errorCode, removeIfThere } from '../io/files.ts'
import { type BackgroundWork, keepAlive } from '../merge/thread.ts'
import type { HintJob } from '../segment/hint-file.ts'
import type { Segment } from '../segment/segment.ts'

/** Smaller segments are read as fast as a thread starts. */
const MIN_SEGMENT_BYTES = 192 * 1024
/** A hint takes at most this share of its segment. */
const MAX_SHARE = 1 / 8
/** What a record takes in a hint, at least: its head, and a key of a few bytes. */
const MIN_ENTRY_BYTES = 24

/** The hints of one cache. */
export class Hints {
  readonly #engine: Engine
  readonly #backgroundWork: BackgroundWork
  readonly #failed: (error: unknown) => void
  /** The bytes of each segment's hint, or the most that it may get; 0 where it is to have none. */
  readonly #sizes = new Map<number, number>()
  #making: Promise<void> | undefined

  /** @param failed told why hints could not be made; nothing depends on them */
  constructor(engine: Engine, backgroundWork: BackgroundWork, failed: (error: unknown) => void) {
    this.#engine = engine
    this.#backgroundWork = backgroundWork
    this.#failed = failed
    const { files, directory } = engine.segments.context
    const names = new Set(files.list(directory))
    for (const segment of engine.segments.all) {
      if (names.has(hintName(segment.id))) this.#sizes.set(segment.id, this.#sizeOf(segment))
    }
  }

  /** What the hints take. */
  get byteSize(): number {
    let sum = 0
    for (const size of this.#sizes.values()) sum += size
    return sum
  }

  /** Begins to make the hints that are missing, as far as `free` bytes go. */
  make(free: number): void {
    if (this.#making !== undefined) return
    const chosen: Segment[] = []
    let left = free
    for (const segment of this.#tryMissing()) {
      const most = mostOf(segment)
      if (most > left) break
      this.#sizes.set(segment.id, most)
      left -= most
      chosen.push(segment)
    }
    if (chosen.length === 0) return
    this.#making = this.#make(chosen).finally(() => {
      this.#making = undefined
    })
  }

  /** Takes note that a segment and its hint were deleted. */
  forget(segment: Segment): void {
    // While hints are being made it may come again.
    if (this.#making === undefined) this.#sizes.delete(segment.id)
  }

  /** Resolves when no hint is being made any more. */
  async settle(): Promise<void> {
    if (this.#making !== undefined) await keepAlive(this.#making)
  }

  /** As `#missing`; where nothing can be sealed, no hint is made either. */
  #tryMissing(): Segment[] {
    try {
      return this.#missing()
    } catch (error) {
      this.#failed(error)
      return []
    }
  }

  /** Seals what is full; answers the sealed segments that want a hint, newest first. */
  #missing(): Segment[] {
    const { segments } = this.#engine
    if (segments.sealPending) segments.sealNow()
    return segments.listed
      .filter((segment) => {
        const { size, putCount } = segment.usage
        return (
          size >= MIN_SEGMENT_BYTES &&
          putCount * MIN_ENTRY_BYTES <= mostOf(segment) &&
          !this.#sizes.has(segment.id)
        )
      })
      .sort((a, b) => b.usage.minSequence - a.usage.minSequence)
  }

  async #make(chosen: readonly Segment[]): Promise<void> {
    const { segments } = this.#engine
    const { files, storeId } = segments.context
    const jobs: HintJob[] = chosen.map((segment) => {
      const { id, origin, usage } = segment
      return {
        directoryId: files.directoryId,
        storeId,
        id,
        origin,
        size: usage.size,
        maxBytes: mostOf(segment),
      }
    })
    const isThere = (segment: Segment): boolean => segments.find(segment.id) === segment
    let mayTryAgain = false
    try {
      await this.#backgroundWork.hint(...jobs)
    } catch (error) {
      // One that was deleted meanwhile cannot be read; those behind it then have to wait.
      mayTryAgain = !chosen.every(isThere)
      if (!mayTryAgain) this.#failed(files.reasonOf(error))
    }
    for (const segment of chosen) {
      const size = this.#sizeOf(segment)
      if (isThere(segment) && (size > 0 || !mayTryAgain)) {
        this.#sizes.set(segment.id, size)
      } else {
        if (size > 0) removeIfThere(files, segment.hintPath)
        this.#sizes.delete(segment.id)
      }
    }
  }

  /** The bytes of a segment's hint; 0 where there is none. */
  #sizeOf({ hintPath }: Segment): number {
    const { files } = this.#engine.segments.context
    try {
      const file = files.open(hintPath, 'read')
      try {
        return files.size(file)
      } finally {
        files.close(file)
      }
    } catch (error) {
      if (errorCode(error) === undefined) throw error
      return 0
    }
  }
}

/** The most that the hint of a segment may take. */
function mostOf({ usage }: Segment): number {
  return Math.floor(usage.size * MAX_SHARE)
}
