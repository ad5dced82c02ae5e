// Sets entries of mixed sizes without end; to be killed.
import { openCache } from '../../dist/src/cache/cache.js'

const [directory, maxBytes] = process.argv.slice(2)
const cache = await openCache(directory, { maxBytes: Number(maxBytes), strict: true })
const value = Buffer.alloc(20_000, 'v')
const keyCount = (4 * Number(maxBytes)) / 1000
process.send('ready')

for (let round = 0; ; round++) {
  for (let count = 0; count < 500; count++) {
    const size = Math.floor(Math.random() ** 4 * value.length)
    const key = `key ${Math.floor(Math.random() * keyCount)}`
    if (cache.get(key) === undefined) cache.set(key, value.subarray(0, size))
  }
  await new Promise((resolve) => setImmediate(resolve))
}
