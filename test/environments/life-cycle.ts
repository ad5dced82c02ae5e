/**
 * The program that each environment runs: everything that a store does, from its first open to a
 * merge and an open after it. It is text, because each environment loads or bundles it in its own
 * way.
 */

/** The object that the program prints if all is well, without the field `mapping`. */
export const EXPECTED = {
  second: 'FIRKIN_LOCKED',
  merged: true,
  value: '3',
  inSnapshot: '1',
  deleted: true,
  count: 1999,
  keys: ['key 1', 'key 10', 'key 100'],
  reopened: 'new 1999',
  isSound: true,
  cached: { a: 1 },
}

/** Imports of the program, as an ES module. */
export const IMPORTS = `
import { open } from 'firkin'
import { openCache } from 'firkin/cache'
`

/** Imports of the program, as a CommonJS module. */
export const REQUIRES = `
const { open } = require('firkin')
const { openCache } = require('firkin/cache')
`

/** Defines \`lifeCycle(directory)\`, which returns what it saw. */
export const LIFE_CYCLE = `
async function lifeCycle(directory) {
  const seen = {}
  const store = await open(directory + '/store', {
    maxSegmentBytes: 65536,
    valueEncoding: 'utf8',
    merge: { automatic: false },
  })
  for (const round of ['old', 'new']) {
    for (let index = 0; index < 2000; index++) {
      await store.put('key ' + index, (round + ' ' + index).padEnd(100))
    }
  }
  store.putSync('sync', 'value')
  await store.batch().put('a', '1').put('b', '2').delete('key 5').commit()
  seen.second = await open(directory + '/store').then(() => 'opened', ({ code }) => code)
  const { bytesGained } = await store.merge()
  seen.merged = bytesGained > 150000
  const snapshot = store.snapshot()
  await store.put('a', '3')
  seen.value = store.get('a')
  seen.inSnapshot = snapshot.get('a')
  snapshot.close()
  seen.deleted = !store.has('key 5')
  seen.count = store.count({ prefix: 'key ' })
  seen.keys = [...store.keys({ prefix: 'key 1', limit: 3 })]
  seen.mapping = store.stats().mapping
  await store.close()
  const reopened = await open(directory + '/store', { valueEncoding: 'utf8' })
  seen.reopened = reopened.get('key 1999').trim()
  seen.isSound = (await reopened.verify()).ok
  await reopened.close()
  const cache = await openCache(directory + '/cache', { maxBytes: 67108864, valueEncoding: 'json' })
  await cache.set('key', { a: 1 }, { ttlMs: 60000 })
  seen.cached = cache.get('key')
  await cache.close()
  return seen
}
`

/** Runs the program in the directory that is its first argument, and prints what it saw. */
export const MAIN = `
lifeCycle(process.argv[2]).then((seen) => console.log(JSON.stringify(seen)))
`

/** Holds the store of the first argument until its input ends. */
export const HOLD = `
import { open } from 'firkin'
const store = await open(process.argv[2])
console.log('held')
process.stdin.resume()
process.stdin.on('end', () => store.close())
`

/** Tries to open the store of the first argument. */
export const ASK = `
import { open } from 'firkin'
const store = await open(process.argv[2]).catch(({ code }) => console.log(code))
if (store !== undefined) {
  console.log('opened')
  await store.close()
}
`
