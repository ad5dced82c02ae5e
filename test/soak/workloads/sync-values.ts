/** The workload `sync-values`. */

import { setImmediate } from 'node:timers/promises'
import { open } from '../../../src/index.ts'
import { expectThat, KIB, MIB, type Workload } from '../workload.ts'

const KEYS = 200

export const syncValues: Workload = {
  name: 'sync-values',
  about: 'values of 1 KiB to 1 MiB through putSync and get, one in each turn',
  mostAmplification: 3,
  sparedBytes: 1024 * MIB,
  async run(load) {
    const { random } = load
    const store = await open(load.directory)
    const bytes = Buffer.alloc(MIB, random.bytes(4096))
    const sizes = new Map<string, number>()
    while (!load.isOver()) {
      const key = `key ${random.below(KEYS)}`
      const size = KIB << random.below(11)
      store.putSync(key, bytes.subarray(0, size))
      load.liveBytes += size - (sizes.get(key) ?? 0)
      sizes.set(key, size)
      await setImmediate()
      const other = `key ${random.below(KEYS)}`
      expectThat(store.get(other)?.length === sizes.get(other), `${other} is not as it was put`)
      load.operations += 2
      await setImmediate()
    }
    await store.close()
  },
}
