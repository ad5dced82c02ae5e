import { describe, expect, it } from 'vitest'
import { RankSort } from '../../src/recovery/rank-sort.ts'
import { Random } from '../keydir/model.ts'

/** Sorts ranks whose numbers are their places. */
function sorted(sort: RankSort, ranks: readonly number[], bits: number): [number, number][] {
  sort.begin(ranks.length)
  ranks.forEach((rank, place) => {
    sort.pairs[place * 2] = rank
    sort.pairs[place * 2 + 1] = place
  })
  sort.sort(ranks.length, bits)
  return ranks.map((_, place) => [
    sort.pairs[place * 2] as number,
    sort.pairs[place * 2 + 1] as number,
  ])
}

describe('RankSort', () => {
  it.each([8, 16, 24])('sorts by %i bits, and keeps the order of equals', (bits) => {
    const random = new Random(1)
    const sort = new RankSort()

    for (const count of [0, 1, 2, 1000, 17]) {
      const ranks = Array.from({ length: count }, () => random.below(3) * random.below(2 ** bits))
      const inRank = ranks
        .map((rank, place): [number, number] => [rank % 2 ** bits, place])
        .sort(([a], [b]) => a - b)

      expect(
        sorted(
          sort,
          ranks.map((rank) => rank % 2 ** bits),
          bits,
        ),
      ).toEqual(inRank)
    }
  })

  it('keeps higher bits, which are equal in all ranks', () => {
    const high = 0xab0000

    expect(sorted(new RankSort(), [high + 500, high + 3, high + 255, high + 256], 16)).toEqual([
      [high + 3, 1],
      [high + 255, 2],
      [high + 256, 3],
      [high + 500, 0],
    ])
  })
})
