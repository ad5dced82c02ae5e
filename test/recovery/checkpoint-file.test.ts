/** Stores whose checkpoint is damaged, whichever operation first touches it, or does not fit. */

import { setImmediate } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { checkpointHeadSize, decodeCheckpointHead } from '../../src/format/checkpoint.ts'
import { type KeydirKind, StoreError } from '../../src/index.ts'
import { readManifest } from '../../src/segment/manifest-file.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { DISK, KIB, keysUpTo, openOn, type TextStore, withCode } from '../support/store.ts'

const PATH = `${DISK}/CHECKPOINT`
const SEGMENT = `${DISK}/0000000001.segment`
const NOW_MS = 1_000_000

/** Makes a closed store with a checkpoint and with deleted, overwritten and expired keys. */
async function closedStore(
  keydir: KeydirKind,
): Promise<{ files: FaultyFiles; entries: [string, string][] }> {
  const files = new FaultyFiles(1)
  const store = await openOn(files, { keydir, clock: () => NOW_MS })
  for (const key of keysUpTo(90)) await store.put(key, `old ${key} ${'-'.repeat(1500)}`)
  for (const key of keysUpTo(40)) await store.put(key, `new ${key}`)
  for (const key of keysUpTo(10)) await store.delete(key)
  await store.put('expired', 'gone', { expiresAt: NOW_MS - 1 })
  await store.put('expires', 'later', { ttlMs: 1000 })
  const entries = [...store.entries()]
  await store.close()
  return { files, entries }
}

/** Yields the same machine for each chunk of the checkpoint, with that chunk damaged. */
function* withDamagedChunks(files: FaultyFiles): Generator<FaultyFiles> {
  const bytes = files.peek(PATH) ?? Buffer.alloc(0)
  const storeId = readManifest(files, DISK)?.storeId ?? Buffer.alloc(16)
  const head = bytes.subarray(0, checkpointHeadSize(bytes))
  const { chunks } = decodeCheckpointHead(head, storeId) ?? { chunks: [] }
  expect(chunks.length).toBeGreaterThan(1)
  for (const { offset, size } of chunks) {
    const machine = files.restart(1)
    const damaged = Buffer.from(bytes)
    const at = offset + (size >> 1)
    damaged[at] = (damaged[at] ?? 0) ^ 0x10
    machine.poke(PATH, damaged)
    yield machine
  }
}

/** Operations on the store, each with the change that it makes to the entries. */
const operations: [
  string,
  (store: TextStore) => unknown,
  (entries: Map<string, string>) => void,
][] = [
  ['get', (store) => expect(store.get('key 020')).toBe('new key 020'), () => undefined],
  ['get of no key', (store) => expect(store.get('key 005')).toBeUndefined(), () => undefined],
  ['has', (store) => expect(store.has('key 020')).toBe(true), () => undefined],
  ['put', (store) => store.put('key 020', 'now'), (entries) => entries.set('key 020', 'now')],
  ['put of a new key', (store) => store.put('new', 'now'), (entries) => entries.set('new', 'now')],
  [
    'a put larger than the stage',
    (store) => store.put('new', 'x'.repeat(300_000)),
    (entries) => entries.set('new', 'x'.repeat(300_000)),
  ],
  ['delete', (store) => store.deleteSync('key 020'), (entries) => entries.delete('key 020')],
  [
    'batch',
    (store) => store.batch().put('key 021', 'now').delete('key 022').put('new', '1').commit(),
    (entries) => entries.set('key 021', 'now').set('new', '1').delete('key 022'),
  ],
  [
    'puts that are staged together',
    (store) => Promise.all(keysUpTo(50).map((key) => store.put(key, 'together'))),
    (entries) => {
      for (const key of keysUpTo(50)) entries.set(key, 'together')
    },
  ],
  ['entries', (store) => expect([...store.entries()]).toHaveLength(81), () => undefined],
  [
    'entries in reverse',
    (store) => expect([...store.keys({ reverse: true, limit: 1 })]).toEqual(['key 089']),
    () => undefined,
  ],
  [
    'an iterator that is half-way',
    (store) => {
      const iterator = store.keys({ prefix: 'key' })
      iterator.next()
      store.putSync('key 011', 'now')
      expect([...iterator]).toHaveLength(79)
    },
    (entries) => entries.set('key 011', 'now'),
  ],
  [
    'a snapshot',
    (store) => {
      using snapshot = store.snapshot()
      store.putSync('key 020', 'now')
      expect(snapshot.get('key 020')).toBe('new key 020')
      expect(snapshot.count()).toBe(81)
    },
    (entries) => entries.set('key 020', 'now'),
  ],
  ['count', (store) => expect(store.count({ gte: 'key 080' })).toBe(10), () => undefined],
  [
    'clear',
    (store) => store.clear({ prefix: 'key 08' }),
    (entries) => {
      for (const key of keysUpTo(90).slice(80)) entries.delete(key)
    },
  ],
  ['merge', (store) => store.merge(), () => undefined],
  ['verify', (store) => store.verify(), () => undefined],
  ['stats', (store) => store.stats(), () => undefined],
]

