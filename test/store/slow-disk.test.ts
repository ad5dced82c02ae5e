/** Writes that a thread makes, because the disk holds them up. */

import { setImmediate } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { FaultyFiles } from '../support/faulty-files.ts'
import { DISK, KIB, openOn } from '../support/store.ts'

/** Files whose threads write nothing until they are released. */
class HeldUp extends FaultyFiles {
  /** The errors that the threads got. */
  readonly failures: unknown[] = []
  readonly #held: (() => void)[] = []
  #isLetGo = false

  constructor() {
    super(1)
    this.slow = true
  }

  get heldCount(): number {
    return this.#held.length
  }

  override async writeLater(...call: Parameters<FaultyFiles['writeLater']>): Promise<number> {
    if (!this.#isLetGo) await new Promise<void>((resolve) => this.#held.push(resolve))
    try {
      return await super.writeLater(...call)
    } catch (error) {
      this.failures.push(error)
      throw error
    }
  }

  /** Releases the threads that are held up, and all later ones. */
  async letGo(): Promise<void> {
    this.#isLetGo = true
    for (const go of this.#held.splice(0)) go()
    for (let turn = 0; turn < 20; turn++) await setImmediate()
  }
}

const turns = async (count: number): Promise<void> => {
  for (let turn = 0; turn < count; turn++) await setImmediate()
}
const options = { lock: false, mapping: false, reserveBytes: 0, merge: { automatic: false } }
const value = (name: string): string => name.padEnd(1000, '.')

describe('a write on a disk that holds up its process', () => {
  it('settles when a thread has written it, and can be read meanwhile', async () => {
    const files = new HeldUp()
    const store = await openOn(files, options)
    let isSettled = false
    const put = store.put('a', value('first')).then(() => {
      isSettled = true
    })
    await turns(10)

    expect({ isSettled, held: files.heldCount }).toEqual({ isSettled: false, held: 1 })
    expect(store.get('a')).toBe(value('first'))
    await files.letGo()
    await put

    expect(isSettled).toBe(true)
    await store.close()
    const again = await openOn(files, options)
    expect(again.get('a')).toBe(value('first'))
    await again.close()
  })

  it('is written before those that come meanwhile, which share one write', async () => {
    const files = new HeldUp()
    const store = await openOn(files, options)
    const puts: Promise<void>[] = []
    for (let round = 0; round < 5; round++) {
      puts.push(store.put('a', value(`round ${round}`)), store.put(`key ${round}`, value('x')))
      await turns(3)
    }
    expect(files.heldCount).toBe(1)
    await files.letGo()
    await Promise.all(puts)

    expect(store.get('a')).toBe(value('round 4'))
    await store.close()
    const again = await openOn(files, options)
    expect(again.get('a')).toBe(value('round 4'))
    expect(again.count()).toBe(6)
    await again.close()
  })

  it.each([
    ['is still slow', true],
    ['is fast again', false],
  ])(
    'is written by a call that waits for it, and the late thread changes nothing; the disk %s',
    async (_, slow) => {
      const files = new HeldUp()
      const store = await openOn(files, options)
      // After this the next group is staged in a larger stage.
      if (slow) store.putSync('before', value('before'))
      const first = store.put('a', value('first'))
      await turns(5)
      files.slow = slow

      store.putSync('b', value('second'))
      await first
      // The thread still holds the bytes of the first write, so later ones must lie elsewhere.
      for (let count = 0; count < 600; count++) store.putSync(`key ${count}`, value(`of ${count}`))
      const before = files.peek(`${DISK}/0000000001.segment`)
      await files.letGo()

      expect(files.peek(`${DISK}/0000000001.segment`)).toEqual(before)
      expect((await store.verify()).ok).toBe(true)
      await store.close()
      const again = await openOn(files, options)
      expect([again.get('a'), again.get('b')]).toEqual([value('first'), value('second')])
      for (let count = 0; count < 600; count++) {
        expect(again.get(`key ${count}`)).toBe(value(`of ${count}`))
      }
      await again.close()
    },
  )

  it('keeps the file open for a late thread, even if the segment is merged', async () => {
    const files = new HeldUp()
    const store = await openOn(files, { ...options, maxSegmentBytes: 64 * KIB })
    const first = store.put('a', value('first'))
    await turns(5)
    for (let count = 0; count < 200; count++) store.putSync('b', value(`round ${count}`))
    await store.merge()
    await store.close()
    await first
    const segments = (): string[] => files.openPaths.filter((path) => path.endsWith('.segment'))

    expect(files.heldCount).toBeGreaterThan(0)
    expect(segments().length).toBeGreaterThan(0)
    await files.letGo()

    expect(segments()).toEqual([])
    expect(files.failures).toEqual([])
    const again = await openOn(files, options)
    expect([again.get('a'), again.get('b')]).toEqual([value('first'), value('round 199')])
    expect((await again.verify()).ok).toBe(true)
    await again.close()
  })

  it('keeps the file open for a late thread, even if the store is closed', async () => {
    const files = new HeldUp()
    const store = await openOn(files, options)
    const put = store.put('a', value('first'))
    await turns(5)
    await store.close()
    await put

    expect([files.heldCount, files.openPaths]).toEqual([1, [`${DISK}/0000000001.segment`]])
    await files.letGo()

    expect([files.failures, files.openPaths]).toEqual([[], []])
  })

  it('is undone if the thread fails, and the next one is written', async () => {
    const files = new HeldUp()
    const store = await openOn(files, options)
    await store.sync()
    const first = store.put('a', value('first'))
    await turns(5)
    files.fail({ kinds: ['write'], nth: 1, code: 'ENOSPC' })
    const failed = expect(first).rejects.toMatchObject({ code: 'FIRKIN_WRITE_FAILED' })
    await files.letGo()
    await failed

    expect(store.has('a')).toBe(false)
    await store.put('a', value('second'))
    expect(store.get('a')).toBe(value('second'))
    await store.close()
    const again = await openOn(files, options)
    expect(again.get('a')).toBe(value('second'))
    await again.close()
  })

  it('that fails in a call is cut off after the thread, before any other write', async () => {
    const files = new HeldUp()
    const store = await openOn(files, options)
    store.putSync('before', value('before'))
    const first = store.put('a', value('first'))
    const rejected = expect(first).rejects.toMatchObject({ code: 'FIRKIN_WRITE_FAILED' })
    await turns(5)
    files.fail({ kinds: ['write'], nth: 1, code: 'ENOSPC', lasting: true })

    expect(() => store.putSync('b', value('b'))).toThrow(
      expect.objectContaining({ code: 'FIRKIN_WRITE_FAILED' }),
    )
    await rejected
    expect([store.has('a'), store.has('b')]).toEqual([false, false])
    files.heal()
    expect(() => store.putSync('b', value('b'))).toThrow('The disk is still at a write')
    const size = files.peek(`${DISK}/0000000001.segment`)?.length
    await files.letGo()

    expect(files.peek(`${DISK}/0000000001.segment`)).toHaveLength(size as number)
    store.putSync('b', value('b'))
    await store.close()
    const again = await openOn(files, options)
    expect([...again.keys()].sort()).toEqual(['b', 'before'])
    expect((await again.verify()).ok).toBe(true)
    await again.close()
  })

  it('is staged with all others of its turn', async () => {
    const files = new HeldUp()
    const store = await openOn(files, { ...options, maxSegmentBytes: 8192 * KIB })
    store.putSync('before', value('before'))
    const calls = files.calls.length
    const puts = Array.from({ length: 60 }, (_, index) =>
      store.put(`key ${index}`, value('x').repeat(10)),
    )
    await turns(5)

    expect(files.calls.slice(calls).filter(({ kind }) => kind === 'write')).toEqual([])
    expect(files.heldCount).toBe(1)
    await files.letGo()
    await Promise.all(puts)
    await store.close()
  })
})
