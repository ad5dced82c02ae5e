/**
 * Defects that the sweeps in this directory have found, each as the shortest case that shows it.
 */

import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { describe, expect, it, vi } from 'vitest'
import { segmentName } from '../../src/format/names.ts'
import type { FileDescriptor, OpenMode } from '../../src/io/files.ts'
import type { PowerLoss } from '../support/disk.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { copyingBy } from '../support/in-process-work.ts'
import { fakeOwnTimers } from '../support/timers.ts'
import { assertSurvives } from './inspection.ts'
import { DIRECTORY, Trial, type TrialOptions } from './trial.ts'

const SEEDS = Array.from({ length: 12 }, (_, index) => index + 1)
const KIB = 1024
const SEVEN_KIB = 7 * KIB

/** Opens what a power loss leaves of a trial's disk, and checks it against what was promised. */
async function losePower(trial: Trial, loss: PowerLoss, seed: number): Promise<void> {
  const { files, history, nowMs } = trial
  await assertSurvives(
    new Trial(files.afterPowerLoss(loss, seed), {}, history.copy(), nowMs),
    'durable',
  )
}

/** Fills `count` segments. Within one turn of the event loop nothing is synced unless asked for. */
async function fill(trial: Trial, count: number): Promise<void> {
  const keys = Array.from({ length: 9 * count - 1 }, (_, index) => `key ${index}`)
  await Promise.all(keys.map((key) => trial.put(key, SEVEN_KIB)))
}

/** Files in which syncs in the background of the store's own files wait until they are released. */
class WaitingFiles extends FaultyFiles {
  readonly #descriptors = new Set<FileDescriptor>()
  #released: Promise<void> = Promise.resolve()

  holdBack(): { release(): void } {
    let release = (): void => undefined
    this.#released = new Promise((resolve) => {
      release = resolve
    })
    return { release: () => release() }
  }

  override open(path: string, mode: OpenMode): FileDescriptor {
    const descriptor = super.open(path, mode)
    if (path.startsWith(DIRECTORY)) this.#descriptors.add(descriptor)
    return descriptor
  }

  override async syncLater(descriptor: FileDescriptor): Promise<void> {
    if (this.#descriptors.has(descriptor)) await this.#released
    await super.syncLater(descriptor)
  }
}

async function openTrial(options: TrialOptions, seed = 1): Promise<Trial> {
  const trial = new Trial(new FaultyFiles(seed), options)
  await trial.open()
  return trial
}

describe('the id of a segment', () => {
  it('is never used again, even if its segment was merged away before the store was reopened', async () => {
    fakeOwnTimers('setInterval')
    const trial = await openTrial({})
    const created: number[] = []
    trial.store.on('merge', (event) => {
      if (event.phase === 'end') created.push(...event.created)
    })
    await fill(trial, 1)
    for (let index = 1; index < 8; index++) await trial.delete(`key ${index}`)
    await trial.put('rotating', 2 * SEVEN_KIB)
    await trial.sync()
    await trial.idle()
    await trial.delete('key 0')
    vi.advanceTimersByTime(1000)
    await trial.idle()
    await trial.close()

    expect(created).toEqual([3])
    expect(trial.files.list(DIRECTORY)).not.toContain(segmentName(3))
    await trial.open()
    const begun: number[] = []
    trial.store.on('rotate', ({ segment }) => begun.push(segment))
    await fill(trial, 2)
    await trial.close()

    expect(Math.min(...begun)).toBeGreaterThan(3)
  })
})

describe('a commit of nothing', () => {
  it('settles', async () => {
    const trial = await openTrial({})

    await expect(trial.store.batch().commit()).resolves.toBeUndefined()
    await expect(trial.store.clear({ prefix: 'missing' })).resolves.toBe(0)

    await trial.close()
  })
})

describe('close', () => {
  it('leaves no file open, however much of the checkpoint was read', async () => {
    const trial = await openTrial({})
    await trial.put('key', 100)
    await trial.close()

    await trial.open()
    await trial.close()

    expect(trial.files.openPaths).toEqual([])
  })
})

