/**
 * The hints of a cache's segments. With them, opening after a kill reads the keys and not the
 * values.
 *
 * 1. Once a second, full segments are listed in the manifest as sealed: an open looks for hints of
 *    sealed segments only.
 * 2. A thread makes the missing hints, all at once, as far as there is space. The newest segments
 *    come first, because they stay longest: if the oldest are deleted faster than the thread works,
 *    the hints made are of segments that stay.
 *
 * Hints take space in the budget, more of it the smaller the values are, and small values are read
 * about as fast without one. So a hint may take an eighth of its segment; a larger one is not made.
 *
 * Invariant: `byteSize` is at least the size of all hint files, from before they are written until
 * after they are removed.
 */

import type { Engine } from '../engine/engine.ts'
import { hintName } from '../format/names.ts'
import { errorCode, removeIfThere } from '../io/files.ts'
import { type BackgroundWork, keepAlive } from '../merge/thread.ts'
import type { HintJob } from '../segment/hint-file.ts'
import type { Segment } from '../segment/segment.ts'

/** Smaller segments have no hints: reading one takes no longer than starting a thread. */
const MIN_SEGMENT_BYTES = 192 * 1024
/** The largest share of its segment that a hint may take. */
const MAX_SHARE = 1 / 8
/** The least bytes of a record in a hint: its head, and a key of a few bytes. */
const MIN_ENTRY_BYTES = 24

/** The hints of one cache. */
export class Hints {
  readonly #engine: Engine
  readonly #backgroundWork: BackgroundWork
  readonly #failed: (error: unknown) => void
  /** The bytes of each segment's hint, or the most it may get; 0 if it is to have none. */
  readonly #sizes = new Map<number, number>()
  #making: Promise<void> | undefined

  /** @param failed called with the reason if hints cannot be made; nothing depends on them */
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

  /** The bytes that all hints take. */
  get byteSize(): number {
    let sum = 0
    for (const size of this.#sizes.values()) sum += size
    return sum
  }

  /** Starts making the missing hints that fit into `free` bytes. */
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

  /** Notes that a segment and its hint were deleted. */
  forget(segment: Segment): void {
    // While hints are being made, the thread may still write this one.
    if (this.#making === undefined) this.#sizes.delete(segment.id)
  }

  /** Resolves when no hint is being made any longer. */
  async settle(): Promise<void> {
    if (this.#making !== undefined) await keepAlive(this.#making)
  }

  /** As `#missing`; if sealing fails, no hints are made either. */
  #tryMissing(): Segment[] {
    try {
      return this.#missing()
    } catch (error) {
      this.#failed(error)
      return []
    }
  }

  /** Seals full segments, and returns the sealed ones that need a hint, the newest first. */
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
      // A segment that was deleted meanwhile cannot be read; the ones after it have to wait.
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

  /** Returns the bytes of a segment's hint; 0 if there is none. */
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

/** Returns the most bytes that a segment's hint may take. */
function mostOf({ usage }: Segment): number {
  return Math.floor(usage.size * MAX_SHARE)
}
