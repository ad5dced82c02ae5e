/**
 * The command `npm run soak`: uses stores for a long time in several ways, one after the other, and
 * fails if anything grows or stalls. The exit status is 1 then. Each verdict states its limit;
 * verdict.ts defines what counts as growth.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command, InvalidArgumentError } from 'commander'
import type { Sample } from './meter.ts'
import { soak } from './soak.ts'
import { MIB, type Workload } from './workload.ts'
import { WORKLOADS } from './workloads.ts'

interface Flags {
  readonly minutes: number
  readonly look?: number
  readonly only?: readonly Workload[]
  readonly seed: number
  readonly directory?: string
}

const LEAST_LOOKS = 30
const MOST_SECONDS_PER_LOOK = 5
const HEADER =
  '   time   memory     heap  fds maps files      disk      live  amp   p99.9     most   others      ops/s'

await new Command('soak')
  .description(
    'Uses stores for a long time, and fails if memory, files or disk grow, or the event loop stalls.',
  )
  .option('--minutes <count>', 'the time, which the workloads share', numeral, 10)
  .option('--only <names>', 'these workloads only, with commas between', workloads)
  .option('--look <seconds>', 'the time between two lines of figures', numeral)
  .option('--seed <number>', 'the seed of everything that is drawn', numeral, 1)
  .option(
    '--directory <path>',
    'the directory of the stores; by default in that for temporary files',
  )
  .addHelpText(
    'after',
    `\nWorkloads:\n${WORKLOADS.map(({ name, about }) => `  ${name.padEnd(16)} ${about}`).join('\n')}`,
  )
  .action(run)
  .parseAsync()

async function run({ minutes, look, only = WORKLOADS, seed, directory }: Flags): Promise<void> {
  const root = directory ?? mkdtempSync(join(tmpdir(), 'firkin-soak-'))
  const seconds = (minutes * 60) / only.length
  const secondsPerLook = look ?? Math.min(seconds / LEAST_LOOKS, MOST_SECONDS_PER_LOOK)
  console.log(`Seed ${seed}, ${only.length} workloads of ${seconds.toFixed(0)} s, in ${root}`)
  const failed: string[] = []
  for (const workload of only) {
    console.log(`\n${workload.name}: ${workload.about}\n${HEADER}`)
    let last: Sample | undefined
    const verdicts = await soak(workload, {
      root,
      seconds,
      secondsPerLook,
      seed,
      child: join(import.meta.dirname, 'child.js'),
      looked: (sample) => {
        console.log(rowOf(sample, last))
        last = sample
      },
    })
    for (const { what, holds, why } of verdicts) {
      console.log(`  ${holds ? 'ok  ' : 'FAIL'} ${what}: ${why}`)
      if (!holds) failed.push(`${workload.name}, ${what}: ${why}`)
    }
  }
  if (directory === undefined) rmSync(root, { recursive: true })
  if (failed.length === 0) console.log('\nNothing grows or stalls')
  else {
    console.error(`\nFailed:\n${failed.map((each) => `  ${each}`).join('\n')}`)
    process.exitCode = 1
  }
}

function rowOf(sample: Sample, last: Sample | undefined): string {
  const { atMs, memoryBytes, heapBytes, descriptors, maps, files, diskBytes, liveBytes } = sample
  const seconds = (atMs - (last?.atMs ?? 0)) / 1000
  const perSecond = (sample.operations - (last?.operations ?? 0)) / seconds
  const own = Object.entries(sample.figures).map(([name, figure]) => `  ${name} ${figure}`)
  return [
    `${(atMs / 1000).toFixed(0)} s`.padStart(7),
    mib(memoryBytes, 9),
    mib(heapBytes, 9),
    String(descriptors).padStart(5),
    String(maps).padStart(5),
    String(files).padStart(6),
    mib(diskBytes, 10),
    mib(liveBytes, 10),
    (liveBytes === 0 ? '-' : (diskBytes / liveBytes).toFixed(1)).padStart(5),
    `${sample.delayMs.toFixed(1)} ms`.padStart(8),
    `${sample.mostDelayMs.toFixed(1)} ms`.padStart(9),
    `${sample.waitedMs.toFixed(0)} ms`.padStart(9),
    perSecond.toFixed(0).padStart(11),
    ...own,
  ].join('')
}

function mib(bytes: number, width: number): string {
  return `${(bytes / MIB).toFixed(0)} MiB`.padStart(width)
}

function workloads(text: string): Workload[] {
  return text.split(',').map((name) => {
    const workload = WORKLOADS.find((each) => each.name === name)
    if (workload !== undefined) return workload
    const names = WORKLOADS.map((each) => each.name).join(', ')
    throw new InvalidArgumentError(`There is no ${name}; there are ${names}.`)
  })
}

function numeral(text: string): number {
  const number = Number(text)
  if (text.trim() === '' || !(number >= 0)) throw new InvalidArgumentError('It is not a number.')
  return number
}
