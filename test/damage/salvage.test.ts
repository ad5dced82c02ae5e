import { describe, expect, it } from 'vitest'
import { FILE_HEADER_SIZE } from '../../src/format/file-header.ts'
import { PUT, TOMBSTONE } from '../../src/format/record.ts'
import type { DamagedRange } from '../../src/index.ts'
import { verifyDirectory } from '../../src/inspection/verify.ts'
import type { FaultyFiles } from '../support/faulty-files.ts'
import { Random } from '../support/random.ts'
import { DISK } from '../support/store.ts'
import { type Changes, expectSalvage } from './model.ts'
import { entriesOf } from './records.ts'
import {
  cutsOf,
  flipsOf,
  largeSubject,
  NOW_MS,
  openSubject,
  type Subject,
  singleFlipsOf,
  smallSubject,
} from './subject.ts'

const SEED = Number(process.env.SEED ?? Date.now() % 2 ** 31)

const ROUNDS = Number(process.env.DAMAGE_ROUNDS ?? 40)

const closed = await smallSubject(true)
const killed = await smallSubject(false)
/** Another store with the same files. */
const other = await smallSubject(true)

/** Salvages a damaged store, and compares the result and the report with the model. */
async function salvage(subject: Subject, changes: Changes, again = false): Promise<void> {
  const files = subject.with(changes)
  const expected = expectSalvage(subject, changes)

  const store = await openSubject(files, {
    recovery: 'salvage',
    createIfMissing: false,
    checkpoint: again,
  })

  const { lost, torn } = store.stats().recovery
  const entries = entriesOf(expected.records, NOW_MS)
  expect([...store.entries()]).toEqual(entries)
  if (expected.damaged.length === 0 && !expected.manifestRebuilt) {
    expect(lost).toBeUndefined()
    expect(torn.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(expected.tornBytes)
  } else {
    expect(lost?.manifestRebuilt).toBe(expected.manifestRebuilt)
    expect(placesOf(lost?.damaged)).toEqual(placesOf(expected.damaged))
    expect(lost?.bytesLost).toBe(expected.damaged.reduce((sum, { bytes }) => sum + bytes, 0))
    for (const path of lost?.kept ?? []) expect(files.peek(path)).toBeDefined()
  }
  if (again) await opensAgain(files, store, entries)
  else await store.close()
}

function placesOf(ranges: readonly DamagedRange[] = []): string[] {
  return ranges.map(({ file, offset, bytes }) => `${file}:${offset}+${bytes}`).sort()
}

/** Asserts that a salvaged store works like any other. */
async function opensAgain(
  files: FaultyFiles,
  store: Awaited<ReturnType<typeof openSubject>>,
  entries: [string, string][],
): Promise<void> {
  await store.put('~', 'after the salvage')
  await store.close()
  const { findings } = await verifyDirectory(files, DISK)
  expect(findings.filter(({ kind }) => kind !== 'hint')).toEqual([])
  await using next = await openSubject(files, { recovery: 'strict' })
  expect([...next.entries()]).toEqual([...entries, ['~', 'after the salvage']])
}

describe.each([
  ['closed', closed],
  ['killed', killed],
])('salvage of a store that was %s', (_, subject) => {
  it('changes nothing if nothing is damaged', async () => {
    await salvage(subject, new Map(), true)
  })

  it.each(subject.segments)(
    'keeps everything except the record of a changed byte: %s',
    async (name) => {
      for (const [at, bytes] of singleFlipsOf(subject.bytes(name))) {
        await salvage(subject, new Map([[name, bytes]]), at % 7 === 0)
      }
    },
  )

  it.each(subject.segments)('keeps the records before a cut: %s', async (name) => {
    for (const [size, bytes] of cutsOf(subject.bytes(name))) {
      await salvage(subject, new Map([[name, bytes]]), size % 7 === 0)
    }
  })

  it.each(subject.segments)('counts the records of a missing segment: %s', async (name) => {
    await salvage(subject, new Map([[name, undefined]]), true)
  })

  it.each(subject.segments)(
    'does not take records of another store for its own: %s',
    async (name) => {
      await salvage(subject, new Map([[name, other.bytes(name)]]), true)
    },
  )

  it('loses nothing if hints and checkpoint are damaged', async () => {
    const shortcuts = subject.names.filter((name) => /^CHECKPOINT|hint$/.test(name))
    for (const name of shortcuts) {
      const bytes = subject.bytes(name)
      const step = name === 'CHECKPOINT' ? 61 : 3
      for (const [at, flipped] of flipsOf(bytes, 0, step)) {
        await salvage(subject, new Map([[name, flipped]]), at % 50 === 0)
      }
      for (const [, cut] of cutsOf(bytes, 5 * step)) await salvage(subject, new Map([[name, cut]]))
      await salvage(subject, new Map([[name, undefined]]), true)
      await salvage(subject, new Map([[name, other.bytes(name)]]), true)
    }
  })

  it('keeps deleted keys away when put and tombstone are copied together', async () => {
    const changes = new Map(
      subject.segments.map((name) => {
        const bytes = subject.bytes(name)
        // The first record is damaged; the put and the tombstone of another key are sound.
        bytes[FILE_HEADER_SIZE] = (bytes[FILE_HEADER_SIZE] ?? 0) ^ 1
        return [name, bytes]
      }),
    )
    const { records } = expectSalvage(subject, changes)
    const ofDeleted = records.filter(({ key }) => key === 'deleted')

    expect(ofDeleted.map(({ kind }) => kind)).toEqual([TOMBSTONE, PUT])
    await salvage(subject, changes, true)
  })

  it('makes a manifest from the segments', async () => {
    const bytes = subject.bytes('MANIFEST')
    for (const [at, flipped] of singleFlipsOf(bytes)) {
      await salvage(subject, new Map([['MANIFEST', flipped]]), at % 20 === 0)
    }
    for (const [, cut] of cutsOf(bytes)) await salvage(subject, new Map([['MANIFEST', cut]]))
    await salvage(subject, new Map([['MANIFEST', undefined]]), true)
    await salvage(subject, new Map([['MANIFEST', other.bytes('MANIFEST')]]), true)
  })
})

describe(`salvage of a large store (SEED=${SEED})`, () => {
  it.each([true, false])(
    'keeps everything outside of random damage, closed %s',
    async (isClosed) => {
      const random = new Random(SEED)
      const subject = await largeSubject(random.below(2 ** 31), isClosed)
      const names = subject.names.filter((name) => name !== 'LOCK')
      for (let round = 0; round < ROUNDS; round++) {
        const changes = new Map<string, Buffer | undefined>()
        for (let count = 1 + random.below(3); count > 0; count--) {
          const name = random.pick(names)
          changes.set(name, damage(random, changes.get(name) ?? subject.bytes(name)))
        }
        await salvage(subject, changes, round % 5 === 0)
      }
    },
  )
})

/** Returns the file with some bytes changed, cut, or missing. */
function damage(random: Random, bytes: Buffer): Buffer | undefined {
  const drawn = random.below(10)
  if (drawn === 0) return undefined
  if (drawn === 1) return bytes.subarray(0, random.below(bytes.length))
  const changed = Buffer.from(bytes)
  for (let count = 1 + random.below(4); count > 0; count--) {
    const at = random.below(bytes.length)
    const size = drawn === 2 ? random.below(2000) : 1
    for (let each = at; each < Math.min(at + size, bytes.length); each++) {
      changed[each] = (changed[each] ?? 0) ^ (1 + random.below(255))
    }
  }
  return changed
}
