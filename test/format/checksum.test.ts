import { crc32 } from 'node:zlib'
import { describe, expect, it, vi } from 'vitest'
import { checksum, copyChecksum, viewChecksum } from '../../src/format/checksum.ts'
import { pageOf } from '../../src/format/record.ts'
import { Random } from '../support/random.ts'

describe('the checksum', () => {
  it.each([
    ['', 0],
    ['123456789', 0xcbf4_3926],
    ['The quick brown fox jumps over the lazy dog', 0x414f_a339],
  ])('of %j is that of IEEE 802.3', (text, expected) => {
    const bytes = Buffer.from(text)

    expect(checksum(bytes, 0, bytes.length, 0)).toBe(expected)
  })

  it('is the same in whichever way it is computed', () => {
    const bytes = new Random(1).bytes(700)

    const { view } = pageOf(bytes)

    for (let size = 0; size <= bytes.length; size++) {
      const expected = crc32(bytes.subarray(0, size))
      expect(checksum(bytes, 0, size, 0)).toBe(expected)
      expect(viewChecksum(view, 0, size, 0)).toBe(expected)
    }
  })

  it('is the same before its packages are loaded, once they are, and if they are missing', async () => {
    const bytes = new Random(4).bytes(20_000)
    const parts = [0, 1, 20, 299, 300, 5000, 20_000].map((size) => bytes.subarray(0, size))
    const expected = parts.map((part) => crc32(part, 7))
    const compute = ({ checksum: loaded }: { checksum: typeof checksum }): number[] =>
      parts.map((part) => loaded(part, 0, part.length, 7))
    vi.resetModules()
    const fresh = await import('../../src/format/checksum.ts')
    vi.resetModules()
    vi.doMock('../../src/packages.ts', () => ({
      requirePackage: () => {
        throw new Error('It is not installed')
      },
    }))
    const lacking = await import('../../src/format/checksum.ts')
    vi.doUnmock('../../src/packages.ts')

    // The parts of a thousand rounds suffice for both packages.
    for (const each of [fresh, lacking]) {
      for (let round = 0; round < 1000; round++) expect(compute(each)).toEqual(expected)
    }
  })

  it('copies what it reads to the given position, and nothing else', () => {
    const { bytes, view } = pageOf(new Random(3).bytes(200))

    for (let size = 0; size <= 100; size++) {
      const target = pageOf(Buffer.alloc(size + 10, 0xee))
      const start = 7 + (size % 5)

      const crc = copyChecksum(view, start, start + size, 9, target.view, 3)

      expect(crc).toBe(crc32(bytes.subarray(start, start + size), 9))
      expect(target.bytes.subarray(3, 3 + size)).toEqual(bytes.subarray(start, start + size))
      expect(target.bytes.subarray(3 + size).every((byte) => byte === 0xee)).toBe(true)
    }
  })

  it('continues from that of the bytes before', () => {
    const bytes = new Random(2).bytes(1000)
    const whole = checksum(bytes, 0, bytes.length, 0)

    for (const cut of [0, 1, 299, 300, 301, 700, 999, 1000]) {
      const seed = checksum(bytes, 0, cut, 0)
      expect(checksum(bytes, cut, bytes.length, seed)).toBe(whole)
      expect(viewChecksum(pageOf(bytes).view, cut, bytes.length, seed)).toBe(whole)
    }
  })
})
