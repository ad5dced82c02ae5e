/**
 * Scenarios of stores that run out of space. They know the space only by its limits, so that they
 * are the same on a small file system and with a limit on the size of a file.
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

/** A limited space. */
export interface Space {
  /** The directory of the store. */
  readonly directory: string
  /** The code with which the operating system reports that the space is used up. */
  readonly code: 'ENOSPC' | 'EFBIG'
  /** The number of values in a group of puts. The last of several groups does not fit. */
  readonly groupSize: number
  /** A number of values that never fit. */
  readonly tooMuch: number
  /** Gives back the space that a merge needs: for a new segment, a manifest, and the copies. */
  lend(): void
  /** Takes back the space that was lent. */
  takeBack(): void
}

/** Space that can be taken away and given back. */
export interface ElasticSpace extends Space {
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

/** A store with the entries that it must show. */
class Witnessed {
  readonly errors: StoreError[] = []
  readonly expected = new Map<string, string>()
  readonly store: TextStore
  readonly #space: Space
  #count = 0

  private constructor(store: TextStore, space: Space) {
    this.store = store
    this.#space = space
    store.on('error', (error) => {
      assert(error instanceof StoreError)
      this.errors.push(error)
    })
  }

  static async open(
    space: Space,
    sync: 'always' | 'never' = 'never',
    reserveBytes = 0,
  ): Promise<Witnessed> {
    return new Witnessed(await openStore(space.directory, sync, reserveBytes), space)
  }

