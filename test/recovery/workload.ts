import { setImmediate } from 'node:timers/promises'
import type { Trial } from './trial.ts'

/** A step of the workload. */
export interface Step {
  readonly name: string
  run(trial: Trial): Promise<void>
}

const KIB = 1024

/** The directory of the backup. */
export const BACKUP_DIRECTORY = '/disk/backup'

/**
 * A workload of everything that writes. It opens a store and leaves it closed. Segments have 64
 * KiB, so that nine values of 7 KiB fill one.
 */
export const workload: readonly Step[] = [
  {
    name: 'create',
    run: async (trial) => void (await trial.open()),
  },
  {
    name: 'put',
    async run(trial) {
      for (const key of ['one', 'two', 'three']) await trial.put(key, 40)
      await putAlone(trial)
      await Promise.all(['four', 'five', 'six', 'one'].map((key) => trial.put(key, 700)))
      await trial.putSync('seven', 10)
      await trial.putSync('two', 60)
    },
  },
  {
    name: 'batch',
    async run(trial) {
      await trial.batch([
        ['b1', 400],
        ['b2', 400],
        ['three', undefined],
        ['b3', 400],
      ])
      const staged = trial.put('beside', 30)
      await trial.batchSync([
        ['b1', undefined],
        ['b4', 100],
        ['b4', 90],
      ])
      await staged
    },
  },
  {
    name: 'delete',
    async run(trial) {
      await trial.delete('four')
      await trial.deleteSync('five')
      await trial.delete('missing')
      await Promise.all([trial.put('six', 20), trial.delete('six'), trial.put('eight', 20)])
    },
  },
  {
    name: 'large writes',
    async run(trial) {
      await trial.put('large', 257 * KIB)
      // Written in steps, one of them before the turn is over.
      const beside = setImmediate().then(() => trial.put('beside', 20))
      await Promise.all([trial.put('larger', 1100 * KIB), beside])
      await trial.delete('larger')
      await trial.merge()
      await trial.batch(range(30).map((index) => [`g${index}`, 9 * KIB] as const))
      await trial.putSync('large', 300)
      await trial.idle()
      await trial.batch(range(29).map((index) => [`g${index}`, undefined] as const))
      await trial.merge()
      await trial.idle()
    },
  },
  {
    name: 'rotation',
    async run(trial) {
      await putAlone(trial)
      await trial.putSync('rotating', 60 * KIB)
      await Promise.all(range(10).map((index) => trial.put(`r${index}`, 7 * KIB)))
      await trial.putSync('r3', 7 * KIB)
      await trial.idle()
    },
  },
  {
    name: 'automatic merge',
    async run(trial) {
      for (let round = 0; round < 2; round++) {
        await Promise.all(range(10).map((index) => trial.put(`r${index + round}`, 7 * KIB)))
        await trial.idle()
      }
      await Promise.all(range(10).map((index) => trial.put(`r${index + 2}`, 50)))
      await trial.sync()
      await trial.idle()
    },
  },
  {
    name: 'expiry',
    async run(trial) {
      await trial.put('six', 30)
      await Promise.all(['one', 'six', 'r5', 'e1'].map((key) => trial.put(key, 200, 1000)))
      await trial.batch([
        ['e2', 200, 500],
        ['b2', 200, 1000],
      ])
      trial.nowMs += 1000
      await trial.put('e1', 20)
      await trial.idle()
    },
  },
  {
    name: 'merge',
    async run(trial) {
      await trial.underSnapshot(['r7', 'r8', 'during'], async () => {
        await trial.delete('r7')
        const merging = trial.merge()
        await trial.put('during', 100)
        await trial.put('r8', 100)
        await merging
      })
      await trial.put('after', 100)
      await trial.idle()
    },
  },
  {
    name: 'expired segment',
    async run(trial) {
      await Promise.all(range(12).map((index) => trial.put(`x${index}`, 7 * KIB, 2000)))
      await trial.sync()
      trial.nowMs += 2000
      await trial.put('x1', 10)
      await trial.merge()
      await trial.idle()
    },
  },
  {
    name: 'clear',
    async run(trial) {
      await trial.clear('g')
      await trial.clear('nothing')
      await trial.sync()
      await trial.idle()
    },
  },
  {
    name: 'backup',
    async run(trial) {
      await trial.put('backed up', 100)
      const staged = trial.put('backed up as well', 30 * KIB)
      // The previous segment is not synced yet.
      const rotating = trial.putSync('rotating', 60 * KIB)
      const backup = trial.backup(BACKUP_DIRECTORY)
      const behind = trial.putSync('not backed up', 100)
      const rotatingAgain = trial.putSync('rotating again', 60 * KIB)
      await Promise.all([staged, rotating, backup, behind, rotatingAgain])
      await trial.put('after', 100)
      await trial.idle()
    },
  },
  {
    name: 'close and reopen',
    async run(trial) {
      await trial.close()
      await trial.open()
      await putAlone(trial)
      await trial.close()
      await trial.open()
      await trial.put('one', 90)
      await trial.delete('two')
      await Promise.all(range(9).map((index) => trial.put(`r${index}`, 7 * KIB)))
      await trial.idle()
      await trial.close()
      await trial.open()
      await trial.get('r1')
    },
  },
  {
    name: 'merge of everything',
    async run(trial) {
      await trial.clear('')
      await trial.merge()
      await trial.put('last', 50)
      await trial.merge()
      await trial.idle()
    },
  },
  {
    name: 'close',
    run: (trial) => trial.close(),
  },
]

/** Puts one key after the other; a store that syncs each of them preallocates space. */
async function putAlone(trial: Trial): Promise<void> {
  for (const index of range(5)) await trial.put('alone', 300 + index)
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index)
}
