/**
 * The disk space of a cache, kept within its budget.
 *
 *     maxBytes = segments + hints + what closing writes (the keydir's image, the order)
 *                + manifests and small files
 *
 * Whoever is about to write reserves the bytes first. Space is made in three steps, each taken only
 * as far as needed:
 *
 * 1. Evict. Entries leave in the policy's order, until the live ones leave enough space free.
 * 2. Clean. The cleaner works through the oldest segment, a bounded amount for each amount written,
 *    so that no write waits long.
 * 3. Force. If that was too slow, the oldest segment goes, with every entry in it for which there
 *    is no space.
 *
 * Invariant: `#total` is at least the bytes of all segments, staged ones included, and at most the
 * limit once `reserve` has returned true.
 */

import type { Engine } from '../engine/engine.ts'
import { FILE_HEADER_SIZE } from '../format/file-header.ts'
import type { Cleaner } from './cleaner.ts'
import type { CompleteOrder } from './complete-order.ts'
import type { Hints } from './hints.ts'
import type { Tags } from './tags.ts'

/** The parts of a cache that its budget watches and acts on. */
interface BudgetParts {
  readonly engine: Engine
  readonly order: CompleteOrder
  readonly cleaner: Cleaner
  readonly hints: Hints
  readonly maxBytes: number
  readonly segmentBytes: number
  /** Their records count as live in the segments, but cleaning drops them and never copies them. */
  readonly tags: Tags
  /** Evicts the next entry in the policy's order. Returns its bytes, or 0 if there is none. */
  evictNext(): number
}

/**
 * The cost of a segment besides its bytes: lines in two manifests and a checkpoint, and half a
 * block of the disk.
 */
const BYTES_PER_SEGMENT = 4096
/** The bytes that the lock, the marker, headers and rounding take. */
const FIXED_BYTES = 32 * 1024
/** About how many reservations fill the whole budget. */
const STEP_COUNT = 4096
const MIN_STEP = 2048
const MAX_STEP = 256 * 1024
/** The most bytes that are cleaned for each byte written. */
const PACE = 16
/** Less than a block of the disk is not worth cleaning. */
const MIN_TIDY = 4096
/** The share of the segments left to dead bytes. Less costs more copying; more costs hits. */
const DEAD_SHARE = 1 / 10

/** Keeps one cache within its budget. */
export class Budget {
  readonly #parts: BudgetParts
  readonly #step: number
  /** Cleaning begins when less than this is free: the copies of one segment, and a bit more. */
  readonly #headroom: number
  #limit = 0
  #total = 0
  /** Bytes of `#total` that were reserved in advance and not handed out yet. */
  #reserved = 0

  constructor(parts: BudgetParts) {
    this.#parts = parts
    this.#step = Math.min(MAX_STEP, Math.max(MIN_STEP, Math.floor(parts.maxBytes / STEP_COUNT)))
    this.#headroom = Math.ceil(1.25 * parts.segmentBytes)
    this.#measure()
  }

  /** How many more bytes may be written. */
  get free(): number {
    return this.#limit - this.#total
  }

  /** Makes space for a record of `size` bytes. Returns false if that is not possible. */
  reserve(size: number): boolean {
    if (size > this.#reserved && !this.#refill(size)) return false
    this.#reserved -= size
    return true
  }

  /** Counts bytes that were written without a reservation. */
  grow(size: number): void {
    this.#total += size
  }

  /** Counts bytes that were deleted. */
  shrink(size: number): void {
    this.#total -= size
  }

  /** Whether there is space for the cleaner to rewrite `size` bytes. */
  mayMove(size: number): boolean {
    return this.free >= size + this.#step
  }

  /** Cleans up to `bytes` bytes while more than half of the segments is dead. */
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

  /** Cleans `bytes` bytes, however much is free. */
  clean(bytes: number): void {
    for (let left = bytes; left > 0; ) {
      const done = this.#parts.cleaner.advance(left)
      if (done === 0) break
      left -= done
    }
    this.#measure()
  }

  /** Starts making hints, in the free space. */
  makeHints(): void {
    this.#measure()
    this.#parts.hints.make(this.free - this.#step)
  }

  /** Clears the oldest segments until `size` bytes are free. Returns false if that fails. */
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

  /** Counts again. What was reserved and not written is free again. */
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
