import { describe, expect, it } from 'vitest'
import { LatencyBudget } from '../../src/io/latency-budget.ts'

const LIMIT_MS = 1

describe('a latency budget', () => {
  it('lasts until a call takes long, and returns after a second', () => {
    const latency = new LatencyBudget(LIMIT_MS)
    expect(latency.lasts(0)).toBe(true)

    latency.took(10, 5000)

    expect(latency.lasts(5999)).toBe(false)
    expect(latency.lasts(6000)).toBe(true)
  })

  it('lasts if calls take long now and then', () => {
    const latency = new LatencyBudget(LIMIT_MS)
    const lasts: boolean[] = []

    for (let count = 0; count < 100; count++) {
      latency.took(count % 10 === 0 ? 5 : 0.1, 0)
      lasts.push(latency.lasts(0))
    }

    expect(lasts).not.toContain(false)
  })

  it('returns after twice as long each time, up to a minute, until calls are quick for a while', () => {
    const latency = new LatencyBudget(LIMIT_MS)
    const waits: number[] = []
    for (let count = 0; count < 8; count++) {
      latency.took(10, 0)
      let wait = 0
      while (!latency.lasts(wait)) wait += 1000
      waits.push(wait / 1000)
    }

    for (let count = 0; count < 20; count++) latency.took(0.1, 0)
    latency.took(20, 0)

    expect(waits).toEqual([1, 2, 4, 8, 16, 32, 60, 60])
    expect([latency.lasts(999), latency.lasts(1000)]).toEqual([false, true])
  })
})
