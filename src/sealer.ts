/**
 * What happens in the background to a segment that is full, once a sync has made it durable: the manifest lists it
 * as sealed, and it gets a hint.
 *
 * Invariant: a hint is a shortcut. One that cannot be made costs the next open time and nothing else.
 */

import { removeIfThere } from './io/files.ts'
import { keepAlive, type Labour } from './merge/thread.ts'
import type { Segment } from './segment/segment.ts'
import type { Segments } from './segment/segments.ts'

/** What a sealer tells. */
export interface SealListener {
  /** Segments were sealed: there is more to merge. */
  sealed(): void
  /** Something failed that no caller waits for. */
  failed(message: string, cause: unknown): void
}

/** Seals the segments of one store. */
export class Sealer {
  readonly #segments: Segments
  readonly #labour: Labour
  readonly #listener: SealListener
  #sealing: Promise<void> = Promise.resolve()
  #hints: Promise<void> = Promise.resolve()
  #isEnding = false

  constructor(segments: Segments, labour: Labour, listener: SealListener) {
    this.#segments = segments
    this.#labour = labour
    this.#listener = listener
  }

  /** Resolves when all hints are made that are to be; never rejects. */
  async settle(): Promise<void> {
    await keepAlive(this.#hints)
  }

  /** Makes the hints of sealed segments that had none when the store was opened, as far as there is time. */
  makeUp(ids: readonly number[]): void {
    for (const id of ids) {
      this.#afterHints(async () => {
        const segment = this.#segments.find(id)
        if (segment !== undefined && !this.#isEnding) await this.#makeHint(segment)
      })
    }
  }

  /** Seals what a sync has made durable, in the background. */
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

  /** Seals no more in the background, and resolves when nothing is being sealed. */
  async end(): Promise<void> {
    this.#isEnding = true
    await this.#sealing
  }

  /** Seals what is durable. */
  async seal(): Promise<void> {
    this.#want(await this.#segments.seal())
  }

  #want(sealed: readonly Segment[]): void {
    for (const segment of sealed) this.#afterHints(() => this.#makeHint(segment))
  }

  #afterHints(work: () => Promise<void>): void {
    this.#hints = this.#hints.then(work)
  }

  async #makeHint(segment: Segment): Promise<void> {
    const { id, origin, usage, hintPath } = segment
    const { directory, storeId, files } = this.#segments.home
    // A merge may have deleted the segment, or do so meanwhile.
    const isGone = (): boolean => this.#segments.find(id) !== segment
    if (isGone()) return
    try {
      await this.#labour.hint({ directory, storeId, id, origin, size: usage.size })
      if (isGone()) removeIfThere(files, hintPath)
    } catch (error) {
      if (!isGone()) this.#listener.failed(`The hint of segment ${id} cannot be made`, error)
    }
  }
}
