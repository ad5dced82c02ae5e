import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { systemFiles } from '../../src/io/files.ts'
import type { StoreSettings } from '../../src/options.ts'
import { buildHint } from '../../src/segment/hint-file.ts'
import { readManifest } from '../../src/segment/manifest-file.ts'
import type { Store } from '../../src/store/store.ts'
import { directoryIdOf } from '../support/held.ts'
import { openAny } from '../support/store.ts'

/** The expiry of entries that expire: long after these tests. */
export const FUTURE_MS = Date.UTC(2100, 0, 1)
/** The expiry of entries that have expired. */
export const PAST_MS = Date.UTC(2001, 0, 1)

/** A key and a value that are not text. */
export const BINARY_KEY = Buffer.from('00ff10', 'hex')
export const BINARY_VALUE = Buffer.from('fe00220a09', 'hex')

/** The number of `user` keys of a large store. */
export const USER_COUNT = 1500

type ByteStore = Store<Buffer, 'buffer'>

/** Opens a store of bytes with segments of 64 KiB, merged when asked for. */
export async function openBytes(
  directory: string,
  options: StoreSettings<Buffer, 'buffer'> = {},
): Promise<ByteStore> {
  return await openAny<Buffer, 'buffer'>(directory, { ...options, keyEncoding: 'buffer' })
}

/** Puts a few records, some of each kind: 12 records, 6 keys. */
export async function fillTiny(store: ByteStore): Promise<void> {
  const put = (key: string | Buffer, value: string | Buffer, options = {}) =>
    store.put(key, Buffer.from(value), options)
  await put('plain', 'a value')
  await put('changed', 'old')
  await put('changed', 'new')
  await put('gone', 'soon deleted')
  await store.delete('gone')
  await put('session', 'open', { expiresAt: FUTURE_MS })
  await put('expired', 'long ago', { expiresAt: PAST_MS })
  await put(BINARY_KEY, BINARY_VALUE)
  await store
    .batch()
    .put('batch:1', Buffer.from('line one\nline "two"'))
    .put('batch:2', Buffer.from('ß日本\\'))
    .delete('nowhere')
    .commit()
}

/** Puts several segments, with overwrites, deletes, batches, expiry and binary keys. */
export async function fillLarge(store: ByteStore): Promise<void> {
  const key = (index: number) => `user:${String(index).padStart(4, '0')}`
  for (let index = 0; index < USER_COUNT; index++) {
    await store.put(key(index), Buffer.from(`value ${index} `.repeat(10)))
  }
  for (let index = 0; index < USER_COUNT; index += 5) {
    await store.put(key(index), Buffer.from(`changed ${index} `.repeat(10)))
  }
  for (let index = 0; index < USER_COUNT; index += 50) await store.delete(key(index))
  for (let index = 1; index < USER_COUNT; index += 100) {
    const batch = store.batch()
    for (let member = index; member < index + 3; member++) {
      batch.put(key(member), Buffer.from(`batched ${member}`))
    }
    await batch.commit()
  }
  await fillTiny(store)
}

/** Stores that are made once for a file of tests and never changed. A test changes a copy. */
export class Fixtures {
  #root: Promise<string> | undefined
  #count = 0
  readonly #made = new Map<string, Promise<string>>()

  constructor() {
    afterAll(async () => {
      if (this.#root !== undefined) await rm(await this.#root, { recursive: true, force: true })
    })
  }

  /** Returns a store with a few records of each kind, closed in good order. */
  async tiny(): Promise<string> {
    return await this.#once('tiny', fillTiny)
  }

  /** Returns a store of several segments, closed in good order. */
  async large(): Promise<string> {
    return await this.#once('large', fillLarge)
  }

  /** Returns a new path at which nothing is. */
  async path(): Promise<string> {
    this.#root ??= mkdtemp(join(tmpdir(), 'firkin-tool-'))
    return join(await this.#root, String(this.#count++))
  }

  /** Returns a copy of a store that may be changed. */
  async copyOf(directory: Promise<string>): Promise<string> {
    const copy = await this.path()
    await cp(await directory, copy, { recursive: true })
    return copy
  }

  /** Makes a store with the entries that `fill` puts, closed in good order. */
  async make(fill: (store: ByteStore) => Promise<unknown>): Promise<string> {
    const directory = await this.path()
    const store = await openBytes(directory)
    await fill(store)
    await store.close()
    makeHints(directory)
    return directory
  }

  #once(name: string, fill: (store: ByteStore) => Promise<unknown>): Promise<string> {
    let made = this.#made.get(name)
    if (made === undefined) {
      made = this.make(fill)
      this.#made.set(name, made)
    }
    return made
  }
}

/** Builds the hints of a store that was closed before they were built. */
function makeHints(directory: string): void {
  const { storeId, segments = [] } = readManifest(systemFiles, directory) ?? {}
  if (storeId === undefined) return
  const directoryId = directoryIdOf(systemFiles, directory)
  for (const { id, origin, size } of segments) {
    buildHint(systemFiles, { directoryId, storeId, id, origin, size })
  }
}
