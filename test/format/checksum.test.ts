import { crc32 } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { checksum } from '../../src/format/checksum.ts'
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

  it('is the same whichever way it is computed', () => {
    const bytes = new Random(1).bytes(700)

    for (let size = 0; size <= bytes.length; size++) {
      expect(checksum(bytes, 0, size, 0)).toBe(crc32(bytes.subarray(0, size)))
    }
  })

  it('goes on from that of what comes before', () => {
    const bytes = new Random(2).bytes(1000)
    const whole = checksum(bytes, 0, bytes.length, 0)

    for (const cut of [0, 1, 299, 300, 301, 700, 999, 1000]) {
      const seed = checksum(bytes, 0, cut, 0)
      expect(checksum(bytes, cut, bytes.length, seed)).toBe(whole)
    }
  })
})
