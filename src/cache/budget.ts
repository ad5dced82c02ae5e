/**
 * The room that a cache takes on disk, and how it keeps within its budget.
 *
 *     maxBytes = segments + hints + what closing writes (the keydir's image, the order) + manifests and small files
 *
 * Whoever is about to write reserves its bytes first. Room is found in three steps, each only as far as is needed:
 *
 * 1. Give up. Entries leave in the policy's order until what is live fits beside what must stay free.
 * 2. Clean. The oldest segment is gone through, a bounded piece for each piece that is written, so that no write
 *    waits long.
 * 3. Force. Where that was too slow, the oldest segment is given up with all that is in it.
 *
 * Invariant: `#total` is never below the bytes of all segments, staged ones included, and at most the limit once
 * `reserve` has answered true.
 */

import type { Engine } from '../engine/engine.ts'
import { FILE_HEADER_SIZE } from '../format/file-header.ts'
import type { Cleaner } from './cleaner.ts'
import type { CompleteOrder } from './complete-order.ts'
import type { Hints } from './hints.ts'
import type { Tags } from './tags.ts'

/** What a budget is kept for. */
export interface BudgetParts {
  readonly engine: Engine
  readonly order: CompleteOrder
  readonly cleaner: Cleaner
  readonly hints: Hints
  readonly maxBytes: number
  readonly segmentBytes: number
  /** Their records are live bytes of segments, but go when they are cleaned, and are never copied. */
  readonly tags: Tags
  /** Gives up the entry that is next in the policy's order; answers its bytes, 0 where there is none. */
  evictNext(): number
}

/** What each segment adds beside its bytes: its lines in two manifests and a checkpoint, half a block of the disk. */
const BYTES_PER_SEGMENT = 4096
/** Lock, marker, headers, and what rounding takes. */
const FIXED_BYTES = 32 * 1024
/** Room is reserved in about so many pieces. */
const STEP_COUNT = 4096
const MIN_STEP = 2048
const MAX_STEP = 256 * 1024
/** So many bytes are cleaned, at most, for each that is written. */
const PACE = 16
/** Less than a block of the disk is not worth cleaning for. */
const MIN_TIDY = 4096
/** This share of the segments' room is left to what is dead: less costs more copying, more costs hits. */
const DEAD_SHARE = 1 / 10

/** Keeps one cache within its budget. */
export class Budget {
  readonly #parts: BudgetParts
  readonly #step: number
  /** Cleaning begins when less than this is free: a segment's worth of copies, and some. */
  readonly #headroom: number
  #limit = 0
  #total = 0
  /** What has been reserved ahead. */
  #reserved = 0

  constructor(parts: BudgetParts) {
    this.#parts = parts
    this.#step = Math.min(MAX_STEP, Math.max(MIN_STEP, Math.floor(parts.maxBytes / STEP_COUNT)))
    this.#headroom = Math.ceil(1.25 * parts.segmentBytes)
    this.#measure()
  }

  /** How much may still be written. */
  get free(): number {
    return this.#limit - this.#total
  }

  /** Finds room for a record of `size` bytes; false where there is none to be had. */
  reserve(size: number): boolean {
    if (size > this.#reserved && !this.#refill(size)) return false
    this.#reserved -= size
    return true
  }

  /** Takes note of bytes that were written without being reserved. */
  grow(size: number): void {
    this.#total += size
  }

  /** Takes note of bytes that are gone. */
  shrink(size: number): void {
    this.#total -= size
  }

  /** Whether the cleaner may write `size` bytes again. */
  mayMove(size: number): boolean {
    return this.free >= size + this.#step
  }

  /** Cleans while most of the room is taken by what is dead, at most so many bytes. */
  tidy(bytes: number): void {
    const { cleaner } = this.#parts
    this.#measure()
    for (let left = bytes; left > 0; ) {
      if (this.#total < MIN_TIDY || this.#liveBytes() * 2 > this.#total) return
      const done = cleaner.advance(left)
      if (done === 0) return
      left -= done
    }
    this.#measure()
  }

  /** Cleans so many bytes, whatever is free. */
  clean(bytes: number): void {
    for (let left = bytes; left > 0; ) {
      const done = this.#parts.cleaner.advance(left)
      if (done === 0) break
      left -= done
    }
    this.#measure()
  }

  /** Begins to make hints, in what is free. */
  makeHints(): void {
    this.#measure()
    this.#parts.hints.make(this.free - this.#step)
  }

  /** Gives up the oldest segments until `size` bytes are free; false where that cannot be. */
  force(size: number): boolean {
    this.#measure()
    while (this.free < size) {
      if (this.#parts.cleaner.advance(Number.POSITIVE_INFINITY) === 0) break
    }
    this.#measure()
    return this.free >= size
  }

  #refill(size: number): boolean {
    const { cleaner } = this.#parts
    const need = size + this.#step + 2 * FILE_HEADER_SIZE
    this.#measure()
    this.#evict(need)
    for (let left = PACE * need; left > 0 && this.free < need + this.#headroom; ) {
      const done = cleaner.advance(Math.min(left, MAX_STEP))
      if (done === 0) break
      left -= done
    }
    if (this.free < need && !this.force(need)) return false
    this.#reserved = need
    this.#total += need
    return true
  }

  #evict(need: number): void {
    const { evictNext } = this.#parts
    const space = this.#limit - this.#headroom
    let excess = this.#liveBytes() + need - (space - Math.floor(space * DEAD_SHARE))
    while (excess > 0) {
      const size = evictNext()
      if (size === 0) return
      excess -= size
    }
  }

  /** Counts anew; what was reserved and not written is free again. */
  #measure(): void {
    const { engine, order, hints, maxBytes } = this.#parts
    const besides = engine.keydir.byteSize + order.byteSize + hints.byteSize + FIXED_BYTES
    this.#limit = maxBytes - besides - (engine.segments.all.length + 2) * BYTES_PER_SEGMENT
    this.#total = engine.segments.byteSize
    this.#reserved = 0
  }

  #liveBytes(): number {
    let bytes = 0
    for (const { usage } of this.#parts.engine.segments.all) bytes += usage.liveBytes
    return bytes - this.#parts.tags.byteSize
  }
}
