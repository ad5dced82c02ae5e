/** The workload `snapshots`. */

import { setImmediate } from 'node:timers/promises'
import { open, type Snapshot } from '../../../src/index.ts'
import { expectThat, KIB, MIB, type Workload } from '../workload.ts'

const KEYS = 5000
const MOST_OPEN = 200

export const snapshots: Workload = {
  name: 'snapshots',
  about: 'overwrites under up to 200 snapshots, which are read and closed in any order',
  // Segments that snapshots look into stay on disk beside the live ones.
  mostAmplification: 30,
  sparedBytes: 1024 * MIB,
  async run(load) {
    const { random } = load
    const store = await open(load.directory, { maxSegmentBytes: 8 * MIB })
    const versions = new Map<string, number>()
    const value = Buffer.alloc(KIB)
    let open_: { snapshot: Snapshot<Buffer>; key: string; version: number | undefined }[] = []
    for (let round = 1; !load.isOver(); round++) {
      const writes: Promise<void>[] = []
      for (let count = 0; count < 50; count++) {
        const key = `key ${random.below(KEYS)}`
        if (!versions.has(key)) load.liveBytes += KIB + 16
        versions.set(key, round)
        value.writeUInt32LE(round, 0)
        writes.push(store.put(key, value))
      }
      await Promise.all(writes)
      load.operations += 50
      const key = `key ${random.below(KEYS)}`
      if (open_.length < MOST_OPEN && random.chance(0.55)) {
        open_.push({ snapshot: store.snapshot(), key, version: versions.get(key) })
      } else if (open_.length > 0) {
        const each = random.pick(open_)
        const shown = each.snapshot.get(each.key)?.readUInt32LE(0)
        expectThat(shown === each.version, `${each.key} is not what it was in a snapshot`)
        let count = 0
        for (const _ of each.snapshot.keys({ prefix: 'key 1' })) count++
        expectThat(count <= KEYS, 'A snapshot has more keys than there are')
        each.snapshot.close()
        open_ = open_.filter((other) => other !== each)
      }
      if (round % 200 === 0) for (const { snapshot } of open_.splice(0)) snapshot.close()
      await setImmediate()
    }
    await store.close()
  },
}
