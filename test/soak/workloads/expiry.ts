/** The workload `expiry`. */

import { open } from '../../../src/index.ts'
import { expectThat, MIB, type Workload } from '../workload.ts'

const TTL_MS = 1000
const VALUE_BYTES = 100
const AT_ONCE = 100
/** The difference that two clocks may have over that time. */
const CLOCKS_MS = 50

export const expiry: Workload = {
  name: 'expiry',
  about: 'new keys at full speed, each of which expires after a second',
  // Expired entries stay on disk until they have been swept and merged.
  mostAmplification: 5,
  sparedBytes: 1024 * MIB,
  async run(load) {
    const store = await open(load.directory)
    const value = load.random.bytes(VALUE_BYTES)
    const puts: { atMs: number; last: number }[] = []
    let live = 0
    let expired = -1
    let number = 0
    while (!load.isOver()) {
      const writes: Promise<void>[] = []
      for (let count = 0; count < AT_ONCE; count++) {
        writes.push(store.put(`key ${number++}`, value, { ttlMs: TTL_MS }))
      }
      await Promise.all(writes)
      const nowMs = performance.now()
      puts.push({ atMs: nowMs, last: number - 1 })
      live += AT_ONCE
      while ((puts[0]?.atMs ?? nowMs) <= nowMs - TTL_MS - CLOCKS_MS) {
        expired = puts.shift()?.last ?? expired
        live -= AT_ONCE
      }
      load.operations = number
      load.liveBytes = live * (VALUE_BYTES + 20)
      load.figures['keys held for 1,000 alive'] = Math.round((store.stats().keys * 1000) / live)
      if (number % 10_000 === 0) {
        expectThat(!store.has(`key ${expired}`), 'A key outlives its time')
        expectThat(store.has(`key ${number - 1}`), 'A key is gone before its time')
      }
    }
    await store.close()
  },
}