describe('a poisoned store', () => {
  it('refuses every sync and the close, and waits for nothing', async () => {
    const trial = await openTrial({ sync: 'always' })
    trial.files.fail({ kinds: ['sync'], nth: 1, code: 'EIO' })
    const poisoned = { code: 'FIRKIN_POISONED' }

    await expect(trial.put('key', 10)).rejects.toMatchObject(poisoned)
    await expect(trial.store.sync()).rejects.toMatchObject(poisoned)
    await expect(trial.store.sync()).rejects.toMatchObject(poisoned)
    await expect(trial.close()).rejects.toMatchObject(poisoned)
  })
})

describe('a backup', () => {
  it('is finished only once the files that it links are durable', async () => {
    const files = new WaitingFiles(1)
    const trial = new Trial(files, { sync: 'never' })
    await trial.open()
    await fill(trial, 1)
    await trial.put('rotating', 2 * SEVEN_KIB)
    const { release } = files.holdBack()
    let isDone = false

    const backup = trial.backup('/disk/backup').then(() => {
      isDone = true
    })
    await trial.idle()

    expect(files.peek('/disk/backup/MANIFEST')).toBeUndefined()
    expect(isDone).toBe(false)
    release()
    await backup
    await trial.close()
  })
})

describe('a manifest that cannot be put in place', () => {
  it('is written again, even if its remains could not be removed', async () => {
    const trial = await openTrial({})
    trial.tolerant = true
    const { files } = trial
    await fill(trial, 2)
    files.fail({
      kinds: ['rename', 'remove'],
      path: /MANIFEST/,
      nth: 1,
      code: 'EIO',
      lasting: true,
    })
    await trial.sync()
    await trial.idle()
    files.heal()
    trial.tolerant = false

    await trial.close()

    expect(trial.errors.length).toBeGreaterThan(0)
    await assertSurvives(new Trial(files.restart(1), {}, trial.history, trial.nowMs), 'durable')
  })
})

describe('a sync on return, while one in the background fails', () => {
  it('fails too, and promises nothing', async () => {
    const trial = await openTrial({ sync: 'always' })
    const { files, store } = trial
    const poisoned = { code: 'FIRKIN_POISONED' }
    await trial.put('before', 10)
    files.fail({ kinds: ['sync'], nth: 1, code: 'EIO' })

    const waiting = store.put('lost', 'value')
    while (files.faultCount === 0) await undefined
    expect(() => store.putSync('lost too', 'value')).toThrow(expect.objectContaining(poisoned))
    await expect(waiting).rejects.toMatchObject(poisoned)

    await trial.abandon()
  })

  it('does not make the background wait if there is no second descriptor', async () => {
    const trial = await openTrial({ sync: 'always' })
    const { files } = trial
    await trial.put('before', 7 * KIB)
    await trial.put('rotating', 60 * KIB)
    files.fail({ kinds: ['open'], nth: 2, code: 'EMFILE' })

    await trial.put('rotating again', 60 * KIB)

    expect(files.faultCount).toBe(1)
    await losePower(trial, { files: ['dropped'], entries: 'dropped' }, 1)
    await trial.close()
  })
})

describe('a failed write that cannot be undone', () => {
  for (const kind of ['truncate', 'sync'] as const) {
    it(`poisons the store if the ${kind} fails`, async () => {
      const trial = await openTrial({ sync: 'never' })
      const { files, store } = trial
      const poisoned = { code: 'FIRKIN_POISONED' }
      await trial.put('before', 10)
      files.capacity = files.usedSize + 150
      files.fail({ kinds: [kind], nth: 1, code: 'EIO' })

      const puts = ['a', 'b', 'c', 'd'].map((key) => store.put(key, 'v'.repeat(30)))
      for (const put of puts) await expect(put).rejects.toMatchObject(poisoned)
      files.heal()

      await expect(store.put('a', 'v')).rejects.toMatchObject(poisoned)
      expect([...store.keys()]).toEqual(['before'])
      await trial.abandon()
    })
  }

  it('is undone if it had left nothing', async () => {
    const trial = await openTrial({ sync: 'never' })
    const { files, store } = trial
    await trial.put('before', 10)
    files.capacity = files.usedSize
    files.fail({ kinds: ['truncate', 'sync'], nth: 1, code: 'EIO', lasting: true })

    await expect(store.put('a', 'v')).rejects.toMatchObject({ code: 'FIRKIN_WRITE_FAILED' })
    files.heal()

    await trial.put('after', 10)
    await trial.close()
  })
})

