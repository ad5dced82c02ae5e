/** Writes reports as Markdown. */

import { loadPeer } from './peers.ts'
import { advantage, type Measure, type Report, type Unit } from './report.ts'

/** A bench's figures with its name. */
export interface NamedReport extends Report {
  readonly bench: string
  readonly about: string
}

interface MarkdownTable {
  markdownTable(rows: readonly (readonly string[])[], options: { align: readonly string[] }): string
}

/** Renders a report as Markdown that reads well on a terminal too. */
export async function reportMarkdown({
  bench,
  about,
  measures,
  targets,
  notes = [],
}: NamedReport): Promise<string> {
  const hasLatency = measures.some(({ latency }) => latency !== undefined)
  const head = ['what', 'contender', 'median', 'lowest', 'highest', 'firkin is']
  if (hasLatency) head.push('p50', 'p99', 'p99.9', 'max')
  const rows = measures.map((measure) => {
    const { what, contender, unit, median, rounds, latency } = measure
    const row = [
      what,
      contender,
      figure(median, unit),
      figure(Math.min(...rounds), unit),
      figure(Math.max(...rounds), unit),
      comparison(measure, measures),
    ]
    if (!hasLatency) return row
    const { p50, p99, p999, max } = latency ?? {}
    return [
      ...row,
      ...[p50, p99, p999, max].map((ns) => (ns === undefined ? '' : figure(ns, 'ns'))),
    ]
  })
  const parts = [`## ${bench}`, about]
  parts.push(await table([head, ...rows], 2))
  if (targets.length > 0) parts.push(await targetTable(targets))
  parts.push(...notes.map((note) => `- ${note}`))
  return `${parts.join('\n\n')}\n`
}

/** Renders a table of goals, with the figures that were reached. */
export async function targetTable(targets: Report['targets']): Promise<string> {
  return await table(
    [
      ['goal', 'at least', 'reached', ''],
      ...targets.map(({ what, goal, reached, pass }) => [
        what,
        goal,
        reached,
        pass ? 'pass' : 'falls short',
      ]),
    ],
    1,
  )
}

/** Renders a figure with three digits and its unit. */
export function figure(value: number, unit: Unit): string {
  if (unit === 'ns' && value >= 999_500) return figure(value / 1e6, 'ms')
  if (unit === 'ns' && value >= 999.5) return figure(value / 1e3, 'µs')
  if (unit === 'ratio') return value.toPrecision(3)
  const digits =
    Math.abs(value) >= 100
      ? Math.round(value).toLocaleString('en-GB')
      : String(Number(value.toPrecision(3)))
  return `${digits} ${unit}`
}

/** Renders the advantage of Firkin over another contender's measure. */
function comparison(measure: Measure, measures: readonly Measure[]): string {
  const own = measures.find(
    ({ what, contender }) => what === measure.what && contender === 'firkin',
  )
  if (
    own === undefined ||
    measure.contender.startsWith('firkin') ||
    measure.contender.startsWith('(')
  )
    return ''
  return `${advantage(own, measure).toFixed(2)}x`
}

async function table(rows: readonly (readonly string[])[], leftColumns: number): Promise<string> {
  const { markdownTable } = await loadPeer<MarkdownTable>('markdown-table')
  const width = rows[0]?.length ?? 0
  const align = Array.from({ length: width }, (_, index) => (index < leftColumns ? 'l' : 'r'))
  return markdownTable(rows, { align })
}
