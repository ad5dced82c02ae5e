/**
 * Puts many keys in one process: measures their memory and the longest insert, and reads all of
 * them back.
 */

import { setImmediate } from 'node:timers/promises'
import { type KeydirKind, open, type Store } from '../../src/index.ts'
import type { Bench, Settings } from '../bench.ts'
import { Latencies } from '../latencies.ts'
import { type Footprint, footprint } from '../memory.ts'
import { now } from '../race.ts'
import { bound, type Measure, measure, type Report } from '../report.ts'
import { withDirectory } from '../stores.ts'
import { keyAt, Values } from '../workload.ts'

const KEY_BYTES = 16
const MAX_OVERHEAD_BYTES = 32
/** The noise of a heap of some ten megabytes. */
const MAX_HEAP_BYTES = 1
const MAX_STALL_MS = 15
const WINDOW = 1000
/** The factors of `--keys` in this file: ten and twenty million keys by default. */
const LARGE = 10
const CAPACITY = 20

/** A process takes memory for itself during the first tenth of the keys, which does not count. */
const WARM_UP_SHARE = 0.1

interface Filled {
  readonly store: Store
  readonly insertNs: number
  readonly stall: Latencies
  /** The number of keys put between the two footprints. */
  readonly addedKeys: number
  readonly before: Footprint
  readonly after: Footprint
}

/**
 * Opens a store, and puts `keys` keys. Times each put; after each window, the wait for its last
 * put, and the turn of the event loop that follows.
 */
async function fill(
  path: string,
  keydir: KeydirKind,
  keys: number,
  settings: Settings,
): Promise<Filled> {
  const values = new Values(settings.valueBytes)
  const stall = new Latencies()
  let before = await footprint()
  let measuringMs = 0
  const warmedUpAt = Math.ceil((keys * WARM_UP_SHARE) / WINDOW) * WINDOW
  const store = await open(path, { keydir })
  const beganAt = now(settings)
  for (let low = 0; low < keys; low += WINDOW) {
    if (low === warmedUpAt) {
      const measuredAt = now(settings)
      before = await footprint()
      measuringMs = now(settings) - measuredAt
    }
    const high = Math.min(keys, low + WINDOW)
    let last: Promise<void> | undefined
    for (let index = low; index < high; index++) {
      const putAt = now(settings)
      last = store.put(keyAt(index), values.at(index))
      stall.add(now(settings) - putAt)
    }
    const awaitedAt = now(settings)
    await last
    const turnedAt = now(settings)
    stall.add(turnedAt - awaitedAt)
    await setImmediate()
    stall.add(now(settings) - turnedAt)
  }
  const insertNs = ((now(settings) - beganAt - measuringMs) * 1e6) / keys
  const after = await footprint()
  return { store, insertNs, stall, addedKeys: keys - warmedUpAt, before, after }
}

/**
 * Measures the memory of a key: all of it, as far as known, and its part of the JavaScript heap.
 */
function memoryMeasures(
  what: string,
  name: string,
  { store, addedKeys, before, after }: Filled,
): [all: Measure, heap: Measure, keydir: Measure] {
  const { keys, keydir } = store.stats()
  const own = keydir.bytes / keys
  const heap = (after.heap - before.heap) / addedKeys
  const outside = outsideOfHeap(after) - outsideOfHeap(before)
  // If the kernel does not report it, the keydir's own account has to do.
  const all = heap + (Number.isNaN(outside) ? own : outside / addedKeys)
  return [
    // Only the used part of the heap counts: its free part does not depend on the keys.
    measure(`${what}, all that is no file's`, name, 'B/key', [all]),
    measure(`${what}, JavaScript heap`, name, 'B/key', [heap]),
    measure(`${what}, the keydir by its own account`, name, 'B/key', [own]),
  ]
}

function outsideOfHeap({ anonymous = Number.NaN, heapTaken }: Footprint): number {
  return anonymous - heapTaken
}

function nameOf(keydir: KeydirKind): string {
  return keydir === 'btree' ? 'firkin' : `firkin ${keydir}`
}

function digits(count: number): string {
  return count.toLocaleString('en-GB')
}

