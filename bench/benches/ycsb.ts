/** Runs the workloads of the Yahoo Cloud Serving Benchmark. */

import type { Bench, Settings } from '../bench.ts'
import type { Contender } from '../contender.ts'
import { type Lane, race } from '../race.ts'
import { best, find, type Measure, type Report, target } from '../report.ts'
import { type Entrant, FIRKIN, FIRKIN_HASH, load, PEERS, withStores } from '../stores.ts'
import { keyAt, latest, type Random, random, zipfian } from '../workload.ts'

/**
 * A workload of the Yahoo Cloud Serving Benchmark: the shares of its operations, and their keys.
 */
interface Workload {
  readonly name: string
  readonly about: string
  readonly shares: Partial<Record<Operation, number>>
  readonly choice: 'zipfian' | 'latest'
}

const OPERATIONS = ['read', 'update', 'insert', 'scan', 'modify'] as const
type Operation = (typeof OPERATIONS)[number]

const WORKLOADS: readonly Workload[] = [
  {
    name: 'A',
    about: 'half reads, half updates',
    shares: { read: 0.5, update: 0.5 },
    choice: 'zipfian',
  },
  {
    name: 'B',
    about: '95 % reads, 5 % updates',
    shares: { read: 0.95, update: 0.05 },
    choice: 'zipfian',
  },
  { name: 'C', about: 'reads', shares: { read: 1 }, choice: 'zipfian' },
  {
    name: 'D',
    about: '95 % reads of the latest, 5 % inserts',
    shares: { read: 0.95, insert: 0.05 },
    choice: 'latest',
  },
  {
    name: 'E',
    about: '95 % scans of up to 100, 5 % inserts',
    shares: { scan: 0.95, insert: 0.05 },
    choice: 'zipfian',
  },
  {
    name: 'F',
    about: 'half reads, half read-modify-writes',
    shares: { read: 0.5, modify: 0.5 },
    choice: 'zipfian',
  },
]

const CONTENDERS: readonly Contender[] = [FIRKIN, FIRKIN_HASH, ...PEERS]
/** The number of operations between two waits for the writes among them. */
const WINDOW = 1000
const SCAN_WINDOW = 100
const MAX_SCAN = 100

/** One contender's course through a workload: the same operations for each, from the same seeds. */
class Course {
  readonly #entrant: Entrant
  readonly #workload: Workload
  readonly #kind: Random
  readonly #choose: Random
  readonly #scanLength: Random
  readonly #one = new Uint32Array(1)
  #keys: number

  constructor(entrant: Entrant, workload: Workload, keys: number) {
    this.#entrant = entrant
    this.#workload = workload
    this.#keys = keys
    this.#kind = random(19)
    this.#choose =
      workload.choice === 'latest'
        ? latest(random(20), () => this.#keys)
        : zipfian(random(20), keys)
    this.#scanLength = random(21)
  }

  async run(count: number): Promise<void> {
    const { store } = this.#entrant
    const one = this.#one
    for (let turn = 0; turn < count; turn++) {
      const operation = this.#next()
      const index = this.#choose()
      one[0] = index
      switch (operation) {
        case 'read':
          store.read(one, 0, 1)
          break
        case 'update':
          store.put(index)
          break
        case 'insert':
          store.put(this.#keys++)
          break
        case 'modify':
          store.read(one, 0, 1)
          store.put(index)
          break
        case 'scan': {
          const limit = 1 + Math.floor(this.#scanLength() * MAX_SCAN)
          await store.scan({ gte: keyAt(index), limit })
        }
      }
    }
    await store.settle()
  }

  #next(): Operation {
    let rest = this.#kind()
    for (const operation of OPERATIONS) {
      rest -= this.#workload.shares[operation] ?? 0
      if (rest < 0) return operation
    }
    return 'read'
  }
}

async function measureWorkload(workload: Workload, settings: Settings): Promise<Measure[]> {
  const scans = workload.shares.scan !== undefined
  // The hash sorts for every scan, and is not made for this.
  const contenders = CONTENDERS.filter((contender) => !scans || contender !== FIRKIN_HASH)
  const size = scans ? SCAN_WINDOW : WINDOW
  return await withStores(contenders, 'unsynced', settings, async (stores) => {
    for (const { store } of stores) await load(store, 0, settings.keys)
    const lanes = stores.map((entrant): Lane => {
      const course = new Course(entrant, workload, settings.keys)
      return { contender: entrant.name, size, chunk: () => course.run(size) }
    })
    return await race(whatOf(workload), lanes, settings)
  })
}

function whatOf({ name, about }: Workload): string {
  return `YCSB ${name} (${about})`
}

/** The mixes of the Yahoo Cloud Serving Benchmark. */
export const ycsb: Bench = {
  name: 'ycsb',
  about: `YCSB A to F, zipfian 0.99, unsynced; writes are pipelined in windows of ${WINDOW} operations`,
  async run(settings): Promise<Report> {
    const measures: Measure[] = []
    for (const workload of WORKLOADS) measures.push(...(await measureWorkload(workload, settings)))
    return {
      measures,
      targets: WORKLOADS.map((workload) => {
        const what = whatOf(workload)
        const peers = PEERS.map(({ name }) => find(measures, what, name))
        return target(`YCSB ${workload.name}`, 1, find(measures, what, FIRKIN.name), best(peers))
      }),
    }
  },
}
