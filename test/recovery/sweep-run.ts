import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { fakeOwnTimers } from '../support/timers.ts'
import type { SweepCounts } from './crash-sweep.ts'
import { DEFAULT_SWEEPS, runSweep, SWEEPS, type Sweep } from './sweeps.ts'

/** Whether a few sweeps run in this process, so that coverage is counted. */
export const inline = process.env.FIRKIN_SWEEPS === 'inline'
const INLINE_SWEEPS = ['crash/everyWrites/skiplist', 'once/always/btree', 'gone/interval/skiplist']
const chosen: readonly string[] = inline ? INLINE_SWEEPS : DEFAULT_SWEEPS
const all = process.env.FIRKIN_SWEEPS === 'all'
/**
 * The number of calls of which one is tried. A sweep of every call takes a minute, so the default
 * is eight, and another seed tries other calls. The environment may set it.
 */
export const stride = all ? 1 : Number(process.env.FIRKIN_SWEEPS ?? 8) || 8
const program = fileURLToPath(new URL('../../dist/test/recovery/sweep.js', import.meta.url))

/** Returns the sweeps of one sort that this run of the tests makes. */
export function chosenSweeps(sort: 'crash' | 'call' | 'memory'): readonly Sweep[] {
  return SWEEPS.filter(({ name, mode }) => sortOf(mode) === sort && (all || chosen.includes(name)))
}

function sortOf(mode: Sweep['mode']): 'crash' | 'call' | 'memory' {
  if (mode === 'crash') return 'crash'
  return mode === 'no memory' || mode === 'no memory once' ? 'memory' : 'call'
}

/** Returns the seeds of each sweep: from `SEED` on, as many as `SEEDS` in the environment says. */
export function seeds(): number[] {
  const first = Number(process.env.SEED ?? 1)
  return Array.from({ length: Number(process.env.SEEDS ?? 1) }, (_, index) => first + index)
}

/** Runs a sweep, in a process of its own if possible. */
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
