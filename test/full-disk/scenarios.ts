/**
 * What a store does that runs out of room. The scenarios are told of the room by its limits only, and are the same on
 * a small file system and under a limit to the size of a file.
 */

import assert from 'node:assert/strict'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { isTemporarySegment, parseName, RESERVE_NAME, segmentName } from '../../src/format/names.ts'
import { StoreError } from '../../src/index.ts'
import { verifyDirectory } from '../../src/inspection/verify.ts'
import { errorCode, systemFiles } from '../../src/io/files.ts'
import { Store } from '../../src/store/store.ts'
import { inProcessWork } from '../support/in-process-work.ts'

/** Where there is only so much room. */
export interface Room {
  /** Where the store lies. */
  readonly directory: string
  /** How the operating system says that it is used up. */
  readonly code: 'ENOSPC' | 'EFBIG'
  /** How many values are put together; of several such groups the last one does not fit. */
  readonly groupSize: number
  /** How many values do not fit, wherever they are put. */
  readonly tooMuch: number
  /** Gives back the little that a merge needs for itself: a new segment, a manifest, what it copies. */
  lend(): void
  /** Takes away what was lent. */
  takeBack(): void
}

/** Room that can be taken away and given back. */
export interface ElasticRoom extends Room {
  takeAll(): void
  giveBack(): void
}

const KIB = 1024
const VALUE_SIZE = 4 * KIB
const MOST_GROUPS = 1000
const RESERVE_BYTES = 128 * KIB

setFlagsFromString('--expose-gc')
const collectGarbage: () => void = runInNewContext('gc')

type TextStore = Store<string, 'utf8'>

/** A store with a record of what it must show. */
class Witnessed {
  readonly errors: StoreError[] = []
  readonly expected = new Map<string, string>()
  readonly store: TextStore
  readonly #room: Room
  #count = 0

  private constructor(store: TextStore, room: Room) {
    this.store = store
    this.#room = room
    store.on('error', (error) => {
      assert(error instanceof StoreError)
      this.errors.push(error)
    })
  }

  static async open(
    room: Room,
    sync: 'always' | 'never' = 'never',
    reserveBytes = 0,
  ): Promise<Witnessed> {
    return new Witnessed(await openStore(room.directory, sync, reserveBytes), room)
  }

