/** Measures a merge, and the gets and puts that go on meanwhile. */

import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { open, type Store } from '../../src/index.ts'
import type { Bench, Settings } from '../bench.ts'
import { Latencies } from '../latencies.ts'
import { bound, measure, type Report } from '../report.ts'
import { FIRKIN, withDirectory } from '../stores.ts'
import { keyAt, random, touch, Values } from '../workload.ts'

const STORE_BYTES = 1_000_000_000
const VALUE_BYTES = 1000
/** Every key is overwritten once, this many puts later, so that every segment is half dead. */
const LAG = 10_000
const WINDOW = 1000
/** The number of operations that the foreground makes in a turn of the event loop. */
const SLICE = 100
const IDLE_MS = 3000
const DELAY_RESOLUTION_MS = 1

const MIN_MB_PER_SECOND = 150
const MAX_DELAY_MS = 10
const MIN_FOREGROUND_SHARE = 0.5

/** Fills a store so that half of each segment is dead. */
async function fillHalfDead(store: Store, keys: number, values: Values): Promise<void> {
  for (let low = 0; low < keys + LAG; low += WINDOW) {
    for (let index = low; index < low + WINDOW; index++) {
      if (index < keys) store.put(keyAt(index), values.at(index)).catch(fail)
      if (index >= LAG && index < keys + LAG) {
        store.put(keyAt(index - LAG), values.at(index)).catch(fail)
      }
    }
    await store.sync()
  }
}

function fail(error: unknown): never {
  throw error
}

interface Foreground {
  /** Operations per second. */
  readonly rate: number
  readonly latencies: Latencies
  /** Returns a percentile of the event loop's delay, in milliseconds. */
  delayMs(percentile: number): number
}

/** Gets and puts in equal numbers until `until` settles. */
async function work(
  store: Store,
  keys: number,
  values: Values,
  until: Promise<unknown>,
): Promise<Foreground> {
  const next = random(18)
  const latencies = new Latencies()
  let over = false
  const stop = () => {
    over = true
  }
  until.then(stop, stop)
  const delay = monitorEventLoopDelay({ resolution: DELAY_RESOLUTION_MS })
  delay.enable()
  const beganAt = performance.now()
  let sum = 0
  while (!over) {
    for (let turn = 0; turn < SLICE; turn++) {
      const index = Math.floor(next() * keys)
      const now = performance.now()
      if (turn % 2 === 0) sum += touch(store.get(keyAt(index)) as Buffer)
      else store.put(keyAt(index), values.at(index)).catch(fail)
      latencies.add(performance.now() - now)
    }
    await setImmediate()
  }
  delay.disable()
  if (sum < 0) throw new Error('No value was read')
  return {
    rate: (latencies.count * 1000) / (performance.now() - beganAt),
    latencies,
    delayMs: (percentile) => Math.max(0, delay.percentile(percentile) / 1e6 - DELAY_RESOLUTION_MS),
  }
}

/** A merge while the store is in use. */
export const merge: Bench = {
  name: 'merge',
  about: 'merge of a half-dead store of 1 GB under a load of gets and puts in equal parts',
  async run(settings: Settings): Promise<Report> {
    return await withDirectory(settings, async (path) => {
      const keys = Math.floor(STORE_BYTES / (VALUE_BYTES + 40) / 2)
      const values = new Values(VALUE_BYTES)
      const store = await open(path, { merge: { automatic: false } })
      await fillHalfDead(store, keys, values)
      const idle = await work(store, keys, values, setTimeout(IDLE_MS))
      const merging = store.merge()
      const busy = await work(store, keys, values, merging)
      const { bytesRead, bytesGained, durationMs } = await merging
      await store.close()

      const readRate = bytesRead / 1000 / durationMs
      const delayMs = busy.delayMs
      const share = busy.rate / idle.rate
      const { name } = FIRKIN
      return {
        measures: [
          measure('merge, read', name, 'MB/s', [readRate]),
          measure('merge, given back', name, 'MB/s', [bytesGained / 1000 / durationMs]),
          measure('event loop delay, p99, idle', name, 'ms', [idle.delayMs(99)]),
          measure('event loop delay, p50', name, 'ms', [delayMs(50)]),
          measure('event loop delay, p99', name, 'ms', [delayMs(99)]),
          measure('event loop delay, longest', name, 'ms', [delayMs(100)]),
          {
            ...measure('foreground, idle', name, 'op/s', [idle.rate]),
            latency: idle.latencies.summary(),
          },
          {
            ...measure('foreground, merging', name, 'op/s', [busy.rate]),
            latency: busy.latencies.summary(),
          },
        ],
        targets: [
          bound(
            'merge, read',
            'at least',
            `${MIN_MB_PER_SECOND} MB/s`,
            `${readRate.toFixed(0)} MB/s`,
            readRate >= MIN_MB_PER_SECOND,
          ),
          bound(
            'merge, event loop delay p99',
            'at most',
            `${MAX_DELAY_MS} ms`,
            `${delayMs(99).toFixed(1)} ms`,
            delayMs(99) <= MAX_DELAY_MS,
          ),
          bound(
            'merge, foreground of its idle rate',
            'at least',
            `${MIN_FOREGROUND_SHARE}`,
            share.toFixed(2),
            share >= MIN_FOREGROUND_SHARE,
          ),
        ],
        notes: [
          `The foreground makes ${SLICE} operations, and then lets the event loop turn. The sampling interval is taken off the delays.`,
        ],
      }
    })
  },
}
