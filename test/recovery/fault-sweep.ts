/**
 * Lets every call fail, while the workload does everything that writes. The step that meets the
 * failure goes on after it. Then
 *
 * - only the operations that the failure hit have failed, with an error that has a code; the store
 *   shows everything else,
 * - once calls succeed again, writes do too, unless a sync has failed: then the store reads and
 *   refuses writes,
 * - after a kill or a close the store opens with what it showed, and after a power loss with what
 *   was promised.
 */

import { StoreError } from '../../src/errors.ts'
import type { PowerLoss } from '../support/disk.ts'
import { type Call, type CallKind, type FaultCode, FaultyFiles } from '../support/faulty-files.ts'
import type { CrashSweep, SweepCounts } from './crash-sweep.ts'
import { assertFigures, Survivals, shownBy } from './inspection.ts'
import { Trial } from './trial.ts'
import { type Step, workload } from './workload.ts'

/** The ways in which calls fail. */
export type FaultMode =
  /** The call fails. */
  | 'once'
  /** The call and all later ones of its kind fail, until failing is ended. */
  | 'lasting'
  /**
   * The call and all later ones of any kind fail, until failing is ended; a write writes a part.
   */
  | 'gone'
  /** The call fails, and so does one of the three after it. */
  | 'twice'
  /** A read or write transfers only a part. */
  | 'short'
  /** The disk is full, or almost full, from a write on, until there is space again. */
  | 'full'

const CODES: readonly FaultCode[] = ['EIO', 'ENOSPC', 'EMFILE', 'EACCES']

/** The kinds of calls that reading needs. */
const READING: ReadonlySet<CallKind> = new Set(['open', 'read', 'size', 'list'])

const LOSSES: readonly PowerLoss[] = [
  { files: ['dropped'], entries: 'dropped' },
  { files: ['dropped', 'kept', 'cut'], entries: 'scattered' },
]

/** The parameters of a sweep. */
export interface FaultSweep extends CrashSweep {
  readonly mode: FaultMode
}

/** Fails every call of every step. */
export async function sweepFaults(sweep: FaultSweep): Promise<SweepCounts> {
  const { seed, options, slow, stride } = sweep
  const files = new FaultyFiles(seed)
  files.slow = slow
  const trial = new Trial(files, options)
  const survivals = new Survivals()
  await trial.open()
  await trial.close()
  let calls = 0
  for (const step of workload.slice(1, -1)) {
    for (let nth = 1 + (seed % stride); ; nth += stride) {
      const attempt = new Attempt(fork(trial, seed), step, sweep, nth, survivals)
      await attempt.run()
      if (attempt.hit === undefined) break
      if (attempt.hasFailed) calls++
    }
    await trial.open()
    await step.run(trial)
    await trial.close()
  }
  return { calls, states: survivals.count }
}

/** One step in which one call fails. */
class Attempt {
  /** The call that fails, or would fail if it could. */
  hit: Call | undefined
  readonly #trial: Trial
  readonly #step: Step
  readonly #sweep: FaultSweep
  readonly #nth: number
  readonly #survivals: Survivals

  constructor(trial: Trial, step: Step, sweep: FaultSweep, nth: number, survivals: Survivals) {
    this.#trial = trial
    this.#step = step
    this.#sweep = sweep
    this.#nth = nth
    this.#survivals = survivals
  }

  get hasFailed(): boolean {
    return this.#trial.files.faultCount > 0
  }

  async run(): Promise<void> {
    const { files } = this.#trial
    files.onCall = (call) => {
      if (call.number !== this.#nth) return
      this.hit = call
      this.#plan(call)
    }
    try {
      await this.#runStep()
      if (this.hasFailed) await this.#check()
      await this.#trial.abandon()
    } catch (error) {
      const { mode, seed } = this.#sweep
      throw new Error(
        `In '${this.#step.name}', ${mode} from call ${this.#nth} on, ${this.hit?.kind} ${this.hit?.path}, seed ${seed}`,
        { cause: error },
      )
    }
  }

  /** Lets a call fail. */
  #plan({ kind, number }: Call): void {
    const { files } = this.#trial
    const { mode, seed } = this.#sweep
    // With as many seeds as there are codes, each call fails with each code.
    const code = CODES[(number + seed) % CODES.length] ?? 'EIO'
    switch (mode) {
      case 'once':
        files.fail({ kinds: [kind], nth: 1, code })
        break
      case 'lasting':
        files.fail({ kinds: [kind], nth: 1, code, lasting: true })
        break
      case 'gone':
        if (kind === 'write') files.fail({ kinds: [kind], nth: 1, code: 'SHORT' })
        files.fail({ nth: kind === 'write' ? 2 : 1, code, lasting: true })
        break
      case 'twice':
        files.fail({ nth: 1, code })
        files.fail({ nth: 2 + ((Math.floor(number / CODES.length) + seed) % 3), code })
        break
      case 'short':
        files.fail({ kinds: ['read', 'write'], nth: 1, code: 'SHORT' })
        break
      case 'full':
        if (kind === 'write') files.capacity = files.usedSize + (number % 3) * 100
        break
    }
  }

