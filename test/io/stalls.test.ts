import { describe, expect, it } from 'vitest'
import { Stalls } from '../../src/io/stalls.ts'

describe('stalls', () => {
  it('are likely for a second after one', () => {
    const stalls = new Stalls(4)
    stalls.took(3.9, 1000)
    expect([stalls.haveBeen, stalls.areLikely(1000)]).toEqual([false, false])

    stalls.took(4, 1000)

    expect([1000, 1999, 2000].map((nowMs) => stalls.areLikely(nowMs))).toEqual([true, true, false])
    expect(stalls.haveBeen).toBe(true)
  })

  it('are likely for twice as long if the next one comes soon, up to 32 seconds', () => {
    const stalls = new Stalls(4)
    const likelyFor = (nowMs: number): number => {
      let ms = 0
      while (stalls.areLikely(nowMs + ms)) ms += 50
      return ms
    }

    const durations = Array.from({ length: 8 }, (_, index) => {
      stalls.took(50, index * 100)
      return likelyFor(index * 100)
    })

    expect(durations).toEqual([1000, 2000, 4000, 8000, 16_000, 32_000, 32_000, 32_000])
  })

  it('begin again with a second after a while without any', () => {
    const stalls = new Stalls(4)
    stalls.took(50, 0)
    stalls.took(50, 100)

    // The pause was two seconds, and four of them make a while.
    expect(stalls.areLikely(2100 + 8000)).toBe(false)
    expect(stalls.haveBeen).toBe(false)
    stalls.took(50, 11_000)

    expect([stalls.areLikely(11_999), stalls.areLikely(12_000)]).toEqual([true, false])
  })
})
