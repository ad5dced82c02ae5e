import { type Page, pageOf } from '../format/record.ts'
import { allocateOwnBuffer } from '../io/memory.ts'

/** How large a slab is: small values that are kept keep so much memory between them. */
export const SLAB_SIZE = 32 * 1024

/**
 * The class of buffers: to construct one over memory that there is takes half as long as `Buffer.from` does
 * (measured, bench `get`).
 */
const BufferView = (Buffer as unknown as { [Symbol.species]: unknown })[Symbol.species] as new (
  memory: ArrayBufferLike,
  offset: number,
  length: number,
) => Buffer

/** Buffers are cut at multiples of this, so that any typed array can be laid over them. */
const ALIGNMENT = 8

/**
 * Memory that small values are cut out of: one allocation serves hundreds of reads (measured, bench `get`). What was
 * cut is never used again, as with the pool of `Buffer`.
 */
export class Slab {
  page: Page = pageOf(Buffer.alloc(0))
  // Kept apart: to ask a view for its memory is a call into the runtime (measured, bench `get`).
  #memory = this.page.bytes.buffer
  #used = 0

  /** The first place from `position` on where something may be cut. */
  static align(position: number): number {
    return (position + ALIGNMENT - 1) & -ALIGNMENT
  }

  /** How many bytes are enough for `size` of them, aligned anywhere among them. */
  static roomFor(size: number): number {
    return Slab.align(size + ALIGNMENT)
  }

  /**
   * Makes room for `size` bytes, and answers where in the page; what comes behind their first `headSize` bytes is
   * aligned. It is the same room until something is cut.
   */
  room(size: number, headSize: number): number {
    const at = Slab.align(this.#used + headSize) - headSize
    if (at + size <= this.page.bytes.length) return at
    this.#renew()
    return Slab.align(headSize) - headSize
  }

  /** Gives away `size` bytes, at most {@link SLAB_SIZE}, and answers where they begin; aligned. */
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

  /** Bytes that were given away. */
  view(start: number, end: number): Buffer {
    return new BufferView(this.#memory, start, end - start)
  }

  #renew(): void {
    this.page = pageOf(allocateOwnBuffer(SLAB_SIZE))
    this.#memory = this.page.bytes.buffer
    this.#used = 0
  }
}
