/** Plans of merges: figures of segments in, choices out. */

import { describe, expect, it } from 'vitest'
import {
  type MergePlan,
  type PlannedSegment,
  planAll,
  planAutomatic,
} from '../../src/merge/plan.ts'
import { type MergeOptions, resolveOptions } from '../../src/options.ts'

const NOW_MS = 1_000_000
const MIB = 1024 * 1024

/**
 * Makes a sealed segment of 100 puts and 1 MiB, none of it dead. Its sequences follow from its id.
 */
function segment(id: number, differing: Partial<PlannedSegment> = {}): PlannedSegment {
  return {
    id,
    size: MIB,
    putCount: 100,
    deadPutCount: 0,
    deadBytes: 0,
    tombstoneBytes: 0,
    minSequence: id * 1000,
    maxSequence: id * 1000 + 999,
    lastExpiryMs: 0,
    sealed: true,
    leftOut: false,
    ...differing,
  }
}

/** As {@link segment}, with a share of it dead. */
function dead(id: number, share: number, differing: Partial<PlannedSegment> = {}): PlannedSegment {
  const { size = MIB } = differing
  return segment(id, { deadPutCount: 1, deadBytes: size * share, ...differing })
}

function automatic(segments: PlannedSegment[], merge: MergeOptions = {}): MergePlan {
  // With segments of up to 16 MiB, those below 1 MiB are small.
  const policy = resolveOptions({ maxSegmentBytes: 16 * MIB, merge }).merge
  return planAutomatic(segments, policy, NOW_MS)
}

/** Returns the chosen segments with the reasons, as text. */
function inputs(plan: MergePlan): string[] {
  return plan.inputs.map(({ id, reason }) => `${id} ${reason}`)
}

describe('an automatic plan', () => {
  it('is empty if nothing is dead', () => {
    const plan = automatic([segment(1), segment(2), segment(3, { sealed: false })])

    expect(plan).toMatchObject({ inputs: [], unread: [] })
  })

  it('chooses a segment once the share triggerDeadRatio of it is dead', () => {
    expect(inputs(automatic([dead(1, 0.49), segment(2)]))).toEqual([])
    expect(inputs(automatic([dead(1, 0.5), segment(2)]))).toEqual(['1 dead ratio'])
    const merge = { triggerDeadRatio: 0.9, thresholdDeadRatio: 0.9 }
    expect(inputs(automatic([dead(1, 0.89)], merge))).toEqual([])
    expect(inputs(automatic([dead(1, 0.9)], merge))).toEqual(['1 dead ratio'])
  })

  it('is made once triggerDeadBytes are dead in all, whatever their share', () => {
    const segments = [dead(1, 0.3), dead(2, 0.3), dead(3, 0.1)]

    expect(inputs(automatic(segments))).toEqual([])
    expect(inputs(automatic(segments, { triggerDeadBytes: MIB }))).toEqual([])
    expect(inputs(automatic(segments, { triggerDeadBytes: Math.floor(0.7 * MIB) }))).toEqual([
      '1 dead bytes',
      '2 rides along',
    ])
  })

  it('adds segments that are dead beyond the thresholds, once one is chosen', () => {
    const segments = [dead(1, 0.5), dead(2, 0.25), dead(3, 0.24), dead(4, 0.2, { size: 8 * MIB })]

    expect(inputs(automatic(segments))).toEqual(['1 dead ratio', '2 rides along'])
    expect(inputs(automatic(segments, { thresholdDeadRatio: 0.24 }))).toEqual([
      '1 dead ratio',
      '2 rides along',
      '3 rides along',
    ])
    expect(inputs(automatic(segments, { thresholdDeadBytes: MIB }))).toEqual([
      '1 dead ratio',
      '2 rides along',
      '4 rides along',
    ])
  })

  it('folds eight small segments together, and fewer only along with another segment', () => {
    const small = (count: number) =>
      Array.from({ length: count }, (_, index) => segment(index + 1, { size: MIB - 1 }))

    expect(inputs(automatic(small(7)))).toEqual([])
    expect(inputs(automatic(small(8)))).toEqual(small(8).map(({ id }) => `${id} small`))
    expect(inputs(automatic(small(8), { smallSegmentBytes: MIB - 1 }))).toEqual([])
    expect(inputs(automatic([...small(2), dead(9, 0.5)]))).toEqual([
      '1 small',
      '2 small',
      '9 dead ratio',
    ])
  })

  it('does not rewrite a single small segment, since that stays small', () => {
    const small = Array.from({ length: 9 }, (_, index) => segment(index + 1, { size: 1000 }))

    expect(inputs(automatic(small, { maxInputBytes: 1000 }))).toEqual([])
    expect(inputs(automatic(small, { maxInputBytes: 2000 }))).toEqual(['1 small', '2 small'])
  })

  it('never chooses the active segment', () => {
    const active = { sealed: false, lastExpiryMs: NOW_MS }

    expect(inputs(automatic([dead(1, 1, active)]))).toEqual([])
    expect(automatic([dead(1, 1, active)]).unread).toEqual([])
  })

  it('reads at most maxInputBytes, largest dead share first, but at least one segment', () => {
    const segments = [dead(1, 0.6), dead(2, 0.9), dead(3, 0.7), dead(4, 0.8)]

    expect(inputs(automatic(segments, { maxInputBytes: 2 * MIB }))).toEqual([
      '2 dead ratio',
      '4 dead ratio',
    ])
    expect(inputs(automatic(segments, { maxInputBytes: 0 }))).toEqual(['2 dead ratio'])
  })

  it('skips a segment that is too large for the cap, and takes those that still fit', () => {
    const segments = [dead(1, 0.9), dead(2, 0.8, { size: 4 * MIB }), dead(3, 0.7)]

    expect(inputs(automatic(segments, { maxInputBytes: 2 * MIB }))).toEqual([
      '1 dead ratio',
      '3 dead ratio',
    ])
  })

  it('lists the segments in the order of their sequences', () => {
    const merged = dead(9, 0.5, { minSequence: 1, maxSequence: 500 })

    expect(inputs(automatic([dead(1, 0.9), dead(2, 0.5), merged]))).toEqual([
      '9 dead ratio',
      '1 dead ratio',
      '2 dead ratio',
    ])
  })

  it('reports for each segment what it gives back', () => {
    const plan = automatic([dead(1, 0.5, { tombstoneBytes: 100 }), dead(2, 0.25)])

    expect(plan.inputs).toEqual([
      { id: 1, reason: 'dead ratio', bytes: MIB, bytesGained: MIB / 2 + 100 },
      { id: 2, reason: 'rides along', bytes: MIB, bytesGained: MIB / 4 },
    ])
  })
})

