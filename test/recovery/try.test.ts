import { it } from 'vitest'
import { FaultyFiles } from '../support/faulty-files.ts'
import { assertFigures, assertSurvives, assertTidy, shownBy } from './inspection.ts'
import { Trial } from './trial.ts'
import { workload } from './workload.ts'

for (const sync of ['always', 'interval'] as const)
  it(`runs ${sync}`, async () => {
    const files = new FaultyFiles(1)
    const trial = new Trial(files, { sync })
    const started = performance.now()
    for (const step of workload) {
      const before = files.calls.length
      await step.run(trial)
      const kinds: Record<string, number> = {}
      for (const c of files.calls.slice(before)) kinds[c.kind] = (kinds[c.kind] ?? 0) + 1
      console.log(
        step.name,
        JSON.stringify(kinds),
        trial.isOpen && trial.store.stats().merge.count,
        (performance.now() - started).toFixed(0),
      )
      if (trial.isOpen) {
        assertFigures(trial.store)
        trial.history
          .copy()
          .settleOn(shownBy(trial.store, trial.history.keys), trial.nowMs, 'settled')
      }
    }
    await assertTidy(files)
    console.log(files.calls.length, trial.errors)
    await assertSurvives(trial, 'durable')
  })
