/** The workload `large-values`. */

import { setTimeout } from 'node:timers/promises'
import { open } from '../../../src/index.ts'
import { expectThat, MIB, type Workload } from '../workload.ts'

const KEYS = 4
const LARGEST = 64 * MIB

export const largeValues: Workload = {
  name: 'large-values',
  about: 'overwrites of values of 1 to 64 MiB through put, with the default options',
  mostAmplification: 3,
  sparedBytes: 1024 * MIB,
  async run(load) {
    const { random } = load
    const store = await open(load.directory)
    const bytes = Buffer.alloc(LARGEST, random.bytes(4096))
    const sizes = new Map<string, number>()
    while (!load.isOver()) {
      const key = `key ${random.below(KEYS)}`
      const size = MIB << random.below(7)
      load.liveBytes += size - (sizes.get(key) ?? 0)
      sizes.set(key, size)
      await store.put(key, bytes.subarray(0, size))
      load.operations++
      expectThat(store.has(key), `${key} is not there`)
    }
    await store.close()
    // A read of a large value holds up the loop, as the store's page says. Here only puts are
    // judged.
    load.isHeldUp = true
    const reopened = await open(load.directory, { readOnly: true })
    for (const [key, size] of sizes) {
      const read = reopened.get(key)
      expectThat(read?.equals(bytes.subarray(0, size)) === true, `${key} is not as it was put`)
    }
    // The delay of the read must be over before the next look.
    await setTimeout(50)
    load.isHeldUp = false
    await reopened.close()
  },
}
