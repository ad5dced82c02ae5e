import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { fakeOwnTimers } from '../support/timers.ts'
import type { SweepCounts } from './crash-sweep.ts'
import { DEFAULT_SWEEPS, runSweep, SWEEPS, type Sweep } from './sweeps.ts'

/** Whether sweeps run in this process, and few of them, so that what they cover is counted. */
export const inline = process.env.FIRKIN_SWEEPS === 'inline'
const INLINE_SWEEPS = ['crash/everyWrites/skiplist', 'once/always/btree', 'gone/interval/skiplist']
const chosen: readonly string[] = inline ? INLINE_SWEEPS : DEFAULT_SWEEPS
const all = process.env.FIRKIN_SWEEPS === 'all'
/**
 * A sweep of every call takes a minute: by default one of eight is tried, others by another seed; or one of as many as the
 * environment says.
 */
export const stride = all ? 1 : Number(process.env.FIRKIN_SWEEPS ?? 8) || 8
const program = fileURLToPath(new URL('../../dist/test/recovery/sweep.js', import.meta.url))

/** The sweeps of one sort that this run of the tests makes. */
export function chosenSweeps(sort: 'crash' | 'call' | 'memory'): readonly Sweep[] {
  return SWEEPS.filter(({ name, mode }) => sortOf(mode) === sort && (all || chosen.includes(name)))
}

function sortOf(mode: Sweep['mode']): 'crash' | 'call' | 'memory' {
  if (mode === 'crash') return 'crash'
  return mode === 'no memory' || mode === 'no memory once' ? 'memory' : 'call'
}

/** The seeds that each sweep runs with: `SEED`, and as many as `SEEDS` in the environment says. */
export function seeds(): number[] {
  const first = Number(process.env.SEED ?? 1)
  return Array.from({ length: Number(process.env.SEEDS ?? 1) }, (_, index) => first + index)
}

/** Runs a sweep, in a process of its own where that is possible. */
export async function run(name: string, seed: number): Promise<SweepCounts> {
  if (!inline) {
    const { stdout } = await promisify(execFile)(process.execPath, [
      program,
      name,
      String(seed),
      String(stride),
    ])
    return JSON.parse(stdout)
  }
  fakeOwnTimers('setTimeout', 'setInterval')
  return await runSweep(name, seed, stride)
}
