import { describe, expect, it } from 'vitest'
import { QuickSync } from '../../src/io/quick-sync.ts'

const KIB = 1024

describe('QuickSync', () => {
  it('syncs little on the spot, and much by a thread', () => {
    const sync = new QuickSync()

    expect(sync.isWorthIt(256 * KIB, 0)).toBe(true)
    expect(sync.isWorthIt(256 * KIB + 1, 0)).toBe(false)
    expect(sync.isWorthIt(Number.POSITIVE_INFINITY, 0)).toBe(false)
  })

  it('leaves syncs to threads for a second after one that was slow', () => {
    const sync = new QuickSync()

    sync.took(2.1, 5000)

    expect(sync.isWorthIt(1, 5999)).toBe(false)
    expect(sync.isWorthIt(1, 6000)).toBe(true)
  })

  it('waits twice as long after each slow one, for a minute at most, until one is quick', () => {
    const sync = new QuickSync()
    const waits: number[] = []
    for (let count = 0; count < 8; count++) {
      sync.took(10, 0)
      let wait = 0
      while (!sync.isWorthIt(1, wait)) wait += 1000
      waits.push(wait / 1000)
    }

    sync.took(0.1, 0)
    sync.took(10, 0)

    expect(waits).toEqual([1, 2, 4, 8, 16, 32, 60, 60])
    expect([sync.isWorthIt(1, 999), sync.isWorthIt(1, 1000)]).toEqual([false, true])
  })
})
