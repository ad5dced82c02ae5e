import CliTable from 'cli-table3'

/** A column of a table. */
export interface Column {
  readonly title: string
  /** @defaultValue 'left' */
  readonly align?: 'left' | 'right'
  /** Whether it may be cut where the table is too wide. @defaultValue false */
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
/** What stands between two columns. */
const GAP = 2
/** A column is not cut below this. */
const MIN_WIDTH = 8

/**
 * Lays out a table without borders, in lines of at most `width` characters. Flexible columns are cut where it
 * is too wide; where that is not enough each row becomes a block of `title value` lines.
 *
 * @param emphasise puts colour on a title
 */
export function layOut(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  width: number,
  emphasise: (title: string) => string,
): string[] {
  const widths = columns.map(({ title }, index) =>
    Math.max(title.length, ...rows.map((row) => row[index]?.length ?? 0)),
  )
  let excess = widths.reduce((sum, each) => sum + each + GAP, -GAP) - width
  for (const [index, { flexible }] of columns.entries()) {
    if (excess <= 0 || flexible !== true) continue
    const cut = Math.min(excess, Math.max(0, (widths[index] ?? 0) - MIN_WIDTH))
    widths[index] = (widths[index] ?? 0) - cut
    excess -= cut
  }
  if (excess > 0) return rows.flatMap((row) => block(columns, row, width, emphasise))
  const table = new CliTable({
    head: columns.map(({ title }) => emphasise(title)),
    colWidths: widths.map((each) => each + GAP),
    colAligns: columns.map(({ align = 'left' }) => align),
    chars: NO_BORDERS,
    style: { 'padding-left': 0, 'padding-right': GAP, head: [], border: [] },
  })
  table.push(...rows.map((row) => [...row]))
  return table
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
}

/** Cuts text into lines of at most `width` characters, between words where that can be. */
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

function block(
  columns: readonly Column[],
  row: readonly string[],
  width: number,
  emphasise: (title: string) => string,
): string[] {
  const titleWidth = Math.max(...columns.map(({ title }) => title.length))
  const lines = columns.map(({ title }, index) => {
    const room = Math.max(1, width - titleWidth - GAP)
    const value = row[index] ?? ''
    const shown = value.length > room ? `${value.slice(0, room - 1)}…` : value
    return `${emphasise(title.padEnd(titleWidth))}  ${shown}`
  })
  return [...lines, '']
}
