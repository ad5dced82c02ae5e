/** The cache of blocks: what it shows, keeps, and gives back. */

import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import {
  BLOCK_SIZE,
  BlockCache,
  FileBlocks,
  MAX_CACHED_SIZE,
} from '../../src/segment/block-cache.ts'
import { RefusedMemory } from '../support/memory.ts'
import { Random } from '../support/random.ts'
import { fakeOwnTimers } from '../support/timers.ts'

/** A file that grows, and is read through a cache. */
class PlayedFile {
  readonly blocks: FileBlocks
  bytes: Buffer
  /** Where the bytes end that were written whole. */
  end: number
  isLast = false
  /** The positions of the blocks that were read. */
  readonly reads: number[] = []
  fails = false
  readonly #target = Buffer.alloc(MAX_CACHED_SIZE)

  constructor(cache: BlockCache, size: number, seed = 1) {
    this.blocks = new FileBlocks(cache)
    const random = new Random(seed)
    this.bytes = Buffer.from(Array.from({ length: size }, () => random.below(256)))
    this.end = size
  }

  /** Returns the bytes, if the cache has them or brings them in. */
  read(offset: number, size: number): Buffer | undefined {
    const page = this.blocks.find(offset, size)
    if (page !== undefined) {
      return Buffer.from(page.bytes.subarray(this.blocks.at, this.blocks.at + size))
    }
    const isCopied = this.blocks.copy(
      offset,
      size,
      this.#target,
      this.end,
      this.isLast,
      (target, wanted, position) => {
        this.reads.push(position)
        if (this.fails) throw new Error('EIO')
        return this.bytes.copy(target, 0, position, Math.min(position + wanted, this.bytes.length))
      },
    )
    return isCopied ? Buffer.from(this.#target.subarray(0, size)) : undefined
  }

  /** As `read`; checks what is returned. */
  check(offset: number, size: number): boolean {
    const shown = this.read(offset, size)
    if (shown !== undefined) {
      expect(shown.equals(this.bytes.subarray(offset, offset + size))).toBe(true)
    }
    return shown !== undefined
  }
}

const MIB = 2 ** 20

describe('cached blocks', () => {
  it('show the bytes of their files, whatever is read, grows, and is given up', () => {
    const size = fc.integer({ min: 1, max: MAX_CACHED_SIZE })
    const place = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true })
    const action = fc.record({
      file: fc.integer({ min: 0, max: 2 }),
      kind: fc.constantFrom('read', 'read', 'read', 'read', 'grow', 'end', 'drop', 'close', 'fail'),
      place,
      size,
    })
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }),
        fc.array(action, { minLength: 50, maxLength: 200 }),
        (limit, actions) => {
          const cache = new BlockCache(limit * BLOCK_SIZE)
          const files = [1, 2, 3].map((seed) => new PlayedFile(cache, 5 * BLOCK_SIZE + 777, seed))
          for (const file of files) file.end = 2 * BLOCK_SIZE + 100
          for (const drawn of actions) {
            const file = files[drawn.file] as PlayedFile
            const offset = Math.floor(drawn.place * (file.end - drawn.size))
            file.fails = drawn.kind === 'fail'
            if (drawn.kind === 'read' || file.fails) file.check(offset, drawn.size)
            else if (drawn.kind === 'grow' && !file.isLast) {
              file.end = Math.min(file.bytes.length, file.end + 3 * drawn.size)
            } else if (drawn.kind === 'end') file.isLast = true
            else if (drawn.kind === 'drop') file.blocks.drop(offset, drawn.size)
            else if (drawn.kind === 'close') {
              file.blocks.dropAll()
              expect(file.blocks.byteSize).toBe(0)
            }
            const used = files.reduce((sum, { blocks }) => sum + blocks.byteSize, 0)
            expect(used).toBeLessThanOrEqual(cache.byteSize)
            expect(cache.byteSize).toBeLessThanOrEqual(limit * BLOCK_SIZE)
          }
        },
      ),
      { numRuns: 60 },
    )
  })

  it('are read once, and shown without another read', () => {
    const file = new PlayedFile(new BlockCache(MIB), 4 * BLOCK_SIZE)

    for (let offset = 0; offset + 134 <= file.end; offset += 134) {
      expect(file.check(offset, 134)).toBe(true)
    }

    expect(file.reads).toEqual([0, BLOCK_SIZE, 2 * BLOCK_SIZE, 3 * BLOCK_SIZE])
    expect(file.blocks.byteSize).toBe(4 * BLOCK_SIZE)
  })

  it('never hold the end of a file that grows', () => {
    const file = new PlayedFile(new BlockCache(MIB), 3 * BLOCK_SIZE)
    file.end = BLOCK_SIZE + 1000

    expect(file.check(BLOCK_SIZE, 500)).toBe(false)
    // This record is in two blocks, of which only the first is whole.
    expect(file.check(BLOCK_SIZE - 10, 20)).toBe(false)
    expect(file.check(BLOCK_SIZE - 20, 20)).toBe(true)

    file.end = 2 * BLOCK_SIZE
    expect(file.check(BLOCK_SIZE, 500)).toBe(true)
  })

  it('show the end of a file that does not grow, and nothing beyond', () => {
    const file = new PlayedFile(new BlockCache(MIB), 3 * BLOCK_SIZE)
    file.end = BLOCK_SIZE + 1000
    file.isLast = true

    expect(file.check(BLOCK_SIZE + 900, 100)).toBe(true)
    expect(file.blocks.find(BLOCK_SIZE + 900, 101)).toBeUndefined()

    // Whoever says that it does not grow may be wrong.
    file.end = 2 * BLOCK_SIZE
    expect(file.check(BLOCK_SIZE + 900, 300)).toBe(true)
    expect(file.reads).toEqual([BLOCK_SIZE, BLOCK_SIZE])
  })

  it('are not kept if they cannot be read whole', () => {
    const cache = new BlockCache(MIB)
    const file = new PlayedFile(cache, 4 * BLOCK_SIZE)
    file.fails = true
    expect(file.check(0, 100)).toBe(false)
    file.fails = false
    file.bytes = file.bytes.subarray(0, BLOCK_SIZE + 5)
    expect(file.check(BLOCK_SIZE, 5)).toBe(false)

    expect(file.blocks.byteSize).toBe(0)
    expect(file.check(0, 100)).toBe(true)
  })

  it('are read again once they were given up', () => {
    const file = new PlayedFile(new BlockCache(MIB), 4 * BLOCK_SIZE)
    file.check(0, 100)
    file.bytes = Buffer.from(file.bytes.map((byte) => byte ^ 255))
    expect(file.read(0, 100)).not.toEqual(file.bytes.subarray(0, 100))

    expect(file.blocks.drop(10, 20)).toBe(true)
    expect(file.check(0, 100)).toBe(true)
    expect(file.blocks.drop(BLOCK_SIZE, 20)).toBe(false)

    file.check(BLOCK_SIZE, 100)
    expect(file.blocks.drop(BLOCK_SIZE - 10, 20)).toBe(true)
    expect(file.blocks.byteSize).toBe(0)
  })
})

