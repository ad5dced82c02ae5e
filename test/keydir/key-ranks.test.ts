import { describe, expect, it } from 'vitest'
import { KeyRanks } from '../../src/keydir/key-ranks.ts'
import { RANK_BITS } from '../../src/keydir/keydir.ts'
import { bytes, Random, text } from './model.ts'

function ranksOf(sample: readonly Uint8Array[]): KeyRanks {
  return KeyRanks.ofSample((visit) => {
    for (const key of sample) visit(key, 0, key.length)
  })
}

/** Generators of keys of one sort each. */
const SHAPES: Record<string, (random: Random) => Uint8Array> = {
  'random keys': (random) => random.bytes(16),
  'hexadecimal keys': (random) => bytes(Buffer.from(random.bytes(8)).toString('hex')),
  'decimal keys with a prefix': (random) =>
    bytes(`user:${String(random.below(1e8)).padStart(8, '0')}`),
  'keys of several prefixes': (random) =>
    bytes(`${['user', 'post', 'tag'][random.below(3)]}:${random.below(1e6)}`),
  'keys after a long prefix': (random) => bytes(`${'x'.repeat(200)}${random.below(1e6)}`),
}

describe('ranks of keys', () => {
  it.each(Object.keys(SHAPES))('sort as %s do, and tell most of them apart', (shape) => {
    const random = new Random(1)
    const make = SHAPES[shape] as (random: Random) => Uint8Array
    const ranks = ranksOf(Array.from({ length: 4096 }, () => make(random)))
    const keys = new Map(
      Array.from({ length: 2000 }, () => make(random)).map((key) => [text(key), key]),
    )

    const inOrder = [...keys]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([, key]) => ranks.rank(key, 0, key.length))

    const falls = inOrder.filter((rank, index) => rank < (inOrder[index - 1] ?? 0))
    expect(falls).toEqual([])
    expect(new Set(inOrder).size).toBeGreaterThan(keys.size * 0.9)
    expect(Math.max(...inOrder)).toBeLessThan(2 ** RANK_BITS)
  })

  it('put the end of a key before every byte, and ignore bytes after the places that count', () => {
    const ranks = ranksOf(['a', 'aa', 'ab', 'b'].map(bytes))

    const found = ['a', 'aa', 'ab', 'b'].map((key) => ranks.rank(bytes(key), 0, key.length))

    expect(found).toEqual([...found].sort((a, b) => a - b))
    expect(new Set(found).size).toBe(4)
  })

  it('stay in their range for bytes that are not in the sample', () => {
    const ranks = ranksOf(['m1', 'm2', 'n1', 'n2'].map(bytes))

    for (const key of ['\0', 'a', 'm\0', 'm\xff', 'z', '\xff\xff\xff', 'n3']) {
      const rank = ranks.rank(bytes(key), 0, key.length)
      expect(rank).toBeGreaterThanOrEqual(0)
      expect(rank).toBeLessThan(2 ** RANK_BITS)
    }
  })

  it('can be computed for a key anywhere in a buffer', () => {
    const ranks = ranksOf(['ab', 'cd', 'ef'].map(bytes))

    expect(ranks.rank(bytes('--cd--'), 2, 2)).toBe(ranks.rank(bytes('cd'), 0, 2))
  })

  it('are all equal if there is one key, or none', () => {
    expect(ranksOf([bytes('a')]).rank(bytes('b'), 0, 1)).toBe(0)
    expect(ranksOf([]).rank(bytes('b'), 0, 1)).toBe(0)
  })
})
