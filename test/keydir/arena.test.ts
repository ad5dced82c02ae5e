import { setTimeout } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { Arena, CHUNK_MASK, CHUNK_SIZE, growEagerly } from '../../src/keydir/arena.ts'

const CHUNK_WORDS = CHUNK_SIZE / 4

/** Writes a number derived from its position to each word of a block. */
function write(arena: Arena, position: number, count: number): void {
  const words = arena.chunkAt(position)
  for (let i = 0; i < count; i++) words[(position & CHUNK_MASK) + i] = position + i
}

function holds(arena: Arena, position: number, count: number): boolean {
  const words = arena.chunkAt(position)
  for (let i = 0; i < count; i++) {
    if (words[(position & CHUNK_MASK) + i] !== position + i) return false
  }
  return true
}

describe('an arena', () => {
  it('takes no memory before anything is reserved', () => {
    const arena = new Arena()

    expect([arena.byteSize, arena.used, arena.chunkCount]).toEqual([0, 0, 0])
    expect(() => arena.chunkAt(0)).toThrow(RangeError)
  })

  it('keeps its contents while it grows, and lets no block straddle chunks', () => {
    const arena = new Arena()
    const blocks: [position: number, count: number][] = []

    for (let i = 0; arena.chunkCount < 4; i++) {
      const count = 1 + ((i * 7919) % 3000)
      const position = arena.reserve(count)
      write(arena, position, count)
      blocks.push([position, count])
    }

    expect(blocks.every(([position, count]) => holds(arena, position, count))).toBe(true)
    expect(blocks.every(([at, count]) => (at & CHUNK_MASK) + count <= CHUNK_WORDS)).toBe(true)
  })

  it('keeps its contents when it moves to a page that was made ready in time', async () => {
    const arena = new Arena()

    for (let chunk = 0; chunk < 5; chunk++) {
      const position = arena.reserve(CHUNK_WORDS)
      write(arena, position, CHUNK_WORDS)
      await setTimeout(50)
    }
    arena.reserve(1)

    for (let chunk = 0; chunk < 5; chunk++) {
      expect(holds(arena, chunk * CHUNK_WORDS, CHUNK_WORDS)).toBe(true)
    }
  })

  it('leaves the unused end of a chunk zero, and gives every chunk except the last its full size', () => {
    const arena = new Arena()
    const first = arena.reserve(CHUNK_WORDS - 10)
    write(arena, first, CHUNK_WORDS - 10)

    const second = arena.reserve(20)

    expect(second).toBe(CHUNK_WORDS)
    expect(arena.chunkAt(0).length).toBe(CHUNK_WORDS)
    expect(Array.from(arena.chunkAt(0).subarray(CHUNK_WORDS - 10))).toEqual(Array(10).fill(0))
  })

  it('closes a chunk that never grew to its full size', () => {
    const arena = new Arena()
    arena.reserve(5)

    const second = arena.reserve(CHUNK_WORDS)

    expect(second).toBe(CHUNK_WORDS)
    expect(arena.chunkAt(0).length).toBe(CHUNK_WORDS)
    expect(arena.image().map((chunk) => chunk.length)).toEqual([CHUNK_SIZE, CHUNK_SIZE])
  })

  it('reserves little more than is used', () => {
    const arena = new Arena()
    let most = 0

    for (let i = 0; i < 400_000; i++) {
      arena.reserve(9)
      const unused = arena.byteSize - arena.used * 4
      most = Math.max(most, unused / Math.max(65_600, arena.used / 8))
    }

    expect(most).toBeLessThan(1)
  })

  it('keeps its contents while it grows eagerly, and reserves little more than is used afterwards', () => {
    for (const before of [0, 100, CHUNK_WORDS - 100, CHUNK_WORDS + 100]) {
      const arena = new Arena()
      const blocks: number[] = []
      const add = (): void => {
        const position = arena.reserve(100)
        write(arena, position, 100)
        blocks.push(position)
      }
      while (arena.used < before) add()

      growEagerly(() => {
        while (arena.used < before + 2.5 * CHUNK_WORDS) add()
      })
      const reserved = arena.byteSize - arena.used * 4
      add()

      expect(reserved).toBeLessThan(65_600)
      expect(blocks.every((position) => holds(arena, position, 100))).toBe(true)
    }
  })

  it('grows in small steps again after work that has failed', () => {
    const arena = new Arena()
    const other = new Arena()

    expect(() =>
      growEagerly(() => {
        throw new Error('broken')
      }),
    ).toThrow('broken')
    arena.reserve(10)
    other.reserve(10)

    expect(arena.byteSize).toBe(4096)
    expect(arena.bytesAt(0).length).toBe(4096)
  })

  it('restores from an image of any alignment, and continues to grow', () => {
    for (const shift of [0, 1, 4]) {
      const arena = new Arena()
      const first = arena.reserve(CHUNK_WORDS)
      const second = arena.reserve(1000)
      write(arena, first, CHUNK_WORDS)
      write(arena, second, 1000)
      const image = arena.image().map((chunk) => {
        const buffer = new Uint8Array(chunk.length + shift)
        buffer.set(chunk, shift)
        return buffer.subarray(shift)
      })

      const restored = Arena.restore(arena.used, 0, (_, chunk) => image[chunk] as Uint8Array)
      const third = restored.reserve(CHUNK_WORDS - 2000)
      write(restored, third, CHUNK_WORDS - 2000)
      const fourth = restored.reserve(5000)

      expect(third).toBe(second + 1000)
      expect(fourth).toBe(2 * CHUNK_WORDS)
      expect(holds(restored, first, CHUNK_WORDS)).toBe(true)
      expect(holds(restored, second, 1000)).toBe(true)
      expect(holds(restored, third, CHUNK_WORDS - 2000)).toBe(true)
    }
  })

  it('changes the bytes of a full and aligned chunk in place', () => {
    const given = new Uint8Array(CHUNK_SIZE)

    const restored = Arena.restore(CHUNK_WORDS, 0, () => given)
    restored.chunkAt(3)[3] = 0xffffffff

    expect(Array.from(given.subarray(12, 16))).toEqual([255, 255, 255, 255])
  })

  it.each([-1, 1.5, 2 ** 32 + 1, Number.NaN, null, '8'])('refuses to restore %j words', (used) => {
    expect(() => Arena.restore(used, 0, () => new Uint8Array())).toThrow(RangeError)
  })

  it('reaches positions of more than 31 bits', () => {
    const used = 2 ** 31 + 5 * CHUNK_WORDS
    const arena = Arena.restore(used, 0, () => new Uint8Array(CHUNK_SIZE))

    const position = arena.reserve(10)
    write(arena, position, 10)

    expect(position).toBe(used)
    expect(holds(arena, position, 10)).toBe(true)
  })

  it('refuses to grow beyond 16 GiB', () => {
    const arena = Arena.restore(2 ** 32, 0, () => new Uint8Array(CHUNK_SIZE))

    expect(() => arena.reserve(1)).toThrow(expect.objectContaining({ code: 'FIRKIN_NO_MEMORY' }))
  })

  it('gives its memory back, and cannot be used afterwards', () => {
    const arena = new Arena()
    while (arena.chunkCount < 3) arena.reserve(1000)
    const chunk = arena.chunkAt(0).fill(1)
    const isHugePage = Buffer.isBuffer(arena.bytesAt(0))

    arena.release()

    expect(() => arena.chunkAt(0)).toThrow(RangeError)
    // A huge page is given back at once: touching it again finds zeros.
    expect(chunk[0]).toBe(isHugePage ? 0 : 1)
  })
})
