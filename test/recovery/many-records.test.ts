import { describe, expect, it } from 'vitest'
import { FaultyFiles } from '../support/faulty-files.ts'
import { assertSurvives } from './inspection.ts'
import { type BatchChange, Trial } from './trial.ts'

const KEY_COUNT = 1500

function changes(size: number | undefined, step: number): BatchChange[] {
  const count = Math.ceil(KEY_COUNT / step)
  return Array.from({ length: count }, (_, index) => [`key ${index * step}`, size])
}

describe('many records', () => {
  it('of one batch all survive a kill', async () => {
    const trial = new Trial(new FaultyFiles(1), {})
    await trial.open()
    await trial.batch(changes(20, 1))

    const { files, history, nowMs } = trial
    await assertSurvives(new Trial(files.restart(1), {}, history.copy(), nowMs), 'settled')
    await trial.close()
  })

  it('of one segment survive a merge if they are live', async () => {
    const trial = new Trial(new FaultyFiles(1), { merge: { automatic: false } })
    await trial.open()
    await trial.batch(changes(20, 1))
    await trial.batch(changes(undefined, 10))
    await trial.merge()

    expect(trial.store.count()).toBe(KEY_COUNT - KEY_COUNT / 10)
    const { files, history, nowMs } = trial
    await assertSurvives(new Trial(files.restart(1), {}, history.copy(), nowMs), 'settled')
    await trial.close()
  })
})
