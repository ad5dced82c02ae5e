/** Processes that have run out of file descriptors, for a moment or all the time. */

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { withDirectory } from '../support/directory.ts'

const built = (name: string): string => new URL(`../../dist/src/${name}.js`, import.meta.url).href

/** A program's functions that open files until no descriptor is left, and close them again. */
const PRELUDE = `
import { closeSync, openSync } from 'node:fs'
const [directory] = process.argv.slice(1)
const taken = []
const exhaust = () => {
  try {
    for (;;) taken.push(openSync('/dev/null', 'r'))
  } catch (error) {
    if (error.code !== 'EMFILE') throw error
  }
}
const release = () => taken.splice(0).forEach((file) => closeSync(file))
`

const STORE = `${PRELUDE}
import { open } from ${JSON.stringify(built('index'))}
const options = { maxSegmentBytes: 65536, merge: { automatic: false }, mapping: false }
const store = await open(directory, options)
const errors = []
store.on('error', ({ code }) => errors.push(code))
await store.put('first', 'begins a segment')
exhaust()
await store.sync()
await store.put('second', Buffer.alloc(65000))
await store.sync()
const third = store.put('third', Buffer.alloc(65000)).then(() => store.sync())
const code = await third.catch(({ code }) => code)
release()
await store.put('third', Buffer.alloc(65000))
await store.merge()
await store.close()
const again = await open(directory)
const { ok } = await again.verify()
const poisoned = errors.includes('FIRKIN_POISONED')
console.log(JSON.stringify({ keys: [...again.keys()], ok, code, poisoned }))
`

const CACHE = `${PRELUDE}
import { openCache } from ${JSON.stringify(built('cache/cache'))}
const options = { maxBytes: 4 * 2 ** 20, valueEncoding: 'utf8', mapping: false }
const cache = await openCache(directory, options)
cache.on('error', () => {})
const value = 'x'.repeat(1000)
for (let index = 0; index < 100; index++) cache.set('key ' + index, value)
await Promise.resolve()
exhaust()
for (let index = 100; index < 150; index++) cache.set('key ' + index, value)
// The cache's timer fires meanwhile.
await new Promise((resolve) => setTimeout(resolve, 1100))
release()
cache.set('last', value)
const keys = Array.from({ length: 150 }, (_, index) => 'key ' + index)
const missing = keys.filter((key) => cache.get(key) !== value)
const { emptied } = cache.stats()
await cache.close()
console.log(JSON.stringify({ missing, emptied }))
`

/** A program that fills far more segments than it may open files, reads and merges them. */
const MANY = (mapping: boolean): string => `
import { open } from ${JSON.stringify(built('index'))}
const directory = process.argv[1]
const options = {
  maxSegmentBytes: 65536,
  valueEncoding: 'utf8',
  merge: { automatic: false },
  maxOpenFiles: 8,
  mapping: ${mapping},
}
const value = (index, round) => (index + '/' + round).padEnd(20_000, '-')
const store = await open(directory, options)
for (let round = 0; round < 2; round++)
  for (let index = 0; index < 240; index++) await store.put('key ' + index, value(index, round))
const indexes = Array.from({ length: 240 }, (_, index) => index)
const holds = (from) => indexes.every((index) => from.get('key ' + index) === value(index, 1))
const filled = store.stats().segments.length
const before = holds(store)
await store.close()
const again = await open(directory, options)
const follower = await open(directory, { ...options, readOnly: true })
const opened = [holds(again), holds(follower)]
const snapshot = again.snapshot()
await again.put('key 0', 'newer')
await again.merge()
const old = snapshot.get('key 0') === value(0, 1)
await again.put('key 0', value(0, 1))
const merged = holds(again)
snapshot.close()
const { ok } = await again.verify()
await follower.close()
await again.close()
console.log(JSON.stringify({ many: filled > 150, before, opened, old, merged, ok }))
`

/**
 * Runs a program with a limit on its open files, some of which loading its modules takes; returns
 * what it prints.
 */
async function run(code: string, directory: string, limit = 128): Promise<unknown> {
  const { stdout } = await promisify(execFile)('sh', [
    '-c',
    `ulimit -n ${limit}; exec "$0" --input-type=module -e "$1" "$2"`,
    process.execPath,
    code,
    directory,
  ])
  return JSON.parse(stdout)
}

describe.skipIf(process.platform === 'win32')('without free descriptors', () => {
  it('a store still syncs and begins a segment, and is not poisoned', async () => {
    await withDirectory(async (directory) => {
      expect(await run(STORE, directory)).toEqual({
        keys: ['first', 'second', 'third'],
        ok: true,
        code: 'FIRKIN_WRITE_FAILED',
        poisoned: false,
      })
    })
  })

  it.each([true, false])(
    'a store of more segments than that can be opened and merged, with mapping %s',
    async (mapping) => {
      await withDirectory(async (directory) => {
        // A thread needs some descriptors for its modules.
        expect(await run(MANY(mapping), directory, 128)).toEqual({
          many: true,
          before: true,
          opened: [true, true],
          old: true,
          merged: true,
          ok: true,
        })
      })
    },
  )

  it('a cache drops nothing if the shortage is brief', async () => {
    await withDirectory(async (directory) => {
      expect(await run(CACHE, directory)).toEqual({ missing: [], emptied: 0 })
    })
  })
})
