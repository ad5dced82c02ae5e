/**
 * An arena: a growable block of memory off the JavaScript heap, addressed by 32-bit words.
 *
 * It consists of chunks of 2 MiB, the size of a huge page. A position is the number of a word, so
 * 32 bits reach 16 GiB:
 *
 *     position = chunk << 19 | word in the chunk
 *
 * Invariants
 * - A block never straddles two chunks. What remains at the end of a chunk stays zero.
 * - Chunks never move or shrink, except that the last one is replaced by copies while it grows. A
 *   view of it taken before a `reserve` shows old bytes or zeros, and must be taken again.
 * - Memory that was never reserved is zero.
 * - A `reserve` that fails changes nothing that can be seen.
 * - A chunk of a restored arena is requested when it is first touched, so that restoring costs
 *   nothing. From then on the arena owns its bytes and changes them in place.
 */

import { StoreError } from '../errors.ts'
import { allocateBytes, NoMemory } from '../io/memory.ts'
import { givePage, makeHuge, takeHugePage, takePage, touchAhead } from '../io/pages.ts'

const CHUNK_BITS = 19
const CHUNK_WORDS = 1 << CHUNK_BITS
const CHUNK_COUNT_LIMIT = 1 << (32 - CHUNK_BITS)

/** Bytes of a full chunk. */
export const CHUNK_SIZE = CHUNK_WORDS * 4

/**
 * Masks the index of a word in its chunk out of a position. Hot code keeps its own constant for it:
 * an imported one is read from its module's cell at each use, while a local one is folded
 * (measured).
 */
export const CHUNK_MASK = CHUNK_WORDS - 1

/**
 * The initial capacity of the first chunk in words. It is small because overlays and caches keep
 * many small keydirs.
 */
const FIRST_CAPACITY = 1024

/** The smallest step, in words, by which a chunk grows once it has as many. */
const LEAST_GROWTH = 16_384

/** An arena grows by about its size divided by this. */
const GROWTH_DIVISOR = 64

/**
 * There is no memory for a chunk of a restored arena. Unlike {@link NoMemory}, this may happen in
 * the middle of a change, which then is half done.
 */
export class NoChunk extends StoreError {
  constructor(cause: NoMemory) {
    super('FIRKIN_NO_MEMORY', cause.message, { cause })
  }
}

/**
 * Returns the bytes of one chunk of one arena of an image; called once for each chunk, when it is
 * first touched. The keydir then owns the bytes and changes them in place, so a mapping must be
 * private.
 */
export type ChunkSource = (arena: number, chunk: number) => Uint8Array

/** The arenas that have taken a huge page before using it; `undefined` outside of `growEagerly`. */
let eager: Set<Arena> | undefined

/**
 * Lets arenas take a whole huge page for each chunk that they begin while `work` runs, which adds
 * much data. This saves many copies. Taking a huge page at once also costs the system a sixth of
 * what gathering one from small pages costs (measured, bench `open-raw`). At the end, whatever the
 * last chunks do not need is given back.
 */
export function growEagerly(work: () => void): void {
  const arenas = new Set<Arena>()
  eager = arenas
  try {
    work()
  } finally {
    eager = undefined
    for (const arena of arenas) arena.trim()
  }
}

/**
 * A growable block of words off the JavaScript heap.
 *
 * Hot code reads `chunkAt(position)` once and indexes it with `position & CHUNK_MASK`.
 */
export class Arena {
  /** The chunks as words; `undefined` for a restored chunk that was not touched yet. */
  readonly words: (Uint32Array | undefined)[] = []
  /** The same chunks as bytes. */
  readonly bytes: (Uint8Array | undefined)[] = []

  // The end of what is reserved, as two small integers: a single number could exceed 2^31 and be
  // boxed.
  #lastChunk = -1
  #lastOffset = 0
  #lastCapacity = 0
  /** Whether the system provides the last chunk page by page, as it is used. */
  #lastIsPage = false
  /** Whether the last chunk was made a huge page when it was taken. */
  #lastIsHuge = false
  #source: ChunkSource | undefined
  #sourceArena = 0

  /**
   * Restores an arena with `used` reserved words. Touches no chunk.
   *
   * @param arena the number by which `source` knows the arena
   * @throws RangeError if `used` is not a possible number of words
   */
  static restore(used: unknown, arena: number, source: ChunkSource): Arena {
    if (!Number.isSafeInteger(used) || (used as number) < 0 || (used as number) > 2 ** 32) {
      throw new RangeError(`An arena cannot have ${String(used)} words`)
    }
    const restored = new Arena()
    const chunkCount = Math.ceil((used as number) / CHUNK_WORDS)
    for (let chunk = 0; chunk < chunkCount; chunk++) {
      restored.words.push(undefined)
      restored.bytes.push(undefined)
    }
    if (chunkCount > 0) {
      restored.#lastChunk = chunkCount - 1
      restored.#lastOffset = (used as number) - restored.#lastChunk * CHUNK_WORDS
      restored.#lastCapacity = restored.#lastOffset
      restored.#source = source
      restored.#sourceArena = arena
    }
    return restored
  }

