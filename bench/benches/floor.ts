/** Measures Firkin beside the least that its design could be, and beside reads of memory alone. */

import { join } from 'node:path'
import type { Bench } from '../bench.ts'
import { prototype } from '../contenders/prototype.ts'
import { type Lane, race } from '../race.ts'
import { advantage, bound, find, type Measure, type Report, type Target } from '../report.ts'
import { CHUNK, FIRKIN, FIRKIN_HASH, load, withDirectory } from '../stores.ts'
import { random, uniformOrder, Values } from '../workload.ts'
import { readLane } from './get.ts'
import { putLane } from './put.ts'

const GET = 'get, present'
const PUT = 'put, overwrite, in windows of 1,000'
/** The time that a store may take, as a multiple of the prototype's. */
const FACTOR = 1.5
const ORDER_LENGTH = 1_000_000
/** The number of overwrites that the prototype has space for. */
const OVERWRITES = 4_000_000
/** The sizes of a key's slot in a hash, its entry in a keydir, and its record without the value. */
const SLOT_BYTES = 12
const ENTRY_BYTES = 32
const RECORD_BYTES = 34
const LINE_BYTES = 64
const LINE_WORDS = LINE_BYTES / 4

/** The limits of the machine: Firkin beside a prototype and beside reads of memory alone. */
export const floor: Bench = {
  name: 'floor',
  about:
    'get and put beside a prototype without checksums and recovery, and get beside memory alone',
  heavy: true,
  async run(settings): Promise<Report> {
    const { keys, valueBytes } = settings
    const contenders = [prototype(keys, keys + OVERWRITES), FIRKIN, FIRKIN_HASH]
    const measures = await withDirectory(settings, async (path) => {
      const values = new Values(valueBytes)
      const stores = []
      for (const { name, open } of contenders) {
        stores.push({ name, store: await open(join(path, name), 'unsynced', values) })
      }
      for (const { store } of stores) await load(store, 0, keys)
      const order = uniformOrder(ORDER_LENGTH, 0, keys, 21)
      const gets = stores.map((entrant) => readLane(entrant, order, true))
      const puts = stores.map((entrant) => putLane(entrant, order, CHUNK))
      const all = [
        ...(await race(GET, [...gets, memoryLane(keys, valueBytes)], settings)),
        ...(await race(PUT, puts, settings)),
      ]
      for (const { store } of stores) await store.close()
      return all
    })
    return {
      measures,
      targets: [GET, PUT].flatMap((what) =>
        [FIRKIN, FIRKIN_HASH].map(({ name }) =>
          slowdown(find(measures, what, name), find(measures, what, 'prototype')),
        ),
      ),
      notes: [
        'prototype: a hash off the heap that points into a log in memory, which is written to a file; no checksums, no order, no deletes, no recovery.',
      ],
    }
  },
}

/** Makes the goal of taking at most `FACTOR` times as long as another. */
function slowdown(measure: Measure, other: Measure): Target {
  const times = 1 / advantage(measure, other)
  return bound(
    `${measure.what}: ${measure.contender}`,
    'at most',
    `${FACTOR}x the time of ${other.contender}`,
    `${times.toFixed(2)}x`,
    times <= FACTOR,
  )
}

/** A lane of the reads that a `get` needs, each at the place that the one before gave. */
function memoryLane(keys: number, valueBytes: number): Lane {
  const [slots, entries, records] = [SLOT_BYTES, ENTRY_BYTES, RECORD_BYTES + valueBytes].map(
    (size) => lineCycle((keys * size) / LINE_BYTES),
  ) as [Uint32Array, Uint32Array, Uint32Array]
  let slot = 0
  let entry = 0
  let record = 0
  return {
    contender: '(three reads of memory, one by one)',
    size: CHUNK,
    chunk: () => {
      for (let turn = 0; turn < CHUNK; turn++) {
        // The top bit is never set, but the processor cannot know that, and has to wait.
        slot = slots[slot ^ (record >>> 31)] as number
        entry = entries[entry ^ (slot >>> 31)] as number
        record = records[record ^ (entry >>> 31)] as number
      }
    },
  }
}

/** Makes memory in which cache lines lead to one another in one cycle (Sattolo, 1986). */
function lineCycle(size: number): Uint32Array {
  const next = random(22)
  const lines = Uint32Array.from({ length: size }, (_, index) => index)
  for (let last = lines.length - 1; last > 0; last--) {
    const other = Math.floor(next() * last)
    const line = lines[last] as number
    lines[last] = lines[other] as number
    lines[other] = line
  }
  const words = new Uint32Array(lines.length * LINE_WORDS)
  for (const [index, line] of lines.entries()) words[index * LINE_WORDS] = line * LINE_WORDS
  return words
}
