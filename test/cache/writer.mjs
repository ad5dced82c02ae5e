// Sets entries of mixed sizes until it is killed; all keys together take four times the budget.
// Reports how many sets it has made.
import { openCache } from '../../dist/src/cache/cache.js'

const [directory, maxBytes, seed] = process.argv.slice(2)
const MEAN_BYTES = 2300
const LARGEST_BYTES = 16_000
const TURN_SETS = 200
const keyCount = Math.ceil((4 * Number(maxBytes)) / MEAN_BYTES)

let state = Number(seed)
function random() {
  state = (state + 0x6d2b79f5) >>> 0
  let mixed = Math.imul(state ^ (state >>> 15), state | 1)
  mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
}

const cache = await openCache(directory, { maxBytes: Number(maxBytes), strict: true })
const value = Buffer.alloc(LARGEST_BYTES, 'v')
process.send({ sets: 0 })

for (;;) {
  for (let sets = 0; sets < TURN_SETS; ) {
    const index = Math.floor(random() * keyCount)
    const key = `key ${index}`
    const choice = random()
    const found = choice < 0.5 ? cache.get(key) : undefined
    // A value begins with its key's number.
    if (found !== undefined && found.readUInt32LE(0) !== index) throw new Error(`${key} is wrong`)
    if (choice > 0.99) cache.delete(key)
    else if (choice > 0.9899) cache.invalidateTags(`tag ${index % 100}`)
    else if (found === undefined) {
      value.writeUInt32LE(index)
      const size = 4 + Math.floor(random() ** 6 * (LARGEST_BYTES - 4))
      const options = choice > 0.9 ? { ttlMs: 200, tags: [`tag ${index % 100}`] } : {}
      if (!cache.set(key, value.subarray(0, size), options)) throw new Error(`${key} was refused`)
      sets++
    }
  }
  process.send({ sets: TURN_SETS })
  await new Promise((resolve) => setImmediate(resolve))
}