describe('a plan for segments that have expired', () => {
  const expired = { lastExpiryMs: NOW_MS, deadPutCount: 0 }

  it('deletes them unread once their last put has expired', () => {
    const segments = [segment(1, expired), segment(2, { lastExpiryMs: NOW_MS + 1 }), segment(3)]

    const plan = automatic(segments)

    expect(plan.inputs).toEqual([])
    expect(plan.unread).toEqual([{ id: 1, reason: 'expired', bytes: MIB, bytesGained: MIB }])
    expect(planAll(segments, NOW_MS).unread).toEqual(plan.unread)
  })

  it('does not count an empty segment as expired', () => {
    const empty = segment(1, { putCount: 0, minSequence: 0, maxSequence: 0 })

    expect(automatic([empty]).unread).toEqual([])
  })

  it('reads them if they may hide an older dead put elsewhere', () => {
    const blocker = dead(1, 0.1)

    expect(automatic([blocker, segment(2, expired)]).unread).toEqual([])
    expect(automatic([dead(3, 0.1), segment(2, expired)]).unread).toHaveLength(1)
  })

  it('deletes two that block each other together, and neither if a third blocks one', () => {
    const first = segment(2, { ...expired, deadPutCount: 5 })
    const second = segment(3, { ...expired, deadPutCount: 5 })

    expect(automatic([first, second]).unread.map(({ id }) => id)).toEqual([2, 3])
    expect(automatic([dead(1, 0.1), first, second]).unread).toEqual([])
  })

  it('rewrites them in a merge of all if they cannot be deleted unread', () => {
    const segments = [dead(1, 0.1, { sealed: false }), segment(2, expired)]

    expect(inputs(planAll(segments, NOW_MS))).toEqual(['2 asked'])
  })
})

describe('a plan for segments without a live put', () => {
  const allDead = { deadPutCount: 100, deadBytes: MIB }

  it('deletes them unread if they hide nothing that stays', () => {
    const segments = [segment(1, allDead), dead(3, 0.1), segment(4)]
    const unread = [{ id: 1, reason: 'all dead', bytes: MIB, bytesGained: MIB }]

    expect(automatic(segments)).toMatchObject({ inputs: [], unread })
    expect(planAll(segments, NOW_MS).unread).toEqual(unread)
  })

  it('deletes a segment of tombstones unread if none is needed', () => {
    const tombstones = segment(2, { putCount: 0, tombstoneBytes: 1000 })

    expect(automatic([segment(1), tombstones]).unread.map(({ id }) => id)).toEqual([2])
    expect(automatic([dead(1, 0.1), tombstones]).unread).toEqual([])
  })

  it('reads them if they may hide records of an older segment', () => {
    const plan = automatic([dead(1, 0.1), segment(2, allDead)])

    expect([inputs(plan), plan.unread]).toEqual([['2 dead ratio'], []])
  })
})

