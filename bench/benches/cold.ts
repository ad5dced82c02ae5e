/** Measures opening and reading with an empty page cache. */

import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Bench, Settings } from '../bench.ts'
import type { Contender } from '../contender.ts'
import { Latencies } from '../latencies.ts'
import { type Measure, measure, type Report } from '../report.ts'
import {
  FIRKIN,
  FIRKIN_HASH,
  LARGE_WINDOW,
  LMDB_FAST,
  load,
  PEERS,
  withDirectory,
} from '../stores.ts'
import { uniformOrder, Values } from '../workload.ts'

const CONTENDERS: readonly Contender[] = [FIRKIN, FIRKIN_HASH, LMDB_FAST, ...PEERS]
const READS = 2000
const MAX_ROUNDS = 3

/**
 * Empties the page cache, so that the next reads go to the disk; false if that is not permitted.
 */
function dropCaches(): boolean {
  try {
    spawnSync('sync')
    writeFileSync('/proc/sys/vm/drop_caches', '3')
    return true
  } catch {
    return false
  }
}

async function measureCold(settings: Settings): Promise<Measure[]> {
  const rounds = Math.min(settings.rounds, MAX_ROUNDS)
  const values = new Values(settings.valueBytes)
  return await withDirectory(settings, async (path) => {
    const lanes = CONTENDERS.map((contender, index) => ({
      contender,
      path: join(path, String(index)),
      opens: [] as number[],
      reads: [] as number[],
      latencies: new Latencies(),
    }))
    for (const { contender, path } of lanes) {
      const store = await contender.open(path, 'unsynced', values)
      await load(store, 0, settings.keys, LARGE_WINDOW)
      await store.close()
    }
    for (let round = 0; round < rounds; round++) {
      const order = uniformOrder(READS, 0, settings.keys, 27 + round)
      for (const { contender, path, opens, reads, latencies } of lanes) {
        dropCaches()
        const beganAt = performance.now()
        const store = await contender.open(path, 'unsynced', values)
        const openedAt = performance.now()
        for (let at = 0; at < READS; at++) {
          const readAt = performance.now()
          store.read(order, at, at + 1)
          latencies.add(performance.now() - readAt)
        }
        opens.push(openedAt - beganAt)
        reads.push(((performance.now() - openedAt) * 1e6) / READS)
        await store.close()
      }
    }
    return [
      ...lanes.map(({ contender, opens }) => measure('open, cold', contender.name, 'ms', opens)),
      ...lanes.map(({ contender, reads, latencies }) => ({
        ...measure('get, cold', contender.name, 'ns', reads),
        latency: latencies.summary(),
      })),
    ]
  })
}

/** Reads of a store that is not in the page cache. */
export const cold: Bench = {
  name: 'cold',
  about: `open and ${READS} random gets with nothing in the page cache, as when a store is larger than it`,
  async run(settings): Promise<Report> {
    if (!dropCaches()) {
      return {
        measures: [],
        targets: [],
        notes: ['Not measured: only root may drop the page cache (/proc/sys/vm/drop_caches).'],
      }
    }
    return { measures: await measureCold(settings), targets: [] }
  },
}
