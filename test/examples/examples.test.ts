/** Runs the examples, and compares their output. */

import { execFile } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { withDirectory } from '../support/directory.ts'

const sources = fileURLToPath(new URL('../../examples/', import.meta.url))
// Node 20 cannot run TypeScript, so the build compiles the examples with the package.
const built = fileURLToPath(new URL('../../dist/examples/', import.meta.url))

const run = promisify(execFile)

/** The output of each example. */
const outputs: Readonly<Record<string, string>> = {
  basic: `
colour: green
taste: undefined
shape was there: true
shape is there: false
colour = green
`,
  typed: `
{ name: 'Ada', visits: 2 }
seen in 2024
`,
  batch: `
{ ada: 70, bob: 50 }
2 changes, bob still has 50
{ ada: 70, cleo: 5 }
`,
  range: `
rain in May: 31 days
from the 29th: [ '1 mm', '2 mm', '3 mm' ]
last sun: [ 'sun:2024-05-31', '1 h' ]
left: 21
cleared: 21 left in all: 31
`,
  snapshot: `
before: { apples: 3, pears: 5 }
now: { apples: 2, plums: 8 }
pears, before: 5 now: undefined
`,
  durability: `
1000 entries are on the disk
so is session:1, for sync() was called
cpu is with the operating system, and on the disk within 200 ms
`,
  expiry: `
at noon: [ 'by itself', 'by the store', 'for ever', 'until' ]
a minute later: [ 'by the store', 'for ever', 'until' ]
at midnight: [ 'for ever' ]
bytes given back: 121
`,
  merge: `
before: 5125 kB
to be gained: 4100 kB
segment 4: asked
merged 4 segments
after: 1025 kB
still there: 1000
`,
  backup: `
backed up: 1 segment, 77 bytes copied
the backup has the first draft
verified 1 record: sound
`,
  follower: `
at first: none yet
before refresh: none yet
anything new: true
after refresh: it rains
followed: the sun is out
`,
  unstorage: `
update users:ada
update users:bob
update pixel.gif
users: [ 'users:ada', 'users:bob' ]
raw: <Buffer 47 49 46 38 39 61>
bob: 12 bytes, gone within 1 minute
after a restart: { visits: 2 }
`,
  cache: `
hit: { name: 'Ada' }
asked twice: [ 'Bob, load 1', 'Bob, load 1' ]
expired: undefined
stale, while it is loaded again: { name: 'Bob, load 1' }
invalidated, so loaded: { name: 'Bob, load 3' }
hits, stale hits: 1 1
`,
  server: `
first life: [ '168 primes', '168 primes', '168 primes' ] 1 computed
second life: [ '168 primes', '168 primes', '168 primes' ] 1 computed
`,
  'http-cache': `
first life: answer 1
first life: answer 1
second life: answer 1
second life: answer 1
requests that reached the server: 1
`,
}

const names = readdirSync(sources)
  .filter((name) => name.endsWith('.ts'))
  .map((name) => name.slice(0, -'.ts'.length))

describe.concurrent('the examples', () => {
  it.each(names)('print the expected lines: %s', async (name) => {
    await withDirectory(async (directory) => {
      const env = { ...process.env, TMPDIR: directory }
      const { stdout, stderr } = await run(process.execPath, [`${built}${name}.js`], { env })

      expect(stdout).toBe(outputs[name]?.trimStart())
      expect(stderr).toBe('')
      expect(readdirSync(directory)).toEqual([])
    })
  })

  it.each(names)('have fewer than 40 lines: %s', (name) => {
    const lines = readFileSync(`${sources}${name}.ts`, 'utf8').trimEnd().split('\n')

    expect(lines.length).toBeLessThan(40)
  })
})