describe.each<KeydirKind>(['btree', 'hash', 'skiplist'])(
  'a store on %s whose checkpoint is damaged',
  (keydir) => {
    it.each(operations)('has the right entries if %s touches it first', async (_, act, change) => {
      const { files, entries } = await closedStore(keydir)
      const expected = new Map(entries)
      change(expected)
      const sorted = [...expected].sort(([a], [b]) => (a < b ? -1 : 1))
      for (const machine of withDamagedChunks(files)) {
        const options = { keydir, clock: () => NOW_MS } as const
        const store = await openOn(machine, options)
        const told: Error[] = []
        store.on('error', (error) => told.push(error))
        expect(store.stats().recovery.source).toBe('checkpoint')

        await act(store)

        expect([...store.entries()]).toEqual(sorted)
        for (const [key, value] of sorted) expect(store.get(key)).toBe(value)
        const { liveBytes, deadBytes } = store.stats()
        await store.close()
        await setImmediate()
        // The damage is reported once, or not at all if the chunk is never read.
        expect(told.length).toBeLessThanOrEqual(1)
        for (const error of told) expect(error).toEqual(withCode('FIRKIN_CORRUPT'))
        expect(machine.openPaths).toEqual([])
        // A checkpoint that was found to be damaged is replaced, even if nothing was written.
        await using reopened = await openOn(machine, options)
        const toldAgain: Error[] = []
        reopened.on('error', (error) => toldAgain.push(error))
        expect([...reopened.entries()]).toEqual(sorted)
        expect(reopened.stats()).toMatchObject({ liveBytes, deadBytes })
        await setImmediate()
        if (told.length > 0) expect(toldAgain).toEqual([])
      }
    })
  },
)

describe('a checkpoint that does not fit its segments', () => {
  const letters = [...'abcdefghi']
  /** A value that has a segment of its own, and so ends the segment before it. */
  const LARGE = 'x'.repeat(257 * KIB)

  /** Fills a segment. */
  async function fill(store: TextStore, prefix: string, size = 7 * KIB): Promise<void> {
    for (const letter of letters) await store.put(prefix + letter, letter.repeat(size))
    await store.put(`${prefix} end`, LARGE)
  }

  /** Returns the entries of a store, and the source of its keydir. */
  async function opened(files: FaultyFiles): Promise<[shown: [string, string][], source: string]> {
    await using store = await openOn(files)
    return [[...store.entries()], store.stats().recovery.source]
  }

  /** Opens a store with an earlier checkpoint, or with that of another store. */
  async function expectIgnored(
    files: FaultyFiles,
    checkpoint: Buffer | undefined,
    entries: [string, string][],
  ): Promise<void> {
    expect(checkpoint?.length).toBeGreaterThan(0)
    files.poke(PATH, checkpoint)
    const [shown, source] = await opened(files)
    expect(shown).toEqual(entries)
    expect(source).not.toBe('checkpoint')
  }

  it('is ignored if one of them is gone, and deleted keys stay deleted', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    await fill(store, 'old ')
    await store.close()
    const checkpoint = files.peek(PATH)
    const reopened = await openOn(files)
    for (const letter of letters) await reopened.delete(`old ${letter}`)
    const { created } = await reopened.merge()
    expect(created).toEqual([])
    await reopened.close()

    await expectIgnored(files, checkpoint, [['old  end', LARGE]])
  })

  it('is ignored if a merge has written one that it does not list', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    await fill(store, 'old ')
    await store.close()
    const checkpoint = files.peek(PATH)
    const reopened = await openOn(files)
    await fill(reopened, 'new ')
    await reopened.delete('new a')
    const { segments, created } = await reopened.merge()
    // The segments that it lists are as they were.
    expect(segments.map(({ id }) => id)).toEqual([3, 5])
    expect(created).toHaveLength(1)
    const entries = [...reopened.entries()]
    await reopened.close()

    await expectIgnored(files, checkpoint, entries)
  })

  it('is ignored if it reaches beyond the end of the newest one', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    await store.put('first', '1')
    const { length } = files.peek(SEGMENT) ?? ''
    await store.put('last', '2')
    const killed = files.restart(1)
    await store.close()
    killed.poke(SEGMENT, files.peek(SEGMENT)?.subarray(0, length))

    await expectIgnored(killed, files.peek(PATH), [['first', '1']])
  })

  it('is ignored if one of them has another size, since it is of another history', async () => {
    const files = new FaultyFiles(1)
    await (await openOn(files)).close()
    const [here, there] = [files.restart(1), files.restart(1)]
    for (const [machine, size] of [
      [here, 7 * KIB],
      [there, 6 * KIB],
    ] as const) {
      const store = await openOn(machine)
      await fill(store, '', size)
      await store.close()
    }
    const [entries, source] = await opened(here)
    expect(source).toBe('checkpoint')

    await expectIgnored(here, there.peek(PATH), entries)
  })
})

describe('a store that is loaded again', () => {
  it('takes zeros in place of its last record for damage, not for preallocated space', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    for (const key of keysUpTo(10)) await store.put(key, key)
    await store.close()
    const bytes = files.peek(SEGMENT) ?? Buffer.alloc(0)
    files.poke(SEGMENT, bytes.fill(0, bytes.length - 32))
    for (const machine of withDamagedChunks(files)) {
      await using damaged = await openOn(machine)
      damaged.on('error', () => undefined)

      expect(() => [...damaged.entries()]).toThrow(StoreError)
    }
  })
})
