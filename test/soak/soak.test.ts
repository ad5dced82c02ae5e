/** The soak's verdicts and figures, and a short run of each workload. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { withDirectory } from '../support/directory.ts'
import { Random } from '../support/random.ts'
import { Delays, Meter, type Sample } from './meter.ts'
import { soak } from './soak.ts'
import { judge } from './verdict.ts'
import { type Load, MIB } from './workload.ts'
import { WORKLOADS } from './workloads.ts'

const child = join(import.meta.dirname, '../../dist/test/soak/child.js')
const WORKLOAD = { mostAmplification: 2, sparedBytes: MIB }
const COUNT = 30

/** Makes samples of a store that neither grows nor stalls, with some figures changed. */
function samples(changed: (index: number) => Partial<Sample>): Sample[] {
  return Array.from({ length: COUNT }, (_, index) => ({
    atMs: index * 1000,
    memoryBytes: 100 * MIB,
    heapBytes: 10 * MIB,
    descriptors: 20,
    maps: 10,
    files: 10,
    diskBytes: 150 * MIB,
    liveBytes: 100 * MIB,
    operations: index * 100,
    figures: { keys: 5000 },
    delayMs: 1,
    mostDelayMs: 1,
    waitedMs: 0,
    ...changed(index),
  }))
}

function failures(changed: (index: number) => Partial<Sample>, delayMs = 1, mostDelayMs = 1) {
  const verdicts = judge(WORKLOAD, { samples: samples(changed), delayMs, mostDelayMs })
  return verdicts.filter(({ holds }) => !holds).map(({ what }) => what)
}

describe('the verdict of a soak', () => {
  it('is good if nothing grows or stalls, whatever the warm-up was like', () => {
    expect(failures(() => ({}))).toEqual([])
    expect(
      failures((index) => (index < 10 ? { memoryBytes: index * MIB, diskBytes: 900 * MIB } : {})),
    ).toEqual([])
  })

  it.each<[string, (index: number) => Partial<Sample>]>([
    ['memory', (index) => ({ memoryBytes: (100 + index * 12) * MIB })],
    ['heap', (index) => ({ heapBytes: (10 + index * 4) * MIB })],
    ['descriptors', (index) => ({ descriptors: 20 + index * 3 })],
    ['maps', (index) => ({ maps: 10 + index * 4 })],
    ['files', (index) => ({ files: 10 + index * 4 })],
    ['keys', (index) => ({ figures: { keys: 5000 + index * 500 } })],
    ['disk', (index) => ({ diskBytes: index === 15 ? 202 * MIB : 150 * MIB })],
    ['progress', (index) => ({ operations: Math.min(index, 20) })],
  ])('fails if %s exceeds its limit', (what, changed) => {
    expect(failures(changed)).toEqual([what])
  })

  it('fails if the event loop is often late, or very late once', () => {
    expect(failures(() => ({}), 15.1, 20)).toEqual(['loop delay, 99.9 %'])
    expect(failures(() => ({}), 1, 50.1)).toEqual(['loop delay, most'])
  })
})

describe('delays', () => {
  it('have percentiles', () => {
    const delays = new Delays()
    for (let count = 0; count < 998; count++) delays.add(1.1)
    delays.add(20)
    delays.add(5000)

    expect(delays.percentile(0.99)).toBe(1.25)
    expect(delays.percentile(0.999)).toBe(20.25)
    expect(delays.percentile(1)).toBeGreaterThan(1000)
    expect(delays.mostMs).toBe(5000)
  })

  it('are the time for which the process itself holds the loop', async () => {
    await withDirectory(async (directory) => {
      const load: Load = {
        directory,
        random: new Random(1),
        isOver: () => false,
        isHeldUp: false,
        liveBytes: 0,
        operations: 0,
        figures: {},
      }
      const meter = new Meter(load)
      await setTimeout(30)
      meter.sample()

      const endsAt = process.cpuUsage().user + 100_000
      while (process.cpuUsage().user < endsAt);
      await setTimeout(30)
      const { mostDelayMs } = meter.sample()
      meter.stop()

      expect(mostDelayMs).toBeGreaterThan(50)
    })
  })
})

describe('every workload', () => {
  it.each(WORKLOADS.map((workload) => [workload.name, workload] as const))(
    'gets correct values, and makes progress: %s',
    async (_, workload) => {
      const root = mkdtempSync(join(tmpdir(), 'firkin-soak-test-'))
      const options = { root, seconds: 2, secondsPerLook: 0.4, seed: 1, child, looked() {} }
      const verdicts = await soak(workload, options)
      rmSync(root, { recursive: true })

      // Two seconds on a shared machine show nothing about growth and stalls.
      expect(verdicts.filter(({ what, holds }) => what === 'answers' && !holds)).toEqual([])
      expect(verdicts.length).toBeGreaterThan(5)
    },
    60_000,
  )
})
