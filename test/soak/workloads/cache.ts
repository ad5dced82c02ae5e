/** The workload `cache`. */

import { openCache } from '../../../src/cache/cache.ts'
import { expectThat, KIB, MIB, type Workload } from '../workload.ts'

const BUDGET = 256 * MIB

export const cache: Workload = {
  name: 'cache',
  about: 'a cache of 256 MiB at its budget, of which two in three are hits',
  mostAmplification: 1,
  sparedBytes: MIB,
  async run(load) {
    const { random } = load
    const opened = await openCache(load.directory, { maxBytes: BUDGET })
    load.liveBytes = BUDGET
    const bytes = random.bytes(64 * KIB)
    while (!load.isOver()) {
      const number = random.chance(0.66) ? random.below(2000) : random.below(200_000)
      const size = 512 + ((number * 97) % (32 * KIB))
      const value = await opened.getOrSet(`key ${number}`, () => bytes.subarray(0, size), {
        ttlMs: 60_000,
      })
      expectThat(value?.length === size, `key ${number} is not what was loaded`)
      load.operations++
    }
    await opened.close()
  },
}
