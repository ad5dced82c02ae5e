/** Options: what is refused, the defaults, and the effect of each. */

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { describe, expect, it, vi } from 'vitest'
import { type Files, systemFiles } from '../../src/io/files.ts'
import { canMap } from '../../src/io/mapping.ts'
import type { CopyJob } from '../../src/merge/copy.ts'
import type { BackgroundWork } from '../../src/merge/thread.ts'
import { resolveOptions } from '../../src/options.ts'
import { Store } from '../../src/store/store.ts'
import { withDirectory } from '../support/directory.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { inProcessWork } from '../support/in-process-work.ts'
import {
  DISK,
  KIB,
  keysUpTo,
  openAny,
  openOn,
  openStore,
  type TextOptions,
  withCode,
} from '../support/store.ts'
import { fakeOwnTimers } from '../support/timers.ts'

const MIB = 1024 * KIB

describe('options', () => {
  it.each([
    [null, 'must be an object'],
    ['fast', 'must be an object'],
    [[], 'must be an object'],
    [{ keyDir: 'hash' }, 'Unknown option keyDir; did you mean keydir?'],
    [{ synk: 'always' }, 'Unknown option synk; did you mean sync?'],
    [{ maxSegmentByte: 1 }, 'did you mean maxSegmentBytes?'],
    [{ compression: true }, /^Unknown option compression$/],
    [{ merge: { windw: [1, 2] } }, 'Unknown merge option windw; did you mean window?'],
    [{ sync: { everyMS: 1 } }, 'Unknown sync option everyMS; did you mean everyMs?'],
    [{ createIfMissing: 1 }, 'Option createIfMissing must be a boolean'],
    [{ readOnly: 'yes' }, 'Option readOnly must be a boolean'],
    [{ lock: 0 }, 'Option lock must be a boolean'],
    [{ mapping: null }, 'Option mapping must be a boolean'],
    [{ verifyReads: 'no' }, 'Option verifyReads must be a boolean'],
    [{ checkpoint: 1 }, 'Option checkpoint must be a boolean'],
    [{ clock: 7 }, 'Option clock must be a function'],
    [{ keydir: 'map' }, 'Option keydir is map; it must be one of btree, hash'],
    [{ keyEncoding: 'json' }, 'Option keyEncoding is json; it must be one of utf8, buffer'],
    [{ recovery: 'repair' }, 'Option recovery is repair; it must be one of tail'],
    [{ valueEncoding: 'latin1' }, 'Option valueEncoding is latin1'],
    [{ valueEncoding: { encode: 1, decode: () => 1 } }, 'valueEncoding.encode must be a function'],
    [{ valueEncoding: { encode: () => 'a' } }, 'valueEncoding.decode must be a function'],
    [{ ttlMs: '1' }, 'Option ttlMs is "1"; it must be an integer'],
    [{ ttlMs: 1.5 }, 'Option ttlMs is 1.5; it must be an integer'],
    [{ maxSegmentBytes: Number.NaN }, 'Option maxSegmentBytes is NaN; it must be an integer'],
    [{ sync: 'sometimes' }, 'sync'],
    [{ sync: 7 }, 'sync'],
    [{ sync: {} }, 'Option sync needs one of everyWrites, everyBytes, everyMs'],
    [{ sync: { everyWrites: 1.5 } }, 'Option sync.everyWrites is 1.5; it must be an integer'],
    [{ merge: true }, 'must be an object'],
    [{ merge: { automatic: 'yes' } }, 'Option merge.automatic must be a boolean'],
    [{ merge: { triggerDeadRatio: '1' } }, 'Option merge.triggerDeadRatio must be a number'],
    [{ merge: { window: 3 } }, 'Option merge.window must be a pair of hours'],
    [{ merge: { window: [1, 2, 3] } }, 'Option merge.window must be a pair of hours'],
    [{ merge: { window: [1, '2'] } }, 'Option merge.window is "2"; it must be an integer'],
    [{ follow: 'yes', readOnly: true }, 'Option follow is "yes"'],
    [{ follow: true }, 'Option follow needs readOnly'],
    [{ follow: 100, readOnly: false }, 'Option follow needs readOnly'],
    [{ readOnly: true, recovery: 'salvage' }, 'it excludes readOnly'],
  ])('with a wrong name or type are refused: %o', (options, text) => {
    expect(() => resolveOptions(options as object)).toThrow(TypeError)
    expect(() => resolveOptions(options as object)).toThrow(text)
  })

  it.each([
    [{ maxSegmentBytes: 64 * KIB - 1 }, 'it must be from 65536 to 1073741824'],
    [{ maxSegmentBytes: 1024 * MIB + 1 }, 'it must be from 65536 to 1073741824'],
    [{ syncIntervalMs: 0 }, 'Option syncIntervalMs is 0; it must be from 1'],
    [{ syncIntervalMs: 2 ** 31 }, 'to 2147483647'],
    [{ expiryIntervalMs: 0 }, 'Option expiryIntervalMs is 0; it must be from 1'],
    [{ ttlMs: -1 }, 'Option ttlMs is -1; it must be from 0'],
    [{ follow: 0, readOnly: true }, 'Option follow is 0; it must be from 1'],
    [{ sync: { everyWrites: 0 } }, 'Option sync.everyWrites is 0; it must be from 1'],
    [{ sync: { everyMs: 2 ** 31 } }, 'Option sync.everyMs is 2147483648'],
    [{ merge: { triggerDeadRatio: 0 } }, 'it must be above 0 and at most 1'],
    [{ merge: { triggerDeadRatio: 1.1 } }, 'it must be above 0 and at most 1'],
    [{ merge: { triggerDeadRatio: Number.NaN } }, 'it must be above 0 and at most 1'],
    [{ merge: { thresholdDeadRatio: 0.6 } }, 'is above merge.triggerDeadRatio'],
    [{ merge: { maxInputBytes: -1 } }, 'Option merge.maxInputBytes is -1'],
    [{ merge: { window: [0, 25] } }, 'Option merge.window is 25; it must be from 0 to 24'],
    [{ merge: { window: [3, 3] } }, 'Option merge.window ends at 3, where it begins'],
    [{ merge: { triggerDeadBytes: 0 } }, 'Option merge.triggerDeadBytes is 0; it must be from 1'],
    [{ merge: { smallSegmentBytes: 64 * MIB + 1 } }, 'is above half of maxSegmentBytes'],
  ])('out of range are refused: %o', (options, text) => {
    expect(() => resolveOptions(options as object)).toThrow(RangeError)
    expect(() => resolveOptions(options as object)).toThrow(text)
  })

  it.each([
    { maxSegmentBytes: 64 * KIB },
    { maxSegmentBytes: 1024 * MIB },
    { merge: { triggerDeadRatio: 1, thresholdDeadRatio: 1, window: [0, 24] as const } },
    { merge: { window: [22, 4] as const } },
    { follow: 1, readOnly: true },
    { sync: { everyBytes: 1 } },
    { ttlMs: 0 },
  ])('are accepted at the ends of their ranges: %o', (options) => {
    expect(() => resolveOptions(options)).not.toThrow()
  })

  it('get defaults if they are missing or undefined, and are frozen', () => {
    const resolved = resolveOptions({ keydir: undefined, sync: undefined } as object)

    expect(resolved).toEqual(resolveOptions())
    expect(Object.isFrozen(resolved)).toBe(true)
    expect(resolved).toMatchObject({
      keydir: 'btree',
      keyEncoding: 'utf8',
      valueEncoding: 'buffer',
      sync: { everyMs: 1000 },
      maxSegmentBytes: 128 * MIB,
      followMs: 0,
      merge: { automatic: true, smallSegmentBytes: 8 * MIB, window: undefined },
    })
  })

  it.each([
    ['always', { everyWrites: 1, everyBytes: Infinity, everyMs: Infinity }],
    ['interval', { everyWrites: Infinity, everyBytes: Infinity, everyMs: 1000 }],
    ['never', { everyWrites: Infinity, everyBytes: Infinity, everyMs: Infinity }],
    [
      { everyWrites: 5, everyMs: 7 },
      { everyWrites: 5, everyBytes: Infinity, everyMs: 7 },
    ],
  ] as const)('mean by sync %o its bounds', (sync, expected) => {
    expect(resolveOptions({ sync }).sync).toEqual(expected)
  })

  it('are each read somewhere in src', () => {
    const source = join(import.meta.dirname, '../../src')
    const texts = readdirSync(source, { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts') && !path.endsWith('options.ts'))
      .map((path) => readFileSync(join(source, path), 'utf8'))
    const { merge, ...options } = resolveOptions({ merge: { window: [1, 2] } })

    for (const name of [...Object.keys(options), ...Object.keys(merge)]) {
      // `options.name`, or `{ name } = options`.
      const reading = new RegExp(
        `\\.${name}\\b|\\{[^{}:]*\\b${name}\\b[^{}:]*\\} =|\\{[^{}]*\\b${name}\\b[^{}]*\\}:`,
      )
      expect([name, texts.some((text) => reading.test(text))]).toEqual([name, true])
    }
  })

  it('have a default of 100 ms for follow true', () => {
    expect(resolveOptions({ readOnly: true, follow: true }).followMs).toBe(100)
    expect(resolveOptions({ readOnly: true, follow: 7 }).followMs).toBe(7)
    expect(resolveOptions({ readOnly: true }).followMs).toBe(0)
  })

  it('are checked before anything is created', async () => {
    const files = new FaultyFiles(1)

    await expect(openOn(files, { keydir: 'map' as 'hash' })).rejects.toThrow(TypeError)

    expect(files.calls).toEqual([])
  })
})

/** Makes a closed store of a few segments. */
async function filled(options: TextOptions = {}): Promise<FaultyFiles> {
  const files = new FaultyFiles(1)
  const store = await openOn(files, options)
  for (const key of keysUpTo(40)) await store.put(key, key.repeat(700))
  await store.close()
  return files
}

describe('the option', () => {
  it('createIfMissing false creates nothing', async () => {
    const files = new FaultyFiles(1)

    await expect(openOn(files, { createIfMissing: false })).rejects.toThrow(
      withCode('FIRKIN_NOT_FOUND'),
    )

    const looks = ['list', 'fileSystemType']
    expect(files.calls.filter(({ kind }) => !looks.includes(kind))).toEqual([])
  })

  it('lock false allows a second writer', async () => {
    await withDirectory(async (directory) => {
      await using first = await openStore(directory)
      await first.put('a', '1')

      await expect(openStore(directory)).rejects.toThrow(withCode('FIRKIN_LOCKED'))
      const second = await openStore(directory, { lock: false })
      expect(second.get('a')).toBe('1')
      await second.close()
    })
  })

  it('mapping false reads by position', async () => {
    await withDirectory(async (directory) => {
      let reads = 0
      const files: Files = {
        ...systemFiles,
        read(...call) {
          reads++
          return systemFiles.read(...call)
        },
      }
      const store = await openAny(directory, {}, files)
      await store.put('a', '1')
      await store.put('b', '2')
      await store.close()

      for (const mapping of canMap() ? [true, false] : [false]) {
        await using reopened = await openAny(directory, { mapping }, files)
        reopened.get('a')
        reads = 0
        for (let count = 0; count < 10; count++) reopened.get('b')
        expect(reads).toBe(mapping ? 0 : 10)
        expect(reopened.stats().mapping).toBe(mapping)
      }
    })
  })

  it('checkpoint false writes no checkpoint, so the next open reads hints', async () => {
    const files = await filled({ checkpoint: false })

    expect(files.list(DISK)).not.toContain('CHECKPOINT')
    await using reopened = await openOn(files)
    expect(reopened.stats().recovery.source).toBe('hints')
  })

  it.each(['btree', 'hash', 'skiplist', 'bplustree'] as const)(
    'keydir %s decides the kind of keydir',
    async (keydir) => {
      const files = await filled()

      await using store = await openOn(files, { keydir })

      expect(store.stats().keydir.kind).toBe(keydir)
      expect([...store.keys()]).toEqual(keysUpTo(40))
    },
  )

  it.each([64, 256])('maxSegmentBytes of %i KiB bounds the segments', async (size) => {
    const files = await filled({ maxSegmentBytes: size * KIB })

    await using store = await openOn(files)
    const { segments, bytes } = store.stats()

    expect(segments).toHaveLength(Math.ceil(bytes / (size * KIB - 5 * KIB)))
    for (const segment of segments) expect(segment.bytes).toBeLessThanOrEqual(size * KIB)
  })

  it('recovery decides what is done about damage', async () => {
    const files = await filled()
    files.poke(`${DISK}/CHECKPOINT`, undefined)
    const last = files
      .list(DISK)
      ?.filter((name) => name.endsWith('.segment'))
      .sort()
      .at(-1)
    const path = `${DISK}/${last}`
    const bytes = files.peek(path) ?? Buffer.alloc(0)
    const torn = files.restart(1)
    // After a crash the manifest does not list the last segment yet.
    torn.poke(path, Buffer.concat([bytes, bytes.subarray(44, 60)]))
    const damaged = files.restart(1)
    damaged.poke(
      path,
      Buffer.concat([bytes.subarray(0, 100), Buffer.alloc(9), bytes.subarray(109)]),
    )

    await expect(openOn(torn.restart(1), { recovery: 'strict' })).rejects.toThrow(
      withCode('FIRKIN_CORRUPT'),
    )
    await using cut = await openOn(torn.restart(1), { recovery: 'tail' })
    expect(cut.count()).toBe(40)
    expect(cut.stats().recovery.torn).toHaveLength(1)
    await expect(openOn(damaged.restart(1), { recovery: 'tail' })).rejects.toThrow(
      withCode('FIRKIN_CORRUPT'),
    )
    await using salvaged = await openOn(damaged.restart(1), { recovery: 'salvage' })
    expect(salvaged.count()).toBe(39)
    expect(salvaged.stats().recovery.lost).toBeDefined()
  })

  it('follow is the interval of refreshes', async () => {
    fakeOwnTimers('setInterval', 'clearInterval')
    const files = await filled()
    const reader = await openOn(files, { readOnly: true, follow: 700 })
    const before = files.calls.length

    vi.advanceTimersByTime(699)
    await setImmediate()
    expect(files.calls).toHaveLength(before)
    vi.advanceTimersByTime(1)
    await setImmediate()
    expect(files.calls.length).toBeGreaterThan(before)
    await reader.close()
  })

  it('expiryIntervalMs is the interval of sweeps', async () => {
    fakeOwnTimers('setInterval', 'clearInterval')
    let nowMs = 1000
    const options = { clock: () => nowMs, expiryIntervalMs: 300 }
    const store = await openOn(new FaultyFiles(1), options)
    await store.put('a', '1', { ttlMs: 5 })
    nowMs += 5

    vi.advanceTimersByTime(299)
    expect(store.stats()).toMatchObject({ keys: 1, expiredKeys: 0 })
    vi.advanceTimersByTime(1)
    expect(store.stats()).toMatchObject({ keys: 0, expiredKeys: 1 })
    await store.close()
  })

  it('merge.maxBytesPerSecond and maxSegmentBytes reach the thread that merges', async () => {
    const files = await filled()
    const jobs: CopyJob[] = []
    const { copy, hint } = inProcessWork(files)
    const backgroundWork: BackgroundWork = {
      hint,
      copy(job, ...rest) {
        jobs.push(job)
        return copy(job, ...rest)
      },
    }
    const merge = { automatic: false, maxBytesPerSecond: 12_345 }
    const options = { lock: false, mapping: false, maxSegmentBytes: 96 * KIB, merge } as const
    const store = await Store.open(DISK, options, { files, backgroundWork })
    await store.delete('key 000')

    await store.merge()

    expect(jobs).toMatchObject([{ maxBytesPerSecond: 12_345, maxSegmentBytes: 96 * KIB }])
    await store.close()
  })
})
