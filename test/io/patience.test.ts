import { describe, expect, it } from 'vitest'
import { Patience } from '../../src/io/patience.ts'

const LIMIT_MS = 1

describe('Patience', () => {
  it('lasts until something takes long, and returns after a second', () => {
    const patience = new Patience(LIMIT_MS)
    expect(patience.lasts(0)).toBe(true)

    patience.took(10, 5000)

    expect(patience.lasts(5999)).toBe(false)
    expect(patience.lasts(6000)).toBe(true)
  })

  it('lasts where it takes long now and then', () => {
    const patience = new Patience(LIMIT_MS)
    const lasts: boolean[] = []

    for (let count = 0; count < 100; count++) {
      patience.took(count % 10 === 0 ? 5 : 0.1, 0)
      lasts.push(patience.lasts(0))
    }

    expect(lasts).not.toContain(false)
  })

  it('returns after twice as long each time, a minute at most, until it takes little for a while', () => {
    const patience = new Patience(LIMIT_MS)
    const waits: number[] = []
    for (let count = 0; count < 8; count++) {
      patience.took(10, 0)
      let wait = 0
      while (!patience.lasts(wait)) wait += 1000
      waits.push(wait / 1000)
    }

    for (let count = 0; count < 20; count++) patience.took(0.1, 0)
    patience.took(20, 0)

    expect(waits).toEqual([1, 2, 4, 8, 16, 32, 60, 60])
    expect([patience.lasts(999), patience.lasts(1000)]).toEqual([false, true])
  })
})
