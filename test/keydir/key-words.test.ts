import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  compareBytes,
  compareKeys,
  equalKeys,
  keyHead,
  sharedSize,
} from '../../src/keydir/key-words.ts'
import { SearchKey } from '../../src/keydir/search-key.ts'

const key = fc.uint8Array({ minLength: 1, maxLength: 90 })
const pairs = fc.oneof(
  fc.tuple(key, key),
  // Two keys with a common start and few letters, so that they differ late if at all.
  fc
    .tuple(key, fc.uint8Array({ maxLength: 9, max: 1 }), fc.uint8Array({ maxLength: 9, max: 1 }))
    .map(([start, a, b]): [Uint8Array, Uint8Array] => [
      Uint8Array.from([...start, ...a]),
      Uint8Array.from([...start, ...b]),
    ]),
)

function search(key: Uint8Array): SearchKey {
  const searched = new SearchKey()
  // The remains of a longer key must not show.
  searched.set(new Uint8Array(100).fill(255), 100)
  searched.set(key, key.length)
  return searched
}

describe('keys as words', () => {
  it('compare as their bytes do', () => {
    fc.assert(
      fc.property(pairs, ([a, b]) => {
        const x = search(a)
        const y = search(b)
        const order = Buffer.compare(a, b)

        expect(Math.sign(compareKeys(x.words, 0, x.size, y.words, 0, y.size, 0))).toBe(order)
        expect(Math.sign(compareBytes(a, b))).toBe(order)
        expect(equalKeys(x.words, 0, x.size, y.words, 0, y.size)).toBe(order === 0)
        expect(x.holds(b, b.length)).toBe(order === 0)
      }),
    )
  })

  it('have a shared size', () => {
    fc.assert(
      fc.property(pairs, ([a, b]) => {
        const x = search(a)
        const y = search(b)
        let shared = 0
        while (shared < Math.min(a.length, b.length) && a[shared] === b[shared]) shared++

        expect(sharedSize(x.words, 0, x.size, y.words, 0, y.size)).toBe(shared)
      }),
    )
  })

  it('have heads of the 31 bits after a prefix, with zeros after their end', () => {
    fc.assert(
      fc.property(key, fc.nat(90), (bytes, cut) => {
        const searched = search(bytes)
        const prefix = Math.min(cut, bytes.length)
        const following = Buffer.alloc(4)
        following.set(bytes.subarray(prefix, prefix + 4))
        const head = following.readUInt32BE() >>> 1

        expect(keyHead(searched.words, 0, searched.size, prefix)).toBe(head)
        expect(searched.head(prefix)).toBe(head)
      }),
    )
  })

  it('can be read from any position of a buffer, long or short', () => {
    for (const size of [1, 3, 4, 5, 63, 64, 65, 1000, 65_535]) {
      const bytes = Uint8Array.from({ length: size + 9 }, (_, i) => i * 31 + 1)
      const searched = search(bytes.subarray(3, 3 + size + 6))

      searched.set(bytes.subarray(5), size)

      expect(searched.holds(bytes.subarray(5), size)).toBe(true)
      expect(Buffer.compare(searched.bytes.subarray(0, size), bytes.subarray(5, 5 + size))).toBe(0)
      expect(Array.from(searched.bytes.subarray(size, size + 4))).toEqual([0, 0, 0, 0])
    }
  })
})
