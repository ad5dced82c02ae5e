import { describe, expect, it } from 'vitest'
import { Entries } from '../../src/keydir/entries.ts'
import { HashKeydir } from '../../src/keydir/hash.ts'
import { KeyHash } from '../../src/keydir/key-hash.ts'
import { NO_ENTRY } from '../../src/keydir/keydir.ts'
import { SearchKey } from '../../src/keydir/search-key.ts'
import { bytes, find, insert, KeySequence, keysOf, Random, text } from './model.ts'

/** Gives all keys, or all keys of one length, the same hash. */
class PoorHash extends KeyHash {
  readonly #byLength: boolean

  constructor(byLength: boolean) {
    super(1, 2)
    this.#byLength = byLength
  }

  override compute(words: Uint32Array, at: number, size: number): void {
    super.compute(words, at, 0)
    if (this.#byLength) this.high = Math.imul(size, 0x9e3779b1)
  }
}

function hashes(keys: readonly string[], seed: number): [high: number, low: number][] {
  const hash = new KeyHash(seed, ~seed)
  const key = new SearchKey()
  return keys.map((text) => {
    key.set(bytes(text), text.length)
    hash.compute(key.words, 0, key.size)
    return [hash.high >>> 0, hash.low >>> 0]
  })
}

describe('a hash keydir', () => {
  it.each([false, true])('holds keys whose hashes are equal, by their length: %s', (byLength) => {
    const entries = new Entries()
    const keydir = new HashKeydir(entries, new PoorHash(byLength))
    const random = new Random(1)
    const model = new Set<string>()
    const keyOf = (i: number) => `${i}${'x'.repeat(i % 3)}`

    for (let i = 0; i < 6000; i++) {
      insert(keydir, bytes(keyOf(i)))
      model.add(keyOf(i))
    }
    // Nor does the directory grow without need, and no page of a chain is lost when it is split.
    expect(keydir.byteSize - entries.byteSize).toBeLessThan(byLength ? 140_000 : 100_000)
    for (let i = 0; i < 6000; i++) {
      const key = keyOf(random.below(6000))
      if (model.delete(key)) keydir.remove(find(keydir, bytes(key)))
    }
    for (let i = 5000; i < 8000; i++) {
      if (!model.has(keyOf(i))) insert(keydir, bytes(keyOf(i)))
      model.add(keyOf(i))
    }

    expect([...model].every((key) => find(keydir, bytes(key)) !== NO_ENTRY)).toBe(true)
    expect(find(keydir, bytes('missing'))).toBe(NO_ENTRY)
    expect(keysOf(keydir)).toEqual([...model].sort())
  })

  it('takes about the same memory for each key, however many there are', () => {
    const keydir = new HashKeydir()
    const sequence = new KeySequence()
    const measured: number[] = []

    for (let i = 0; i < 800_000; i++) {
      insert(keydir, sequence.set(i))
      if (i >= 200_000 && i % 20_000 === 0) measured.push(keydir.byteSize / (i + 1) - 16)
    }

    expect(Math.max(...measured)).toBeLessThan(31)
    expect(Math.max(...measured) - Math.min(...measured)).toBeLessThan(2)
  })

  it('keeps no trace of removed entries in its pages', () => {
    const keydir = new HashKeydir()
    const sequence = new KeySequence()
    for (let i = 0; i < 50_000; i++) insert(keydir, sequence.set(i))

    for (let i = 0; i < 50_000; i++) keydir.remove(find(keydir, sequence.set(i)))

    const pageSize = 4096
    const headerSize = 64
    const pages = Buffer.concat(keydir.image().arenas[1] as Uint8Array[])
    let traces = 0
    for (let page = 0; page < pages.length; page += pageSize) {
      const buckets = pages.subarray(page + headerSize, page + pageSize)
      if (buckets.some((byte) => byte !== 0)) traces++
    }
    expect(pages.length).toBeGreaterThan(50 * pageSize)
    expect(traces).toBe(0)
  })

  it('spreads sequential keys evenly', () => {
    const keys = Array.from({ length: 50_000 }, (_, i) => `user:${String(i).padStart(6, '0')}`)

    for (const seed of [0, -5, 123_456_789]) {
      const pairs = hashes(keys, seed)
      for (const part of [0, 1] as const) {
        for (const shift of [0, 8, 16, 24]) {
          const counts = new Uint32Array(256)
          for (const pair of pairs) {
            const byte = (pair[part] >>> shift) & 255
            counts[byte] = (counts[byte] as number) + 1
          }
          const mean = keys.length / 256
          const deviation = counts.reduce((sum, count) => sum + (count - mean) ** 2 / mean, 0)
          // The chi-squared sum of 255 degrees of freedom; by chance above 400 less than once in
          // 10^7.
          expect(deviation).toBeLessThan(400)
        }
      }
    }
  })

  it('changes about half of its bits for each bit of the key', () => {
    const keys = Array.from({ length: 32 }, (_, bit) => {
      const key = bytes('0123456789abcdef')
      key[bit & 15] = (key[bit & 15] as number) ^ (1 << (bit & 7))
      return text(key)
    })
    const [base] = hashes(['0123456789abcdef'], 99)

    for (const [high, low] of hashes(keys, 99)) {
      const changed =
        bitCount((high ^ (base?.[0] ?? 0)) >>> 0) + bitCount((low ^ (base?.[1] ?? 0)) >>> 0)
      expect(changed).toBeGreaterThan(12)
      expect(changed).toBeLessThan(52)
    }
  })

  it('depends on its seed', () => {
    const keydirs = [new HashKeydir(), new HashKeydir()]
    const seeds = keydirs.map((keydir) => (keydir.image().meta as { seeds: number[] }).seeds)

    expect(seeds[0]).not.toEqual(seeds[1])
    expect(hashes(['a'], 1)).not.toEqual(hashes(['a'], 2))
  })
})

function bitCount(value: number): number {
  return value.toString(2).replaceAll('0', '').length
}