  /** Puts a group of values under new keys, and returns the error if it was refused. */
  async putGroup(): Promise<StoreError | undefined> {
    const keys = Array.from({ length: this.#space.groupSize }, () => `key ${this.#count++}`)
    const puts = keys.map((key) => this.store.put(key, makeValue(key)))
    const results = await Promise.allSettled(puts)
    const reasons = results.flatMap((result) =>
      result.status === 'rejected' ? [result.reason as StoreError] : [],
    )
    // Values that went to the same segment share their fate.
    for (const [index, result] of results.entries()) {
      const key = keys[index] ?? ''
      if (result.status === 'fulfilled') this.expected.set(key, makeValue(key))
    }
    const [reason] = reasons
    for (const each of reasons) assert.equal(each.code, 'FIRKIN_WRITE_FAILED')
    return reason
  }

  /** Puts until the space is used up, and returns the code of the operating system. */
  async fill(): Promise<unknown> {
    for (let group = 0; group < MOST_GROUPS; group++) {
      const refused = await this.putGroup()
      if (refused !== undefined) return systemCode(refused)
    }
    throw new Error('The space did not run out')
  }

  /** Deletes the present keys, except for one in `count`. */
  async keepOneIn(count: number): Promise<void> {
    const keys = [...this.expected.keys()].filter((_, index) => index % count !== 0)
    await Promise.all(keys.map((key) => this.store.delete(key)))
    for (const key of keys) this.expected.delete(key)
  }

  /** Deletes a few keys, so that every segment has dead records. */
  async deleteOneIn(count: number): Promise<void> {
    const keys = [...this.expected.keys()].filter((_, index) => index % count === 0)
    await Promise.all(keys.map((key) => this.store.delete(key)))
    for (const key of keys) this.expected.delete(key)
  }

  assertRight(): void {
    assertShows(this.store, this.expected)
  }

  /** Expects that no file has a half-written record, and that no file is left over. */
  async assertTidy(): Promise<void> {
    // Files that the store replaces in the background, and the next segment's file, are in use.
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

/** Returns the code of the operating system that caused an error. */
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

/** Opens a store that was closed, and expects all its entries. */
async function assertOpens(
  directory: string,
  expected: ReadonlyMap<string, string>,
): Promise<void> {
  const store = await openStore(directory, 'never')
  assertShows(store, expected)
  await store.put('again', 'there is space')
  await store.close()
  const { findings } = await verifyDirectory(systemFiles, directory)
  assert.deepEqual(
    findings.filter(({ kind }) => kind !== 'hint'),
    [],
  )
}

/** Writes fail and are undone, and reads go on. Deletes and merges free space for new writes. */
export async function fillsUp(space: Space): Promise<void> {
  const witnessed = await Witnessed.open(space)
  for (let round = 0; round < 3; round++) {
    assert.equal(await witnessed.fill(), space.code)
    witnessed.assertRight()
    await witnessed.assertTidy()
    // A batch does not fit either, and is refused as a whole.
    const batch = witnessed.store.batch()
    for (let member = 0; member < space.tooMuch; member++) batch.put(`b${member}`, makeValue(''))
    await assert.rejects(batch.commit(), { code: 'FIRKIN_WRITE_FAILED' })
    assert.throws(() => witnessed.store.putSync('sync', makeValue('x').repeat(space.tooMuch)), {
      code: 'FIRKIN_WRITE_FAILED',
    })
    witnessed.assertRight()
    await witnessed.assertTidy()

    // The refused writes have left space for a group of tombstones.
    await witnessed.keepOneIn(200)
    space.lend()
    await witnessed.store.merge()
    space.takeBack()
    witnessed.assertRight()
    // A mapped file keeps its blocks until the mapping is collected.
    while ((await witnessed.putGroup()) !== undefined) {
      collectGarbage()
      await setImmediate()
    }
  }
  witnessed.assertRight()
  await witnessed.store.close()
  assert.deepEqual(witnessed.errors, [])
  await assertOpens(space.directory, witnessed.expected)
}

/** A merge without space for a single copy leaves everything as it was. */
export async function cannotMerge(space: Space & Partial<ElasticSpace>): Promise<void> {
  const witnessed = await Witnessed.open(space)
  const { store } = witnessed
  let refused: StoreError | undefined
  let before: number[] = []
  // With a limit on files the first merge succeeds: only two full segments exceed a file.
  for (let attempt = 0; attempt < 4 && refused === undefined; attempt++) {
    await witnessed.fill()
    await witnessed.deleteOneIn(8)
    before = store.stats().segments.map(({ id }) => id)
    space.takeAll?.()
    refused = await store.merge().then(
      () => undefined,
      (error) => error,
    )
    space.giveBack?.()
  }

  assert.equal(refused?.code, 'FIRKIN_MERGE_FAILED')
  assert.equal(systemCode(refused), space.code)
  // The merge may only have begun a new active segment.
  const after = store.stats().segments.filter(({ id, active }) => !active || before.includes(id))
  assert.deepEqual(after.map(({ id }) => id).sort(), before.sort())
  witnessed.assertRight()
  await witnessed.assertTidy()
  await store.put('small', 'there is space for this')
  witnessed.expected.set('small', 'there is space for this')
  await witnessed.keepOneIn(200)
  space.lend()
  await store.merge()
  space.takeBack()
  witnessed.assertRight()
  await witnessed.assertTidy()
  await store.close()
  await assertOpens(space.directory, witnessed.expected)
}

/** Another program has filled the disk. Deletes and merges free space without its help. */
export async function freesSpace(space: ElasticSpace): Promise<void> {
  const witnessed = await Witnessed.open(space, 'never', RESERVE_BYTES)
  const { store } = witnessed
  const reserve = join(space.directory, RESERVE_NAME)
  const reserved = (): number => statSync(reserve, { throwIfNoEntry: false })?.size ?? 0
  while (reserved() < RESERVE_BYTES) await setImmediate()
  for (let group = 0; group < 6; group++) assert.equal(await witnessed.putGroup(), undefined)
  space.takeAll()
  assert.equal(await witnessed.fill(), space.code)

  await witnessed.keepOneIn(2)
  // The reserve that was given up for deletes is not for puts.
  assert.equal(systemCode(await witnessed.putGroup()), space.code)
  const { bytesGained } = await store.merge()

  assert(bytesGained > 100 * KIB)
  witnessed.assertRight()
  while ((await witnessed.putGroup()) !== undefined) {
    collectGarbage()
    await setImmediate()
  }
  witnessed.assertRight()
  await store.close()
  // A segment that was sealed without space lacks a hint, which is reported. Nothing else fails.
  for (const error of witnessed.errors) {
    assert.match(error.message, /^The hint of segment \d+ cannot be made: /)
    assert.equal(systemCode(error), space.code)
  }
  const again = await openStore(space.directory, 'never', RESERVE_BYTES)
  assert.equal(again.stats().recovery.closed, true)
  assertShows(again, witnessed.expected)
  space.giveBack()
  while (reserved() < RESERVE_BYTES) await setImmediate()
  await again.close()
}

/** There is no space for checkpoint, hints and manifest, and nothing is lost. */
export async function cannotClose(space: ElasticSpace, sync: 'always' | 'never'): Promise<void> {
  const witnessed = await Witnessed.open(space, sync)
  for (let group = 0; group < 3; group++) assert.equal(await witnessed.putGroup(), undefined)
  space.takeAll()
  assert.equal(await witnessed.fill(), space.code)
  witnessed.assertRight()

  await witnessed.store.close()

  assert(witnessed.errors.length > 0)
  for (const error of witnessed.errors) assert.equal(systemCode(error), space.code)
  const leftovers = readdirSync(space.directory).filter((name) => name.endsWith('.tmp'))
  assert.deepEqual(leftovers, [])
  // Even without space the store can be opened and read.
  const reader = await Store.open<string, 'utf8'>(
    space.directory,
    { valueEncoding: 'utf8', readOnly: true },
    { files: systemFiles, backgroundWork: inProcessWork(systemFiles) },
  )
  assertShows(reader, witnessed.expected)
  await reader.close()
  space.giveBack()
  await assertOpens(space.directory, witnessed.expected)
}

/** A checkpoint that is larger than a file may be is reported, and the store closes anyway. */
export async function cannotCheckpoint(space: Space): Promise<void> {
  const witnessed = await Witnessed.open(space)
  const { store, expected, errors } = witnessed
  const keys = Array.from({ length: 4000 }, (_, index) => `key ${index} of many`)
  await Promise.all(keys.map((key) => store.put(key, '')))
  for (const key of keys) expected.set(key, '')

  await store.close()

  assert.deepEqual(
    errors.map((error) => [error.code, systemCode(error)]),
    [['FIRKIN_IO_FAILED', space.code]],
  )
  const names = readdirSync(space.directory)
  assert(!names.some((name) => name === 'CHECKPOINT' || parseName(name).type === 'temporary'))
  const again = await openStore(space.directory, 'never')
  assert.equal(again.stats().recovery.closed, true)
  assertShows(again, expected)
  again.on('error', () => undefined)
  await again.close()
}
