/** Overwrites, which several workloads make. */

import { open, type StoreOptions } from '../../../src/index.ts'
import { expectThat, KIB, type Load } from '../workload.ts'

/** The sizes of a run of overwrites. */
export interface Overwrites {
  readonly options: StoreOptions
  readonly keys: number
  readonly valueBytes: number
  /** The number of puts that are awaited together. */
  readonly atOnce: number
}

/** Overwrites keys in random order as fast as writes settle, and reads some. */
export async function overwrite(
  load: Load,
  { options, keys, valueBytes, atOnce }: Overwrites,
): Promise<void> {
  const { random } = load
  const store = await open(load.directory, options)
  const value = random.bytes(Math.min(valueBytes, 64 * KIB))
  const filled = Buffer.alloc(valueBytes, value)
  const versions = new Uint32Array(keys)
  let round = 0
  while (!load.isOver()) {
    round++
    const writes: Promise<void>[] = []
    for (let count = 0; count < atOnce; count++) {
      const key = random.below(keys)
      if (versions[key] === 0) load.liveBytes += valueBytes + 16
      versions[key] = round
      filled.writeUInt32LE(round, 0)
      writes.push(store.put(`key ${key}`, filled))
    }
    await Promise.all(writes)
    load.operations += atOnce
    const key = random.below(keys)
    const read = store.get(`key ${key}`)
    expectThat((read?.readUInt32LE(0) ?? 0) === versions[key], `key ${key} is not as it was put`)
  }
  await store.close()
}
