/** The pressure on writers: its size, and how much it slows them. */

import { setImmediate } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import type { Pressure } from '../../src/index.ts'
import type { PlannedSegment } from '../../src/merge/plan.ts'
import { pressureOf } from '../../src/merge/pressure.ts'
import type { BackgroundWork } from '../../src/merge/thread.ts'
import { type MergeOptions, resolveOptions } from '../../src/options.ts'
import { Store } from '../../src/store/store.ts'
import { FakeLoop } from '../support/event-loop.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { copyingBy, inProcessWork } from '../support/in-process-work.ts'
import { DISK, KIB } from '../support/store.ts'

const MIB = KIB * KIB

/**
 * Makes `count` full segments of 1 MiB, each with this share of it dead, and one that is being
 * written.
 */
function segments(count: number, deadRatio: number): PlannedSegment[] {
  return Array.from({ length: count + 1 }, (_, index) => ({
    id: index + 1,
    size: index === count ? 44 : MIB,
    putCount: 100,
    deadPutCount: index === count ? 0 : Math.floor(100 * deadRatio),
    deadBytes: index === count ? 0 : MIB * deadRatio,
    tombstoneBytes: 0,
    minSequence: index * 100 + 1,
    maxSequence: index * 100 + 100,
    lastExpiryMs: 0,
    sealed: index < count,
    leftOut: false,
  }))
}

const policyOf = (merge: MergeOptions = {}) => resolveOptions({ merge, maxSegmentBytes: MIB }).merge

describe('the pressure on writers', () => {
  it('begins below the target, grows in proportion up to it, and fourfold beyond it', () => {
    // Nothing is live: the target is 4 segments.
    const delays = [1, 2, 3, 4, 5, 100].map(
      (count) => pressureOf(segments(count, 1), policyOf(), MIB, undefined, 0).delayMsPerMib,
    )

    expect(delays.map((delay) => Number(delay.toFixed(1)))).toEqual([0, 0, 7.5, 15, 30, 250])
    // 10 segments are live: the target is 34.
    const large = [25, 30, 34, 40].map(
      (count) =>
        pressureOf(segments(count, 1 - 10 / count), policyOf(), MIB, undefined, 0).delayMsPerMib,
    )
    expect(large.map((delay) => Math.round(delay))).toEqual([0, 8, 15, 40])
  })

  it('reports whether writers are slowed, and whether the target is missed', () => {
    const states = [2, 3, 5].map(
      (count) => pressureOf(segments(count, 1), policyOf(), MIB, undefined, 0).state,
    )

    expect(states).toEqual(['none', 'slowed', 'missed'])
  })

  it('allows three times the live bytes, and 4 segments', () => {
    const few = pressureOf(segments(30, 0.5), policyOf(), MIB, undefined, 0)
    const many = pressureOf(segments(30, 0.9), policyOf(), MIB, undefined, 0)

    expect(few).toMatchObject({ state: 'none', delayMsPerMib: 0 })
    expect(Math.round(few.targetBytes / MIB)).toBe(3 * 15 + 4)
    expect(many).toMatchObject({ state: 'missed', delayMsPerMib: 250 })
    expect(Math.round(many.reclaimableBytes / MIB)).toBe(27)
  })

  it.each(['off', 'window', 'failure', 'rate limit'] as const)(
    'slows nobody if no merge may run: %s',
    (hindrance) => {
      const pressure = pressureOf(segments(100, 1), policyOf(), MIB, hindrance, 0)

      expect(pressure).toMatchObject({ state: 'missed', delayMsPerMib: 0, hindrance })
    },
  )

  it('slows nobody for bytes that the policy does not merge', () => {
    const high = policyOf({ triggerDeadRatio: 1, maxSpaceAmplification: 1 })
    expect(pressureOf(segments(100, 0.9), high, MIB, undefined, 0).delayMsPerMib).toBe(0)
    const tombstones = segments(100, 0).map((segment) => ({
      ...segment,
      deadPutCount: 1,
      tombstoneBytes: segment.size - 44,
    }))
    // Each is needed while a segment has an older dead put.
    const blocked = pressureOf(
      tombstones.map((segment, index) => ({ ...segment, sealed: index > 0 && segment.sealed })),
      policyOf(),
      MIB,
      undefined,
      0,
    )
    expect(blocked).toMatchObject({ state: 'missed', reclaimableBytes: 0, delayMsPerMib: 0 })
  })

  it('never lowers the target below what merges leave dead', () => {
    expect(policyOf({ triggerDeadRatio: 0.8, maxSpaceAmplification: 2 })).toMatchObject({
      maxSpaceAmplification: expect.closeTo(5),
    })
    expect(policyOf({ triggerDeadRatio: 1 }).maxSpaceAmplification).toBe(Number.POSITIVE_INFINITY)
    // A new store has no live bytes, and nobody is slowed there either.
    const nobody = policyOf({ maxSpaceAmplification: Number.POSITIVE_INFINITY })
    expect(pressureOf([], nobody, 64 * KIB, undefined, 0)).toMatchObject({
      state: 'none',
      targetBytes: Number.POSITIVE_INFINITY,
      delayMsPerMib: 0,
    })
    expect(policyOf().maxSpaceAmplification).toBe(3)
    for (const wrong of [0.5, Number.NaN]) {
      expect(() => policyOf({ maxSpaceAmplification: wrong })).toThrow(RangeError)
    }
  })
})

