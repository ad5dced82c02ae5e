/** Repairs after every flipped bit: the findings, the entries that are left, and the report. */

import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { beforeAll, describe, expect, it, vi } from 'vitest'
import { FILE_HEADER_SIZE } from '../../src/format/file-header.ts'
import { hintName, parseName, segmentName } from '../../src/format/names.ts'
import { verifyDirectory } from '../../src/inspection/verify.ts'
import { systemFiles } from '../../src/io/files.ts'
import { type RepairReport, repairStore } from '../../src/store/repair.ts'
import { toJsonBytes } from '../../tools/entry.ts'
import { Random } from '../support/random.ts'
import { openAny } from '../support/store.ts'
import { type DumpedRecord, dumpOf } from './damage.ts'
import { Fixtures, fillTiny } from './fixture.ts'
import { lossesOf, type ModelledLoss, shownBy } from './loss-model.ts'

const fixtures = new Fixtures()
const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000)
/** Whether everything is tried, which takes minutes. */
const FULL = process.env.REPAIR === 'full'
/** The number of damages to a large store that are tried. */
const ROUNDS = FULL ? 1000 : 30
/** The step between the bytes of a checkpoint that are tried, which are all alike. */
const CHECKPOINT_STRIDE = FULL ? 1 : 16

beforeAll(() => {
  // Nothing here depends on what survives a power loss, and syncs would take most of the time.
  vi.spyOn(systemFiles, 'sync').mockReturnValue()
  vi.spyOn(systemFiles, 'syncDirectory').mockReturnValue()
  vi.spyOn(systemFiles, 'syncLater').mockResolvedValue()
  vi.spyOn(systemFiles, 'syncDirectoryLater').mockResolvedValue()
  return () => vi.restoreAllMocks()
})

/** A record and its place. */
interface PlacedRecord extends DumpedRecord {
  readonly file: string
  readonly size: number
}

/** A store before any damage. */
class Original {
  readonly files = new Map<string, Buffer>()
  readonly records: PlacedRecord[]
  readonly directory: string

  private constructor(directory: string, records: readonly DumpedRecord[]) {
    this.directory = directory
    for (const name of readdirSync(directory)) {
      if (name !== 'LOCK') this.files.set(name, readFileSync(join(directory, name)))
    }
    this.records = records.map((record, index) => {
      const file = segmentName(record.segment)
      const next = records[index + 1]
      const end = next?.segment === record.segment ? next.offset : this.files.get(file)?.length
      return { ...record, file, size: (end ?? 0) - record.offset }
    })
  }

  static async of(directory: string): Promise<Original> {
    return new Original(directory, await dumpOf(directory))
  }

  /** Returns the record at an offset of a file. */
  recordAt(name: string, offset: number): PlacedRecord | undefined {
    return this.records.find(
      (record) =>
        record.file === name && offset >= record.offset && offset < record.offset + record.size,
    )
  }

  /** Restores every file, and removes new ones. */
  restore(): void {
    for (const name of readdirSync(this.directory)) {
      if (!this.files.has(name)) rmSync(join(this.directory, name))
    }
    for (const [name, bytes] of this.files) writeFileSync(join(this.directory, name), bytes)
  }
}

/** Returns the entries of a store that have not expired. */
async function contentsOf(directory: string): Promise<string[]> {
  await using store = await openAny<Buffer, 'buffer'>(directory, {
    keyEncoding: 'buffer',
    readOnly: true,
  })
  const contents: string[] = []
  for (const [key, value] of store.entries()) contents.push(`${key.toString('hex')}=${value}`)
  return contents
}

/** Returns the entries of a store of these records, in key order. */
function modelContents(records: readonly DumpedRecord[]): string[] {
  const bytesOf = (json: DumpedRecord['key']): Buffer =>
    typeof json === 'object' ? Buffer.from(json.base64, 'base64') : Buffer.from(json ?? '')
  return [...shownBy(records).values()]
    .map(({ key, value }) => `${bytesOf(key).toString('hex')}=${bytesOf(value)}`)
    .sort()
}

