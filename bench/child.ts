/** Runs each bench in its own process, so that none inherits another's heap or compiled code. */

import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Settings } from './bench.ts'
import { BENCHES } from './benches.ts'
import type { Report } from './report.ts'

/** Runs a bench in a new process. */
export async function runApart(name: string, settings: Settings): Promise<Report> {
  const child = fork(fileURLToPath(import.meta.url), [name, JSON.stringify(settings)], {
    execArgv: ['--expose-gc'],
    serialization: 'advanced',
  })
  let report: Report | undefined
  child.on('message', (message) => {
    report = message as Report
  })
  const code = await new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', resolve)
  })
  if (report === undefined) throw new Error(`The bench ${name} ended with status ${code}`)
  return report
}

if (process.send !== undefined && process.argv[1] === fileURLToPath(import.meta.url)) {
  const [name, settings] = process.argv.slice(2)
  const bench = BENCHES.find((each) => each.name === name)
  if (bench === undefined || settings === undefined) throw new Error(`There is no bench ${name}`)
  const report = await bench.run(JSON.parse(settings) as Settings)
  process.send(report, () => process.disconnect())
}
