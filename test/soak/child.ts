/**
 * The process of one workload, which reports by messages:
 * `child.js NAME DIRECTORY SECONDS SECONDS_PER_LOOK SEED`.
 */

import { setTimeout } from 'node:timers/promises'
import { Random } from '../support/random.ts'
import { Meter } from './meter.ts'
import type { Report } from './report.ts'
import type { Load } from './workload.ts'
import { WORKLOADS } from './workloads.ts'

const [name, directory = '', seconds, secondsPerLook, seed] = process.argv.slice(2)
const workload = WORKLOADS.find((each) => each.name === name)
if (workload === undefined) throw new Error(`There is no workload ${name}`)

const beganAtMs = performance.now()
const endsAtMs = beganAtMs + Number(seconds) * 1000
const load: Load = {
  directory,
  random: new Random(Number(seed)),
  isOver: () => performance.now() >= endsAtMs,
  liveBytes: 0,
  operations: 0,
  isHeldUp: false,
  figures: {},
}
const meter = new Meter(load)
let isDone = false

await Promise.all([
  look(),
  workload.run(load).finally(() => {
    isDone = true
  }),
])
meter.stop()
const { delays } = meter
await tell({ kind: 'end', delayMs: delays.percentile(0.999), mostDelayMs: delays.mostMs })
process.disconnect()

async function look(): Promise<void> {
  while (!isDone && !load.isOver()) {
    await setTimeout(Number(secondsPerLook) * 1000)
    if (isDone || load.isOver()) return
    if (performance.now() - beganAtMs > (Number(seconds) * 1000) / 3) meter.warm()
    await tell({ kind: 'sample', sample: meter.sample() })
  }
}

function tell(report: Report): Promise<void> {
  return new Promise((resolve, reject) => {
    process.send?.(report, undefined, undefined, (error) => (error ? reject(error) : resolve()))
  })
}
