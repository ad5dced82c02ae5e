/**
 * A failure of every call, while everything that writes is done; once, and from then on. The step that meets it goes
 * on behind what failed. Then
 *
 * - only what was asked for and hit has failed, by an error with a code; the store shows everything else,
 * - once calls succeed again writes do, unless a sync has failed: then the store refuses them, and reads,
 * - after a kill, and after a close, the store opens to what it showed; after a power loss, to what was promised.
 */

import { StoreError } from '../../src/errors.ts'
import type { PowerLoss } from '../support/disk.ts'
import { type Call, type CallKind, type FaultCode, FaultyFiles } from '../support/faulty-files.ts'
import type { History } from '../support/history.ts'
import { SEED } from './crash-sweep.ts'
import { assertFigures, assertSurvives, shownBy } from './inspection.ts'
import { Trial, type TrialOptions } from './trial.ts'
import { type Step, workload } from './workload.ts'

/** How calls fail. */
export type FaultMode =
  /** The call fails. */
  | 'once'
  /** The call and all later ones of its kind fail, until they are let go. */
  | 'lasting'
  /** A read or write takes less than it was given. */
  | 'short'
  /** The disk is full from a write on, which may find a little room, until there is room again. */
  | 'full'

const CODES: Partial<Record<CallKind, FaultCode>> = {
  write: 'ENOSPC',
  open: 'EMFILE',
  link: 'EACCES',
}

/** The kinds of calls that reading needs. */
const READING: ReadonlySet<CallKind> = new Set(['open', 'read', 'size', 'list'])

const ANYTHING: PowerLoss = { files: ['dropped', 'kept', 'cut'], entries: 'scattered' }

/** Fails every call of every step in a way; answers how many calls were made to fail. */
export async function sweepFaults(mode: FaultMode, options: TrialOptions): Promise<number> {
  const trial = new Trial(new FaultyFiles(SEED), options)
  await trial.open()
  await trial.close()
  let count = 0
  for (const step of workload.slice(1, -1)) {
    for (let nth = 1; ; nth++) {
      const call = await tryFault(fork(trial), step, mode, nth)
      if (call === undefined) break
      if (call !== 'passed') count++
    }
    await trial.open()
    await step.run(trial)
    await trial.close()
  }
  return count
}

/** @returns the call that failed; `undefined` where there are not so many, `'passed'` where it cannot fail so */
async function tryFault(
  trial: Trial,
  step: Step,
  mode: FaultMode,
  nth: number,
): Promise<Call | 'passed' | undefined> {
  const { files } = trial
  let hit: Call | undefined
  let promised = trial.history
  files.onCall = (call) => {
    if (call.number !== nth) return
    hit = call
    promised = trial.history.copy()
    plan(files, call, mode)
  }
  try {
    await runStep(trial, step)
    if (hit === undefined) return undefined
    if (files.faultCount > 0) {
      await check(trial, promised, mode === 'lasting' && READING.has(hit.kind))
    }
    await trial.abandon()
    return files.faultCount > 0 ? hit : 'passed'
  } catch (error) {
    throw new Error(
      `In '${step.name}', ${mode} from call ${nth} on, ${hit?.kind} ${hit?.path}, SEED=${SEED}`,
      { cause: error },
    )
  }
}

/** Lets the call at hand fail. */
function plan(files: FaultyFiles, { kind, number }: Call, mode: FaultMode): void {
  if (mode === 'full') {
    if (kind === 'write') files.capacity = files.usedSize + (number % 3) * 100
    return
  }
  if (mode === 'short') {
    if (kind === 'write' || kind === 'read') files.fail({ kinds: [kind], nth: 1, code: 'SHORT' })
    return
  }
  const lasting = mode === 'lasting'
  files.fail({ kinds: [kind], nth: 1, code: CODES[kind] ?? 'EIO', lasting })
}

/** Opens the store, as often as that takes, and does the step. */
async function runStep(trial: Trial, step: Step): Promise<void> {
  trial.tolerant = true
  try {
    await trial.open()
    await step.run(trial)
    await trial.idle()
  } catch (error) {
    // Without an open store there is nothing to go on with.
    if (trial.isOpen || !(error instanceof StoreError)) throw error
  }
}

/**
 * @param promised the history when the call was hit
 * @param readsFail whether nothing can be read before calls succeed again
 */
async function check(trial: Trial, promised: History, readsFail: boolean): Promise<void> {
  const { files, history, poisoned } = trial
  if (trial.isOpen && !readsFail) assertShows(trial)
  if (trial.isOpen && !poisoned) assertFigures(trial.store)
  await assertSurvives(fork(trial), 'settled')
  await losePower(trial, poisoned ? promised : history)
  files.heal()
  if (!trial.isOpen) await trial.open()
  else {
    const before = trial.failures.length
    await trial.put('healed', 10)
    await trial.sync()
    if (trial.failures.length > before && !poisoned) throw trial.failures[before]
    if (trial.failures.length === before && poisoned)
      throw new Error('A poisoned store was written')
  }
  await trial.idle()
  assertShows(trial)
  await trial.close()
  trial.errors.splice(0)
  await assertSurvives(fork(trial), 'settled')
}

function assertShows({ store, history, nowMs }: Trial): void {
  history.copy().settleOn(shownBy(store, history.keys), nowMs, 'settled')
}

/**
 * A sync in the background that fails is known a moment later. What another call has synced in that moment may lie
 * behind what is lost: of a store that was poisoned, only what had been promised before counts.
 */
async function losePower(
  { files, options, history, nowMs }: Trial,
  promised: History,
): Promise<void> {
  const copy = history.copy()
  const durable = new Set(
    promised.commits.filter(({ fate }) => fate === 'durable').map(({ number }) => number),
  )
  for (const commit of copy.commits) {
    if (commit.fate === 'durable' && !durable.has(commit.number) && promised !== history) {
      commit.fate = 'settled'
    }
  }
  const left = files.afterPowerLoss(ANYTHING, SEED + files.calls.length)
  await assertSurvives(new Trial(left, options, copy, nowMs), 'durable')
}

/** What a kill leaves of a trial. */
function fork({ files, options, history, nowMs }: Trial): Trial {
  return new Trial(files.restart(SEED), options, history.copy(), nowMs)
}
