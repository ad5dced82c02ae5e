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

  it('leaves syncs to threads for a second where they take long', () => {
    const sync = new QuickSync()

    sync.took(10, 5000)

    expect(sync.isWorthIt(1, 5999)).toBe(false)
    expect(sync.isWorthIt(1, 6000)).toBe(true)
  })

  it('goes on where they take long now and then', () => {
    const sync = new QuickSync()
    const isWorthIt: boolean[] = []

    for (let count = 0; count < 100; count++) {
      sync.took(count % 10 === 0 ? 5 : 0.1, 0)
      isWorthIt.push(sync.isWorthIt(1, 0))
    }

    expect(isWorthIt).not.toContain(false)
  })

  it('waits twice as long each time, for a minute at most, until they are quick for a while', () => {
    const sync = new QuickSync()
    const waits: number[] = []
    for (let count = 0; count < 8; count++) {
      sync.took(10, 0)
      let wait = 0
      while (!sync.isWorthIt(1, wait)) wait += 1000
      waits.push(wait / 1000)
    }

    for (let count = 0; count < 20; count++) sync.took(0.1, 0)
    sync.took(20, 0)

    expect(waits).toEqual([1, 2, 4, 8, 16, 32, 60, 60])
    expect([sync.isWorthIt(1, 999), sync.isWorthIt(1, 1000)]).toEqual([false, true])
  })
})
