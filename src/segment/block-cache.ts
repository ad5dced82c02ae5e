/**
 * Recent blocks of files that are not mapped, in memory that all segments of the thread share.
 *
 * Nearly all the time of a positional read of a short record is that of the call to the operating
 * system. A block takes three times as long, and holds a hundred such records (measured, bench
 * `unmapped`). So a read brings in the block that holds the record, and the next read of the block
 * makes no call.
 *
 * 1. While there is space, each block that is read is kept.
 * 2. Once all is full, a block is kept if it was missed not long before. Reads that are scattered
 *    over far more than fits would otherwise spend their time on blocks that nobody reads again.
 *    Until then its records are read one by one.
 * 3. It takes the place of a block that was not read for a while (the CLOCK algorithm).
 * 4. Memory that nobody has read for a while goes back to the system.
 *
 * Invariants
 * - A block holds bytes of its file below `writtenSize`, which never change. Only the last block of
 *   a file may be shorter than others, and then shows nothing beyond its end.
 * - A segment that is closed, or whose record turns out to be damaged, gives up its blocks. Only
 *   reads of records use them: whatever checks or copies files reads the disk.
 * - All blocks together take at most the limit.
 */

import { type Page, pageOf } from '../format/record.ts'
import { allocateOwnBuffer, NoMemory } from '../io/memory.ts'
import { timers } from '../scheduling/time.ts'

const BLOCK_BITS = 14
/** The size of a block. */
export const BLOCK_SIZE = 1 << BLOCK_BITS
const BLOCK_MASK = BLOCK_SIZE - 1

/** Larger records are not cached: for them, the call is a small part of the time. */
export const MAX_CACHED_SIZE = 4096

/** Memory is allocated for this number of blocks at a time. */
const CHUNK_BITS = 6
const CHUNK_BLOCKS = 1 << CHUNK_BITS
const CHUNK_MASK = CHUNK_BLOCKS - 1

/** Memory is given back after between one and two of these intervals without a read of it. */
const IDLE_MS = 30_000

/** The share of the memory that the process may use that is the limit by default. */
const SHARE_OF_MEMORY = 1 / 64
/** The highest default limit. */
const MOST_BYTES = 256 * 1024 * 1024

/** Reads `size` bytes at `position` of a file into `target`; returns how many there were. */
export type ReadBlock = (target: Uint8Array, size: number, position: number) => number

/** Blocks of any number of files, up to a limit. */
export class BlockCache {
  /** The memory of the blocks; a chunk without blocks has none. */
  readonly chunks: (Page | undefined)[] = []
  /** 1 for each block that was read since it was last looked at. */
  readonly used: Uint8Array
  readonly #limit: number
  readonly #owners: (FileBlocks | undefined)[] = []
  readonly #blocks: Uint32Array
  #free: number[] = []
  /** The number of blocks in each chunk. */
  readonly #counts: number[] = []
  /** The number of chunks that have memory. */
  #chunkCount = 0
  #hand = 0
  /** Marks of blocks that were missed not long ago, each where its hash says. */
  readonly #missed: Int32Array
  #timer: NodeJS.Timeout | undefined

  /** @param maxBytes the most memory that blocks may take; below one block, nothing is cached */
  constructor(maxBytes: number) {
    const limit = Math.floor(maxBytes / BLOCK_SIZE)
    this.#limit = limit
    this.used = new Uint8Array(limit)
    this.#blocks = new Uint32Array(limit)
    this.#missed = new Int32Array(2 ** Math.ceil(Math.log2(Math.max(1, limit / 16))))
  }

  /** The memory that blocks take, free places included. */
  get byteSize(): number {
    return this.chunks.reduce((sum, chunk) => sum + (chunk?.bytes.length ?? 0), 0)
  }

  /** Returns the place for a block of a file; -1 if it is not to be kept. */
  take(owner: FileBlocks, block: number): number {
    const place = this.#free.pop() ?? this.#grow() ?? this.#replace(owner, block)
    if (place === -1) return -1
    this.#owners[place] = owner
    this.#blocks[place] = block
    this.#counts[place >>> CHUNK_BITS] = (this.#counts[place >>> CHUNK_BITS] as number) + 1
    this.used[place] = 1
    return place
  }

  /** Takes a place back; its memory is freed by {@link tidy}. */
  giveBack(place: number): void {
    this.#owners[place] = undefined
    this.#counts[place >>> CHUNK_BITS] = (this.#counts[place >>> CHUNK_BITS] as number) - 1
    this.#free.push(place)
  }

