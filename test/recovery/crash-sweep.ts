/**
 * Crashes at every call that changes anything, while the workload does everything that writes.
 * Three kinds of states follow each crash:
 *
 * - the state that a killed process leaves,
 * - the states that a power loss may leave: see `LOSSES`,
 * - the state that a killed process leaves, after another process has opened and written it and the
 *   power has failed.
 *
 * Each must keep the contract: see `assertSurvives`.
 */

import type { PowerLoss } from '../support/disk.ts'
import { type Call, type CallKind, FaultyFiles } from '../support/faulty-files.ts'
import type { History } from '../support/history.ts'
import { Survivals, shownBy } from './inspection.ts'
import { type BackedUp, Trial, type TrialOptions } from './trial.ts'
import { workload } from './workload.ts'

/** The kinds of calls that change the disk. */
const CHANGING: ReadonlySet<CallKind> = new Set([
  'open',
  'write',
  'truncate',
  'sync',
  'syncDirectory',
  'rename',
  'remove',
  'link',
  'makeDirectory',
])

const ANYTHING: PowerLoss = { files: ['dropped', 'kept', 'cut', 'zeroed'], entries: 'scattered' }
const NOTHING: PowerLoss = { files: ['dropped'], entries: 'dropped' }

const LOSSES: readonly PowerLoss[] = [
  NOTHING,
  { files: ['kept'], entries: 'dropped' },
  { files: ['dropped'], entries: 'kept' },
  { files: ['cut'], entries: 'kept' },
  ANYTHING,
  ANYTHING,
]

/** The parameters of a sweep. */
export interface CrashSweep {
  readonly seed: number
  readonly options: TrialOptions
  /** Whether a thread makes the writes. */
  readonly slow: boolean
  /** Of this number of calls in a row the seed chooses one; 1 for each call. */
  readonly stride: number
}

/** The counts of a sweep. */
export interface SweepCounts {
  /** The number of calls at which there was a crash or a failure. */
  readonly calls: number
  /** The number of different states of a disk that were opened. */
  readonly states: number
}

interface Crash {
  readonly call: Call
  readonly files: FaultyFiles
  readonly history: History
  readonly nowMs: number
  readonly backedUp: BackedUp | undefined
}

/** Runs the workload once, and tries the states that a crash at each call would have left. */
export async function sweepCrashes({
  seed,
  options,
  stride,
  slow,
}: CrashSweep): Promise<SweepCounts> {
  const files = new FaultyFiles(seed)
  files.slow = slow
  const trial = new Trial(files, options)
  const aftermath = new Aftermath(seed, options)
  const crashes: Crash[] = []
  let calls = 0
  trial.files.onCall = (call, crash) => {
    if (!CHANGING.has(call.kind) || (call.number + seed) % stride !== 0) return
    calls++
    const { history, nowMs, backedUp } = trial
    crashes.push({ call, files: crash(), history: history.copy(), nowMs, backedUp })
  }
  for (const step of workload) {
    await step.run(trial)
    for (const crash of crashes.splice(0)) {
      const { number, kind, path } = crash.call
      const place = `In '${step.name}', at call ${number}, ${kind} ${path}, seed ${seed}`
      await aftermath.tryKill(crash, place)
      await aftermath.tryPowerLosses(crash, place)
    }
  }
  return { calls, states: aftermath.stateCount }
}

/** Tries the states after crashes. */
class Aftermath {
  readonly #seed: number
  readonly #options: TrialOptions
  readonly #survivals = new Survivals()

  constructor(seed: number, options: TrialOptions) {
    this.#seed = seed
    this.#options = options
  }

  get stateCount(): number {
    return this.#survivals.count
  }

  async tryKill(crash: Crash, place: string): Promise<void> {
    const { files, call } = crash
    const seed = this.#seed
    await explain(`${place}: killed`, async () => {
      await this.#survivals.assertBackup(files, crash)
      await this.#survivals.assert(this.#trialOf(crash, files.restart(seed)), 'settled')
    })
    for (const loss of [NOTHING, ANYTHING]) {
      const what = `${place}: killed, reopened, then a power loss, ${JSON.stringify(loss)}`
      await explain(what, async () => {
        const reopened = this.#trialOf(crash, files.restart(seed), { sync: 'always' })
        if (!this.#survivals.isNew(reopened, JSON.stringify(loss))) return
        const { history } = reopened
        await reopened.open()
        history.settleOn(shownBy(reopened.store, history.keys), crash.nowMs, 'settled')
        await reopened.put('one', 200)
        await reopened.putSync('reopened', 10)
        const left = reopened.files.afterPowerLoss(loss, seed + call.number)
        await this.#survivals.assert(this.#trialOf({ ...crash, history }, left), 'durable')
        await reopened.abandon()
      })
    }
  }

  async tryPowerLosses(crash: Crash, place: string): Promise<void> {
    for (const [index, loss] of LOSSES.entries()) {
      const seed = this.#seed + crash.call.number * LOSSES.length + index
      const left = crash.files.afterPowerLoss(loss, seed)
      await explain(`${place}: a power loss, ${JSON.stringify(loss)}`, async () => {
        await this.#survivals.assertBackup(left, crash)
        await this.#survivals.assert(this.#trialOf(crash, left), 'durable')
      })
    }
  }

  #trialOf({ history, nowMs }: Crash, files: FaultyFiles, options: TrialOptions = {}): Trial {
    return new Trial(files, { ...this.#options, ...options }, history.copy(), nowMs)
  }
}

async function explain(what: string, work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    throw new Error(what, { cause: error })
  }
}
