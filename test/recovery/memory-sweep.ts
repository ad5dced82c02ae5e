/**
 * Refuses each allocation, while the workload does everything that writes and while the store is
 * opened. The step that meets the refusal goes on after it. Then
 *
 * - only the operations that the refusal hit have failed, with an error that has a code; the store
 *   shows everything else,
 * - once there is memory again writes succeed, unless the store is poisoned: then it reads and
 *   refuses writes,
 * - after a kill or a close the store opens with what it showed.
 */

import { StoreError } from '../../src/errors.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { RefusedMemory } from '../support/memory.ts'
import type { CrashSweep, SweepCounts } from './crash-sweep.ts'
import { assertFigures, Survivals, shownBy } from './inspection.ts'
import { Trial } from './trial.ts'
import { type Step, workload } from './workload.ts'

/** The ways in which memory is refused. */
export type MemoryMode =
  /** One allocation is refused. */
  | 'no memory once'
  /** The allocation and all later ones are refused, until refusing is ended. */
  | 'no memory'

/** The parameters of a sweep. */
export interface MemorySweep extends CrashSweep {
  readonly mode: MemoryMode
}

/** Refuses every allocation of every step. */
export async function sweepMemory(sweep: MemorySweep): Promise<SweepCounts> {
  const { seed, options, slow, mode, stride } = sweep
  const files = new FaultyFiles(seed)
  files.slow = slow
  const trial = new Trial(files, options)
  const survivals = new Survivals()
  await trial.open()
  await trial.close()
  let calls = 0
  for (const step of workload.slice(1, -1)) {
    for (let nth = 1 + (seed % stride); ; nth += stride) {
      const attempt = fork(trial, seed)
      try {
        if (!(await refuseOne(attempt, step, { nth, lasting: mode === 'no memory' }))) break
        await assertSound(attempt, survivals, seed)
        calls++
      } catch (cause) {
        throw new Error(`In '${step.name}', ${mode}, allocation ${nth}, seed ${seed}`, { cause })
      } finally {
        await attempt.abandon()
      }
    }
    await trial.open()
    await step.run(trial)
    await trial.close()
  }
  return { calls, states: survivals.count }
}

/** Opens the store and does a step with one allocation refused. Returns whether there was one. */
async function refuseOne(
  trial: Trial,
  step: Step,
  refusal: { readonly nth: number; readonly lasting: boolean },
): Promise<boolean> {
  trial.tolerant = true
  using memory = new RefusedMemory(refusal)
  try {
    await trial.open()
    await step.run(trial)
    await trial.idle()
  } catch (error) {
    // Without an open store the step cannot go on.
    if (trial.isOpen || !(error instanceof StoreError)) throw error
  }
  return memory.refused > 0
}

async function assertSound(trial: Trial, survivals: Survivals, seed: number): Promise<void> {
  await survivals.assert(fork(trial, seed), 'settled')
  trial.errors.splice(0)
  if (!trial.isOpen) await trial.open()
  assertShows(trial)
  if (!trial.poisoned) assertFigures(trial.store)
  const { poisoned } = trial
  const before = trial.failures.length
  await trial.put('healed', 10)
  await trial.sync()
  const failure = trial.failures[before]
  if (failure !== undefined && !poisoned) throw failure
  if (failure === undefined && poisoned) throw new Error('A poisoned store was written')
  await trial.idle()
  assertShows(trial)
  await survivals.assert(fork(trial, seed), 'settled')
  await trial.close()
  await survivals.assert(fork(trial, seed), 'settled')
}

function assertShows({ store, history, nowMs }: Trial): void {
  history.copy().settleOn(shownBy(store, history.keys), nowMs, 'settled')
}

/** Returns what a kill leaves of a trial. */
function fork({ files, options, history, nowMs }: Trial, seed: number): Trial {
  return new Trial(files.restart(seed), options, history.copy(), nowMs)
}
