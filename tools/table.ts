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
 * is too wide; where that is not enough it becomes several tables, one below the other, each with the first
 * column; and where not even two columns fit, each row becomes a block of `title value` lines.
 *
 * @param emphasise puts colour on a title
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
  // Where one table is too wide anyway, a column is cut only to what a table has room for.
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

/** Takes from flexible columns what a table of all has too much. */
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

/** Cuts each flexible column to `room` beside the first. */
function shrinkEach(columns: readonly Column[], widths: readonly number[], room: number): number[] {
  return columns.map(({ flexible }, index) => {
    const wanted = widths[index] ?? 0
    if (index === 0 || flexible !== true) return wanted
    return Math.min(wanted, Math.max(MIN_WIDTH, room - GAP))
  })
}

/** How wide columns are side by side. */
function spanOf(widths: readonly number[]): number {
  return widths.reduce((sum, each) => sum + each + GAP, -GAP)
}

/** Which columns go into which table, the first one into each; `undefined` where there is one that does not fit. */
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

/** One table, of some of the columns. */
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
