/**
 * A process that writes to a store and merges it all the time, until its input ends. `live.test.ts`
 * runs it against the build. It prints a word once it is well under way.
 */
import { open } from '../../dist/src/index.js'

const KEY_COUNT = 2000
const [directory] = process.argv.slice(2)
const store = await open(directory, {
  maxSegmentBytes: 64 * 1024,
  sync: 'never',
  merge: { automatic: false, smallSegmentBytes: 32 * 1024 },
})
let ended = false
process.stdin.on('end', () => {
  ended = true
})
process.stdin.resume()
for (let round = 0; !ended; round++) {
  for (let index = round % 5; index < KEY_COUNT; index += 5) {
    void store.put(`key:${index}`, `${round} `.repeat(700))
  }
  await store.put('round', String(round))
  await store.sync()
  await store.merge()
  if (round === 5) process.stdout.write('begun')
}
await store.close()