describe('a plan for segments that cannot be read whole', () => {
  it('leaves them out, and lists them', () => {
    const segments = [dead(1, 0.9, { leftOut: true }), dead(2, 0.9), segment(3)]

    for (const plan of [automatic(segments), planAll(segments, NOW_MS)]) {
      expect([plan.inputs.map(({ id }) => id), plan.leftOut]).toEqual([[2], [1]])
    }
  })

  it('keeps the tombstones and segments that hide their records', () => {
    const left = dead(1, 0.9, { leftOut: true })
    const tombstones = segment(3, { putCount: 0, tombstoneBytes: 0.9 * MIB })

    for (const plan of [automatic([left, dead(2, 0.9)]), planAll([left, dead(2, 0.9)], NOW_MS)]) {
      expect(plan.dropBelow).toBe(1000)
    }
    expect(automatic([left, tombstones])).toMatchObject({ inputs: [], unread: [] })
    expect(planAll([left, tombstones], NOW_MS).unread).toEqual([])
  })

  it('deletes them unread once none of their puts is live', () => {
    const left = segment(1, { deadPutCount: 100, deadBytes: MIB, leftOut: true })

    for (const plan of [automatic([left, segment(2)]), planAll([left, segment(2)], NOW_MS)]) {
      expect([plan.unread.map(({ id }) => id), plan.leftOut]).toEqual([[1], []])
    }
  })
})

describe('a plan for tombstones', () => {
  it('drops those that hide nothing in a segment outside the merge', () => {
    expect(automatic([dead(1, 0.5), segment(2)]).dropBelow).toBe(Number.POSITIVE_INFINITY)
    // Segment 2 has dead puts from sequence 2000 on, which newer tombstones may hide.
    expect(automatic([dead(1, 0.5), dead(2, 0.1)]).dropBelow).toBe(2000)
    expect(automatic([dead(1, 0.5), dead(2, 0.1, { sealed: false })]).dropBelow).toBe(2000)
  })

  it('counts only those that are dropped as gained', () => {
    const merged = dead(3, 0.5, { tombstoneBytes: 1000 })

    const [free] = automatic([merged]).inputs
    const [blocked] = automatic([dead(1, 0.1), merged]).inputs

    expect(free?.bytesGained).toBe(MIB / 2 + 1000)
    expect(blocked?.bytesGained).toBe(MIB / 2)
  })

  it('merges segments of tombstones with the segments that block them', () => {
    const heavy = segment(3, { putCount: 0, tombstoneBytes: 0.5 * MIB })

    expect(inputs(automatic([dead(1, 0.2), segment(2), heavy]))).toEqual([
      '1 blocks tombstones',
      '3 blocks tombstones',
    ])
  })

  it('leaves them if that gains too little, reads too much, or the active segment blocks', () => {
    const heavy = segment(3, { putCount: 0, tombstoneBytes: 0.6 * MIB })

    expect(inputs(automatic([dead(1, 0.01, { size: 16 * MIB }), heavy]))).toEqual([])
    expect(inputs(automatic([dead(1, 0.2), heavy], { maxInputBytes: 2 * MIB - 1 }))).toEqual([])
    expect(inputs(automatic([dead(1, 0.2, { sealed: false }), heavy]))).toEqual([])
  })
})

describe('a plan for all segments', () => {
  it('does not rewrite a segment for tombstones that are still needed', () => {
    const tombstones = segment(2, { tombstoneBytes: 1000 })

    expect(inputs(planAll([dead(1, 0.1, { leftOut: true }), tombstones], NOW_MS))).toEqual([])
    expect(inputs(planAll([dead(1, 0.1), tombstones], NOW_MS))).toEqual(['1 asked', '2 asked'])
  })

  it('chooses every sealed segment that has anything to give back, and no other', () => {
    const segments = [
      dead(1, 0.001),
      segment(2),
      segment(3, { tombstoneBytes: 19 }),
      dead(4, 0.9, { sealed: false }),
    ]

    expect(inputs(planAll(segments, NOW_MS))).toEqual(['1 asked', '3 asked'])
  })
})