describe('a store that is opened again after a sync has failed', () => {
  it('keeps what it promises from then on, although earlier bytes were lost', async () => {
    for (const seed of SEEDS) {
      const trial = await openTrial({ sync: 'always' }, seed)
      trial.tolerant = true
      await trial.put('before', 10)
      trial.files.fail({ kinds: ['sync'], nth: 1, code: 'EIO' })
      await trial.put('doubtful', 600)
      await trial.close()
      await trial.open()

      await trial.put('promised', 10)

      await losePower(trial, { files: ['dropped'], entries: 'dropped' }, seed)
      await trial.close()
    }
  })
})

describe('a keydir that can neither be read nor loaded again', () => {
  it('poisons the store, which reads again once files can be read', async () => {
    const trial = await openTrial({ sync: 'always' })
    await trial.put('key', 100)
    await trial.close()
    await trial.open()
    trial.files.fail({ kinds: ['read'], nth: 1, code: 'EIO', lasting: true })

    await expect(trial.put('key', 10)).rejects.toMatchObject({ code: 'FIRKIN_POISONED' })
    trial.files.heal()
    expect(trial.store.get('key')).toHaveLength(100)
    await expect(trial.put('key', 10)).rejects.toMatchObject({ code: 'FIRKIN_POISONED' })
    await trial.abandon()
  })
})

describe('a keydir that an iterator finds damaged', () => {
  it('is loaded again, and the iterator returns every key', async () => {
    const trial = await openTrial({})
    for (const key of ['a', 'b', 'c']) await trial.put(key, 10)
    await trial.close()

    for (let nth = 1; nth <= 3; nth++) {
      await trial.open()
      trial.files.fail({ kinds: ['read'], path: /CHECKPOINT/, nth, code: 'EIO' })

      expect([...trial.store.keys()]).toEqual(['a', 'b', 'c'])
      trial.files.heal()
      await trial.close()
    }
    expect(trial.errors.length).toBeGreaterThan(0)
  })
})

describe('a directory that was created and could not be synced', () => {
  it('is synced by the open that creates the store, although it exists by then', async () => {
    const files = new FaultyFiles(1)
    files.fail({ kinds: ['makeDirectory'], nth: 1, code: 'EIO' })
    const trial = new Trial(files, { sync: 'always' })
    await expect(trial.open()).rejects.toMatchObject({ code: 'FIRKIN_IO_FAILED' })
    expect(files.list(DIRECTORY)).toEqual([])

    await trial.open()
    await trial.put('promised', 10)

    await losePower(trial, { files: ['dropped'], entries: 'dropped' }, 1)
    await trial.close()
  })

  it('is synced by a backup into it', async () => {
    const trial = await openTrial({})
    await trial.put('key', 10)
    const { files } = trial
    files.fail({ kinds: ['makeDirectory'], nth: 1, code: 'EIO' })
    await expect(trial.backup('/disk/backup')).rejects.toMatchObject({
      code: 'FIRKIN_WRITE_FAILED',
    })

    await trial.backup('/disk/backup')

    const left = files.afterPowerLoss({ files: ['dropped'], entries: 'dropped' }, 1)
    expect(left.list('/disk/backup')).toContain('MANIFEST')
    await trial.close()
  })
})

describe('a kill', () => {
  it('keeps what was put into a store that had been closed without a segment', async () => {
    const trial = await openTrial({})
    await trial.close()
    await trial.open()
    await trial.put('key', 100)

    const { files, history, nowMs } = trial
    await assertSurvives(new Trial(files.restart(1), {}, history.copy(), nowMs), 'settled')
    await trial.close()
  })
})

