import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { describe, expect, it, vi } from 'vitest'
import { CorruptionError } from '../../src/errors.ts'
import { FILE_HEADER_SIZE, versionOf } from '../../src/format/file-header.ts'
import { DISK, openOn, type TextStore } from '../support/store.ts'
import { type Changes, expectSalvage, fateOf } from './model.ts'
import { entriesOf, newestOf } from './records.ts'
import {
  cutsOf,
  flipsOf,
  NOW_MS,
  openSubject,
  recordAt,
  type Subject,
  singleFlipsOf,
  smallSubject,
} from './subject.ts'

const closed = await smallSubject(true)
const killed = await smallSubject(false)
/** Another store with the same files. */
const other = await smallSubject(true)

const [sealed = '', tail = '', merged = ''] = closed.segments
const [sealedHint = '', mergedHint = ''] = closed.hints
const SHORTCUTS = ['CHECKPOINT', sealedHint, mergedHint]

const ALLOCATORS = {
  alloc: Buffer.alloc,
  allocUnsafe: Buffer.allocUnsafe,
  allocUnsafeSlow: Buffer.allocUnsafeSlow,
}

/** `'right'` if everything is there; otherwise what was refused: the open, or the read of a key. */
type Outcome = 'right' | 'refused at open' | 'refused when read'

/** The offset that a refusal must name; without it, any offset in the file. */
interface Place {
  readonly file: string
  readonly offset?: number | undefined
}

let attempts = 0

/** Opens a store with a changed file and reads everything: no value may be wrong. */
async function tryWith(
  subject: Subject,
  changes: Changes,
  place: Place,
  expected = entriesOf(subject.allRecords, NOW_MS),
): Promise<Outcome> {
  const assertNamed = (error: unknown): void => {
    expect(error).toBeInstanceOf(CorruptionError)
    const { file, offset } = error as CorruptionError
    expect(file).toBe(join(DISK, place.file))
    if (place.offset !== undefined) expect(offset).toBe(place.offset)
    expect(offset).toBeLessThanOrEqual(
      Math.max(subject.bytes(place.file).length, changes.get(place.file)?.length ?? 0),
    )
  }
  let store: TextStore
  try {
    // Opening for writing takes longer, and is tried less often.
    const readOnly = attempts++ % 4 !== 0
    const options = { createIfMissing: false, checkpoint: false, readOnly }
    store = await openSubject(subject.with(changes), options)
  } catch (error) {
    assertNamed(error)
    return 'refused at open'
  }
  let outcome: Outcome = 'right'
  const right = new Map(expected)
  for (const key of newestOf(subject.allRecords).keys()) {
    try {
      expect(store.get(key)).toBe(right.get(key))
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error
      assertNamed(error)
      outcome = 'refused when read'
    }
  }
  expect([...store.keys()]).toEqual([...right.keys()])
  // If a file of the set is damaged, the store may not be closed in good order.
  await store.close().catch(assertNamed)
  return outcome
}

/**
 * Returns the outcomes of changing each byte of a file in each way, without the named shortcuts.
 */
async function flipEach(
  subject: Subject,
  name: string,
  without: readonly string[] = [],
  { from = 0, step = 1 } = {},
): Promise<Set<Outcome>> {
  const outcomes = new Set<Outcome>()
  for (const [at, bytes] of flipsOf(subject.bytes(name), from, step)) {
    const changes = new Map([...without.map((gone) => [gone, undefined] as const), [name, bytes]])
    const offset = recordAt(subject, name, at)?.offset
    outcomes.add(await tryWith(subject, changes, { file: name, offset }))
  }
  return outcomes
}

/** Returns the outcomes of cutting a file at each byte. */
async function cutEach(
  subject: Subject,
  name: string,
  without: readonly string[] = [],
  step = 1,
): Promise<Set<Outcome>> {
  const outcomes = new Set<Outcome>()
  for (const [, bytes] of cutsOf(subject.bytes(name), step)) {
    const changes = new Map([...without.map((gone) => [gone, undefined] as const), [name, bytes]])
    outcomes.add(await tryWith(subject, changes, { file: name }))
  }
  return outcomes
}

