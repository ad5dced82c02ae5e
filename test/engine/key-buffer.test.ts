/** The encoding of keys into a buffer that is used again. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { KeyBuffer } from '../../src/engine/encoding.ts'

const encodedBytes = (key: string | Uint8Array) => Buffer.from(key as string)

describe('an encoded key', () => {
  const key = fc.oneof(
    fc.string({ minLength: 1, maxLength: 80 }),
    fc.string({ minLength: 1, maxLength: 80, unit: 'binary' }),
    fc.constantFrom(
      'a'.repeat(64),
      'a'.repeat(65),
      'é'.repeat(64),
      '\x7f',
      '\x80',
      'aaaaaaa\u0101',
    ),
    fc.uint8Array({ minLength: 1, maxLength: 80 }),
  )

  it('has the right bytes, given as text or bytes, after any other key', () => {
    const encoded = new KeyBuffer()

    fc.assert(
      fc.property(key, (each) => {
        encoded.encode(each)
        expect(encoded.bytes.subarray(0, encoded.size)).toEqual(encodedBytes(each))
      }),
      { numRuns: 2000 },
    )
  })

  it('is padded with zeros to the end of its last word', () => {
    const encoded = new KeyBuffer()

    fc.assert(
      fc.property(key, (each) => {
        encoded.encode(each)
        const words = encoded.words.slice(0, Math.ceil(encoded.size / 4))
        const expected = Buffer.alloc(words.byteLength)
        encodedBytes(each).copy(expected)
        expect(Buffer.from(words.buffer)).toEqual(expected)
      }),
      { numRuns: 2000 },
    )
  })

  it('may have the greatest length', () => {
    const encoded = new KeyBuffer()

    for (const each of ['k'.repeat(65_535), Buffer.alloc(65_535, 'k')]) {
      encoded.encode(each)
      expect(encoded.size).toBe(65_535)
      expect(encoded.bytes.toString('latin1', 65_532, 65_536)).toBe('kkk\0')
    }
  })
})
