/** Measures the disk space and the writes of a long run of overwrites. */

import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { open } from '../../src/index.ts'
import type { Bench, Settings } from '../bench.ts'
import { type Measure, measure, median, type Report } from '../report.ts'
import { FIRKIN, withDirectory } from '../stores.ts'
import { keyAt, type Random, random, Values, zipfian } from '../workload.ts'

/** The average number of overwrites of a key. */
const OVERWRITES = 10
/** The number of looks at the disk while the keys are overwritten once. */
const LOOKS = 10
const WINDOW = 1000

function bytesOnDisk(path: string): number {
  let bytes = 0
  for (const name of readdirSync(path)) {
    // A merge may remove a file between the two calls.
    bytes += statSync(join(path, name), { throwIfNoEntry: false })?.size ?? 0
  }
  return bytes
}

async function measureRun(law: string, choose: Random, settings: Settings): Promise<Measure[]> {
  const { keys } = settings
  return await withDirectory(settings, async (path) => {
    const values = new Values(settings.valueBytes)
    const store = await open(path)
    const space: number[] = []
    const beganAt = performance.now()
    const total = keys * (OVERWRITES + 1)
    const lookEvery = Math.max(WINDOW, Math.floor(keys / LOOKS / WINDOW) * WINDOW)
    let last: Promise<void> | undefined
    for (let count = 0; count < total; count++) {
      const index = count < keys ? count : Math.floor(choose())
      last = store.put(keyAt(index), values.at(count))
      if (count % WINDOW !== WINDOW - 1) continue
      await last
      await setImmediate()
      if (count > keys && (count + 1) % lookEvery === 0) {
        space.push(bytesOnDisk(path) / store.stats().liveBytes)
      }
    }
    const seconds = (performance.now() - beganAt) / 1000
    const { merge, nextSequence, liveBytes } = store.stats()
    const written = (liveBytes / keys) * nextSequence
    const rewritten = merge.bytesRead - merge.bytesGained
    await store.close()
    const { name } = FIRKIN
    return [
      measure(`${law}: bytes on disk per live byte, median`, name, 'ratio', [median(space)]),
      measure(`${law}: bytes on disk per live byte, highest`, name, 'ratio', [Math.max(...space)]),
      measure(`${law}: bytes on disk per live byte, at the end`, name, 'ratio', space.slice(-1)),
      measure(`${law}: bytes written per byte put`, name, 'ratio', [
        (written + rewritten) / written,
      ]),
      measure(`${law}: puts`, name, 'op/s', [total / seconds]),
    ]
  })
}

/** Disk space and writes in a long run of overwrites. */
export const amplification: Bench = {
  name: 'amplification',
  about: `each key overwritten ${OVERWRITES} times on average, merging by itself with default options`,
  async run(settings): Promise<Report> {
    const { keys } = settings
    const next = random(25)
    return {
      measures: [
        ...(await measureRun('uniform', () => next() * keys, settings)),
        ...(await measureRun('zipfian', zipfian(random(26), keys), settings)),
      ],
      targets: [],
    }
  },
}