  /**
   * The number of words reserved so far, including the unused ends of chunks: the position where
   * the next block may lie.
   */
  get used(): number {
    return this.#lastChunk < 0 ? 0 : this.#lastChunk * CHUNK_WORDS + this.#lastOffset
  }

  /** The number of chunks. */
  get chunkCount(): number {
    return this.#lastChunk + 1
  }

  /** The bytes of memory reserved. Chunks that are not loaded yet count as if they were. */
  get byteSize(): number {
    if (this.#lastChunk < 0) return 0
    const comesAsUsed = this.#lastIsPage && !this.#lastIsHuge
    const lastWords = comesAsUsed ? this.#lastOffset : this.#lastCapacity
    return this.#lastChunk * CHUNK_SIZE + lastWords * 4
  }

  /** Returns the words of the chunk that holds `position`. */
  chunkAt(position: number): Uint32Array {
    return this.words[position >>> CHUNK_BITS] ?? this.load(position >>> CHUNK_BITS)
  }

  /**
   * Returns the bytes of the chunk that holds `position`; its first byte is at `(position &
   * CHUNK_MASK) * 4`.
   */
  bytesAt(position: number): Uint8Array {
    const chunk = position >>> CHUNK_BITS
    if (this.words[chunk] === undefined) this.load(chunk)
    return this.bytes[chunk] as Uint8Array
  }

  /**
   * Reserves `count` zeroed words in one chunk and returns their position.
   *
   * @throws {@link StoreError} FIRKIN_NO_MEMORY, also if all 16 GiB are taken
   */
  reserve(count: number): number {
    let offset = this.#lastOffset
    if (offset + count > this.#lastCapacity) {
      this.#grow(count)
      offset = this.#lastOffset
    }
    this.#lastOffset = offset + count
    return ((this.#lastChunk << CHUNK_BITS) | offset) >>> 0
  }

  /** Loads a chunk of a restored arena. @throws {@link NoChunk} */
  load(chunk: number): Uint32Array {
    const source = this.#source
    if (source === undefined || chunk > this.#lastChunk) {
      throw new RangeError(`An arena of ${this.chunkCount} chunks has no chunk ${chunk}`)
    }
    try {
      return this.#load(chunk, source)
    } catch (error) {
      throw error instanceof NoMemory ? new NoChunk(error) : error
    }
  }

  /**
   * Returns the reserved part of each chunk as views, which are valid until something is reserved.
   * Loads every chunk.
   */
  image(): Uint8Array[] {
    const chunks: Uint8Array[] = []
    for (let chunk = 0; chunk < this.chunkCount; chunk++) {
      const { buffer, byteOffset } = this.#words(chunk)
      const size = chunk < this.#lastChunk ? CHUNK_SIZE : this.#lastOffset * 4
      chunks.push(new Uint8Array(buffer, byteOffset, size))
    }
    return chunks
  }

  /** Gives all memory back; the arena must not be used any more. */
  release(): void {
    for (const bytes of this.bytes) if (bytes !== undefined) givePage(bytes)
    this.words.length = 0
    this.bytes.length = 0
  }

  /** Makes the last chunk small again if it is a huge page that is not full. */
  trim(): void {
    if (!this.#lastIsHuge || this.#lastOffset === CHUNK_WORDS) return
    const page = takePage()
    if (page === undefined) return
    const bytes = this.bytes[this.#lastChunk] as Uint8Array
    page.set(bytes.subarray(0, this.#lastOffset * 4))
    // The old page is left to the garbage collector: there may be views of it.
    this.#setChunk(this.#lastChunk, page)
    this.#lastIsHuge = false
  }

  #load(chunk: number, source: ChunkSource): Uint32Array {
    const last = chunk === this.#lastChunk
    const size = last ? this.#lastOffset * 4 : CHUNK_SIZE
    // The last chunk gets space to grow at once. Its memory is allocated first, because a source
    // gives a chunk only once.
    const capacity = grownCapacity(0, size >>> 2, chunk)
    const own = size < CHUNK_SIZE ? allocateBytes(capacity * 4) : undefined
    const given = source(this.#sourceArena, chunk)
    if (given.byteLength < size) {
      throw new RangeError(`A chunk of ${size} bytes is given as ${given.byteLength}`)
    }
    if (own === undefined && given.byteOffset % 4 === 0) {
      return this.#setChunk(chunk, given.subarray(0, size))
    }
    const bytes = own ?? allocateBytes(capacity * 4)
    bytes.set(given.subarray(0, size))
    if (last) this.#lastCapacity = capacity
    return this.#setChunk(chunk, bytes)
  }

  #grow(count: number): void {
    const needed = this.#lastOffset + count
    if (this.#lastChunk >= 0 && needed <= CHUNK_WORDS) {
      const page = eager && takePage()
      if (page !== undefined) this.#replace(page)
      else {
        const capacity = this.#words(this.#lastChunk).length
        this.#resize(this.#lastChunk, grownCapacity(capacity, needed, this.#lastChunk))
      }
      return
    }
    if (this.#lastChunk + 1 === CHUNK_COUNT_LIMIT) {
      throw new NoMemory(`An arena of ${CHUNK_COUNT_LIMIT} chunks is full`)
    }
    // Invariant: every chunk except the last one has its full size.
    if (this.#lastChunk >= 0) {
      this.#resize(this.#lastChunk, CHUNK_WORDS)
      if (!this.#lastIsHuge) this.#makeLastHuge()
    }
    const next = this.#lastChunk + 1
    if (next > 0 && this.#beginPage(next)) return
    const capacity = grownCapacity(0, count, next)
    this.#begin(next, allocateBytes(capacity * 4))
    this.#lastIsPage = false
    this.#lastIsHuge = false
  }

  /** Begins a chunk in the given memory. */
  #begin(chunk: number, bytes: Uint8Array): void {
    this.#lastChunk = chunk
    this.#lastOffset = 0
    this.#lastCapacity = bytes.length >>> 2
    this.#setChunk(chunk, bytes)
  }

  /** Begins a chunk in a page; returns false if no page is available. */
  #beginPage(chunk: number): boolean {
    const ready = eager && takeHugePage()
    const page = ready ?? takePage()
    if (page === undefined) return false
    this.#begin(chunk, page)
    this.#lastIsPage = true
    this.#lastIsHuge = eager !== undefined
    if (eager !== undefined) {
      if (ready === undefined) makeHuge(page, false)
      eager.add(this)
    }
    // While the system prepares a page, no other memory can be taken (measured, bench
    // `insert-stall`).
    touchAhead()
    return true
  }

  /** Gives the last chunk a capacity of `capacity` words, by copying it if it is smaller. */
  #resize(chunk: number, capacity: number): void {
    const words = this.#words(chunk)
    if (words.length < capacity) {
      const bytes =
        (capacity === CHUNK_WORDS ? takePage() : undefined) ?? allocateBytes(capacity * 4)
      bytes.set(this.bytes[chunk] as Uint8Array)
      this.#setChunk(chunk, bytes)
      // It will soon be full, and so will the chunks after it.
      if (capacity === CHUNK_WORDS) touchAhead()
    }
    this.#lastCapacity = capacity
  }

  /**
   * Makes the last chunk, which is full, a huge page: by moving it to one that is ready, or in
   * place.
   */
  #makeLastHuge(): void {
    const bytes = this.bytes[this.#lastChunk] as Uint8Array
    const page = takeHugePage()
    if (page === undefined) {
      makeHuge(bytes, true)
      return
    }
    page.set(bytes)
    this.#setChunk(this.#lastChunk, page)
    givePage(bytes)
  }

  /** Moves the last chunk to a page, of which the system provides only what is used. */
  #replace(page: Uint8Array): void {
    this.#words(this.#lastChunk)
    page.set(this.bytes[this.#lastChunk] as Uint8Array)
    this.#setChunk(this.#lastChunk, page)
    this.#lastIsPage = true
    this.#lastCapacity = CHUNK_WORDS
  }

  #words(chunk: number): Uint32Array {
    return this.words[chunk] ?? this.load(chunk)
  }

  #setChunk(chunk: number, bytes: Uint8Array): Uint32Array {
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >>> 2)
    this.words[chunk] = words
    this.bytes[chunk] = bytes
    return words
  }
}

/**
 * Returns the number of words that a chunk of `capacity` words should have if it needs `needed`.
 */
function grownCapacity(capacity: number, needed: number, chunk: number): number {
  const share = Math.floor((chunk * CHUNK_WORDS) / GROWTH_DIVISOR)
  let step = LEAST_GROWTH
  while (step * 2 <= share) step *= 2
  let grown = capacity === 0 && chunk === 0 ? FIRST_CAPACITY : capacity
  while (grown < needed) grown += grown === 0 ? step : Math.min(step, grown)
  return Math.min(grown, CHUNK_WORDS)
}
