/**
 * A process that writes to a store and merges it all the time, until its input ends: run by `live.test.ts`, against the
 * build. Says so once it has begun, and for each merge.
 */
import { open } from '../../dist/src/index.js'

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
  for (let index = 0; index < 300; index++) {
    void store.put(`key:${index}`, `${round} `.repeat(150))
  }
  await store.put('round', String(round))
  await store.sync()
  await store.merge()
  if (round > 2) process.stdout.write('.')
}
await store.close()
