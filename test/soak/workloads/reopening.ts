/** The workload `reopening`. */

import { open } from '../../../src/index.ts'
import { expectThat, KIB, MIB, type Workload } from '../workload.ts'

const KEYS = 20_000

export const reopening: Workload = {
  name: 'reopening',
  about: 'opens and closes, of a store that was written to and of one that was not',
  mostAmplification: 3,
  sparedBytes: 256 * MIB,
  async run(load) {
    const { random } = load
    const value = Buffer.alloc(KIB)
    const versions = new Map<string, number>()
    for (let round = 1; !load.isOver(); round++) {
      const store = await open(load.directory, { maxSegmentBytes: 4 * MIB })
      for (const key of [...versions.keys()].slice(0, 3)) {
        const shown = store.get(key)?.readUInt32LE(0)
        expectThat(shown === versions.get(key), `${key} is not what it was before`)
      }
      if (round % 2 === 0) {
        value.writeUInt32LE(round, 0)
        const writes: Promise<void>[] = []
        for (let count = 0; count < 500; count++) {
          const key = `key ${random.below(KEYS)}`
          if (!versions.has(key)) load.liveBytes += KIB + 16
          versions.set(key, round)
          writes.push(store.put(key, value))
        }
        await Promise.all(writes)
      }
      await store.close()
      load.operations++
    }
  },
}
