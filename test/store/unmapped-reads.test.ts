/** Reads of files that are not mapped, through a cache of four blocks. */

import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { FILE_HEADER_SIZE } from '../../src/format/file-header.ts'
import { segmentName } from '../../src/format/names.ts'
import { recordSize } from '../../src/format/record.ts'
import { blockCache } from '../../src/segment/block-cache.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { DISK, idle, KIB, keysUpTo, openOn, type TextStore, withCode } from '../support/store.ts'

vi.hoisted(() => {
  process.env.FIRKIN_READ_CACHE = String(4 * 16 * 1024)
})

const LIMIT = 64 * KIB
const FIRST = `${DISK}/${segmentName(1)}`

/** Fills a store with 100 values of a kibibyte: one sealed segment, and a part of the next. */
async function fill(store: TextStore, letter: string): Promise<void> {
  for (const key of keysUpTo(100)) store.putSync(key, letter.repeat(KIB))
  await idle(store)
}

/** Returns the number of calls that read a file while `work` runs. */
function readsOf(files: FaultyFiles, work: () => void): number {
  const before = files.calls.length
  work()
  return files.calls.slice(before).filter(({ kind }) => kind === 'read').length
}

/** Changes a byte of the value of the 10th key, in the middle of the second block. */
function damage(files: FaultyFiles): Buffer {
  const sound = files.peek(FIRST) ?? Buffer.alloc(0)
  const bytes = Buffer.from(sound)
  const at = bytes.indexOf('key 010') + 500
  bytes[at] = (bytes[at] ?? 0) ^ 1
  overwrite(files, bytes)
  return sound
}

/** Changes a file in place, as a faulty disk does. */
function overwrite(files: FaultyFiles, bytes: Buffer): void {
  const file = files.open(FIRST, 'write')
  files.write(file, bytes, 0, bytes.length, 0)
  files.close(file)
}

describe('a store that is not mapped', () => {
  it('reads records that lie together by one call, and reports how much it keeps', async () => {
    const files = new FaultyFiles(1)
    await using store = await openOn(files)
    await fill(store, 'a')
    expect(store.stats().cachedBytes).toBe(0)

    const inOneBlock = keysUpTo(14)
    const reads = readsOf(files, () => {
      for (const key of inOneBlock) expect(store.get(key)).toBe('a'.repeat(KIB))
    })

    expect(reads).toBe(1)
    expect(store.stats().cachedBytes).toBe(16 * KIB)
  })

  it('does not keep the end of the segment that is written', async () => {
    const files = new FaultyFiles(1)
    await using store = await openOn(files)
    await fill(store, 'a')
    const read = vi.spyOn(files, 'read')

    expect(store.get('key 099')).toBe('a'.repeat(KIB))

    expect(read).toHaveBeenCalledOnce()
    expect(read.mock.calls[0]?.[3]).toBeLessThan(2 * KIB)
    expect(store.stats().cachedBytes).toBe(0)
  })

  it('reads ranges through the cache, too', async () => {
    const files = new FaultyFiles(1)
    await using store = await openOn(files)
    for (const key of keysUpTo(500)) store.putSync(key, 'b'.repeat(50))
    await idle(store)
    const whole = [...store.entries()]
    expect(whole).toEqual(keysUpTo(500).map((key) => [key, 'b'.repeat(50)]))

    const reads = readsOf(files, () => expect([...store.entries({ limit: 200 })]).toHaveLength(200))

    expect(reads).toBe(0)
  })

  it('returns what a range has before an entry that cannot be read', async () => {
    const files = new FaultyFiles(1)
    await using store = await openOn(files)
    for (const key of keysUpTo(500)) store.putSync(key, 'b'.repeat(50))
    const inFirstBlock = Math.floor((16 * KIB - FILE_HEADER_SIZE) / recordSize(7, 50, false))
    store.get('key 000')
    files.fail({ kinds: ['read'], nth: 1, code: 'EIO', lasting: true })

    const seen: string[] = []
    expect(() => {
      for (const [key] of store.entries()) seen.push(key)
    }).toThrow(withCode('FIRKIN_READ_FAILED'))

    expect(seen).toEqual(keysUpTo(inFirstBlock))
  })

  it('keeps no more than the limit, and nothing of what is closed or deleted', async () => {
    const store = await openOn(new FaultyFiles(1))
    for (let round = 0; round < 5; round++) {
      await fill(store, 'abcde'[round] as string)
      for (const key of keysUpTo(100)) store.get(key)
      for (const key of keysUpTo(100)) store.get(key)
      expect(blockCache().byteSize).toBe(LIMIT)
      expect(store.stats().cachedBytes).toBeLessThanOrEqual(LIMIT)
    }

    await store.merge()
    await idle(store)
    expect([...store.values()]).toEqual(keysUpTo(100).map(() => 'e'.repeat(KIB)))

    await store.close()
    expect(blockCache().byteSize).toBe(0)
  })

  it('reports damage, and reads the disk again the next time', async () => {
    const files = new FaultyFiles(1)
    await using store = await openOn(files)
    await fill(store, 'a')
    const sound = damage(files)

    for (let turn = 0; turn < 2; turn++) {
      expect(() => store.get('key 010')).toThrow(withCode('FIRKIN_CORRUPT'))
    }
    expect(store.get('key 009')).toBe('a'.repeat(KIB))

    overwrite(files, sound)
    expect(store.get('key 010')).toBe('a'.repeat(KIB))
  })

  it('reads a record from the disk if what it keeps of it is damaged', async () => {
    const files = new FaultyFiles(1)
    await using store = await openOn(files)
    await fill(store, 'a')
    const sound = damage(files)
    expect(store.get('key 009')).toBe('a'.repeat(KIB))
    expect(store.stats().cachedBytes).toBe(16 * KIB)

    overwrite(files, sound)

    expect(store.get('key 010')).toBe('a'.repeat(KIB))
    expect(store.stats().cachedBytes).toBe(0)
  })

  it('verifies and merges what is on the disk, not what it keeps', async () => {
    const files = new FaultyFiles(1)
    await using store = await openOn(files)
    store.on('error', () => {})
    await fill(store, 'a')
    store.putSync('key 020', 'b')
    store.get('key 010')
    damage(files)

    expect(store.get('key 010')).toBe('a'.repeat(KIB))
    const { findings } = await store.verify()
    expect(findings).toMatchObject([{ severity: 'damage', file: FIRST }])
    const { leftOut } = await store.merge()
    expect(leftOut).toMatchObject([{ id: 1 }])
  })

  it('reports a read that fails, of what it does not keep', async () => {
    const files = new FaultyFiles(1)
    await using store = await openOn(files)
    await fill(store, 'a')
    store.get('key 005')
    files.fail({ kinds: ['read'], nth: 1, code: 'EIO', lasting: true })

    expect(store.get('key 006')).toBe('a'.repeat(KIB))
    expect(() => store.get('key 050')).toThrow(withCode('FIRKIN_READ_FAILED'))
    expect(() => [...store.values()]).toThrow(withCode('FIRKIN_READ_FAILED'))

    files.heal()
    expect([...store.values()]).toEqual(keysUpTo(100).map(() => 'a'.repeat(KIB)))
  })

  it('reads a record whose neighbours cannot be read', async () => {
    const files = new FaultyFiles(1)
    await using store = await openOn(files)
    await fill(store, 'a')
    files.fail({ kinds: ['read'], nth: 1, code: 'EIO' })

    expect(store.get('key 050')).toBe('a'.repeat(KIB))
    expect(files.faultCount).toBe(1)
  })
})