  /** Puts a group of values under new keys; answers why it was refused, if it was. */
  async putGroup(): Promise<StoreError | undefined> {
    const keys = Array.from({ length: this.#room.groupSize }, () => `key ${this.#count++}`)
    const puts = keys.map((key) => this.store.put(key, makeValue(key)))
    const results = await Promise.allSettled(puts)
    const reasons = results.flatMap((result) =>
      result.status === 'rejected' ? [result.reason as StoreError] : [],
    )
    // Those that went to one segment share a fate.
    for (const [index, result] of results.entries()) {
      const key = keys[index] ?? ''
      if (result.status === 'fulfilled') this.expected.set(key, makeValue(key))
    }
    const [reason] = reasons
    for (const each of reasons) assert.equal(each.code, 'FIRKIN_WRITE_FAILED')
    return reason
  }

  /** Puts until there is no room; answers how the operating system said so. */
  async fill(): Promise<unknown> {
    for (let group = 0; group < MOST_GROUPS; group++) {
      const refused = await this.putGroup()
      if (refused !== undefined) return systemCode(refused)
    }
    throw new Error('The room is endless')
  }

  /** Deletes the keys that are there but for one in so many. */
  async keepOneIn(count: number): Promise<void> {
    const keys = [...this.expected.keys()].filter((_, index) => index % count !== 0)
    await Promise.all(keys.map((key) => this.store.delete(key)))
    for (const key of keys) this.expected.delete(key)
  }

  /** Deletes a few keys, so that every segment has something to give back. */
  async deleteOneIn(count: number): Promise<void> {
    const keys = [...this.expected.keys()].filter((_, index) => index % count === 0)
    await Promise.all(keys.map((key) => this.store.delete(key)))
    for (const key of keys) this.expected.delete(key)
  }

  assertRight(): void {
    assertShows(this.store, this.expected)
  }

  /** Nothing half-written is left in any file, and no file that is not of the store. */
  async assertTidy(): Promise<void> {
    // What is being replaced in the background is not left over, nor is the next segment's file.
    const isTemporary = (name: string): boolean =>
      parseName(name).type === 'temporary' && !isTemporarySegment(name)
    while (readdirSync(this.store.directory).some(isTemporary)) await setImmediate()
    const segments = this.store.stats().segments
    const ids = new Set(segments.map(({ id }) => id))
    for (const { id, bytes } of segments) {
      assert.equal(statSync(join(this.store.directory, segmentName(id))).size, bytes)
    }
    for (const name of readdirSync(this.store.directory)) {
      const parsed = parseName(name)
      if (parsed.type === 'segment' || parsed.type === 'hint') assert(ids.has(parsed.id), name)
    }
  }
}

/** How the operating system said what was the cause. */
function systemCode(error: Error | undefined): string | undefined {
  return errorCode(error?.cause)
}

async function openStore(
  directory: string,
  sync: 'always' | 'never',
  reserveBytes = 0,
): Promise<TextStore> {
  const merge = { automatic: false }
  return await Store.open<string, 'utf8'>(
    directory,
    { valueEncoding: 'utf8', maxSegmentBytes: 64 * KIB, reserveBytes, sync, merge },
    { files: systemFiles, backgroundWork: inProcessWork(systemFiles) },
  )
}

function makeValue(key: string): string {
  return `${key}:`.padEnd(VALUE_SIZE, 'firkin-')
}

function assertShows(store: TextStore, expected: ReadonlyMap<string, string>): void {
  const entries = new Map(store.entries())
  assert.deepEqual([...entries.keys()].sort(), [...expected.keys()].sort())
  for (const [key, value] of expected) assert.equal(entries.get(key), value)
}

/** Opens what was closed, and expects all of it. */
async function assertOpens(
  directory: string,
  expected: ReadonlyMap<string, string>,
): Promise<void> {
  const store = await openStore(directory, 'never')
  assertShows(store, expected)
  await store.put('again', 'there is room')
  await store.close()
  const { findings } = await verifyDirectory(systemFiles, directory)
  assert.deepEqual(
    findings.filter(({ kind }) => kind !== 'hint'),
    [],
  )
}

/** Writes fail and are undone; reads go on; what is deleted and merged makes room for new ones. */
export async function fillsUp(room: Room): Promise<void> {
  const witnessed = await Witnessed.open(room)
  for (let round = 0; round < 3; round++) {
    assert.equal(await witnessed.fill(), room.code)
    witnessed.assertRight()
    await witnessed.assertTidy()
    // A batch is refused as a whole; it does not fit either.
    const batch = witnessed.store.batch()
    for (let member = 0; member < room.tooMuch; member++) batch.put(`b${member}`, makeValue(''))
    await assert.rejects(batch.commit(), { code: 'FIRKIN_WRITE_FAILED' })
    assert.throws(() => witnessed.store.putSync('sync', makeValue('x').repeat(room.tooMuch)), {
      code: 'FIRKIN_WRITE_FAILED',
    })
    witnessed.assertRight()
    await witnessed.assertTidy()

    // What was refused leaves room for a group of tombstones.
    await witnessed.keepOneIn(200)
    room.lend()
    await witnessed.store.merge()
    room.takeBack()
    witnessed.assertRight()
    // A file that is mapped keeps its blocks until the mapping is collected.
    while ((await witnessed.putGroup()) !== undefined) {
      collectGarbage()
      await setImmediate()
    }
  }
  witnessed.assertRight()
  await witnessed.store.close()
  assert.deepEqual(witnessed.errors, [])
  await assertOpens(room.directory, witnessed.expected)
}

/** A merge that lacks room for a single copy leaves everything as it was. */
export async function cannotMerge(room: Room & Partial<ElasticRoom>): Promise<void> {
  const witnessed = await Witnessed.open(room)
  const { store } = witnessed
  let refused: StoreError | undefined
  let before: number[] = []
  // Under a limit to files the first merge has enough: it takes two full segments to exceed a file.
  for (let attempt = 0; attempt < 4 && refused === undefined; attempt++) {
    await witnessed.fill()
    await witnessed.deleteOneIn(8)
    before = store.stats().segments.map(({ id }) => id)
    room.takeAll?.()
    refused = await store.merge().then(
      () => undefined,
      (error) => error,
    )
    room.giveBack?.()
  }

  assert.equal(refused?.code, 'FIRKIN_MERGE_FAILED')
  assert.equal(systemCode(refused), room.code)
  // It may have begun a new active segment, and that is all.
  const after = store.stats().segments.filter(({ id, active }) => !active || before.includes(id))
  assert.deepEqual(after.map(({ id }) => id).sort(), before.sort())
  witnessed.assertRight()
  await witnessed.assertTidy()
  await store.put('small', 'there is room for this')
  witnessed.expected.set('small', 'there is room for this')
  await witnessed.keepOneIn(200)
  room.lend()
  await store.merge()
  room.takeBack()
  witnessed.assertRight()
  await witnessed.assertTidy()
  await store.close()
  await assertOpens(room.directory, witnessed.expected)
}

/** Another program has filled the disk: what is deleted and merged makes room, and nobody else has to. */
export async function makesRoom(room: ElasticRoom): Promise<void> {
  const witnessed = await Witnessed.open(room, 'never', RESERVE_BYTES)
  const { store } = witnessed
  const reserve = join(room.directory, RESERVE_NAME)
  const reserved = (): number => statSync(reserve, { throwIfNoEntry: false })?.size ?? 0
  while (reserved() < RESERVE_BYTES) await setImmediate()
  for (let group = 0; group < 6; group++) assert.equal(await witnessed.putGroup(), undefined)
  room.takeAll()
  assert.equal(await witnessed.fill(), room.code)

  await witnessed.keepOneIn(2)
  // What was given up for deletes is not for puts.
  assert.equal(systemCode(await witnessed.putGroup()), room.code)
  const { bytesGained } = await store.merge()

  assert(bytesGained > 100 * KIB)
  witnessed.assertRight()
  while ((await witnessed.putGroup()) !== undefined) {
    collectGarbage()
    await setImmediate()
  }
  witnessed.assertRight()
  await store.close()
  // A segment that was sealed while there was no space has no hint, which is reported. Nothing else fails.
  for (const error of witnessed.errors) {
    assert.match(error.message, /^The hint of segment \d+ cannot be made: /)
    assert.equal(systemCode(error), room.code)
  }
  const again = await openStore(room.directory, 'never', RESERVE_BYTES)
  assert.equal(again.stats().recovery.closed, true)
  assertShows(again, witnessed.expected)
  room.giveBack()
  while (reserved() < RESERVE_BYTES) await setImmediate()
  await again.close()
}

/** Checkpoint, hints and manifest lack room: nothing is lost. */
export async function cannotClose(room: ElasticRoom, sync: 'always' | 'never'): Promise<void> {
  const witnessed = await Witnessed.open(room, sync)
  for (let group = 0; group < 3; group++) assert.equal(await witnessed.putGroup(), undefined)
  room.takeAll()
  assert.equal(await witnessed.fill(), room.code)
  witnessed.assertRight()

  await witnessed.store.close()

  assert(witnessed.errors.length > 0)
  for (const error of witnessed.errors) assert.equal(systemCode(error), room.code)
  const leftovers = readdirSync(room.directory).filter((name) => name.endsWith('.tmp'))
  assert.deepEqual(leftovers, [])
  // Opened as it is, without room, it can be read.
  const reader = await Store.open<string, 'utf8'>(
    room.directory,
    { valueEncoding: 'utf8', readOnly: true },
    { files: systemFiles, backgroundWork: inProcessWork(systemFiles) },
  )
  assertShows(reader, witnessed.expected)
  await reader.close()
  room.giveBack()
  await assertOpens(room.directory, witnessed.expected)
}

/** An image of the keydir that is larger than a file may be is told of, and the store is closed all the same. */
export async function cannotCheckpoint(room: Room): Promise<void> {
  const witnessed = await Witnessed.open(room)
  const { store, expected, errors } = witnessed
  const keys = Array.from({ length: 4000 }, (_, index) => `key ${index} of many`)
  await Promise.all(keys.map((key) => store.put(key, '')))
  for (const key of keys) expected.set(key, '')

  await store.close()

  assert.deepEqual(
    errors.map((error) => [error.code, systemCode(error)]),
    [['FIRKIN_IO_FAILED', room.code]],
  )
  const names = readdirSync(room.directory)
  assert(!names.some((name) => name === 'CHECKPOINT' || parseName(name).type === 'temporary'))
  const again = await openStore(room.directory, 'never')
  assert.equal(again.stats().recovery.closed, true)
  assertShows(again, expected)
  again.on('error', () => undefined)
  await again.close()
}
