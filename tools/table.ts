/** Lays out tables and wraps text. */

import CliTable from 'cli-table3'

/** A column of a table. */
export interface Column {
  readonly title: string
  /** @defaultValue 'left' */
  readonly align?: 'left' | 'right'
  /** Whether it may be cut if the table is too wide. @defaultValue false */
  readonly flexible?: boolean
}

const NO_BORDERS = Object.fromEntries(
  [
    'top',
    'top-mid',
    'top-left',
    'top-right',
    'bottom',
    'bottom-mid',
    'bottom-left',
    'bottom-right',
    'left',
    'left-mid',
    'mid',
    'mid-mid',
    'right',
    'right-mid',
    'middle',
  ].map((name) => [name, '']),
)
/** The number of spaces between two columns. */
const GAP = 2
/** The least width to which a column is cut. */
const MIN_WIDTH = 8

/**
 * Lays out a table without borders, in lines of at most `width` characters.
 *
 * If it is too wide, flexible columns are cut. If that is not enough, it becomes several tables,
 * one below the other, each with the first column. If not even two columns fit, each row becomes a
 * block of `title value` lines.
 *
 * @param emphasise colours a title
 */
export function layOut(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  width: number,
  emphasise: (title: string) => string,
): string[] {
  const wanted = columns.map(({ title }, index) =>
    rows.reduce((most, row) => Math.max(most, row[index]?.length ?? 0), title.length),
  )
  const fitted = shrink(columns, wanted, width)
  // If one table is too wide anyway, a column is cut only as much as one table requires.
  const widths =
    spanOf(fitted) <= width
      ? fitted
      : shrinkEach(columns, wanted, width - spanOf(wanted.slice(0, 1)))
  const groups = groupColumns(widths, width)
  if (groups === undefined) return rows.flatMap((row) => block(columns, row, width, emphasise))
  return groups.flatMap((group, index) => [
    ...(index === 0 ? [] : ['']),
    ...draw(columns, rows, widths, group, emphasise),
  ])
}

/** Cuts flexible columns until a table of all columns fits. */
function shrink(columns: readonly Column[], widths: readonly number[], width: number): number[] {
  let excess = spanOf(widths) - width
  return columns.map(({ flexible }, index) => {
    const wanted = widths[index] ?? 0
    if (excess <= 0 || flexible !== true) return wanted
    const cut = Math.min(excess, Math.max(0, wanted - MIN_WIDTH))
    excess -= cut
    return wanted - cut
  })
}

/** Cuts each flexible column to fit beside the first one, which leaves `space`. */
function shrinkEach(
  columns: readonly Column[],
  widths: readonly number[],
  space: number,
): number[] {
  return columns.map(({ flexible }, index) => {
    const wanted = widths[index] ?? 0
    if (index === 0 || flexible !== true) return wanted
    return Math.min(wanted, Math.max(MIN_WIDTH, space - GAP))
  })
}

/** Returns the width of columns side by side. */
function spanOf(widths: readonly number[]): number {
  return widths.reduce((sum, each) => sum + each + GAP, -GAP)
}

/** Groups columns into tables, the first one into each; `undefined` if one of them does not fit. */
function groupColumns(widths: readonly number[], width: number): number[][] | undefined {
  const [first = 0, ...others] = widths
  if (others.some((each) => spanOf([first, each]) > width)) return undefined
  const groups = [[0]]
  for (const index of others.keys()) {
    const group = groups.at(-1) ?? []
    const wider = [...group, index + 1]
    if (spanOf(wider.map((each) => widths[each] ?? 0)) <= width) group.push(index + 1)
    else groups.push([0, index + 1])
  }
  return groups
}

/** Draws one table of some of the columns. */
function draw(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  widths: readonly number[],
  group: readonly number[],
  emphasise: (title: string) => string,
): string[] {
  const table = new CliTable({
    head: group.map((index) => emphasise(columns[index]?.title ?? '')),
    colWidths: group.map((index) => (widths[index] ?? 0) + GAP),
    colAligns: group.map((index) => columns[index]?.align ?? 'left'),
    chars: NO_BORDERS,
    style: { 'padding-left': 0, 'padding-right': GAP, head: [], border: [] },
  })
  table.push(...rows.map((row) => group.map((index) => row[index] ?? '')))
  return table
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
}

/** Splits text into lines of at most `width` characters, between words if possible. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = []
  let rest = text
  while (rest.length > width) {
    const space = rest.lastIndexOf(' ', width)
    const end = space > 0 ? space : width
    lines.push(rest.slice(0, end))
    rest = rest.slice(end).trimStart()
  }
  return [...lines, rest]
}

/** Lays out a row as a block of lines. */
function block(
  columns: readonly Column[],
  row: readonly string[],
  width: number,
  emphasise: (title: string) => string,
): string[] {
  const titleWidth = Math.max(...columns.map(({ title }) => title.length))
  const lines = columns.map(({ title }, index) => {
    const space = Math.max(1, width - titleWidth - GAP)
    const value = row[index] ?? ''
    const shown = value.length > space ? `${value.slice(0, space - 1)}…` : value
    return `${emphasise(title.padEnd(titleWidth))}  ${shown}`
  })
  return [...lines, '']
}