async function tryOne(name: string, bytes: Buffer | undefined, place = name): Promise<Outcome> {
  return await tryWith(closed, new Map([[name, bytes]]), { file: place })
}

const REFUSED = new Set<Outcome>(['refused at open'])
const RIGHT = new Set<Outcome>(['right'])
const WHEN_READ = ['refused when read', 'right']

describe('damage after a clean close', () => {
  it('is tried on every kind of file', () => {
    expect(closed.names).toEqual(
      [sealed, sealedHint, merged, mergedHint, tail, 'CHECKPOINT', 'MANIFEST'].sort(),
    )
    expect(closed.manifest.segments.map(({ origin }) => origin)).toEqual(['appended', 'merged'])
  })

  it('to the manifest is refused', async () => {
    expect(await flipEach(closed, 'MANIFEST')).toEqual(REFUSED)
    expect(await cutEach(closed, 'MANIFEST')).toEqual(REFUSED)
    expect(await tryOne('MANIFEST', undefined)).toBe('refused at open')
    // The manifest of another store is sound, but the segments are not its own.
    expect(await tryOne('MANIFEST', other.bytes('MANIFEST'), sealed)).toBe('refused at open')
  })

  it('to the checkpoint changes nothing', async () => {
    for (const [, bytes] of singleFlipsOf(closed.bytes('CHECKPOINT'))) {
      expect(await tryOne('CHECKPOINT', bytes)).toBe('right')
    }
    expect(await cutEach(closed, 'CHECKPOINT', [], 3)).toEqual(RIGHT)
    expect(await tryOne('CHECKPOINT', undefined)).toBe('right')
    expect(await tryOne('CHECKPOINT', other.bytes('CHECKPOINT'))).toBe('right')
  })

  it.each([sealedHint, mergedHint])('to a hint changes nothing: %s', async (hint) => {
    const without = ['CHECKPOINT']
    const gone = new Map<string, Buffer | undefined>([['CHECKPOINT', undefined]])
    expect(await flipEach(closed, hint, without)).toEqual(RIGHT)
    expect(await cutEach(closed, hint, without)).toEqual(RIGHT)
    for (const bytes of [undefined, other.bytes(hint)]) {
      const changes = new Map(gone).set(hint, bytes)
      expect(await tryWith(closed, changes, { file: hint })).toBe('right')
    }
  })

  it.each([sealed, merged, tail])('to a whole segment is refused: %s', async (name) => {
    expect(await cutEach(closed, name)).toEqual(REFUSED)
    expect(await tryOne(name, undefined)).toBe('refused at open')
    expect(await tryOne(name, other.bytes(name))).toBe('refused at open')
  })

  it.each([sealed, merged, tail])('to the header of a segment is refused: %s', async (name) => {
    const bytes = closed.bytes(name)
    for (const [at, flipped] of flipsOf(bytes)) {
      if (at >= FILE_HEADER_SIZE) break
      expect(await tryOne(name, flipped)).toBe('refused at open')
    }
  })

  it.each([sealed, merged])(
    'to a record of a listed segment is refused when it is read: %s',
    async (name) => {
      const outcomes = await flipEach(closed, name, [], { from: FILE_HEADER_SIZE })

      // A dead record is never read.
      expect([...outcomes].sort()).toEqual(name === sealed ? WHEN_READ : ['right'])
    },
  )

  it.each([sealed, merged])(
    'to a listed segment is refused at open if there are no shortcuts: %s',
    async (name) => {
      expect(await flipEach(closed, name, SHORTCUTS)).toEqual(REFUSED)
    },
  )

  it('to a segment of the tail is refused at open if there is no checkpoint', async () => {
    expect(await flipEach(closed, tail, ['CHECKPOINT'])).toEqual(REFUSED)
  })

  it('to a segment of the tail never shows a wrong value', async () => {
    const outcomes = await flipEach(closed, tail, [], { from: FILE_HEADER_SIZE })

    // Tombstones and batch ends are in the checkpoint, and are not read.
    expect([...outcomes].sort()).toEqual(WHEN_READ)
  })
})

