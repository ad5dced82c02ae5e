/** Processes that end, or go on, while a merge runs. These tests run against the build. */

import { execFile } from 'node:child_process'
import { readdir } from 'node:fs/promises'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { withDirectory } from '../support/directory.ts'
import { openStore } from '../support/store.ts'

const run = promisify(execFile)
const built = new URL('../../dist/src/index.js', import.meta.url).href

/** Runs a program that fills a store so that merges are worth it, and then runs `rest`. */
async function runProgram(directory: string, merge: object, rest: string): Promise<string> {
  const code = `
    import { once } from 'node:events'
    import { open } from ${JSON.stringify(built)}
    const store = await open(${JSON.stringify(directory)}, {
      maxSegmentBytes: 65_536,
      merge: ${JSON.stringify(merge)},
    })
    const merging = once(store, 'merge')
    for (const round of ['old', 'new']) {
      for (let index = 0; index < 24; index++) await store.put('key ' + index, round.padEnd(7000))
    }
    await store.sync()
    ${rest}
  `
  // A program that does not end by itself fails long before this test does.
  const options = { timeout: 30_000 }
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', code], options)
  return stdout.trim()
}

/** So slow that a merge of a few segments takes days. */
const ENDLESS = { automatic: true, maxBytesPerSecond: 1 }
const NONE = { automatic: false }

/**
 * Waits until the merge has begun. The timer keeps the process alive; a store's own timers and
 * threads do not.
 */
const BEGUN = `
  const waiting = setInterval(() => {}, 1000)
  await merging
  clearInterval(waiting)
`

async function expectWhole(directory: string): Promise<void> {
  await using store = await openStore(directory)
  expect(store.count()).toBe(24)
  for (const value of store.values()) expect(value).toBe('new'.padEnd(7000))
  expect((await store.verify()).findings.filter(({ severity }) => severity === 'damage')).toEqual(
    [],
  )
}

describe('a process', () => {
  it('with nothing else to do ends in the middle of a merge, leaving a whole store', async () => {
    await withDirectory(async (directory) => {
      const rest = `${BEGUN} console.log('begun')`

      expect(await runProgram(directory, ENDLESS, rest)).toBe('begun')

      await expectWhole(directory)
      const names = await readdir(directory)
      expect(names.filter((name) => name.endsWith('.tmp'))).toEqual([])
    })
  })

  it.each([
    ['close, which ends a merge', ENDLESS, `${BEGUN} await store.close()`, 3],
    ['close, which makes hints', NONE, 'await store.close()', 4],
    ['merge', NONE, 'await store.merge()', 1],
  ])('stays alive as long as it waits for %s', async (_, merge, rest, hintCount) => {
    await withDirectory(async (directory) => {
      expect(await runProgram(directory, merge, `${rest}; console.log('done')`)).toBe('done')

      const names = await readdir(directory)
      const hints = names.filter((name) => name.endsWith('.hint'))
      expect(hints.length).toBeGreaterThanOrEqual(hintCount)
      await expectWhole(directory)
    })
  })
})
