/** Preallocated space when the process or the power fails. */

import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { MANIFEST_NAME, segmentName } from '../../src/format/names.ts'
import { verifyDirectory } from '../../src/inspection/verify.ts'
import type { PowerLoss } from '../support/disk.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import type { History } from '../support/history.ts'
import { assertSurvives, shownBy } from './inspection.ts'
import { DIRECTORY, Trial } from './trial.ts'

const PATH = join(DIRECTORY, segmentName(1))
const SEEDS = [1, 2, 3, 4]

/** Opens a store with preallocated space after its last record. */
async function openPreallocated(): Promise<Trial> {
  const trial = new Trial(new FaultyFiles(1), { sync: 'always' })
  await trial.open()
  for (let index = 0; index < 6; index++) await trial.put(`key ${index}`, 100)
  return trial
}

function sizeOf({ files }: { files: FaultyFiles }): number {
  return files.peek(PATH)?.length ?? 0
}

/** Returns the trial as the next process finds it. */
function killed({ files, history, nowMs }: Trial, edit = (_: FaultyFiles) => {}): Trial {
  const left = files.restart(1)
  edit(left)
  return new Trial(left, { sync: 'always' }, history.copy(), nowMs)
}

describe('preallocated space that a killed process has left', () => {
  it('is cut off, and is not a tear', async () => {
    const trial = await openPreallocated()
    const next = killed(trial)
    const before = sizeOf(next)

    const store = await next.open({ recovery: 'strict' })

    expect(store.stats().recovery).toMatchObject({ torn: [], closed: false })
    expect(sizeOf(next)).toBeLessThan(before - 1024)
    expect(shownBy(store, next.history.keys).size).toBe(6)
    await next.close()
    await assertSurvives(killed(trial), 'durable')
    await trial.abandon()
  })

  it('is not reported by verification, a reader or a follower', async () => {
    const trial = await openPreallocated()
    const follower = new Trial(trial.files, {}, trial.history, trial.nowMs)
    const store = await follower.open({ readOnly: true })
    await trial.put('more', 10)

    expect(await store.refresh()).toBe(true)
    expect(await store.refresh()).toBe(false)

    expect(store.get('more')).toBe(trial.store.get('more'))
    expect(store.stats().recovery.torn).toEqual([])
    const { findings } = await verifyDirectory(trial.files, DIRECTORY, {})
    expect(findings).toEqual([])
    await store.close()
    await trial.close()
  })

  it('is not reported by salvage, with a manifest or without', async () => {
    const trial = await openPreallocated()
    const lost = killed(trial, (files) => files.poke(join(DIRECTORY, MANIFEST_NAME), undefined))

    const sound = await killed(trial).open({ recovery: 'salvage' })
    const rebuilt = await lost.open({ recovery: 'salvage' })

    expect(sound.stats().recovery.lost).toBeUndefined()
    expect(rebuilt.stats().recovery.lost).toMatchObject({ damaged: [], torn: [], bytesLost: 0 })
    expect(shownBy(rebuilt, lost.history.keys).size).toBe(6)
    for (const store of [sound, rebuilt]) await store.close()
    await trial.abandon()
  })

  it('does not count as lost if records before it are damaged', async () => {
    const trial = await openPreallocated()
    const end = killed(trial).files.peek(PATH)?.indexOf(Buffer.alloc(1024)) ?? 0
    const damaged = killed(trial, (files) => {
      const bytes = files.peek(PATH) as Buffer
      files.poke(PATH, bytes.fill(0xff, 60, 61))
    })

    const store = await damaged.open({ recovery: 'salvage' })

    const { lost } = store.stats().recovery
    expect(lost?.damaged).toHaveLength(1)
    expect(lost?.bytesLost).toBeLessThan(end / 2)
    await store.close()
    await trial.abandon()
  })

  it('is not there after a close', async () => {
    const trial = await openPreallocated()
    const [segment] = trial.store.stats().segments

    await trial.close()

    expect(sizeOf(trial)).toBe(segment?.bytes)
  })

  it('hides no damage in bytes that are known to be whole', async () => {
    const trial = await openPreallocated()
    await trial.close()
    const damaged = killed(trial, (files) => {
      const bytes = files.peek(PATH) as Buffer
      files.poke(PATH, bytes.fill(0, bytes.length - 60))
    })
    damaged.files.poke(join(DIRECTORY, 'CHECKPOINT'), undefined)

    await expect(damaged.open()).rejects.toThrow(
      expect.objectContaining({ code: 'FIRKIN_CORRUPT' }),
    )
  })
})

describe('a power loss at any call', () => {
  it('leaves single records that were promised, whichever sectors it leaves of the last one', async () => {
    const trial = new Trial(new FaultyFiles(1), { sync: 'always' })
    const crashes: { files: FaultyFiles; history: History }[] = []
    await trial.open()
    trial.files.onCall = (_, crash) => {
      crashes.push({ files: crash(), history: trial.history.copy() })
    }
    for (let index = 0; index < 12; index++) await trial.put(`key ${index % 5}`, 900)
    await trial.delete('key 3')
    await trial.put('large', 9 * 1024)
    trial.files.onCall = undefined

    const loss: PowerLoss = { files: ['scattered', 'zeroed'], entries: 'scattered' }
    for (const { files, history } of crashes) {
      for (const seed of SEEDS) {
        const left = files.afterPowerLoss(loss, seed)
        await assertSurvives(new Trial(left, {}, history.copy(), trial.nowMs), 'durable')
      }
    }
    await trial.abandon()
  })
})
