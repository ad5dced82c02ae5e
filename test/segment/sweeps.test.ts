/** Sweeps of expired keys. */

import { describe, expect, it } from 'vitest'
import type { SweepMark } from '../../src/format/manifest.ts'
import { MAX_SWEEPS, Sweeps, wholeMs } from '../../src/segment/sweeps.ts'
import { Random } from '../support/random.ts'

const NONE = Sweeps.of([])

function sweptBy(...sweeps: readonly (readonly [number, number])[]): Sweeps {
  return sweeps.reduce((all, [atMs, nextSequence]) => all.with({ atMs, nextSequence }), NONE)
}

describe('the sweeps of a store', () => {
  it('cover nothing if nothing was swept', () => {
    expect(NONE.covers(1, 1)).toBe(false)
    expect(NONE.nextSequence).toBe(1)
  })

  it('cover what expired by their moment and had a lower sequence, and nothing else', () => {
    const sweeps = sweptBy([100, 7])

    expect(sweeps.covers(100, 6)).toBe(true)
    expect(sweeps.covers(101, 6)).toBe(false)
    expect(sweeps.covers(100, 7)).toBe(false)
  })

  it('are one as long as the clock goes forward', () => {
    expect(sweptBy([100, 7], [100, 9], [200, 12]).list).toEqual([{ atMs: 200, nextSequence: 12 }])
  })

  it('are one more each time the clock is put back', () => {
    const sweeps = sweptBy([100, 7], [50, 9])

    expect(sweeps.list).toEqual([
      { atMs: 100, nextSequence: 7 },
      { atMs: 50, nextSequence: 9 },
    ])
    // A record that was put after the clock was put back goes by the clock alone.
    expect(sweeps.covers(60, 8)).toBe(false)
    expect(sweeps.covers(50, 8)).toBe(true)
  })

  it('are the same object if there is nothing to add', () => {
    const sweeps = sweptBy([100, 7], [50, 9])

    expect(sweeps.with({ atMs: 40, nextSequence: 9 })).toBe(sweeps)
    expect(NONE.with({ atMs: 0, nextSequence: 9 })).toBe(NONE)
  })

  it('cover whatever one of them covered, however the clock goes', () => {
    for (let seed = 1; seed <= 50; seed++) {
      const random = new Random(seed)
      const said: SweepMark[] = []
      let sweeps = NONE
      let sequence = 1
      for (let step = 0; step < MAX_SWEEPS; step++) {
        sequence += random.below(4)
        const sweep = { atMs: 1 + random.below(100), nextSequence: sequence }
        said.push(sweep)
        sweeps = Sweeps.of([...sweeps.with(sweep).list])
        expect(sweeps.nextSequence).toBeLessThanOrEqual(sequence)
      }

      for (let expiresAtMs = 1; expiresAtMs <= 101; expiresAtMs += 3) {
        for (let each = 1; each <= sequence; each++) {
          const isGone = said.some((one) => expiresAtMs <= one.atMs && each < one.nextSequence)
          expect(sweeps.covers(expiresAtMs, each), `seed ${seed}`).toBe(isGone)
        }
      }
    }
  })

  it('are bounded, and forget the one about the oldest records first', () => {
    let sweeps = NONE
    for (let step = 0; step <= MAX_SWEEPS; step++) {
      sweeps = sweeps.with({ atMs: 1000 - step, nextSequence: 10 + step })
    }

    expect(sweeps.list).toHaveLength(MAX_SWEEPS)
    expect(sweeps.covers(1000, 1)).toBe(false)
    expect(sweeps.covers(999, 10)).toBe(true)
  })
})

describe('a moment', () => {
  it.each([
    [Number.NaN, 0],
    [-1, 0],
    [1.9, 1],
    [Number.POSITIVE_INFINITY, 2 ** 48 - 1],
  ])('of %d by the clock is %d on disk', (clockMs, expected) => {
    expect(wholeMs(clockMs)).toBe(expected)
  })
})
