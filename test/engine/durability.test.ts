/** Syncs of an engine whose writes are slowed. */

import { setImmediate } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { openEngineOn, putEmpty } from '../support/engine.ts'
import { FaultyFiles } from '../support/faulty-files.ts'

it('a merge does not wait for writes that are slowed until it is done', async () => {
  const opened = await openEngineOn(new FaultyFiles(1))
  const { durability } = opened.engine
  durability.pace.slow(1e9)
  putEmpty(opened, 'a')
  await setImmediate()
  let isOver = false
  const slowed = durability.sync().then(() => {
    isOver = true
  })

  await durability.sync(false)

  expect(isOver).toBe(false)
  durability.pace.slow(0)
  await slowed
  await opened.close({ checkpoint: false })
})
