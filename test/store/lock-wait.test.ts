/** Waiting for the lock of a process that is just ending. */

import { readdirSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { open, type StoreOptions } from '../../src/index.ts'
import { withDirectory } from '../support/directory.ts'
import { Peer } from '../support/peer.ts'

describe('open with lockWaitMs', () => {
  it('opens once another process has given the lock up', async () => {
    await withDirectory(async (directory) => {
      await using writer = new Peer()
      await writer.open(directory)
      await writer.ask('put', 'key', 'of the writer')
      let isOpen = false

      const opening = open(directory, { lockWaitMs: 60_000 }).then((store) => {
        isOpen = true
        return store
      })
      await setTimeout(200)
      expect(isOpen).toBe(false)
      await writer.kill()

      await using store = await opening
      expect(store.get('key')?.toString()).toBe('of the writer')
    })
  })

  it('gives up in time, says who holds the lock, and leaves nothing open', async () => {
    await withDirectory(async (directory) => {
      await using _ = await open(directory)
      const beganAt = performance.now()
      const before = readdirSync('/proc/self/fd').length
      let turns = 0
      const timer = setInterval(() => turns++, 5)

      const opening = open(directory, { lockWaitMs: 300 })

      await expect(opening).rejects.toMatchObject({
        code: 'FIRKIN_LOCKED',
        message: expect.stringMatching(
          `^The store in ${directory} is open for writing by this process since .*; waited for 300 ms$`,
        ),
      })
      clearInterval(timer)
      expect(performance.now() - beganAt).toBeGreaterThan(299)
      expect(turns).toBeGreaterThan(5)
      // The other store may have opened a file meanwhile.
      expect(readdirSync('/proc/self/fd').length).toBeLessThanOrEqual(before + 2)
    })
  })

  it('ends with the reason of a signal, before or during the wait', async () => {
    await withDirectory(async (directory) => {
      await using _ = await open(directory)
      const abort = new AbortController()
      const reason = new Error('stopped')

      const opening = open(directory, { lockWaitMs: 60_000, signal: abort.signal })
      await setTimeout(20)
      abort.abort(reason)

      await expect(opening).rejects.toBe(reason)
      await expect(open(`${directory}/other`, { signal: abort.signal })).rejects.toBe(reason)
      expect(readdirSync(directory)).not.toContain('other')
    })
  })

  it('waits for nothing else', async () => {
    await withDirectory(async (directory) => {
      const options = { lockWaitMs: 60_000, createIfMissing: false }

      await expect(open(directory, options)).rejects.toMatchObject({ code: 'FIRKIN_NOT_FOUND' })

      await using _ = await open(directory)
      await using reader = await open(directory, { ...options, readOnly: true })
      expect(reader.count()).toBe(0)
    })
  })

  it.each([
    [{ lockWaitMs: -1 }, RangeError, 'Option lockWaitMs is -1; it must be from 0 to 2147483647'],
    [{ lockWaitMs: '1' }, TypeError, 'Option lockWaitMs is "1"; it must be an integer'],
    [{ signal: {} }, TypeError, 'Option signal is [object Object]; it must be an AbortSignal'],
    [{ signal: null }, TypeError, 'Option signal is null; it must be an AbortSignal'],
  ])('refuses %j', async (options, kind, message) => {
    await withDirectory(async (directory) => {
      const opening = open(directory, options as StoreOptions)

      await expect(opening).rejects.toThrow(kind)
      await expect(opening).rejects.toThrow(message)
    })
  })
})
