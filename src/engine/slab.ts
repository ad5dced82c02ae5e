/** Memory for the small values that reads return. */

import { type Page, pageOf } from '../format/record.ts'
import { allocateOwnBuffer } from '../io/memory.ts'

/**
 * The size of a slab, in bytes. Small values that callers keep may keep up to this much memory
 * among them.
 */
export const SLAB_SIZE = 32 * 1024

/**
 * The class of buffers. Constructing one over existing memory takes half as long as `Buffer.from`
 * does (measured, bench `get`).
 */
const BufferView = (Buffer as unknown as { [Symbol.species]: unknown })[Symbol.species] as new (
  memory: ArrayBufferLike,
  offset: number,
  length: number,
) => Buffer

/** Buffers are cut at multiples of this, so that any typed array can be laid over them. */
const ALIGNMENT = 8

/**
 * Memory that small values are cut out of: one allocation serves hundreds of reads (measured, bench
 * `get`). What was cut is never used again, as with the pool of `Buffer`.
 */
export class Slab {
  page: Page = pageOf(Buffer.alloc(0))
  // Kept apart, because asking a view for its memory is a call into the runtime (measured, bench
  // `get`).
  #memory = this.page.bytes.buffer
  #used = 0

  /** Returns the first place from `position` on at which something may be cut. */
  static align(position: number): number {
    return (position + ALIGNMENT - 1) & -ALIGNMENT
  }

  /** Returns how many bytes are enough for `size` bytes, aligned anywhere among them. */
  static roomFor(size: number): number {
    return Slab.align(size + ALIGNMENT)
  }

  /**
   * Finds space for `size` bytes, and returns where it begins in the page. What follows their first
   * `headSize` bytes is aligned. It is the same space until something is cut.
   */
  room(size: number, headSize: number): number {
    const at = Slab.align(this.#used + headSize) - headSize
    if (at + size <= this.page.bytes.length) return at
    this.#renew()
    return Slab.align(headSize) - headSize
  }

  /** Gives away `size` bytes, at most {@link SLAB_SIZE}, and returns where they begin; aligned. */
  reserve(size: number): number {
    let at = Slab.align(this.#used)
    if (at + size > this.page.bytes.length) {
      this.#renew()
      at = 0
    }
    this.#used = at + size
    return at
  }

  /** Gives away the bytes from `start` up to `end`, and all before them. */
  cut(start: number, end: number): Buffer {
    this.#used = end
    return this.view(start, end)
  }

  /** Returns bytes that were given away. */
  view(start: number, end: number): Buffer {
    return new BufferView(this.#memory, start, end - start)
  }

  #renew(): void {
    this.page = pageOf(allocateOwnBuffer(SLAB_SIZE))
    this.#memory = this.page.bytes.buffer
    this.#used = 0
  }
}
