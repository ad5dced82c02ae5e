/**
 * A crash at every call that changes anything, while everything that writes is done; after it
 *
 * - the state that a killed process leaves,
 * - the states that a power loss may leave: see `LOSSES`,
 * - the state that a killed process leaves, which another one opens and writes to before the power fails.
 *
 * Each must keep the contract: see `assertSurvives`. States that were tried before are not tried again.
 */

import type { PowerLoss } from '../support/disk.ts'
import { type Call, type CallKind, FaultyFiles } from '../support/faulty-files.ts'
import type { History } from '../support/history.ts'
import { assertSurvives, shownBy } from './inspection.ts'
import { Trial, type TrialOptions } from './trial.ts'
import { workload } from './workload.ts'

/** The seed of the sweeps; `SEED=` in the environment gives another one. */
export const SEED = Number(process.env.SEED ?? 1)

const KEYDIRS = ['btree', 'hash', 'skiplist', 'bplustree'] as const

/** The kinds of calls behind which the disk is another. */
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

interface Crash {
  readonly call: Call
  readonly files: FaultyFiles
  readonly history: History
  readonly nowMs: number
  readonly options: TrialOptions
}

/** Runs the workload once, and tries out what a crash at each call would have left; answers how many states. */
export async function sweepCrashes(options: TrialOptions): Promise<number> {
  const trial = new Trial(new FaultyFiles(SEED), options)
  const crashes: Crash[] = []
  trial.files.onCall = (call, crash) => {
    if (!CHANGING.has(call.kind)) return
    const { history, nowMs } = trial
    const keydir = KEYDIRS[call.number % KEYDIRS.length] ?? 'btree'
    crashes.push({
      call,
      files: crash(),
      history: history.copy(),
      nowMs,
      options: { ...options, keydir },
    })
  }
  const seen = new Set<string>()
  for (const step of workload) {
    await step.run(trial)
    for (const crash of crashes.splice(0)) {
      const { number, kind, path } = crash.call
      const place = `In '${step.name}', at call ${number}, ${kind} ${path}, SEED=${SEED}`
      await tryKill(crash, seen, place)
      await tryPowerLosses(crash, seen, place)
    }
  }
  return seen.size
}

async function tryKill(crash: Crash, seen: Set<string>, place: string): Promise<void> {
  const { files } = crash
  if (!isNew(seen, crash, files)) return
  await explain(`${place}: killed`, () =>
    assertSurvives(trialOf(crash, files.restart(SEED)), 'settled'),
  )
  for (const loss of [NOTHING, ANYTHING]) {
    await explain(
      `${place}: killed, reopened, then a power loss, ${JSON.stringify(loss)}`,
      async () => {
        const reopened = trialOf(crash, files.restart(SEED), { sync: 'always' })
        const { history } = reopened
        await reopened.open()
        history.settleOn(shownBy(reopened.store, history.keys), crash.nowMs, 'settled')
        await reopened.put('one', 200)
        await reopened.putSync('reopened', 10)
        const left = reopened.files.afterPowerLoss(loss, SEED + crash.call.number)
        await assertSurvives(trialOf({ ...crash, history }, left), 'durable')
        await reopened.abandon()
      },
    )
  }
}

async function tryPowerLosses(crash: Crash, seen: Set<string>, place: string): Promise<void> {
  for (const [index, loss] of LOSSES.entries()) {
    const left = crash.files.afterPowerLoss(loss, SEED + crash.call.number * LOSSES.length + index)
    if (!isNew(seen, crash, left)) continue
    await explain(`${place}: a power loss, ${JSON.stringify(loss)}`, () =>
      assertSurvives(trialOf(crash, left), 'durable'),
    )
  }
}

function trialOf(crash: Crash, files: FaultyFiles, options: TrialOptions = {}): Trial {
  return new Trial(files, { ...crash.options, ...options }, crash.history.copy(), crash.nowMs)
}

function isNew(seen: Set<string>, { history, nowMs }: Crash, files: FaultyFiles): boolean {
  const state = `${files.digest} ${history.commits.length} ${nowMs}`
  if (seen.has(state)) return false
  seen.add(state)
  return true
}

async function explain(what: string, work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    throw new Error(what, { cause: error })
  }
}
