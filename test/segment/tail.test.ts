/** The rules for the end of a store, and how recovery, verification and salvage follow them. */

import { describe, expect, it } from 'vitest'
import { FILE_HEADER_SIZE } from '../../src/format/file-header.ts'
import { recordSize } from '../../src/format/record.ts'
import { verifyDirectory } from '../../src/inspection/verify.ts'
import { salvageStore } from '../../src/salvage/salvage.ts'
import { isTorn, lacksFirst, mayBeBlank, TailEnds, tailIdsOf } from '../../src/segment/tail.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { withHeld } from '../support/held.ts'
import { DISK, KIB, openOn } from '../support/store.ts'

describe('the tail', () => {
  it('consists of the ids from its own on that are not listed', () => {
    const segments = [{ id: 3 }, { id: 6 }] as never
    expect(tailIdsOf([1, 3, 4, 5, 6, 7], { tailId: 4, segments })).toEqual([4, 5, 7])
  })

  it('must have its first segment if the manifest knows of bytes in it', () => {
    expect(lacksFirst([5], { tailId: 4, tailSize: 100 })).toBe(true)
    expect(lacksFirst([5], { tailId: 4, tailSize: 0 })).toBe(false)
    expect(lacksFirst([4, 5], { tailId: 4, tailSize: 100 })).toBe(false)
    expect(mayBeBlank(4, { tailId: 4, tailSize: 100 })).toBe(false)
    expect(mayBeBlank(4, { tailId: 4, tailSize: 0 })).toBe(true)
    expect(mayBeBlank(5, { tailId: 4, tailSize: 100 })).toBe(true)
  })

  it('is torn after what is known to be whole, if no record follows', () => {
    expect(isTorn(100, 100, undefined)).toBe(true)
    expect(isTorn(99, 100, undefined)).toBe(false)
    expect(isTorn(100, 100, 120)).toBe(false)
  })

  it('ends with a segment that is torn, or before one whose predecessor lacks something', () => {
    const made = (): TailEnds => {
      const ends = new TailEnds(4)
      expect(ends.goesOn({ id: 3, size: 1000 })).toBe(true)
      ends.ends(4, 500, false)
      return ends
    }
    expect(made().goesOn({ id: 4, size: 500 })).toBe(true)
    const short = made()
    expect(short.goesOn({ id: 4, size: 501 })).toBe(false)
    expect(short.goesOn({ id: 3, size: 1 })).toBe(false)
    expect(made().goesOn({ id: 5, size: 1 })).toBe(false)
    const torn = made()
    torn.ends(5, 200, true)
    expect(torn.goesOn({ id: 5, size: 200 })).toBe(false)
  })
})

/** The size of a segment's last record, which has a key of six bytes. */
const RECORD_SIZE = recordSize(6, KIB, false)

/** States of the first of a tail's three segments after a crash or a fault. */
const STATES: readonly [
  name: string,
  change: (bytes: Buffer) => Buffer,
  fate: Fate,
  toSalvage: 'sound' | 'damaged',
][] = [
  ['whole', (bytes) => bytes, 'whole', 'sound'],
  ['cut before a record', (bytes) => bytes.subarray(0, FILE_HEADER_SIZE), 'torn', 'sound'],
  ['cut in a record', (bytes) => bytes.subarray(0, bytes.length - 5), 'torn', 'damaged'],
  ['zeros at its end', (bytes) => bytes.fill(0, bytes.length - 2000), 'torn', 'damaged'],
  ['zeros for a record', (bytes) => bytes.fill(0, bytes.length - RECORD_SIZE), 'torn', 'damaged'],
  ['zeros in its middle', (bytes) => bytes.fill(0, FILE_HEADER_SIZE, 1000), 'damaged', 'damaged'],
]

type Fate = 'whole' | 'torn' | 'damaged'

describe.each(STATES)('a tail of which the first segment is %s', (_, change, fate, toSalvage) => {
  it(`is ${fate} to recovery and verification alike, and ${toSalvage} to salvage`, async () => {
    const files = await tailOf(3)
    const path = `${DISK}/0000000001.segment`
    const bytes = change(Buffer.from(files.peek(path) as Buffer))
    files.remove(path)
    const file = files.open(path, 'create')
    files.write(file, bytes, 0, bytes.length, 0)
    files.close(file)

    expect(await verified(files.restart(1))).toBe(fate)
    expect(await salvaged(files.restart(1))).toBe(toSalvage)
    expect(await recovered(files.restart(1))).toBe(fate)
  })
})

/** Returns what a kill leaves of `count` segments, none of which is sealed. */
async function tailOf(count: number): Promise<FaultyFiles> {
  const files = new FaultyFiles(1)
  const store = await openOn(files)
  const value = 'x'.repeat(KIB)
  for (let index = 0; store.stats().segments.length < count; index++) {
    store.putSync(`key ${index}`, value)
  }
  const killed = files.restart(1)
  await store.close()
  return killed
}

async function verified(files: FaultyFiles): Promise<Fate> {
  const { ok, findings } = await verifyDirectory(files, DISK)
  if (!ok) return 'damaged'
  return findings.some(({ kind }) => kind === 'torn') ? 'torn' : 'whole'
}

async function salvaged(files: FaultyFiles): Promise<'sound' | 'damaged'> {
  const options = { maxSegmentBytes: 64 * KIB, dryRun: true, nowMs: 0 }
  const { damaged } = await withHeld(files, DISK, (held) => salvageStore(held, options))
  return damaged.length > 0 ? 'damaged' : 'sound'
}

async function recovered(files: FaultyFiles): Promise<Fate> {
  try {
    const store = await openOn(files)
    const { torn } = store.stats().recovery
    await store.close()
    return torn.length > 0 ? 'torn' : 'whole'
  } catch (error) {
    expect(error).toMatchObject({ code: 'FIRKIN_CORRUPT' })
    return 'damaged'
  }
}