/** Returns the lost keys of a report, in the form of the model. */
function keysOf({ lost }: RepairReport): ModelledLoss[] {
  return sorted(
    lost.keys.map(({ key, sequence, rolledBackTo }) => ({
      key: toJsonBytes(key),
      sequence: sequence ?? null,
      rolledBackTo: rolledBackTo ?? null,
    })),
  )
}

function sorted(losses: readonly ModelledLoss[]): ModelledLoss[] {
  return [...losses].sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))
}

/** Flips a bit of a file, repairs the store, and compares the outcome with the model. */
async function judge(original: Original, name: string, offset: number, bit: number): Promise<void> {
  const { directory, files, records } = original
  const path = join(directory, name)
  const bytes = Buffer.from(files.get(name) ?? '')
  bytes[offset] = (bytes[offset] ?? 0) ^ (1 << bit)
  writeFileSync(path, bytes)
  const { type } = parseName(name)
  const isSegment = type === 'segment'
  const victim = original.recordAt(name, offset)
  const where = `${name}:${offset}.${bit}`

  const found = await verifyDirectory(systemFiles, directory)
  const report = await repairStore(directory, () => undefined)
  const after = await verifyDirectory(systemFiles, directory)

  const left = records.filter((record) => record !== victim)
  const isHinted = files.has(hintName(victim?.segment ?? 0))
  const lost = new Set(victim === undefined ? [] : [victim])
  const keys = sorted(lossesOf(records, lost, () => isHinted))
  const damaged =
    victim === undefined
      ? { offset: 0, bytes: FILE_HEADER_SIZE }
      : { offset: victim.offset, bytes: victim.size }
  expect([where, found.findings.some(({ file }) => file === path), found.ok]).toEqual([
    where,
    true,
    type === 'hint' || type === 'checkpoint',
  ])
  expect([where, report.verified, after.findings]).toEqual([where, true, []])
  expect([where, report.lost.damaged]).toEqual([
    where,
    isSegment ? [{ file: path, ...damaged }] : [],
  ])
  expect([where, keysOf(report)]).toEqual([where, keys])
  expect([where, report.lost.bytesLost, report.lost.bytesUnknown]).toEqual([
    where,
    isSegment ? damaged.bytes : 0,
    0,
  ])
  expect([where, report.lost.manifestRebuilt]).toEqual([where, type === 'manifest'])
  // The damaged file is kept unchanged.
  expect(report.kept.some((kept) => basename(kept).startsWith(name))).toBe(true)
  expect(readFileSync(`${path}.damaged`).equals(bytes)).toBe(true)
  expect([where, await contentsOf(directory)]).toEqual([where, modelContents(left)])
}