describe('the cache of blocks', () => {
  it('takes no more memory than its limit, however much is read', () => {
    const limit = 10 * MIB + 5 * BLOCK_SIZE
    const cache = new BlockCache(limit + 100)
    const bytes = Buffer.alloc(40 * MIB)
    const files = Array.from({ length: 4 }, () => {
      const file = new PlayedFile(cache, 0)
      file.bytes = bytes
      file.end = bytes.length
      return file
    })

    for (let round = 0; round < 3; round++) {
      for (let offset = 0; offset < bytes.length; offset += BLOCK_SIZE) {
        for (const file of files) file.read(offset, 100)
        expect(cache.byteSize).toBeLessThanOrEqual(limit)
      }
    }

    expect(cache.byteSize).toBe(limit)
    expect(files.reduce((sum, { blocks }) => sum + blocks.byteSize, 0)).toBe(limit)
    for (const { blocks } of files) blocks.dropAll()
    expect(cache.byteSize).toBe(0)
  })

  it('keeps nothing below one block', () => {
    const file = new PlayedFile(new BlockCache(BLOCK_SIZE - 1), 2 * BLOCK_SIZE)

    for (let turn = 0; turn < 3; turn++) expect(file.check(0, 10)).toBe(false)
    expect(file.reads).toEqual([])
  })

  it('takes a block that was missed twice, once it is full, for one that is not read', () => {
    const file = new PlayedFile(new BlockCache(3 * BLOCK_SIZE), 8 * BLOCK_SIZE)
    const isShown = (block: number) => file.check(block * BLOCK_SIZE, 10)
    for (const block of [0, 1, 2]) expect(isShown(block)).toBe(true)

    expect(isShown(3)).toBe(false)
    expect(file.reads).toHaveLength(3)
    // All were read meanwhile: the first of them goes.
    expect(isShown(3)).toBe(true)
    expect(isShown(1)).toBe(true)
    // Now the second was read, and the third was not.
    isShown(4)
    expect(isShown(4)).toBe(true)

    file.reads.length = 0
    for (const block of [1, 3, 4]) expect(isShown(block)).toBe(true)
    expect(file.reads).toEqual([])
    expect(isShown(0)).toBe(false)
    expect(isShown(2)).toBe(false)
  })

  it('does without memory if there is none', () => {
    const cache = new BlockCache(MIB)
    const file = new PlayedFile(cache, 2 * BLOCK_SIZE)
    {
      using refusal = new RefusedMemory({ nth: 1, lasting: true })
      expect(file.check(0, 10)).toBe(false)
      expect(refusal.refused).toBe(1)
    }

    expect(cache.byteSize).toBe(0)
    expect(file.check(0, 10)).toBe(true)
  })

  it('gives memory back that nobody reads, and keeps what is read', () => {
    fakeOwnTimers('setTimeout')
    const cache = new BlockCache(16 * MIB)
    const bytes = Buffer.alloc(8 * MIB)
    const file = new PlayedFile(cache, 0)
    file.bytes = bytes
    file.end = bytes.length
    for (let offset = 0; offset < bytes.length; offset += BLOCK_SIZE) file.read(offset, 10)
    expect(cache.byteSize).toBe(8 * MIB)

    for (let turn = 0; turn < 3; turn++) {
      file.read(0, 10)
      vi.advanceTimersByTime(30_000)
    }
    expect(cache.byteSize).toBe(MIB)
    expect(file.blocks.find(0, 10)).toBeDefined()
    expect(file.blocks.find(MIB, 10)).toBeUndefined()

    vi.advanceTimersByTime(60_000)
    expect(cache.byteSize).toBe(0)
    expect(file.check(0, 10)).toBe(true)
  })
})