describe('a writer that outruns the merges', () => {
  /** Overwrites four keys. Returns how long writes were held in all, in the loop's milliseconds. */
  async function overwrite(
    merge: MergeOptions,
    backgroundWork: (files: FaultyFiles) => BackgroundWork,
  ): Promise<{ heldMs: number; pressures: Pressure[]; written: number }> {
    const files = new FaultyFiles(1)
    const loop = new FakeLoop()
    const store = await Store.open<string>(
      DISK,
      { valueEncoding: 'utf8', lock: false, mapping: false, maxSegmentBytes: 64 * KIB, merge },
      { files, backgroundWork: backgroundWork(files), loop },
    )
    const pressures: Pressure[] = []
    store.on('pressure', (pressure) => pressures.push(pressure))
    let heldMs = 0
    let written = 0
    for (let round = 0; round < 60; round++) {
      let settled = false
      // A merge has to copy what stays live.
      const live = store.put(`live ${round}`, 'x'.repeat(KIB))
      const put = store.put(`key ${round % 4}`, `${round} `.padEnd(40 * KIB, '-')).then(() => {
        settled = true
        written++
      })
      for (let step = 0; step < 20 && !settled; step++) await Promise.resolve()
      while (!settled) {
        loop.pass(0.25)
        heldMs += 0.25
        for (let step = 0; step < 20 && !settled; step++) await Promise.resolve()
      }
      await Promise.all([live, put])
      for (let turn = 0; turn < 10; turn++) await setImmediate()
      loop.turn()
    }
    loop.letGo()
    await store.close()
    return { heldMs, pressures, written }
  }

  /** Makes copies that do not end before the store is closed. */
  const endless = (files: FaultyFiles): BackgroundWork => ({
    ...inProcessWork(files),
    copy: (_job, _onProgress, signal) =>
      copyingBy(
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason))
        }),
      ),
  })

  it('is slowed more the further it gets, up to 250 ms a mebibyte, and never refused', async () => {
    const { heldMs, pressures, written } = await overwrite({}, endless)

    const mib = (60 * 42) / 1024
    expect(written).toBe(60)
    expect(heldMs).toBeGreaterThan(0.5 * 250 * mib)
    expect(heldMs).toBeLessThanOrEqual(250 * mib + 2)
    expect(pressures.at(-1)).toMatchObject({ state: 'missed', hindrance: undefined })
  })

  it.each<[string, MergeOptions]>([
    ['is off', { automatic: false }],
    ['is limited', { maxBytesPerSecond: 1 }],
    ['may take any space', { maxSpaceAmplification: Number.POSITIVE_INFINITY }],
  ])('is not slowed if merging %s', async (_, merge) => {
    const { heldMs, written } = await overwrite(merge, endless)

    expect({ heldMs, written }).toEqual({ heldMs: 0, written: 60 })
  })

  it('is not slowed for good if merges fail', async () => {
    const failing = (files: FaultyFiles): BackgroundWork => ({
      ...inProcessWork(files),
      copy: () => copyingBy(Promise.reject(new Error('of the backgroundWork'))),
    })

    const { heldMs, pressures } = await overwrite({}, failing)

    expect(heldMs).toBeLessThan(20)
    expect(pressures.at(-1)).toMatchObject({ state: 'missed', hindrance: 'failure' })
  })
})
