/** The workload `followers`. */

import { open } from '../../../src/index.ts'
import { expectThat, KIB, MIB, type Workload } from '../workload.ts'

const KEYS = 5000
const FOLLOWERS = 3

export const followers: Workload = {
  name: 'followers',
  about: 'overwrites in segments of 2 MiB, beside three stores that follow',
  mostAmplification: 4,
  sparedBytes: 256 * MIB,
  async run(load) {
    const { random } = load
    const store = await open(load.directory, { maxSegmentBytes: 2 * MIB })
    const value = Buffer.alloc(KIB)
    await store.put('round', value)
    const following = await Promise.all(
      Array.from({ length: FOLLOWERS }, () => open(load.directory, { readOnly: true, follow: 50 })),
    )
    const known = new Set<number>()
    const seen = new Array<number>(FOLLOWERS).fill(0)
    for (let round = 1; !load.isOver(); round++) {
      value.writeUInt32LE(round, 0)
      const writes = [store.put('round', value)]
      for (let count = 0; count < 50; count++) {
        const key = random.below(KEYS)
        if (!known.has(key)) load.liveBytes += KIB + 16
        known.add(key)
        writes.push(store.put(`key ${key}`, value))
      }
      await Promise.all(writes)
      load.operations += 50
      for (const [index, follower] of following.entries()) {
        const shown = follower.get('round')?.readUInt32LE(0) ?? -1
        expectThat(shown >= (seen[index] as number), 'A follower goes back')
        expectThat(shown <= round, 'A follower shows what is to come')
        seen[index] = shown
      }
    }
    for (const follower of following) {
      await follower.refresh()
      const shown = follower.get('round')
      expectThat(shown?.equals(store.get('round') as Buffer) === true, 'A follower is behind')
      await follower.close()
    }
    await store.close()
  },
}
