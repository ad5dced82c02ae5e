/** The reserve: space on disk for what frees space once the disk is full. */

import { setImmediate } from 'node:timers/promises'
import { describe, expect, it, vi } from 'vitest'
import { StoreError } from '../../src/errors.ts'
import { FILE_HEADER_SIZE } from '../../src/format/file-header.ts'
import { Reserve } from '../../src/segment/reserve.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import {
  DISK,
  idle,
  KIB,
  keysUpTo,
  openOn,
  type TextStore,
  until,
  withCode,
} from '../support/store.ts'

const RESERVE = `${DISK}/RESERVE`
const SIZE = 128 * KIB
const options = { reserveBytes: SIZE }
const keys = keysUpTo(60)
const noSpace = { code: 'FIRKIN_WRITE_FAILED', cause: { code: 'ENOSPC' } }

const sizeOf = (files: FaultyFiles): number | undefined => files.peek(RESERVE)?.length

const textOf = (key: string): string => `${key} `.padEnd(5 * KIB, '-')

/** Opens a store of several segments with its reserve, and collects its error events. */
async function filled(): Promise<{ files: FaultyFiles; store: TextStore; errors: Error[] }> {
  const files = new FaultyFiles(1)
  const store = await openOn(files, options)
  const errors: Error[] = []
  store.on('error', (error) => errors.push(error))
  for (const key of keys) await store.put(key, textOf(key))
  await store.sync()
  await until(() => sizeOf(files) === SIZE)
  await idle(store)
  return { files, store, errors }
}

/** Deletes every other key; returns those that stay. */
async function deleteHalf(store: TextStore): Promise<string[]> {
  const stay = keys.filter((_, index) => index % 2 === 1)
  await Promise.all(keys.filter((key) => !stay.includes(key)).map((key) => store.delete(key)))
  return stay
}

describe('the reserve', () => {
  it('is filled after the open, and outlasts a close and a kill', async () => {
    const { files, store } = await filled()
    const bytes = files.peek(RESERVE)
    expect(bytes?.subarray(0, 6).toString()).toBe('FIRKIN')
    expect((await store.verify()).findings).toEqual([])

    const killed = files.restart(1)
    const again = await openOn(killed, options)
    await idle(again)
    expect(again.stats().recovery.leftovers).not.toContain('RESERVE')
    await again.close()
    await store.close()

    for (const machine of [files, killed]) expect(machine.peek(RESERVE)).toEqual(bytes)
  })

  it('is not copied by a backup, and not touched by a reader', async () => {
    const { files, store } = await filled()
    await store.backup('/disk/backup')
    expect(files.list('/disk/backup')).not.toContain('RESERVE')

    const calls = files.calls.length
    const reader = await openOn(files, { readOnly: true })
    await reader.close()
    expect(files.calls.slice(calls).filter(({ path }) => path === RESERVE)).toEqual([])
    await store.close()
  })

  it('is neither created nor kept with reserveBytes 0', async () => {
    const { files, store } = await filled()
    await store.close()

    const without = await openOn(files, { reserveBytes: 0 })
    await idle(without)
    expect(without.stats().recovery.leftovers).toEqual(['RESERVE'])
    await without.close()

    expect(files.openPaths).toEqual([])
    expect(files.list(DISK)).not.toContain('RESERVE')
  })

  it('is made smaller if the option is smaller than before', async () => {
    const { files, store } = await filled()
    await store.close()

    const smaller = await openOn(files, { reserveBytes: 20 * KIB })
    await until(() => sizeOf(files) === 20 * KIB)
    await smaller.close()
  })

  it('is not filled if the directory was moved', async () => {
    const moved = new StoreError('FIRKIN_MOVED', 'The directory is another one')
    const open = vi.fn(() => {
      throw moved
    })
    const uncaught = vi.fn()
    process.prependListener('uncaughtException', uncaught)
    const files = Object.assign(new FaultyFiles(1), { open })
    const reserve = new Reserve({ files, directory: DISK, storeId: new Uint8Array(8) }, SIZE)

    reserve.begin()
    await until(() => open.mock.calls.length > 0)
    await setImmediate()

    process.off('uncaughtException', uncaught)
    expect(uncaught).not.toHaveBeenCalled()
    expect(reserve.spareBytes).toBe(0)
    reserve.close()
  })

  it.each([0, SIZE])(
    'does not change a foreign file of its name, with reserveBytes %d',
    async (size) => {
      const { files, store } = await filled()
      await store.close()
      const foreign = Buffer.from('what somebody keeps here, and wants back as it is: '.repeat(9))
      files.poke(RESERVE, foreign)

      const again = await openOn(files, { reserveBytes: size })
      await idle(again)
      files.capacity = files.usedSize
      await again.delete(keys[0] ?? '').catch(() => undefined)
      await again.close()

      expect(files.peek(RESERVE)).toEqual(foreign)
    },
  )

  it('is filled only if as much space is left as it takes', async () => {
    const files = new FaultyFiles(1)
    files.capacity = 2 * SIZE
    const store = await openOn(files, options)
    await idle(store)
    expect(sizeOf(files)).toBeUndefined()
    // Without a reserve, puts have all the space that is left.
    for (const key of keys.slice(0, 40)) await store.put(key, textOf(key))
    await store.close()
  })
})

