/** Merges a store, which frees the space of overwritten and deleted entries; usually automatic. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from 'firkin'

const directory = await mkdtemp(join(tmpdir(), 'firkin-'))
const store = await open(directory, { maxSegmentBytes: 2 ** 20, merge: { automatic: false } })

const value = Buffer.alloc(1000)
for (let round = 0; round < 5; round++) {
  const keys = Array.from({ length: 1000 }, (_, index) => `key:${index}`)
  await Promise.all(keys.map((key) => store.put(key, value)))
}

const kilobytes = () => Math.round(store.stats().bytes / 1000)
console.log('before:', kilobytes(), 'kB')

// A dry run reports how much space a merge would free, and in which segments.
const plan = await store.merge({ dryRun: true })
console.log('to be gained:', Math.round(plan.bytesGained / 1000), 'kB')
console.log(`segment ${plan.segments[0]?.id}: ${plan.segments[0]?.reason}`)

store.on('merge', (event) => {
  if (event.phase === 'end') console.log('merged', event.segments.length, 'segments')
})
await store.merge({ signal: AbortSignal.timeout(60_000) })
console.log('after:', kilobytes(), 'kB')
console.log('still there:', store.count())

await store.close()
await rm(directory, { recursive: true })