describe('a writer and a follower that share the cache', () => {
  const key = fc.integer({ min: 0, max: 30 }).map((index) => `key ${index}`)
  const value = fc
    .tuple(fc.constantFrom(1, 30, 134, 600, 3000, 5000), fc.string({ minLength: 1, maxLength: 1 }))
    .map(([size, letter]) => letter.repeat(size))
  const action = fc.oneof(
    { weight: 6, arbitrary: fc.record({ kind: fc.constant('put' as const), key, value }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('fail' as const), key, value }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('delete' as const), key }) },
    { weight: 6, arbitrary: fc.record({ kind: fc.constant('get' as const), key }) },
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constantFrom('range', 'refresh', 'merge', 'snapshot', 'reopen'),
      }),
    },
  )

  it('show what a map holds, whatever is written, merged and refreshed', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(action, { minLength: 30, maxLength: 120 }), async (actions) => {
        const files = new FaultyFiles(1)
        let writer = await openOn(files)
        await writer.put('key 0', '')
        await writer.sync()
        const reader = await openOn(files, { readOnly: true })
        const model = new Map([['key 0', '']])
        let seen = new Map(model)
        let snapshot = writer.snapshot()
        let taken = new Map(model)
        for (const drawn of actions) {
          if (drawn.kind === 'put') {
            writer.putSync(drawn.key, drawn.value)
            model.set(drawn.key, drawn.value)
          } else if (drawn.kind === 'fail') {
            // What it has written is cut, and other bytes take its place.
            files.fail({ kinds: ['write'], path: /segment$/, nth: 1, code: 'SHORT' })
            files.fail({ kinds: ['write'], path: /segment$/, nth: 2, code: 'ENOSPC' })
            try {
              writer.putSync(drawn.key, drawn.value)
              model.set(drawn.key, drawn.value)
            } catch (error) {
              expect(error).toEqual(withCode('FIRKIN_WRITE_FAILED'))
            }
            files.heal()
          } else if (drawn.kind === 'delete') {
            expect(writer.deleteSync(drawn.key)).toBe(model.delete(drawn.key))
          } else if (drawn.kind === 'get') {
            expect(writer.get(drawn.key)).toBe(model.get(drawn.key))
            expect(reader.get(drawn.key)).toBe(seen.get(drawn.key))
            expect(snapshot.get(drawn.key)).toBe(taken.get(drawn.key))
          } else if (drawn.kind === 'range') {
            expect(new Map(writer.entries())).toEqual(model)
            expect(new Map(reader.entries())).toEqual(seen)
            expect(new Map(snapshot.entries())).toEqual(taken)
          } else if (drawn.kind === 'refresh') {
            await reader.refresh()
            seen = new Map(model)
          } else if (drawn.kind === 'merge') {
            await writer.merge()
          } else {
            snapshot.close()
            if (drawn.kind === 'reopen') {
              await writer.close()
              writer = await openOn(files)
            }
            snapshot = writer.snapshot()
            taken = new Map(model)
          }
          expect(blockCache().byteSize).toBeLessThanOrEqual(LIMIT)
        }
        snapshot.close()
        await reader.close()
        await writer.close()
        expect(blockCache().byteSize).toBe(0)
      }),
      { numRuns: 40 },
    )
  })
})