describe('repair', () => {
  it('names exactly what is missing, whichever byte of a small store was flipped', async () => {
    const original = await Original.of(
      await fixtures.make(async (store) => {
        await fillTiny(store)
        await store.merge()
        await store.put('plain', Buffer.from('changed once more'))
        await store.delete('session')
        await store.batch().put('batch:1', Buffer.from('1')).delete('changed').commit()
      }),
    )
    let count = 0

    for (const [name, bytes] of original.files) {
      const stride = parseName(name).type === 'checkpoint' ? CHECKPOINT_STRIDE : 1
      for (let offset = 0; offset < bytes.length; offset += stride) {
        await judge(original, name, offset, count % 8)
        original.restore()
        count++
      }
    }

    expect(original.files.size).toBe(5)
    expect(count).toBeGreaterThan(700)
  }, 600_000)

  it(`does so for a larger store (SEED=${SEED})`, async () => {
    const original = await Original.of(await fixtures.large())
    const random = new Random(SEED)
    const names = [...original.files.keys()]

    for (let round = 0; round < ROUNDS; round++) {
      const name = random.pick(names)
      const offset = random.below(original.files.get(name)?.length ?? 0)
      await judge(original, name, offset, random.below(8))
      original.restore()
    }
  }, 600_000)

  it(`does so for much damage, as far as hints or the checkpoint list it (SEED=${SEED})`, async () => {
    const original = await Original.of(await fixtures.large())
    const random = new Random(SEED)

    for (let round = 0; round < ROUNDS; round++) {
      const damage = damageMuch(original, random)
      const where = `round ${round}: ${damage.done.join(', ')}`

      const found = await verifyDirectory(systemFiles, original.directory)
      const report = await repairStore(original.directory, () => undefined)
      const after = await verifyDirectory(systemFiles, original.directory)

      const left = original.records.filter((record) => !damage.lost.has(record))
      const keys = lossesOf(original.records, damage.lost, ({ segment }) =>
        damage.hinted.has(segment),
      )
      expect([where, found.ok]).toEqual([where, damage.lost.size === 0])
      expect([where, report.verified, after.findings]).toEqual([where, true, []])
      expect([where, keysOf(report)]).toEqual([where, sorted(keys)])
      expect([where, report.lost.bytesUnknown]).toEqual([where, 0])
      expect([where, await contentsOf(original.directory)]).toEqual([where, modelContents(left)])
      original.restore()
    }
  }, 600_000)

  it('counts the bytes whose records nothing lists', async () => {
    const original = await Original.of(await fixtures.large())
    const tail = original.records.filter(
      ({ segment }) => segment === original.records.at(-1)?.segment,
    )
    const victim = tail[3]
    if (victim === undefined) throw new Error('The tail has no records')
    const path = join(original.directory, victim.file)
    const bytes = readFileSync(path)
    bytes[0] = 0
    bytes[victim.offset] = (bytes[victim.offset] ?? 0) ^ 1
    writeFileSync(path, bytes)
    rmSync(join(original.directory, 'CHECKPOINT'))

    const { lost, verified } = await repairStore(original.directory, () => undefined)

    expect(verified).toBe(true)
    expect(lost.bytesLost).toBe(FILE_HEADER_SIZE + victim.size)
    // A file header holds no records.
    expect([lost.bytesUnknown, lost.recordsLost, lost.keys]).toEqual([victim.size, 0, []])
    original.restore()
  })
})

/** Damages some files at random. Returns the damage and the records that it hits. */
function damageMuch(original: Original, random: Random) {
  const { directory, files, records } = original
  const lost = new Set<DumpedRecord>()
  const hinted = new Set<number>()
  const done: string[] = []
  for (const [name, bytes] of files) {
    const path = join(directory, name)
    const parsed = parseName(name)
    if (parsed.type === 'hint') {
      if (random.below(3) === 0) rmSync(path)
      else hinted.add(parsed.id)
    }
    if (parsed.type !== 'segment') continue
    const within = records.filter(({ file }) => file === name)
    const fate = random.pick(['sound', 'flipped', 'cut', 'missing'] as const)
    done.push(`${name} ${fate}`)
    if (fate === 'missing') {
      rmSync(path)
      for (const record of within) lost.add(record)
    } else if (fate === 'cut') {
      const size = FILE_HEADER_SIZE + random.below(bytes.length - FILE_HEADER_SIZE)
      writeFileSync(path, bytes.subarray(0, size))
      for (const record of within) if (record.offset + record.size > size) lost.add(record)
    } else if (fate === 'flipped') {
      const changed = Buffer.from(bytes)
      for (let count = 1 + random.below(5); count > 0; count--) {
        const victim = random.pick(within)
        if (lost.has(victim)) continue
        const at = victim.offset + random.below(victim.size)
        changed[at] = (changed[at] ?? 0) ^ (1 << random.below(8))
        lost.add(victim)
      }
      writeFileSync(path, changed)
    }
  }
  return { lost, hinted, done }
}
