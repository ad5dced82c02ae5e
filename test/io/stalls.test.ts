import { describe, expect, it } from 'vitest'
import { Stalls } from '../../src/io/stalls.ts'

describe('Stalls', () => {
  it('are likely for a quarter of a second after one', () => {
    const stalls = new Stalls(4)
    stalls.took(3.9, 1000)
    expect([stalls.haveBeen, stalls.areLikely(1000)]).toEqual([false, false])

    stalls.took(4, 1000)

    expect([1000, 1249, 1250].map((nowMs) => stalls.areLikely(nowMs))).toEqual([true, true, false])
    expect(stalls.haveBeen).toBe(true)
  })

  it('are likely for twice as long where the next one comes soon, for 8 seconds at most', () => {
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

    expect(durations).toEqual([250, 500, 1000, 2000, 4000, 8000, 8000, 8000])
  })

  it('begin again with a quarter of a second once there was none for a while', () => {
    const stalls = new Stalls(4)
    stalls.took(50, 0)
    stalls.took(50, 100)

    // The pause was half a second, and four more make it a while.
    expect(stalls.areLikely(600 + 2000)).toBe(false)
    expect(stalls.haveBeen).toBe(false)
    stalls.took(50, 3000)

    expect([stalls.areLikely(3249), stalls.areLikely(3250)]).toEqual([true, false])
  })
})