describe('a power loss', () => {
  it('does not bring back a write that had failed halfway', async () => {
    const trial = await openTrial({ sync: 'always' })
    trial.tolerant = true
    await trial.put('before', 10)
    trial.files.capacity = trial.files.usedSize + 150
    await Promise.all(['a', 'b', 'c', 'd'].map((key) => trial.put(key, 30)))

    expect(trial.failures).toHaveLength(4)
    for (const seed of SEEDS) await losePower(trial, { files: ['cut'], entries: 'kept' }, seed)
    await trial.abandon()
  })

  it('that takes an older segment takes the newer ones too', async () => {
    const trial = await openTrial({ sync: 'never' })
    await fill(trial, 3)

    for (const seed of SEEDS)
      await losePower(trial, { files: ['kept'], entries: 'scattered' }, seed)
    await trial.abandon()
  })

  it('that cuts an older segment between two records takes the newer ones too', async () => {
    const trial = await openTrial({ sync: 'never' })
    await fill(trial, 3)

    const loss: PowerLoss = { files: ['dropped', 'kept', 'cut'], entries: 'kept' }
    for (const seed of SEEDS) await losePower(trial, loss, seed)
    await trial.abandon()
  })

  it('does not bring back a segment that was removed with a torn tail', async () => {
    for (const seed of SEEDS) {
      const lost = await openTrial({ sync: 'never' }, seed)
      await fill(lost, 2)
      const left = lost.files.afterPowerLoss({ files: ['cut'], entries: 'kept' }, seed)
      const trial = new Trial(left, { sync: 'always' }, lost.history.copy(), lost.nowMs)
      await lost.abandon()
      const { history, nowMs } = trial
      await trial.open()
      history.settleOn(new Map(trial.store.entries()), nowMs, 'durable')
      // Not beyond the beginning of the removed segment: a new segment would sync the directory.
      for (let count = trial.store.count(); count < 9; count++) {
        await trial.put(`key ${count}`, SEVEN_KIB)
      }

      await losePower(trial, { files: ['dropped'], entries: 'dropped' }, seed)
      await trial.abandon()
    }
  })

  it('or a kill at any call of an open leaves what another open finds', async () => {
    for (const seed of SEEDS.slice(0, 3)) {
      const lost = await openTrial({ sync: 'never' }, seed)
      await fill(lost, 3)
      const left = lost.files.afterPowerLoss({ files: ['cut'], entries: 'kept' }, seed)
      await lost.abandon()
      const crashes: FaultyFiles[] = []
      left.onCall = (_, crash) => crashes.push(crash())
      const trial = new Trial(left, {}, lost.history, lost.nowMs)
      await trial.open()
      left.onCall = undefined
      const { history, nowMs } = trial
      history.settleOn(new Map(trial.store.entries()), nowMs, 'durable')

      for (const files of crashes) {
        const loss: PowerLoss = { files: ['dropped', 'kept'], entries: 'scattered' }
        const again = new Trial(files.afterPowerLoss(loss, seed), {}, history.copy(), nowMs)
        await assertSurvives(again, 'durable')
        await assertSurvives(new Trial(files, {}, history.copy(), nowMs), 'durable')
      }
      await trial.close()
    }
  })

  it('that empties a file of a merge leaves the segments begun after it', async () => {
    const trial = await openTrial({ sync: 'always' })
    await fill(trial, 1)
    await trial.put('key 1', 10)
    let begun = false
    trial.backgroundWork = {
      ...trial.backgroundWork,
      copy: (job, _, signal) =>
        copyingBy(
          new Promise((_, reject) => {
            trial.files.open(join(DIRECTORY, segmentName(job.targetIds[0] ?? 0)), 'create')
            signal.addEventListener('abort', () => reject(signal.reason))
            begun = true
          }),
        ),
    }
    await trial.close()
    await trial.open()
    trial.store.merge().catch(() => undefined)
    while (!begun) await setImmediate()
    await fill(trial, 2)

    await losePower(trial, { files: ['dropped'], entries: 'kept' }, 1)
    await trial.abandon()
  })

  it('keeps what was put while the directory was being synced', async () => {
    for (const seed of SEEDS) {
      const trial = await openTrial({ sync: 'always' }, seed)
      await fill(trial, 1)
      const { calls } = trial.files
      const rotating = trial.put('rotating', 2 * SEVEN_KIB)
      while (calls.at(-1)?.kind !== 'syncDirectory') await setImmediate()
      await trial.putSync('meanwhile', 10)

      await losePower(trial, { files: ['dropped'], entries: 'dropped' }, seed)
      await rotating
      await trial.abandon()
    }
  })
})
