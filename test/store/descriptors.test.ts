/** A process that has as many files open as it may: for a moment, or all the time. */

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { withDirectory } from '../support/directory.ts'

const built = (name: string): string => new URL(`../../dist/src/${name}.js`, import.meta.url).href

/** Opens files until there are no descriptors left, and closes them again. */
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
const store = await open(directory, { maxSegmentBytes: 65536, merge: { automatic: false }, mapping: false })
const errors = []
store.on('error', ({ code }) => errors.push(code))
await store.put('first', 'begins a segment')
exhaust()
await store.sync()
await store.put('second', Buffer.alloc(65000))
await store.sync()
const code = await store.put('third', Buffer.alloc(65000)).then(() => store.sync()).catch(({ code }) => code)
release()
await store.put('third', Buffer.alloc(65000))
await store.merge()
await store.close()
const again = await open(directory)
const { ok } = await again.verify()
console.log(JSON.stringify({ keys: [...again.keys()], ok, code, poisoned: errors.includes('FIRKIN_POISONED') }))
`

const CACHE = `${PRELUDE}
import { openCache } from ${JSON.stringify(built('cache/cache'))}
const cache = await openCache(directory, { maxBytes: 4 * 2 ** 20, valueEncoding: 'utf8', mapping: false })
cache.on('error', () => {})
const value = 'x'.repeat(1000)
for (let index = 0; index < 100; index++) cache.set('key ' + index, value)
await Promise.resolve()
exhaust()
for (let index = 100; index < 150; index++) cache.set('key ' + index, value)
// Its timer has had its turn.
await new Promise((resolve) => setTimeout(resolve, 1100))
release()
cache.set('last', value)
const missing = Array.from({ length: 150 }, (_, index) => 'key ' + index).filter((key) => cache.get(key) !== value)
const { emptied } = cache.stats()
await cache.close()
console.log(JSON.stringify({ missing, emptied }))
`

/** Fills far more segments than there may be files, opens them, reads them all, and merges them. */
const MANY = (mapping: boolean): string => `
import { open } from ${JSON.stringify(built('index'))}
const directory = process.argv[1]
const options = { maxSegmentBytes: 65536, valueEncoding: 'utf8', merge: { automatic: false }, maxOpenFiles: 8, mapping: ${mapping} }
const value = (index, round) => (index + '/' + round).padEnd(20_000, '-')
const store = await open(directory, options)
for (let round = 0; round < 2; round++)
  for (let index = 0; index < 240; index++) await store.put('key ' + index, value(index, round))
const holds = (from) => Array.from({ length: 240 }, (_, index) => from.get('key ' + index) === value(index, 1)).every(Boolean)
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

/** Runs a program that may have few files open, of which loading its modules takes some at a time, and answers what it says. */
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

describe.skipIf(process.platform === 'win32')('for want of descriptors', () => {
  it('a store syncs and begins a segment all the same where that is for a moment, and is never poisoned', async () => {
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
    'a store of more segments than that opens, and is merged, mapped %s',
    async (mapping) => {
      await withDirectory(async (directory) => {
        // A thread needs some for its modules.
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

  it('a cache drops nothing where that is for a moment', async () => {
    await withDirectory(async (directory) => {
      expect(await run(CACHE, directory)).toEqual({ missing: [], emptied: 0 })
    })
  })
})
