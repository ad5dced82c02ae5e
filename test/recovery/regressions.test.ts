/** Defects that the sweeps of this directory have found, each as the shortest case that shows it. */

import { describe, expect, it } from 'vitest'
import { FaultyFiles } from '../support/faulty-files.ts'
import { Trial } from './trial.ts'

describe('a commit of nothing', () => {
  it('settles', async () => {
    const trial = new Trial(new FaultyFiles(1), {})
    const store = await trial.open()

    await expect(store.batch().commit()).resolves.toBeUndefined()
    await expect(store.clear({ prefix: 'missing' })).resolves.toBe(0)

    await trial.close()
  })
})

describe('close', () => {
  it('leaves no file open, whatever was read of the checkpoint', async () => {
    const files = new FaultyFiles(1)
    const trial = new Trial(files, {})
    await trial.open()
    await trial.put('key', 100)
    await trial.close()

    await trial.open()
    await trial.close()

    expect(files.openPaths).toEqual([])
  })
})
