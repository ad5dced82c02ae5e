/** The keys, values and orders of the benches. */

import { describe, expect, it } from 'vitest'
import {
  ascendingOrder,
  keyAt,
  latest,
  random,
  uniformOrder,
  Values,
  zipfian,
} from '../../bench/workload.ts'

const COUNT = 100_000

describe('the workload of the benches', () => {
  it('has a key for each index, in random order', () => {
    const keys = Array.from({ length: COUNT }, (_, index) => keyAt(index))

    expect(new Set(keys).size).toBe(COUNT)
    for (const key of keys) expect(key).toMatch(/^[0-9a-f]{16}$/)
    const rising = keys.filter((key, index) => key > (keys[index - 1] ?? ''))
    expect(rising.length / COUNT).toBeGreaterThan(0.45)
    expect(rising.length / COUNT).toBeLessThan(0.55)
  })

  it('reads many present keys, or only absent ones', () => {
    const present = new Set(uniformOrder(COUNT, 0, COUNT, 1))
    const absent = new Set(uniformOrder(COUNT, COUNT, 2 * COUNT, 1))

    // Of N keys, N draws hit a share of 1 - 1/e on average.
    for (const drawn of [present, absent]) {
      expect(drawn.size / COUNT).toBeGreaterThan(0.62)
      expect(drawn.size / COUNT).toBeLessThan(0.65)
    }
    expect(Math.max(...present)).toBeLessThan(COUNT)
    expect(Math.min(...absent)).toBeGreaterThanOrEqual(COUNT)
    expect([...ascendingOrder(5, 3)]).toEqual([5, 6, 7])
  })

  it('favours some keys in the skewed orders, and reads many others too', () => {
    for (const next of [zipfian(random(1), COUNT), latest(random(1), () => COUNT)]) {
      const reads = new Map<number, number>()
      for (let read = 0; read < COUNT; read++) {
        const index = next()
        reads.set(index, (reads.get(index) ?? 0) + 1)
      }

      const counts = [...reads.values()].sort((a, b) => b - a)
      expect((counts[0] ?? 0) / COUNT).toBeGreaterThan(0.05)
      expect((counts[0] ?? 0) / COUNT).toBeLessThan(0.2)
      expect(reads.size / COUNT).toBeGreaterThan(0.1)
      for (const index of reads.keys()) expect(index >= 0 && index < COUNT).toBe(true)
    }
  })

  it('has a thousand different values of the wanted size', () => {
    const values = new Values(100)

    const different = new Set(
      Array.from({ length: 5000 }, (_, index) => values.at(index).toString('hex')),
    )

    expect(different.size).toBe(1024)
    for (const value of different) expect(value).toHaveLength(200)
  })

  it('is the same in every run', () => {
    expect(keyAt(0)).toBe(keyAt(0))
    expect([...uniformOrder(20, 0, 1000, 3)]).toEqual([...uniformOrder(20, 0, 1000, 3)])
    expect([...uniformOrder(20, 0, 1000, 3)]).not.toEqual([...uniformOrder(20, 0, 1000, 4)])
    expect(new Values(50).at(7)).toEqual(new Values(50).at(7))
  })
})
