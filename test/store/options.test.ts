import { describe, expect, it } from 'vitest'
import { resolveOptions } from '../../src/options.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { openOn } from '../support/store.ts'

const KIB = 1024
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
    [{ ttlMs: '1' }, 'Option ttlMs is 1; it must be an integer'],
    [{ ttlMs: 1.5 }, 'Option ttlMs is 1.5; it must be an integer'],
    [{ maxSegmentBytes: Number.NaN }, 'Option maxSegmentBytes is NaN; it must be an integer'],
    [{ sync: 'sometimes' }, 'sync'],
    [{ sync: 7 }, 'sync'],
    [{ sync: {} }, 'Option sync needs one of everyWrites, everyBytes, everyMs'],
    [{ sync: { everyWrites: 1.5 } }, 'Option sync.everyWrites is 1.5; it must be an integer'],
    [{ merge: true }, 'must be an object'],
    [{ merge: { automatic: 'yes' } }, 'Option merge.automatic must be a boolean'],
    [{ merge: { triggerDeadRatio: '1' } }, 'Option merge.triggerDeadRatio must be a number'],
    [{ merge: { window: 3 } }, 'Option merge.window is no pair of hours'],
    [{ merge: { window: [1, 2, 3] } }, 'Option merge.window is no pair of hours'],
    [{ merge: { window: [1, '2'] } }, 'Option merge.window is 2; it must be an integer'],
    [{ follow: 'yes', readOnly: true }, 'Option follow is yes'],
    [{ follow: true }, 'Option follow needs readOnly'],
    [{ follow: 100, readOnly: false }, 'Option follow needs readOnly'],
    [{ readOnly: true, recovery: 'salvage' }, 'it excludes readOnly'],
  ])('are refused as of a wrong name or type: %o', (options, text) => {
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
  ])('are refused as out of range: %o', (options, text) => {
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
  ])('are taken at the ends of their ranges: %o', (options) => {
    expect(() => resolveOptions(options)).not.toThrow()
  })

  it('are filled in, frozen, and taken as missing where they are undefined', () => {
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

  it('follow by default every 100 milliseconds, where they follow', () => {
    expect(resolveOptions({ readOnly: true, follow: true }).followMs).toBe(100)
    expect(resolveOptions({ readOnly: true, follow: 7 }).followMs).toBe(7)
    expect(resolveOptions({ readOnly: true }).followMs).toBe(0)
  })

  it('are checked before anything is made', async () => {
    const files = new FaultyFiles(1)

    await expect(openOn(files, { keydir: 'map' as 'hash' })).rejects.toThrow(TypeError)

    expect(files.calls).toEqual([])
  })
})
