/** Draws the plots of `bench/results/`. */

import { loadPeer } from './peers.ts'
import { figure } from './print.ts'
import type { Latency, Measure } from './report.ts'

/** A drawing. */
export interface Plot {
  readonly name: string
  readonly svg: string
}

interface Echarts {
  init(
    dom: null,
    theme: null,
    options: { renderer: 'svg'; ssr: true; width: number; height: number },
  ): Chart
}

interface Chart {
  setOption(option: object): void
  renderToSVGString(): string
  dispose(): void
}

/** A thing that was measured: the name of its measure, and what the plot calls it. */
type Operation = readonly [what: string, label: string]

/** A line of a plot: the heading of an operation, or one contender's measure under it. */
type Row =
  | { readonly kind: 'heading' | 'contender'; readonly label: string; readonly measure?: Measure }
  | { readonly kind: 'space'; readonly label: ''; readonly measure?: undefined }

const WIDTH = 960
const ROW_HEIGHT = 17
const FONT_SIZE = 12
const TITLE_HEIGHT = 76
const AXIS_HEIGHT = 32
/** The width of a character, of the widest usual font, as a part of its size. */
const CHARACTER_WIDTH = 0.65
const TEXT_GAP = 14
/** The least time on an axis. */
const LEAST_NS = 100
const TEXT_COLOUR = '#333333'
const GRID_COLOUR = '#e6e6e6'
const COLOURS: Readonly<Record<string, string>> = {
  firkin: '#b5541c',
  'firkin hash': '#e39a5b',
  lmdb: '#3b6ea5',
  'lmdb fast': '#8fb3d9',
  'classic-level': '#5b8c5a',
  'better-sqlite3': '#8a6fa8',
}

const OPERATIONS: readonly Operation[] = [
  ['get, present', 'get, present key'],
  ['get, absent', 'get, absent key'],
  ['put, fresh, in windows of 1,000', 'put, fresh key'],
  ['put, overwrite, in windows of 1,000', 'put, overwrite'],
  ['putSync, unsynced', 'putSync'],
  ['batch of 1,000, unsynced', 'batch of 1,000, a put'],
  ['iterate, all, an entry', 'iterate, an entry'],
  ['iterate, prefix ranges of 100, an entry', 'prefix range of 100, an entry'],
]
const LATENCIES: readonly Operation[] = [
  ['get, present', 'get'],
  ['putSync, unsynced', 'putSync'],
  ['durable put, 1 in flight', 'durable put'],
  ['durable put, 16 in flight', 'durable put, 16 in flight'],
  ['durable put, 256 in flight', 'durable put, 256 in flight'],
]
const PERCENTILES = [
  { name: 'p50', of: ({ p50 }: Latency) => p50, symbol: 'circle', labelled: 'left' },
  { name: 'p99', of: ({ p99 }: Latency) => p99, symbol: 'diamond', labelled: undefined },
  { name: 'p99.9', of: ({ p999 }: Latency) => p999, symbol: 'rect', labelled: 'right' },
] as const
const GROWTHS = ['get', 'get absent', 'overwrite'] as const

/** Draws what can be drawn of some measures. */
export async function drawPlots(measures: readonly Measure[]): Promise<Plot[]> {
  const { init } = await loadPeer<Echarts>('echarts')
  const draw = (name: string, height: number, option: object): Plot => {
    const chart = init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height })
    chart.setOption({
      animation: false,
      backgroundColor: '#ffffff',
      textStyle: { fontFamily: 'sans-serif' },
      ...option,
    })
    const svg = chart.renderToSVGString()
    chart.dispose()
    return { name, svg: `${svg}\n` }
  }
  const plots: Plot[] = []
  const operations = rowsOf(OPERATIONS, measures)
  if (operations.length > 0) {
    plots.push(draw('operations.svg', heightOf(operations), bars(operations)))
  }
  const latencies = rowsOf(
    LATENCIES,
    measures.filter(({ latency }) => latency !== undefined),
  )
  if (latencies.length > 0) {
    plots.push(draw('latencies.svg', heightOf(latencies), percentiles(latencies)))
  }
  const growths = measures.filter(({ what }) => growthOf(what) !== undefined)
  if (growths.length > 0) plots.push(draw('growth.svg', 448, growth(growths)))
  return plots
}

/**
 * Lists the operations that were measured, each with a row for every contender that has a figure.
 */
