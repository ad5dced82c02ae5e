/** Measures reads of keys in random order. */

import type { Bench, Settings } from '../bench.ts'
import type { Contender, OpenContender } from '../contender.ts'
import { type Lane, race } from '../race.ts'
import { find, type Measure, type Report, target } from '../report.ts'
import {
  CHUNK,
  type Entrant,
  FIRKIN,
  FIRKIN_HASH,
  LARGE_WINDOW,
  LMDB,
  LMDB_FAST,
  load,
  PEERS,
  Rotation,
  withStores,
} from '../stores.ts'
import { keyAt, uniformOrder } from '../workload.ts'

const CONTENDERS: readonly Contender[] = [FIRKIN, FIRKIN_HASH, LMDB_FAST, ...PEERS]

/** The number of reads in random order before the order repeats. */
const ORDER_LENGTH = 1_000_000

async function measureReads(
  what: string,
  settings: Settings,
  low: number,
  high: number,
  present: boolean,
): Promise<readonly Measure[]> {
  return await withStores(CONTENDERS, 'unsynced', settings, async (stores) => {
    for (const { store } of stores) await load(store, 0, settings.keys, LARGE_WINDOW)
    const order = uniformOrder(ORDER_LENGTH, low, high, 11)
    return await race(
      what,
      [...stores.map((entrant) => readLane(entrant, order, present)), keyLane(order)],
      settings,
    )
  })
}

/** Makes a lane that reads one key after the other. */
export function readLane(
  { name, store }: Entrant<Pick<OpenContender, 'read'>>,
  order: Uint32Array,
  present: boolean,
): Lane {
  const rotation = new Rotation(order)
  return {
    contender: name,
    size: CHUNK,
    chunk: () => {
      const from = rotation.next()
      const found = store.read(order, from, from + CHUNK)
      if (found !== (present ? CHUNK : 0)) throw new Error(`${name} found ${found} of ${CHUNK}`)
    },
    each: (turn) => store.read(order, turn, turn + 1),
  }
}

/** Makes a lane that only makes keys, which is a part of all others. */
function keyLane(order: Uint32Array): Lane {
  const rotation = new Rotation(order)
  return {
    contender: '(the key alone)',
    size: CHUNK,
    chunk: () => {
      const from = rotation.next()
      let sum = 0
      for (let at = from; at < from + CHUNK; at++) sum += keyAt(order[at] as number).length
      if (sum !== 16 * CHUNK) throw new Error('A key was of another length')
    },
  }
}

/** Reads of present keys in random order. */
export const getHit: Bench = {
  name: 'get-hit',
  about: 'get of present keys, random order; copied and verified by Firkin',
  async run(settings): Promise<Report> {
    const what = 'get, present'
    const measures = await measureReads(what, settings, 0, settings.keys, true)
    const of = ({ name }: Contender) => find(measures, what, name)
    return {
      measures,
      targets: [
        target(what, 2.5, of(FIRKIN), of(LMDB)),
        target(what, 1.3, of(FIRKIN), of(LMDB_FAST)),
        target(what, 3, of(FIRKIN_HASH), of(LMDB)),
        target(what, 1.6, of(FIRKIN_HASH), of(LMDB_FAST)),
      ],
    }
  },
}

/** Reads of absent keys in random order. */
export const getMiss: Bench = {
  name: 'get-miss',
  about: 'get of absent keys, random order',
  async run(settings): Promise<Report> {
    const what = 'get, absent'
    const { keys } = settings
    const measures = await measureReads(what, settings, keys, 2 * keys, false)
    const of = ({ name }: Contender) => find(measures, what, name)
    return {
      measures,
      targets: [target(what, 4, of(FIRKIN), of(LMDB)), target(what, 4, of(FIRKIN_HASH), of(LMDB))],
    }
  },
}