describe('on a disk that another program has filled', () => {
  it.each(Array.from({ length: 13 }, (_, index) => index * 8))(
    'a store deletes, merges, writes on and closes, with %d KiB left',
    async (left) => {
      const { files, store, errors } = await filled()
      files.capacity = files.usedSize + left * KIB

      const stay = await deleteHalf(store)
      const report = await store.merge()
      expect(report.bytesGained).toBeGreaterThan(100 * KIB)
      expect([...store.keys()]).toEqual(stay)
      await store.put('more', textOf('more'))
      await idle(store)
      expect(sizeOf(files)).toBe(SIZE)
      await store.close()

      expect(errors).toEqual([])
      const again = await openOn(files, options)
      expect(again.stats().recovery.closed).toBe(true)
      expect(new Map(again.entries())).toEqual(
        new Map([...stay, 'more'].map((key) => [key, textOf(key)])),
      )
      await again.close()
    },
  )

  it('a store deletes by clear, by batches of deletes and by synchronous calls', async () => {
    const { files, store } = await filled()
    files.capacity = files.usedSize

    expect(store.deleteSync(keys[0] ?? '')).toBe(true)
    await store
      .batch()
      .delete(keys[1] ?? '')
      .commit()
    await expect(
      store
        .batch()
        .delete(keys[2] ?? '')
        .put('x', '')
        .commit(),
    ).rejects.toMatchObject(noSpace)
    expect(await store.clear({ gte: keys[30] ?? '' })).toBe(30)

    expect(store.count()).toBe(28)
    await store.merge()
    await store.close()
  })

  it('puts get nothing from the reserve, even among deletes', async () => {
    const { files, store } = await filled()
    files.capacity = files.usedSize
    await expect(store.put('a', textOf('a'))).rejects.toMatchObject(noSpace)
    expect(sizeOf(files)).toBe(SIZE)
    await store.delete(keys[0] ?? '')
    const short = sizeOf(files) ?? 0
    expect(short).toBeLessThan(SIZE)

    const outcomes = await Promise.allSettled([
      store.put('a', textOf('a')),
      store.delete(keys[1] ?? ''),
      store.put('b', textOf('b').repeat(80)),
      store.delete(keys[2] ?? ''),
      store.put('c', 'small'),
    ])

    expect(outcomes.map(({ status }) => status)).toEqual([
      'rejected',
      'fulfilled',
      'rejected',
      'fulfilled',
      'rejected',
    ])
    expect(sizeOf(files)).toBe(short)
    files.heal()
    await store.put('c', 'small')
    await store.close()
  })

  it('a quota that is used up counts as a full disk', async () => {
    const { files, store } = await filled()
    files.fail({ kinds: ['write'], path: /segment$/, nth: 1, code: 'EDQUOT' })

    await store.delete(keys[0] ?? '')

    expect(sizeOf(files)).toBeLessThan(SIZE)
    await expect(store.put('a', '')).rejects.toMatchObject({ cause: { code: 'EDQUOT' } })
    await store.close()
  })

  it('a store closes without any space, and opens with everything that had settled', async () => {
    const { files, store, errors } = await filled()
    files.capacity = files.usedSize
    // The whole reserve is used up.
    files.fail({ kinds: ['write'], path: /(segment|tmp)$/, nth: 1, code: 'ENOSPC', lasting: true })
    const refused = await store.delete(keys[0] ?? '').catch((error: StoreError) => error)
    expect(refused).toMatchObject(noSpace)
    expect(sizeOf(files)).toBe(FILE_HEADER_SIZE)

    await store.close()

    expect(errors.length).toBeGreaterThan(0)
    for (const error of errors) expect(error).toMatchObject({ cause: { code: 'ENOSPC' } })
    expect(files.openPaths).toEqual([])
    for (const machine of [
      files,
      files.afterPowerLoss({ files: ['dropped'], entries: 'dropped' }, 1),
    ]) {
      machine.capacity = machine.usedSize
      const again = await openOn(machine, options)
      expect([...again.keys()]).toEqual(keys)
      await again.close()
    }
  })

  it('a merge reports that it lacks space, and succeeds once there is some', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    for (const round of ['a', 'b']) {
      for (const key of keys.slice(0, 24)) {
        if (round === 'a' || key < (keys[12] ?? '')) await store.put(key, round + textOf(key))
      }
    }
    await store.sync()
    await idle(store)
    files.capacity = files.usedSize

    await expect(store.merge()).rejects.toThrow(withCode('FIRKIN_MERGE_FAILED'))

    expect(store.stats().merge.lastError).toMatchObject({ cause: { code: 'ENOSPC' } })
    files.heal()
    expect((await store.merge()).bytesGained).toBeGreaterThan(0)
    expect(store.stats().merge.lastError).toBeUndefined()
    await store.close()
  })
})
