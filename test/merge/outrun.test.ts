/**
 * Writers that overwrite a store without pause, which merges have to keep up with. These tests run
 * against the build.
 */

import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { HOPELESS_MS } from '../../src/engine/pace.ts'
import { withDirectory } from '../support/directory.ts'

const run = promisify(execFile)
const BUILT = new URL('../../dist/src/index.js', import.meta.url).href
const MIB = 2 ** 20
/** The least time to write for. */
const LEAST_MS = 600
/**
 * Nothing in the background progresses once a call has gone on for `HOPELESS_MS`; from then on it
 * merges in the call. Before that a fast machine writes tens of megabytes.
 */
const UNNOTICED_MS = HOPELESS_MS + 20

/** Ways to overwrite keys without pause. Each puts key after key, counted by `n`. */
const WRITERS = {
  'putSync of small values': { size: 1000, body: 'store.putSync(key(n), value(n++))' },
  'putSync of large values': { size: 300_000, body: 'store.putSync(key(n), value(n++))' },
  'commitSync of batches': {
    size: 1000,
    body: `{
      const batch = store.batch()
      for (let each = 0; each < 20; each++) batch.put(key(n), value(n++))
      batch.commitSync()
    }`,
  },
  'puts that nobody awaits': { size: 10_000, body: 'void store.put(key(n), value(n++))' },
  'putSync in each turn': {
    size: 10_000,
    body: `{
      for (let each = 0; each < 200; each++) store.putSync(key(n), value(n++))
      await new Promise(setImmediate)
    }`,
  },
  'puts that are awaited': { size: 1000, body: 'await store.put(key(n), value(n++))' },
}

interface Outcome {
  /** The largest size of all segments in relation to the target, and the target at that moment. */
  readonly bytes: number
  readonly targetBytes: number
  readonly written: number
  readonly merges: number
  readonly ok: boolean
  readonly intact: boolean
}

/**
 * Overwrites 8 MiB again and again, in a process of its own, and watches how far the store grows.
 */
async function overwrite(
  { size, body }: { readonly size: number; readonly body: string },
  segmentBytes: number,
): Promise<Outcome> {
  return await withDirectory(async (directory) => {
    const program = `
      const { open } = await import(${JSON.stringify(BUILT)})
      const options = { maxSegmentBytes: ${segmentBytes}, valueEncoding: 'utf8' }
      const store = await open('data', options)
      const size = ${size}
      const count = Math.floor(2 ** 23 / size)
      const key = (n) => 'key ' + (n % count)
      const value = (n) => String(n).padEnd(size, '-')
      const writes = Math.floor(80 * 2 ** 20 / size)
      const most = { bytes: 0, targetBytes: 1 }
      let look = 0
      const step = Math.floor(2 ** 21 / size)
      let n = 0
      const beganAt = performance.now()
      const elapsed = () => performance.now() - beganAt
      while (n < writes || elapsed() < ${LEAST_MS}) {
        ${body}
        if (n < look) continue
        look = n + step
        if (elapsed() < ${UNNOTICED_MS}) continue
        const { bytes, targetBytes } = store.stats().pressure
        if (bytes / targetBytes > most.bytes / most.targetBytes) Object.assign(most, { bytes, targetBytes })
      }
      const merges = store.stats().merge.count
      await store.sync()
      await store.close()
      const again = await open('data', options)
      let intact = again.count() === count
      for (let last = n - count; last < n; last++) intact &&= again.get(key(last)) === value(last)
      const { ok } = await again.verify()
      await again.close()
      console.log(JSON.stringify({ ...most, written: n * size, merges, ok, intact }))
    `
    await writeFile(join(directory, 'program.mjs'), program)
    const { stdout } = await run(process.execPath, ['program.mjs'], { cwd: directory })
    return JSON.parse(stdout) as Outcome
  })
}

describe('a store that is overwritten without pause', () => {
  it.each(
    Object.entries(WRITERS).map(([name, writer], row) =>
      row % 2 === 0
        ? ([name, 'small', MIB, writer] as const)
        : ([name, 'large', 4 * MIB, writer] as const),
    ),
  )('by %s stays near its target, with %s segments', { timeout: 120_000 }, async (...row) => {
    const [, , segmentBytes, writer] = row

    const { bytes, targetBytes, written, merges, ok, intact } = await overwrite(
      writer,
      segmentBytes,
    )

    expect(written).toBeGreaterThan(75 * MIB)
    expect(merges).toBeGreaterThan(0)
    // A machine that is busy with something else merges late. Without merges it would be three
    // times as much.
    expect(bytes / targetBytes).toBeLessThan(1.5)
    expect({ ok, intact }).toEqual({ ok: true, intact: true })
  })
})
