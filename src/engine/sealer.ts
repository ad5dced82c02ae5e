/**
 * Seals full segments in the background, once a sync has made them durable: the manifest lists them
 * as sealed, and each gets a hint. One thread at a time makes hints, as many as are wanted by then.
 *
 * Invariant: a hint is a shortcut. If one cannot be made, the next open takes longer; nothing else
 * is lost.
 */

import { isError, StoreError } from '../errors.ts'
import { removeIfThere } from '../io/files.ts'
import { type BackgroundWork, keepAlive } from '../merge/thread.ts'
import type { Segment } from '../segment/segment.ts'
import type { Segments } from '../segment/segments.ts'

/** Hears what a sealer does. */
interface SealListener {
  /** Segments were sealed: there is more to merge. */
  sealed(): void
  /** Something failed that no caller waits for. */
  failed(message: string, cause: unknown): void
}

/**
 * The most hints that one thread makes: a segment that a merge deletes meanwhile gets none from the
 * next.
 */
const HINTS_AT_ONCE = 64

/** Seals the segments of one store. */
export class Sealer {
  readonly #segments: Segments
  readonly #backgroundWork: BackgroundWork
  readonly #listener: SealListener
  /** The segments that are to get a hint now. */
  readonly #wanting: Segment[] = []
  /** The ids of segments sealed here whose hint was not attempted yet. */
  readonly #due = new Set<number>()
  /** The segments that had no hint when the store was opened. */
  readonly #unhinted: Segment[] = []
  #sealing: Promise<void> = Promise.resolve()
  #hinting: Promise<void> | undefined
  #isEnding = false

  constructor(segments: Segments, backgroundWork: BackgroundWork, listener: SealListener) {
    this.#segments = segments
    this.#backgroundWork = backgroundWork
    this.#listener = listener
  }

  /** Resolves when all hints that are due are made; never rejects. */
  async settle(): Promise<void> {
    if (this.#hinting !== undefined) await keepAlive(this.#hinting)
  }

  /** Whether a segment that was sealed since the store was opened still has to get its hint. */
  isHintDue(id: number): boolean {
    return this.#due.has(id)
  }

  /** Makes hints for sealed segments that had none when the store was opened, if time allows. */
  backfill(ids: readonly number[]): void {
    for (const id of ids) {
      const segment = this.#segments.find(id)
      if (segment !== undefined) this.#unhinted.push(segment)
    }
    this.#beginHints()
  }

  /** Seals in the background what a sync has made durable. */
  sealLater(): void {
    if (!this.#segments.sealPending || this.#isEnding) return
    this.#sealing = this.#sealing.then(async () => {
      try {
        this.#want(await this.#segments.seal())
        if (!this.#isEnding) this.#listener.sealed()
      } catch (error) {
        // Nothing that was promised depends on it; the next sync tries again.
        this.#listener.failed('The manifest cannot be replaced', error)
      }
    })
  }

  /** Stops sealing in the background, and resolves when nothing is being sealed. */
  async end(): Promise<void> {
    this.#isEnding = true
    await this.#sealing
  }

  /** Seals what is durable. */
  async seal(): Promise<void> {
    this.#want(await this.#segments.seal())
  }

  /** As {@link seal}, before it returns. Hints are made once the event loop turns. */
  sealNow(): void {
    this.#want(this.#segments.sealFullNow())
  }

  /**
   * Reports a failure with its reason, whatever kind of error it was: a thread may die of anything.
   */
  #reportError(message: string, cause: unknown): void {
    const reason = isError(cause) ? cause.message : String(cause)
    const told = new StoreError('FIRKIN_IO_FAILED', `${message}: ${reason}`, { cause })
    this.#listener.failed(message, cause instanceof StoreError ? cause : told)
  }

  #want(sealed: readonly Segment[]): void {
    this.#wanting.push(...sealed)
    for (const { id } of sealed) this.#due.add(id)
    this.#beginHints()
  }

  #beginHints(): void {
    this.#hinting ??= this.#makeHints()
  }

  async #makeHints(): Promise<void> {
    for (;;) {
      // Segments sealed in the same turn join.
      await Promise.resolve()
      const next = this.#wanting.splice(0, HINTS_AT_ONCE)
      if (next.length === 0 && !this.#isEnding) next.push(...this.#unhinted.splice(0, 1))
      if (next.length === 0) {
        this.#hinting = undefined
        return
      }
      await this.#make(next)
      for (const { id } of next) this.#due.delete(id)
    }
  }

  async #make(segments: readonly Segment[]): Promise<void> {
    const { storeId, files } = this.#segments.context
    // A merge may have deleted a segment, or may do so meanwhile.
    const isGone = (segment: Segment): boolean => this.#segments.find(segment.id) !== segment
    const left = segments.filter((segment) => !isGone(segment))
    if (left.length === 0) return
    const jobs = left.map(({ id, origin, usage }) => ({
      directoryId: files.directoryId,
      storeId,
      id,
      origin,
      size: usage.size,
    }))
    try {
      const make = () => this.#backgroundWork.hint(...jobs)
      // While the store is open, disk space matters more than time.
      await (this.#isEnding ? this.#segments.reserve.lendHalf(make) : make())
      for (const segment of left) if (isGone(segment)) removeIfThere(files, segment.hintPath)
    } catch (thrown) {
      const error = files.reasonOf(thrown)
      const [only, ...others] = left
      if (only !== undefined && others.length === 0) {
        if (!isGone(only)) this.#reportError(`The hint of segment ${only.id} cannot be made`, error)
      } else {
        // A segment whose hint cannot be made stops those after it. One at a time, it is known
        // which one that is.
        for (const segment of left) await this.#make([segment])
      }
    }
  }
}
