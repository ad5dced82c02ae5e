import { setImmediate } from 'node:timers/promises'
import { LRUCache } from 'lru-cache'
import { describe, expect, it } from 'vitest'
import { openCache } from '../../src/cache/cache.ts'
import { withDirectory } from '../support/directory.ts'
import { Random } from '../support/random.ts'
import { MIB } from './support.ts'

const MAX_BYTES = 4 * MIB
const MEAN_BYTES = 2248
const KEY_COUNT = Math.floor((8 * MAX_BYTES) / MEAN_BYTES)
const OPERATION_COUNT = 40_000
const SCAN_PERIOD = 10_000
/** The first operations of each period follow the trace; the rest scan keys that are read once. */
const SCAN_FROM = 7500

/** Draws indexes below `count`; the nth has a probability proportional to 1/n^0.99. */
function zipfian(random: Random, count: number): () => number {
  const sums = new Float64Array(count)
  let sum = 0
  for (let rank = 0; rank < count; rank++) {
    sum += 1 / (rank + 1) ** 0.99
    sums[rank] = sum
  }
  return () => {
    const wanted = (random.below(2 ** 32) / 2 ** 32) * sum
    let low = 0
    let high = count - 1
    while (low < high) {
      const middle = (low + high) >> 1
      if ((sums[middle] as number) < wanted) low = middle + 1
      else high = middle
    }
    return low
  }
}

describe('the hit ratio of a cache', () => {
  it.each(['zipfian', 'scan-mixed'])(
    'is at most two points below that of an lru-cache of the same size (%s)',
    async (trace) => {
      await withDirectory(async (directory) => {
        const draw = zipfian(new Random(Number(process.env.SEED ?? 1)), KEY_COUNT)
        const lru = new LRUCache<string, Buffer>({
          maxSize: MAX_BYTES,
          sizeCalculation: (value, key) => value.length + key.length,
        })
        await using cache = await openCache(directory, { maxBytes: MAX_BYTES, strict: true })
        const value = Buffer.alloc(2 * MEAN_BYTES)
        const hits = { own: 0, lru: 0 }

        for (let operation = 0; operation < OPERATION_COUNT; operation++) {
          const scans = trace === 'scan-mixed' && operation % SCAN_PERIOD >= SCAN_FROM
          const index = scans ? KEY_COUNT + operation : draw()
          const key = `key ${index}`
          // The size of an entry never changes; sizes are spread evenly.
          const entry = value.subarray(0, 200 + ((index * 2_654_435_761) % 4096))
          if (cache.get(key) === undefined) cache.set(key, entry)
          else hits.own++
          if (lru.get(key) === undefined) lru.set(key, entry)
          else hits.lru++
          if (operation % 500 === 0) await setImmediate()
        }

        const points = ((hits.own - hits.lru) * 100) / OPERATION_COUNT
        expect(points).toBeGreaterThan(-2)
        expect(hits.lru).toBeGreaterThan(0.3 * OPERATION_COUNT)
        expect(cache.stats().evictions.size).toBeGreaterThan(1000)
      })
    },
  )
})
