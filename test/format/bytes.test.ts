import { describe, expect, it } from 'vitest'
import { MAX_UINT48, readUint48, viewOf, writeUint48 } from '../../src/format/bytes.ts'

describe('a 48-bit number', () => {
  it.each([
    [0, '000000000000'],
    [1, '010000000000'],
    [0x0102_0304_0506, '060504030201'],
    [0xffff_ffff, 'ffffffff0000'],
    [0x1_0000_0000, '000000000100'],
    [0x8000_0000, '000000800000'],
    [MAX_UINT48, 'ffffffffffff'],
  ])('stores %d as %s', (value, hex) => {
    const bytes = Buffer.alloc(8, 0xaa)

    writeUint48(viewOf(bytes), 1, value)

    expect(bytes.toString('hex')).toBe(`aa${hex}aa`)
    expect(readUint48(viewOf(bytes), 1)).toBe(value)
  })
})

describe('a view', () => {
  it('shows the bytes of a part, and no others', () => {
    const bytes = Buffer.from('00112233', 'hex').subarray(1, 3)

    expect(viewOf(bytes).byteLength).toBe(2)
    expect(viewOf(bytes).getUint16(0)).toBe(0x1122)
  })
})