function rowsOf(operations: readonly Operation[], measures: readonly Measure[]): Row[] {
  const rows = operations.flatMap(([what, label]): Row[] => {
    const contenders = Object.keys(COLOURS).flatMap((contender): Row[] => {
      const measure = measures.find((each) => each.what === what && each.contender === contender)
      return measure === undefined ? [] : [{ kind: 'contender', label: contender, measure }]
    })
    if (contenders.length === 0) return []
    return [{ kind: 'space', label: '' }, { kind: 'heading', label }, ...contenders]
  })
  return rows.slice(1)
}

function heightOf(rows: readonly Row[]): number {
  return TITLE_HEIGHT + rows.length * ROW_HEIGHT + AXIS_HEIGHT
}

/** Makes the frame of a plot: a row for each contender, and an axis of times up to `mostNs`. */
function frame(title: string, subtitle: string, rows: readonly Row[], mostNs: number): object {
  const left = Math.max(...rows.map(({ label }) => widthOf(label))) + TEXT_GAP
  return {
    title: {
      ...titleAt(left, 8, title),
      subtext: subtitle,
      subtextStyle: { fontSize: FONT_SIZE, color: TEXT_COLOUR },
    },
    grid: {
      left,
      right: widthOf('99.9 µs') + TEXT_GAP,
      top: TITLE_HEIGHT,
      height: rows.length * ROW_HEIGHT,
      outerBoundsMode: 'none',
    },
    xAxis: {
      type: 'log',
      min: LEAST_NS,
      max: mostNs,
      position: 'bottom',
      axisLabel: {
        formatter: (ns: number) => figure(ns, 'ns'),
        showMaxLabel: false,
        fontSize: FONT_SIZE,
        color: TEXT_COLOUR,
      },
      splitLine: { showMaxLine: false, lineStyle: { color: GRID_COLOUR } },
    },
    yAxis: {
      type: 'category',
      inverse: true,
      data: rows.map((_, index) => index),
      axisTick: { show: false },
      axisLine: { show: false },
      axisLabel: {
        interval: 0,
        formatter: (_: string, index: number) => {
          const { kind, label } = rows[index] ?? { kind: 'space', label: '' }
          return kind === 'heading' ? `{heading|${label}}` : label
        },
        fontSize: FONT_SIZE,
        color: TEXT_COLOUR,
        rich: { heading: { fontSize: FONT_SIZE, fontWeight: 'bold', color: TEXT_COLOUR } },
      },
    },
  }
}

/** Makes bars of the median of an operation, by contender. */
function bars(rows: readonly Row[]): object {
  const mostNs = Math.max(...rows.map(({ measure }) => measure?.median ?? 0))
  return {
    ...frame('Time of an operation', 'median; less is better', rows, mostNs),
    series: {
      type: 'bar',
      barWidth: '75%',
      label: valueLabel('right'),
      data: rows.map(({ measure }) =>
        measure === undefined ? null : point(measure, Math.round(measure.median)),
      ),
    },
  }
}

/** Makes a line from the median to the 99.9th percentile of an operation, by contender. */
function percentiles(rows: readonly Row[]): object {
  const latencyOf = ({ measure }: Row): Latency | undefined => measure?.latency
  const mostNs = Math.max(...rows.map((row) => latencyOf(row)?.p999 ?? 0))
  const subtitle = 'from p50 (circle) over p99 (diamond) to p99.9 (square); less is better'
  return {
    ...frame('Latency', subtitle, rows, mostNs),
    series: [
      ...rows.map((row, index) => {
        const { p50, p999 } = latencyOf(row) ?? {}
        return {
          type: 'line',
          symbol: 'none',
          lineStyle: { width: 3, color: COLOURS[row.label] ?? TEXT_COLOUR },
          data: p50 === undefined || p999 === undefined ? [] : [p50, p999].map((ns) => [ns, index]),
        }
      }),
      ...PERCENTILES.map(({ name, of, symbol, labelled }) => ({
        type: 'scatter',
        name,
        symbol,
        symbolSize: symbol === 'diamond' ? 11 : 9,
        label: labelled === undefined ? { show: false } : valueLabel(labelled),
        data: rows.flatMap(({ measure }, index) => {
          if (measure?.latency === undefined) return []
          return [point(measure, [Math.round(of(measure.latency)), index])]
        }),
      })),
    ],
  }
}

