/**
 * The command `npm run bench`: chooses benches and sizes, runs them, and writes their figures.
 */

import { mkdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { Command, InvalidArgumentError, Option } from 'commander'
import type { Bench, Settings } from './bench.ts'
import { BENCHES, benchesNamed } from './benches.ts'
import { runApart } from './child.ts'
import { describeMachine, machineLine } from './machine.ts'
import { BENCH_DIRECTORY, installPeers } from './peers.ts'
import { reportMarkdown, targetTable } from './print.ts'
import { type Result, saveResults } from './results.ts'

interface Flags {
  readonly keys: number
  readonly valueBytes: number
  readonly rounds: number
  readonly turnMs: number
  readonly clock: Settings['clock']
  readonly full?: true
  readonly directory: string
  readonly json?: string
  readonly results?: string
  readonly list?: true
  readonly redraw?: true
}

const HOW_FIGURES_ARE_MADE = `
How figures are made:
  Each bench runs in a process of its own; in it the contenders take turns over several rounds, in
  changing order. A figure is the median of the rounds, a ratio the median of the rounds' ratios.
  All use the same keys and values, made from seeds. A key is a new string of 16 characters for
  every operation, in random order; making it is part of the time. Values that are read are
  touched. Firkin has its default options unless a line says otherwise: each read is a copy, and is
  verified. Page caches are warm, except in the bench "cold". Sizes beyond --keys are stated as its
  multiples. A goal that is missed is printed, and the exit status is still 0.`

const LIST_WIDTH = 20
const RESULTS_DIRECTORY = join(BENCH_DIRECTORY, 'results')

const program = new Command('bench')
  .description(
    'Measures Firkin beside lmdb, classic-level and better-sqlite3, and its cache beside others.',
  )
  .argument(
    '[names...]',
    'which benches; `get` means get-hit and get-miss; all light ones if none is named',
    choose,
    [],
  )
  .option('--keys <count>', 'keys in a store', count, 1_000_000)
  .option('--value-bytes <count>', 'bytes of a value', count, 100)
  .option('--rounds <count>', 'rounds of each race', count, 5)
  .option('--turn-ms <ms>', "the time of a contender's turn in a round", count, 200)
  .addOption(
    new Option('--clock <clock>', 'what races are timed by; `cpu` where others use the machine')
      .choices(['wall', 'cpu'])
      .default('wall'),
  )
  .option('--full', 'the heavy benches and sizes too')
  .option('--directory <path>', 'where stores are made', tmpdir())
  .option('--json <file>', 'write the figures to a file')
  .option(
    '--results <directory>',
    'write JSON, Markdown and plots (by default into bench/results, where neither benches nor sizes are named)',
  )
  .option('--redraw', 'render bench/results again from its figures, without measuring')
  .option('--list', 'list the benches and end')
  .addHelpText('after', HOW_FIGURES_ARE_MADE)
  .action(main)
await program.parseAsync()

async function main(chosen: readonly Bench[], flags: Flags): Promise<void> {
  if (flags.list) {
    for (const { name, about, heavy } of BENCHES) {
      console.log(
        `${name.padEnd(LIST_WIDTH)}${about}${heavy ? ' (when named, or with --full)' : ''}`,
      )
    }
    return
  }
  installPeers()
  if (flags.redraw) {
    await saveResults(RESULTS_DIRECTORY, [])
    return
  }
  const { json, results: directory = usualDirectory(chosen), list, redraw, ...rest } = flags
  const settings: Settings = { ...rest, full: flags.full ?? false }
  const machine = describeMachine(settings.directory)
  console.log(`${machineLine(machine)}\n`)
  const benches =
    chosen.length > 0 ? chosen : BENCHES.filter(({ heavy }) => settings.full || !heavy)
  const results: Result[] = []
  for (const { name, about } of benches) {
    const report = { bench: name, about, ...(await runApart(name, settings)) }
    const result = { machine, settings, report }
    results.push(result)
    console.log(await reportMarkdown(report))
    // At once, so that a run that is ended early keeps its figures.
    if (directory !== undefined) await saveResults(directory, [result])
  }
  console.log(
    `## All goals\n\n${await targetTable(results.flatMap(({ report }) => report.targets))}`,
  )
  if (json !== undefined) write(json, JSON.stringify(results, undefined, 2))
}

/** Returns the directory for figures without `--results`: only a full default run has one. */
function usualDirectory(chosen: readonly Bench[]): string | undefined {
  const asUsual = program.options.every((option) => {
    const name = option.attributeName()
    return name === 'full' || program.getOptionValueSource(name) !== 'cli'
  })
  return chosen.length === 0 && asUsual ? RESULTS_DIRECTORY : undefined
}

function write(file: string, text: string): void {
  mkdirSync(dirname(resolve(file)), { recursive: true })
  writeFileSync(file, `${text}\n`)
}

function choose(word: string, before: readonly Bench[]): readonly Bench[] {
  const named = benchesNamed(word)
  if (named.length === 0) throw new InvalidArgumentError('There is no such bench; see --list.')
  return [...new Set([...before, ...named])]
}

function count(text: string): number {
  const value = Number(text.replaceAll('_', ''))
  if (!Number.isInteger(value) || value < 1)
    throw new InvalidArgumentError('It must be a positive integer.')
  return value
}