  /** Frees the memory of chunks that have no blocks. */
  tidy(): void {
    const { chunks } = this
    const before = this.#chunkCount
    for (let chunk = 0; chunk < chunks.length; chunk++) {
      if (chunks[chunk] === undefined || this.#counts[chunk] !== 0) continue
      chunks[chunk] = undefined
      this.#chunkCount--
    }
    if (this.#chunkCount === before) return
    this.#free = this.#free.filter((place) => chunks[place >>> CHUNK_BITS] !== undefined)
  }

  /** Allocates a chunk, and returns a place in it; `undefined` if there is no memory for one. */
  #grow(): number | undefined {
    if (this.#chunkCount << CHUNK_BITS >= this.#limit) return undefined
    const gap = this.chunks.indexOf(undefined)
    const chunk = gap === -1 ? this.chunks.length : gap
    const first = chunk << CHUNK_BITS
    const count = Math.min(CHUNK_BLOCKS, this.#limit - first)
    try {
      this.chunks[chunk] = pageOf(allocateOwnBuffer(count << BLOCK_BITS))
    } catch (error) {
      // Reads need no cache.
      if (error instanceof NoMemory) return undefined
      throw error
    }
    this.#chunkCount++
    this.#counts[chunk] = 0
    for (let place = first + count - 1; place > first; place--) this.#free.push(place)
    this.#timer ??= this.#wait()
    return first
  }

  /** Frees a place for a block that was missed before; -1 if it was not. */
  #replace(owner: FileBlocks, block: number): number {
    const missed = this.#missed
    const mark = (Math.imul(owner.id, 0x9e3779b1) + block + 1) | 0
    const at = (Math.imul(mark, 0x85ebca6b) >>> 16) & (missed.length - 1)
    if (missed[at] !== mark) {
      missed[at] = mark
      return -1
    }
    missed[at] = 0
    const end = this.chunks.length << CHUNK_BITS
    for (let step = 0; step < 2 * end; step++) {
      const place = this.#hand
      this.#hand = place + 1 < end ? place + 1 : 0
      const former = this.#owners[place]
      if (former === undefined) continue
      if (this.used[place] === 0) {
        former.forget(this.#blocks[place] as number)
        return this.#free.pop() as number
      }
      this.used[place] = 0
    }
    return -1
  }

  #wait(): NodeJS.Timeout {
    const timer = timers.setTimeout(() => {
      this.#releaseIdle()
      this.#timer = this.byteSize > 0 ? this.#wait() : undefined
    }, IDLE_MS)
    return timer.unref()
  }

  /** Frees chunks that were not read since the last time. */
  #releaseIdle(): void {
    for (let chunk = 0; chunk < this.chunks.length; chunk++) {
      const first = chunk << CHUNK_BITS
      const end = Math.min(first + CHUNK_BLOCKS, this.#limit)
      const isIdle = !this.used.subarray(first, end).includes(1)
      this.used.fill(0, first, end)
      if (!isIdle) continue
      for (let place = first; place < end; place++) {
        this.#owners[place]?.forget(this.#blocks[place] as number)
      }
    }
    this.tidy()
  }
}

/** Identifies the blocks of a file. */
let lastId = 0

const NO_PLACES = new Int32Array(0)

/** The cached blocks of one file. */
export class FileBlocks {
  readonly id = ++lastId
  /** Where the record that was found last begins in its page. */
  at = 0
  readonly #cache: BlockCache
  /** The place of each block, plus 1; 0 if it is not cached. */
  #places = NO_PLACES
  #count = 0
  /** Where the short last block ends in the file, if it is cached. */
  #end = Number.POSITIVE_INFINITY

  constructor(cache: BlockCache) {
    this.#cache = cache
  }

  /** The memory that its blocks take. */
  get byteSize(): number {
    return this.#count * BLOCK_SIZE
  }

  /**
   * Returns the page that holds `size` bytes at `offset`, which begin at `this.at`; `undefined` if
   * no block holds them all. The page is valid until another block is brought in.
   */
  find(offset: number, size: number): Page | undefined {
    const place = (this.#places[offset >>> BLOCK_BITS] ?? 0) - 1
    if (place < 0) return undefined
    const within = offset & BLOCK_MASK
    if (within + size > BLOCK_SIZE || offset + size > this.#end) return undefined
    const cache = this.#cache
    cache.used[place] = 1
    this.at = ((place & CHUNK_MASK) << BLOCK_BITS) | within
    return cache.chunks[place >>> CHUNK_BITS]
  }

  /**
   * Copies what `find` does not return, up to {@link MAX_CACHED_SIZE} bytes, to the start of
   * `target`; returns whether it did. It brings in what is missing, if that is worth keeping.
   *
   * @param end where the bytes that may be cached end in the file
   * @param isLast whether no byte will follow there
   */
  copy(
    offset: number,
    size: number,
    target: Uint8Array,
    end: number,
    isLast: boolean,
    read: ReadBlock,
  ): boolean {
    for (let done = 0; done < size; ) {
      const from = offset + done
      const part = Math.min(size - done, BLOCK_SIZE - (from & BLOCK_MASK))
      const page = this.find(from, part) ?? this.#bring(from, part, end, isLast, read)
      if (page === undefined) return false
      page.bytes.copy(target, done, this.at, this.at + part)
      done += part
    }
    return true
  }

  /** Gives up the blocks with `size` bytes at `offset`; returns whether there were any. */
  drop(offset: number, size: number): boolean {
    const before = this.#count
    for (let from = offset & ~BLOCK_MASK; from < offset + size; from += BLOCK_SIZE) {
      this.forget(from >>> BLOCK_BITS)
    }
    return this.#count < before
  }

  /** Gives up all blocks. */
  dropAll(): void {
    for (let block = 0; this.#count > 0; block++) this.forget(block)
    this.#cache.tidy()
  }

  /** Gives up a block, if it is cached. */
  forget(block: number): void {
    const place = (this.#places[block] ?? 0) - 1
    if (place < 0) return
    this.#places[block] = 0
    if ((this.#end - 1) >>> BLOCK_BITS === block) this.#end = Number.POSITIVE_INFINITY
    this.#cache.giveBack(place)
    if (--this.#count === 0) this.#places = NO_PLACES
  }

  #bring(
    offset: number,
    size: number,
    end: number,
    isLast: boolean,
    read: ReadBlock,
  ): Page | undefined {
    const block = offset >>> BLOCK_BITS
    const position = block << BLOCK_BITS
    const wanted = Math.min(BLOCK_SIZE, end - position)
    // The block at the end of a file that grows would be out of date in no time.
    if (wanted < BLOCK_SIZE && !isLast) return undefined
    if (this.#end < position + wanted) this.forget((this.#end - 1) >>> BLOCK_BITS)
    const cache = this.#cache
    const place = cache.take(this, block)
    if (place === -1) return undefined
    const page = cache.chunks[place >>> CHUNK_BITS] as Page
    const at = (place & CHUNK_MASK) << BLOCK_BITS
    this.#place(block, place, end)
    if (!isRead(read, page.bytes.subarray(at, at + wanted), position)) {
      this.forget(block)
      return undefined
    }
    if (wanted < BLOCK_SIZE) this.#end = end
    return this.find(offset, size)
  }

  #place(block: number, place: number, end: number): void {
    if (block >= this.#places.length) {
      const places = new Int32Array(Math.max(block + 1, (end >>> BLOCK_BITS) + 1))
      places.set(this.#places)
      this.#places = places
    }
    this.#places[block] = place + 1
    this.#count++
  }
}

function isRead(read: ReadBlock, target: Uint8Array, position: number): boolean {
  try {
    return read(target, target.length, position) === target.length
  } catch {
    // The record is read alone then. That reports what is wrong, unless it is another record.
    return false
  }
}

/** Returns the default limit, or what FIRKIN_READ_CACHE says, which is a number of bytes. */
function limit(): number {
  const wanted = process.env.FIRKIN_READ_CACHE
  if (wanted !== undefined && /^\d+$/.test(wanted))
    return Math.min(Number(wanted), process.getBuiltinModule('node:os').totalmem())
  // The first is 0 if the process is not limited.
  const memory = Math.min(
    process.constrainedMemory() || Number.POSITIVE_INFINITY,
    process.getBuiltinModule('node:os').totalmem(),
  )
  return Math.min(memory * SHARE_OF_MEMORY, MOST_BYTES)
}

let shared: BlockCache | undefined

/** The blocks of all stores of this thread; made when something is first to be cached. */
export function blockCache(): BlockCache {
  shared ??= new BlockCache(limit())
  return shared
}