/** Makes a point of a plot, in its contender's colour. */
function point(measure: Measure, value: number | readonly number[]): object {
  return { value, itemStyle: { color: COLOURS[measure.contender], opacity: 1 } }
}

/** Makes the label beside a point. */
function valueLabel(position: 'left' | 'right'): object {
  return {
    show: true,
    position,
    fontSize: FONT_SIZE - 1,
    color: TEXT_COLOUR,
    // Hides the grid line that a figure may stand on.
    backgroundColor: '#ffffff',
    padding: [0, 2],
    formatter: ({ value }: { value: number | readonly [number, number] }) =>
      figure(typeof value === 'number' ? value : value[0], 'ns'),
  }
}

/** Makes lines of the time of an operation by the number of keys, one panel for each operation. */
function growth(measures: readonly Measure[]): object {
  const panelWidth = WIDTH / GROWTHS.length
  const left = widthOf('100 ns') + TEXT_GAP
  return {
    title: [
      titleAt(left, 8, 'Time of an operation, by the number of keys; less is better'),
      ...GROWTHS.map((label, index) => titleAt(index * panelWidth + left, 72, label)),
    ],
    legend: {
      top: 38,
      left,
      padding: 0,
      itemGap: 32,
      textStyle: { fontSize: FONT_SIZE, color: TEXT_COLOUR },
    },
    grid: GROWTHS.map((_, index) => ({
      left: index * panelWidth + left,
      width: panelWidth - left - widthOf('10M'),
      top: 104,
      bottom: 50,
      outerBoundsMode: 'none',
    })),
    xAxis: GROWTHS.map((_, index) => ({
      type: 'log',
      gridIndex: index,
      name: 'keys',
      nameLocation: 'middle',
      nameGap: 28,
      nameTextStyle: { fontSize: FONT_SIZE, color: TEXT_COLOUR },
      axisLabel: { formatter: shortCount, fontSize: FONT_SIZE, color: TEXT_COLOUR },
      splitLine: { lineStyle: { color: GRID_COLOUR } },
    })),
    yAxis: GROWTHS.map((_, index) => ({
      type: 'log',
      gridIndex: index,
      min: LEAST_NS,
      // The same for all panels, so that they can be compared.
      max: 10 ** Math.ceil(Math.log10(Math.max(...measures.map(({ median }) => median)))),
      axisLabel: {
        formatter: (ns: number) => figure(ns, 'ns'),
        fontSize: FONT_SIZE,
        color: TEXT_COLOUR,
      },
      splitLine: { lineStyle: { color: GRID_COLOUR } },
    })),
    series: GROWTHS.flatMap((operation, index) => growthLines(operation, index, measures)),
  }
}

function titleAt(left: number, top: number, text: string): object {
  return { text, left, top, padding: 0, textStyle: { fontSize: 14, color: TEXT_COLOUR } }
}

/** Makes the lines of one panel of `growth`, one for each contender. */
function growthLines(
  operation: (typeof GROWTHS)[number],
  panel: number,
  measures: readonly Measure[],
): object[] {
  const contenders = Object.keys(COLOURS).filter((name) =>
    measures.some(({ contender }) => contender === name),
  )
  return contenders.map((contender) => ({
    type: 'line',
    name: contender,
    symbol: 'circle',
    symbolSize: 7,
    itemStyle: { color: COLOURS[contender] },
    xAxisIndex: panel,
    yAxisIndex: panel,
    data: measures.flatMap((each) => {
      const place = growthOf(each.what)
      return each.contender === contender && place?.operation === operation
        ? [[place.keys, Math.round(each.median)]]
        : []
    }),
  }))
}

/** Reads the name of a measure of the bench `growth`, such as `get, 10,000 keys`. */
function growthOf(what: string): { operation: string; keys: number } | undefined {
  const [, operation, keys] = /^(.+?), ([\d,]+) keys$/.exec(what) ?? []
  if (operation === undefined || keys === undefined) return undefined
  if (!GROWTHS.some((each) => each === operation)) return undefined
  return { operation, keys: Number(keys.replaceAll(',', '')) }
}

/** Writes a count of keys briefly: `10k`, `1M`. */
function shortCount(count: number): string {
  if (count >= 1e6) return `${count / 1e6}M`
  return count >= 1e3 ? `${count / 1e3}k` : String(count)
}

/** Returns a width that a label does not exceed in the usual fonts. */
function widthOf(label: string): number {
  return Math.ceil(label.length * FONT_SIZE * CHARACTER_WIDTH)
}
