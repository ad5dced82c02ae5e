import { loadPeer } from './peers.ts'
import { figure } from './print.ts'
import type { Measure } from './report.ts'

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

const WIDTH = 960
/** Where the axes of times begin. */
const LEAST_NS = 100
/** Wide, since nobody knows the reader's font. */
const LEGEND_GAP = 32
const COLOURS: Readonly<Record<string, string>> = {
  firkin: '#b5541c',
  'firkin hash': '#e39a5b',
  lmdb: '#3b6ea5',
  'lmdb fast': '#8fb3d9',
  'classic-level': '#5b8c5a',
  'better-sqlite3': '#8a6fa8',
}

/** What the bars show, by the name of the measure, and what stands beside them. */
const OPERATIONS: readonly (readonly [what: string, label: string])[] = [
  ['get, present', 'get, present key'],
  ['get, absent', 'get, absent key'],
  ['put, fresh, in windows of 1,000', 'put, fresh key'],
  ['put, overwrite, in windows of 1,000', 'put, overwrite'],
  ['putSync, unsynced', 'putSync'],
  ['batch of 1,000, unsynced', 'batch of 1,000, a put'],
  ['iterate, all, an entry', 'iterate, an entry'],
  ['iterate, prefix ranges of 100, an entry', 'prefix range of 100, an entry'],
]
const LATENCIES: readonly (readonly [what: string, label: string])[] = [
  ['get, present', 'get'],
  ['putSync, unsynced', 'putSync'],
  ['durable put, 1 in flight', 'durable put'],
  ['durable put, 16 in flight', 'durable put, 16 in flight'],
  ['durable put, 256 in flight', 'durable put, 256 in flight'],
]
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
  const operations = OPERATIONS.filter(([what]) => measures.some((each) => each.what === what))
  if (operations.length > 0) {
    plots.push(draw('operations.svg', 120 + operations.length * 70, bars(operations, measures)))
  }
  const latencies = LATENCIES.filter(([what]) =>
    measures.some((each) => each.what === what && each.latency),
  )
  if (latencies.length > 0) {
    plots.push(
      draw('latencies.svg', 100 + latencies.length * 180, percentiles(latencies, measures)),
    )
  }
  const growths = measures.filter(({ what }) => growthOf(what) !== undefined)
  if (growths.length > 0) plots.push(draw('growth.svg', 420, growth(growths)))
  return plots
}

/** Bars: nanoseconds an operation, by contender. */
function bars(
  operations: readonly (readonly [string, string])[],
  measures: readonly Measure[],
): object {
  return {
    title: {
      text: 'Time an operation (less is better)',
      left: 'center',
      top: 8,
      textStyle: { fontSize: 14 },
    },
    legend: { top: 36, itemGap: LEGEND_GAP },
    grid: { left: 200, right: 70, top: 70, bottom: 40 },
    xAxis: {
      type: 'log',
      min: LEAST_NS,
      axisLabel: { formatter: (ns: number) => figure(ns, 'ns') },
    },
    yAxis: { type: 'category', inverse: true, data: operations.map(([, label]) => label) },
    series: contendersOf(measures).map((contender) => ({
      ...seriesOf(contender),
      type: 'bar',
      label: {
        show: true,
        position: 'right',
        fontSize: 9,
        formatter: ({ value }: { value: number | null }) =>
          value === null ? '' : figure(value, 'ns'),
      },
      data: operations.map(([what]) => {
        const found = measures.find((each) => each.what === what && each.contender === contender)
        return found === undefined ? null : Math.round(found.median)
      }),
    })),
  }
}

/** Bars of the percentiles, one panel for each operation. */
function percentiles(
  operations: readonly (readonly [string, string])[],
  measures: readonly Measure[],
): object {
  const contenders = contendersOf(measures)
  const panelHeight = 180
  return {
    title: operations.map(([, label], index) => ({
      text: label,
      left: 'center',
      top: 50 + index * panelHeight,
      textStyle: { fontSize: 13 },
    })),
    legend: { top: 10, itemGap: LEGEND_GAP },
    grid: operations.map((_, index) => ({
      left: 80,
      right: 40,
      top: 80 + index * panelHeight,
      height: panelHeight - 70,
    })),
    xAxis: operations.map((_, index) => ({
      type: 'category',
      gridIndex: index,
      data: ['p50', 'p99', 'p99.9'],
    })),
    yAxis: operations.map((_, index) => ({
      type: 'log',
      gridIndex: index,
      min: LEAST_NS,
      axisLabel: { formatter: (ns: number) => figure(ns, 'ns') },
    })),
    series: operations.flatMap(([what], index) =>
      contenders.map((contender) => {
        const latency = measures.find(
          (each) => each.what === what && each.contender === contender,
        )?.latency
        const points = latency === undefined ? [] : [latency.p50, latency.p99, latency.p999]
        return {
          ...seriesOf(contender),
          type: 'bar',
          xAxisIndex: index,
          yAxisIndex: index,
          data: points.map(Math.round),
        }
      }),
    ),
  }
}

/** Lines: nanoseconds an operation by the number of keys. */
function growth(measures: readonly Measure[]): object {
  const panelWidth = WIDTH / GROWTHS.length
  return {
    title: GROWTHS.map((label, index) => ({
      text: label,
      left: index * panelWidth + panelWidth / 2,
      textAlign: 'center',
      top: 40,
      textStyle: { fontSize: 13 },
    })),
    legend: { top: 10, itemGap: LEGEND_GAP },
    grid: GROWTHS.map((_, index) => ({
      left: index * panelWidth + 55,
      width: panelWidth - 80,
      top: 90,
      bottom: 50,
    })),
    xAxis: GROWTHS.map((_, index) => ({
      type: 'log',
      gridIndex: index,
      name: 'keys',
      nameLocation: 'middle',
      nameGap: 28,
    })),
    yAxis: GROWTHS.map((_, index) => ({
      type: 'log',
      gridIndex: index,
      min: LEAST_NS,
      axisLabel: { formatter: (ns: number) => figure(ns, 'ns') },
    })),
    series: GROWTHS.flatMap((operation, index) =>
      contendersOf(measures).map((contender) => ({
        ...seriesOf(contender),
        type: 'line',
        xAxisIndex: index,
        yAxisIndex: index,
        data: measures.flatMap((each) => {
          const point = growthOf(each.what)
          return each.contender === contender && point?.operation === operation
            ? [[point.keys, Math.round(each.median)]]
            : []
        }),
      })),
    ),
  }
}

/** The measures of the bench `growth` by their names, such as `get, 10,000 keys`. */
function growthOf(what: string): { operation: string; keys: number } | undefined {
  const [, operation, keys] = /^(.+?), ([\d,]+) keys$/.exec(what) ?? []
  if (operation === undefined || keys === undefined) return undefined
  if (!GROWTHS.some((each) => each === operation)) return undefined
  return { operation, keys: Number(keys.replaceAll(',', '')) }
}

function contendersOf(measures: readonly Measure[]): string[] {
  return Object.keys(COLOURS).filter((name) => measures.some(({ contender }) => contender === name))
}

function seriesOf(contender: string): object {
  return { name: contender, itemStyle: { color: COLOURS[contender] } }
}
