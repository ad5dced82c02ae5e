import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { Fixtures } from './fixture.ts'
import { linesOf, run } from './run.ts'

const fixtures = new Fixtures()

const KEYS = Array.from({ length: 2000 }, (_, index) => `key:${index}`)
/**
 * The number of runs beside the writer: of commands that open the files they list, and of others.
 */
const RUNS = 12
const FEWER_RUNS = 4

type Writer = ChildProcessByStdio<Writable, Readable, null>

/** Calls `use` beside a process that writes and merges all the time. */
async function besideWriter(use: (store: string) => Promise<void>): Promise<void> {
  const store = await fixtures.path()
  const program = join(import.meta.dirname, 'merging-writer.mjs')
  const writer: Writer = spawn(process.execPath, [program, store], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const closed = once(writer, 'close')
  try {
    await once(writer.stdout, 'data')
    writer.stdout.resume()
    await use(store)
  } finally {
    writer.stdin.end()
    expect(await closed).toEqual([0, null])
  }
}

describe('beside a writer that merges all the time', () => {
  it('inspect shows every key and figures that add up', () =>
    besideWriter(async (store) => {
      for (let count = 0; count < RUNS; count++) {
        const { status, stdout, stderr } = await run(['inspect', store, '--json'])

        expect([status, stderr]).toEqual([0, ''])
        const survey = JSON.parse(stdout)
        expect([survey.keys, survey.damage]).toEqual([KEYS.length + 1, undefined])
        expect(survey.inUseBy).toMatch(/^process \d+ on /)
        const live = survey.segments.map(({ liveBytes }: { liveBytes: number }) => liveBytes)
        expect(live.reduce((sum: number, each: number) => sum + each, 0)).toBe(survey.liveBytes)
      }
    }))

  it('dump prints a record of every key', () =>
    besideWriter(async (store) => {
      for (let count = 0; count < RUNS; count++) {
        const { status, stdout, stderr } = await run(['dump', store, '--json'])

        expect(status, stderr).toBe(0)
        expect(stderr).not.toContain('warning')
        const records = linesOf(stdout).map((line) => JSON.parse(line))
        const puts = records.filter(({ kind }) => kind === 'put')
        expect(new Set(puts.map(({ key }) => key))).toEqual(new Set([...KEYS, 'round']))
      }
    }))

  it.each([
    ['tail', ['-n', '50']],
    ['verify', []],
    ['count', []],
    ['scan', ['--limit', '3']],
  ])('%s succeeds', (command, options) =>
    besideWriter(async (store) => {
      for (let count = 0; count < FEWER_RUNS; count++) {
        const { status, stdout, stderr } = await run([command, store, ...options, '--quiet'])

        expect([status, stderr], stdout).toEqual([0, ''])
      }
    }),
  )
})
