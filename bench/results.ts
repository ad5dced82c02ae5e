/**
 * Keeps the folder `bench/results/`: the newest figures of every bench, as JSON, Markdown and
 * plots.
 *
 * A run replaces the figures that it measured and leaves the rest, so that the heavy benches can
 * run by themselves. Each bench's figures state the machine and the commit that they were taken on.
 */

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Settings } from './bench.ts'
import { BENCHES } from './benches.ts'
import { type Machine, machineLine } from './machine.ts'
import { drawPlots } from './plots.ts'
import { type NamedReport, reportMarkdown, targetTable } from './print.ts'

/** One bench's figures, with the machine and the settings that they come from. */
export interface Result {
  readonly machine: Machine
  readonly settings: Settings
  readonly report: NamedReport
}

const JSON_NAME = 'results.json'
const MARKDOWN_NAME = 'results.md'

/** Adds results to those that a directory has, and renders all of them again. */
export async function saveResults(directory: string, fresh: readonly Result[]): Promise<void> {
  mkdirSync(directory, { recursive: true })
  const results = merge(read(join(directory, JSON_NAME)), fresh)
  writeFileSync(join(directory, JSON_NAME), `${JSON.stringify(results, undefined, 2)}\n`)
  writeFileSync(join(directory, MARKDOWN_NAME), await render(results))
  const measures = results.flatMap(({ report }) => report.measures)
  for (const { name, svg } of await drawPlots(measures)) writeFileSync(join(directory, name), svg)
}

function read(file: string): readonly Result[] {
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Result[]) : []
}

/** Lists all results in the order of the benches; `fresh` ones replace old ones. */
function merge(old: readonly Result[], fresh: readonly Result[]): readonly Result[] {
  return BENCHES.flatMap(({ name }) => {
    const isNamed = ({ report }: Result) => report.bench === name
    const result = fresh.find(isNamed) ?? old.find(isNamed)
    return result === undefined ? [] : [result]
  })
}

async function render(results: readonly Result[]): Promise<string> {
  const origins = new Map<string, string[]>()
  for (const { machine, report } of results) {
    const line = machineLine(machine)
    origins.set(line, [...(origins.get(line) ?? []), report.bench])
  }
  const parts = ['# Results']
  for (const [line, benches] of origins) {
    parts.push(origins.size === 1 ? line : `${line}: ${benches.join(', ')}`)
  }
  parts.push('## All goals', await targetTable(results.flatMap(({ report }) => report.targets)))
  for (const { report } of results) parts.push(await reportMarkdown(report))
  return `${parts.join('\n\n').trimEnd()}\n`
}
