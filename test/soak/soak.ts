/** Runs a workload, and judges it. */

import { fork } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Sample } from './meter.ts'
import type { Report } from './report.ts'
import { judge, type Verdict } from './verdict.ts'
import type { Workload } from './workload.ts'

/** The options of a run of one workload. */
export interface SoakOptions {
  /** The directory in which the run makes its own. */
  readonly root: string
  readonly seconds: number
  readonly secondsPerLook: number
  readonly seed: number
  /** The built `child.js`. */
  readonly child: string
  /** Called with each look. */
  looked(sample: Sample): void
}

/** Runs a workload in its own process, and judges its figures. */
export async function soak(workload: Workload, options: SoakOptions): Promise<Verdict[]> {
  const { root, seconds, secondsPerLook, seed, child, looked } = options
  const directory = mkdtempSync(join(root, `${workload.name}-`))
  const samples: Sample[] = []
  let delays: { delayMs: number; mostDelayMs: number } | undefined
  try {
    const process = fork(
      child,
      [workload.name, directory, seconds, secondsPerLook, seed].map(String),
    )
    process.on('message', (report: Report) => {
      if (report.kind === 'end') delays = report
      else {
        samples.push(report.sample)
        looked(report.sample)
      }
    })
    const code = await new Promise((resolve) => process.once('close', resolve))
    if (code !== 0 || delays === undefined) {
      return [{ what: 'answers', holds: false, why: `its process ended with ${code}; see above` }]
    }
    return judge(workload, { samples, ...delays })
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}