  /** Opens the store and does the step. */
  async #runStep(): Promise<void> {
    const trial = this.#trial
    trial.tolerant = true
    try {
      await trial.open()
      await this.#step.run(trial)
      await trial.idle()
    } catch (error) {
      // Without an open store the step cannot go on.
      if (trial.isOpen || !(error instanceof StoreError)) throw error
    }
  }

  async #check(): Promise<void> {
    const trial = this.#trial
    if (this.#sweep.mode === 'twice') trial.files.heal()
    if (trial.isOpen && !this.#readsFail()) assertShows(trial)
    if (trial.isOpen && !trial.poisoned) assertFigures(trial.store)
    await this.#assertSurvival()
    await this.#assertBackup()
    trial.files.heal()
    trial.errors.splice(0)
    if (trial.isOpen) await this.#writeAgain()
    else await trial.open()
    await trial.idle()
    assertShows(trial)
    const before = trial.failures.length
    await trial.close()
    const failure = trial.failures[before] ?? trial.errors[0]
    if (failure !== undefined && !trial.poisoned) throw failure
    await this.#assertSurvival()
  }

  /** Whether nothing can be read until calls succeed again. */
  #readsFail(): boolean {
    const { mode } = this.#sweep
    const { hit } = this
    return mode === 'gone' || (mode === 'lasting' && hit !== undefined && READING.has(hit.kind))
  }

  async #writeAgain(): Promise<void> {
    const trial = this.#trial
    const { poisoned } = trial
    const before = trial.failures.length
    await trial.put('healed', 10)
    await trial.sync()
    const failure = trial.failures[before]
    if (failure !== undefined && !poisoned) throw failure
    if (failure === undefined && poisoned) throw new Error('A poisoned store was written')
  }

  /** Asserts that a finished backup is whole, and that nothing is left of a failed one. */
  async #assertBackup(): Promise<void> {
    const { files, backedUp, nowMs } = this.#trial
    if (backedUp?.isDone === true) {
      const loss = files.afterPowerLoss({ files: ['dropped'], entries: 'dropped' }, 1)
      await this.#survivals.assertBackup(loss, { backedUp, nowMs })
    } else if (backedUp !== undefined && this.#sweep.mode === 'once') {
      const names = files.restart(1).list(backedUp.directory) ?? []
      if (names.length > 0) throw new Error(`Left of a backup: ${names.join(', ')}`)
    }
  }

  /** Asserts what a kill leaves now, and what a power loss leaves. */
  async #assertSurvival(): Promise<void> {
    const trial = this.#trial
    const { seed } = this.#sweep
    await this.#survivals.assert(fork(trial, seed), 'settled')
    // If the power fails after a sync has failed, bytes written after the lost ones may follow a
    // hole.
    const losses = trial.poisoned ? LOSSES.slice(0, 1) : LOSSES
    for (const [index, loss] of losses.entries()) {
      const { files, options, history, nowMs } = trial
      const left = files.afterPowerLoss(loss, seed + files.calls.length * LOSSES.length + index)
      await this.#survivals.assert(new Trial(left, options, history.copy(), nowMs), 'durable')
    }
  }
}

function assertShows({ store, history, nowMs }: Trial): void {
  history.copy().settleOn(shownBy(store, history.keys), nowMs, 'settled')
}

/** Returns what a kill leaves of a trial. */
function fork({ files, options, history, nowMs }: Trial, seed: number): Trial {
  return new Trial(files.restart(seed), options, history.copy(), nowMs)
}