describe('damage after a kill', () => {
  /** Returns the expected entries for a changed tail; `undefined` if opening must be refused. */
  function expectTail(bytes: Buffer): [string, string][] | undefined {
    const changes = new Map([[tail, bytes]])
    const { ranges } = fateOf(killed, tail, changes)
    return ranges.length > 0 ? undefined : entriesOf(expectSalvage(killed, changes).records, NOW_MS)
  }

  async function tryTail(bytes: Buffer, offset: number | undefined): Promise<Outcome> {
    const expected = expectTail(bytes)
    const place = { file: tail, offset: bytes.length < FILE_HEADER_SIZE ? undefined : offset }
    const outcome = await tryWith(killed, new Map([[tail, bytes]]), place, expected)
    expect(outcome).toBe(expected === undefined ? 'refused at open' : 'right')
    return outcome
  }

  it('in the last record or batch is a torn tail, and earlier damage is refused', async () => {
    const outcomes = new Set<Outcome>()
    for (const [at, bytes] of flipsOf(killed.bytes(tail))) {
      outcomes.add(await tryTail(bytes, recordAt(killed, tail, at)?.offset))
    }

    expect(outcomes).toEqual(new Set(['refused at open', 'right']))
  })

  it('that cuts the tail leaves the records before the cut, and whole batches', async () => {
    for (const [size, bytes] of cutsOf(killed.bytes(tail))) {
      // Its header was synced before the preceding segment was listed.
      const outcome = await tryTail(bytes, undefined)
      expect(outcome).toBe(size < FILE_HEADER_SIZE ? 'refused at open' : 'right')
    }
  })

  it('to another file is refused, or changes nothing', async () => {
    expect(await flipEach(killed, 'MANIFEST')).toEqual(REFUSED)
    expect(await flipEach(killed, sealedHint)).toEqual(RIGHT)
    expect(await flipEach(killed, mergedHint)).toEqual(RIGHT)
    expect(await flipEach(killed, sealed, SHORTCUTS)).toEqual(REFUSED)
    expect(await flipEach(killed, merged, SHORTCUTS)).toEqual(REFUSED)
  })
})

describe('damage', () => {
  it('makes nothing allocate more memory than usual', async () => {
    let most = 0
    let count = 0
    const originals = { ...ALLOCATORS }
    for (const name of Object.keys(ALLOCATORS) as (keyof typeof ALLOCATORS)[]) {
      vi.spyOn(Buffer, name).mockImplementation((size: number) => {
        most = Math.max(most, size)
        count++
        return originals[name].call(Buffer, size)
      })
    }
    try {
      for (let time = 0; time < 4; time++) await tryWith(closed, new Map(), { file: '' })
      const mostWithout = most
      // These include sizes of records, and counts of entries and chunks.
      await flipEach(closed, tail, SHORTCUTS)
      await flipEach(closed, mergedHint, ['CHECKPOINT'])
      await flipEach(closed, 'CHECKPOINT', [], { step: 11 })

      expect(count).toBeGreaterThan(1000)
      expect(most).toBe(mostWithout)
    } finally {
      vi.restoreAllMocks()
    }
  })
})

describe('a file of a later version', () => {
  /** Returns the file with the next format version in its header. */
  function later(name: string): Buffer {
    const bytes = closed.bytes(name)
    bytes[7] = versionOf(bytes) + 1
    bytes.writeUInt32LE(crc32(bytes.subarray(0, FILE_HEADER_SIZE - 4)), FILE_HEADER_SIZE - 4)
    return bytes
  }

  it.each(['MANIFEST', sealed, merged, tail])('is refused by its version: %s', async (name) => {
    await expect(openOn(closed.with(new Map([[name, later(name)]])))).rejects.toMatchObject({
      code: 'FIRKIN_VERSION',
      message: expect.stringContaining(`${name} is of format version `),
    })
  })

  it('is ignored if it is a shortcut', async () => {
    expect(await tryOne('CHECKPOINT', later('CHECKPOINT'))).toBe('right')
    const changes = new Map([
      ['CHECKPOINT', undefined],
      [mergedHint, later(mergedHint)],
    ])
    expect(await tryWith(closed, changes, { file: mergedHint })).toBe('right')
  })
})