function memoryBench(keydir: KeydirKind): Bench {
  return {
    name: `memory-${keydir}`,
    about: `memory per key of ${LARGE} times --keys; keydir ${keydir}`,
    async run(settings): Promise<Report> {
      return await withDirectory(settings, async (path) => {
        const name = nameOf(keydir)
        const keys = settings.keys * LARGE
        const filled = await fill(path, keydir, keys, settings)
        const measures = memoryMeasures('memory', name, filled)
        await filled.store.close()
        const [{ median: all }, { median: heap }] = measures
        const limit = KEY_BYTES + MAX_OVERHEAD_BYTES
        return {
          measures,
          targets: [
            bound(
              `memory: ${name}`,
              'at most',
              `${limit} B/key`,
              `${all.toFixed(1)} B/key`,
              all <= limit,
            ),
            bound(
              `heap: ${name}`,
              'at most',
              `${MAX_HEAP_BYTES} B/key`,
              `${heap.toFixed(2)} B/key`,
              heap <= MAX_HEAP_BYTES,
            ),
          ],
        }
      })
    },
  }
}

function stallBench(keydir: KeydirKind): Bench {
  return {
    name: `insert-stall-${keydir}`,
    about: `the longest of ${LARGE} times --keys inserts, and of their windows' settling; keydir ${keydir}`,
    async run(settings): Promise<Report> {
      return await withDirectory(settings, async (path) => {
        const name = nameOf(keydir)
        const { store, insertNs, stall } = await fill(path, keydir, settings.keys * LARGE, settings)
        await store.close()
        const latency = stall.summary()
        const longestMs = latency.max / 1e6
        return {
          measures: [{ ...measure('insert', name, 'ns', [insertNs]), latency }],
          targets: [
            bound(
              `longest stall: ${name}`,
              'at most',
              `${MAX_STALL_MS} ms`,
              `${longestMs.toFixed(1)} ms`,
              longestMs <= MAX_STALL_MS,
            ),
          ],
          notes: [
            'Other processes on the machine lengthen the longest stall: run it alone, or with --clock cpu.',
          ],
        }
      })
    },
  }
}

/** Reads every key back, not in the order of the puts, and compares each value. */
function readBack(store: Store, keys: number, values: Values): number {
  const step = 7_368_787
  const beganAt = performance.now()
  for (let turn = 0, index = 0; turn < keys; turn++, index = (index + step) % keys) {
    const value = store.get(keyAt(index))
    if (value === undefined || !value.equals(values.at(index))) {
      throw new Error(`Key ${index} was not read back as it was put`)
    }
  }
  return ((performance.now() - beganAt) * 1e6) / keys
}

function capacityBench(keydir: KeydirKind): Bench {
  return {
    name: `capacity-${keydir}`,
    about: `${CAPACITY} times --keys inserted and read back in one process; keydir ${keydir}`,
    heavy: true,
    async run(settings: Settings): Promise<Report> {
      return await withDirectory(settings, async (path) => {
        const name = nameOf(keydir)
        const keys = settings.keys * CAPACITY
        const values = new Values(settings.valueBytes)
        const filled = await fill(path, keydir, keys, settings)
        const { store, insertNs, stall } = filled
        const readNs = readBack(store, keys, values)
        const found = store.stats().keys
        const what = `${digits(keys)} keys`
        const memory = memoryMeasures(what, name, filled)
        await store.close()
        return {
          measures: [
            { ...measure(`${what}, insert`, name, 'ns', [insertNs]), latency: stall.summary() },
            measure(`${what}, read back and compared`, name, 'ns', [readNs]),
            ...memory,
          ],
          targets: [
            bound(`capacity: ${name}`, 'at least', what, `${digits(found)} keys`, found === keys),
          ],
        }
      })
    },
  }
}

/** The memory of a key. */
export const memory: readonly Bench[] = [memoryBench('btree'), memoryBench('hash')]
/** The longest insert. */
export const insertStall: readonly Bench[] = [stallBench('btree'), stallBench('hash')]
/** Inserts and reads of many keys. */
export const capacity: readonly Bench[] = [capacityBench('btree'), capacityBench('hash')]
