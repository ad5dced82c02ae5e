/** How the tool opens stores. */

import { join, resolve } from 'node:path'
import { CorruptionError, StoreError } from '../src/errors.ts'
import type { KeydirKind } from '../src/format/keydir-kind.ts'
import type { Manifest } from '../src/format/manifest.ts'
import { MANIFEST_NAME, parseName } from '../src/format/names.ts'
import { systemFiles } from '../src/io/files.ts'
import { isCache, readCacheMark } from '../src/segment/kind.ts'
import { readManifest } from '../src/segment/manifest-file.ts'
import { open, type Store } from '../src/store/store.ts'
import { describeFailure } from './failure.ts'
import type { Output } from './output.ts'

/** A store of bytes. */
export type ByteStore = Store<Buffer, 'buffer'>

/**
 * The manifest of the store in a directory.
 *
 * @throws {@link StoreError} FIRKIN_NOT_FOUND, FIRKIN_VERSION
 * @throws {@link CorruptionError}
 */
export function requireManifest(directory: string): Manifest {
  const path = resolve(directory)
  const names = systemFiles.list(path)
  if (names === undefined) {
    throw new StoreError('FIRKIN_NOT_FOUND', `There is no directory ${path}`)
  }
  const manifest = tryManifest(path)
  if (manifest !== undefined) return manifest
  if (names.some((name) => parseName(name).type === 'segment')) {
    throw new CorruptionError(
      'The manifest is missing, and there are segments',
      join(path, MANIFEST_NAME),
      0,
    )
  }
  throw new StoreError('FIRKIN_NOT_FOUND', `There is no store in ${path}`)
}

function tryManifest(directory: string): Manifest | undefined {
  try {
    return readManifest(systemFiles, directory)
  } catch (error) {
    if (error instanceof StoreError) throw error
    const path = join(directory, MANIFEST_NAME)
    throw new StoreError('FIRKIN_READ_FAILED', `Cannot read ${path}`, { cause: error })
  }
}

/**
 * Opens a store beside its writer, should it have one; nothing is changed.
 *
 * @param output warned of a shortcut that could not be used; without it, whoever calls tells of that
 */
export async function openToRead(directory: string, output?: Output): Promise<ByteStore> {
  // With the kind that was used last its checkpoint fits.
  const { keydirKind: keydir } = requireManifest(directory)
  if (readCacheMark(systemFiles, resolve(directory)) !== undefined) {
    output?.note(
      `${directory} is a cache's: values are shown as they are stored, after its own bytes`,
    )
  }
  const store = await open<Buffer, 'buffer'>(directory, {
    readOnly: true,
    allowCache: true,
    keyEncoding: 'buffer',
    keydir,
    // What is mapped would count as memory; each value is read once anyway.
    mapping: false,
  })
  store.on('error', (error) => output?.warn(describeFailure(error).message))
  return store
}

/** What is to be done where there is no store. */
export interface WriteOptions {
  readonly create: boolean
  /** Whether the command has an option `--create`. */
  readonly offersCreate?: boolean
  /** Whether a write settles only when it survives a power loss. */
  readonly durable?: boolean
}

/**
 * Opens a store to write, and says what recovery did. Merging is left to the command of that name.
 *
 * @throws {@link StoreError} as {@link open}, and FIRKIN_OTHER_KIND for a cache's directory
 */
export async function openToWrite(
  directory: string,
  output: Output,
  { create, offersCreate = false, durable = false }: WriteOptions,
): Promise<ByteStore> {
  assertWritable(directory)
  const isNew = create && isVacant(directory)
  const keydir = isNew ? {} : { keydir: keydirOf(directory, offersCreate) }
  const store = await open<Buffer, 'buffer'>(directory, {
    createIfMissing: create,
    keyEncoding: 'buffer',
    merge: { automatic: false },
    sync: durable ? 'always' : 'interval',
    ...keydir,
  })
  store.on('error', (error) => output.warn(describeFailure(error).message))
  for (const { file, bytes } of store.stats().recovery.torn) {
    output.note(`${file}: cut ${output.size(bytes)} that a crash had left unfinished`)
  }
  return store
}

/** @throws {@link StoreError} FIRKIN_OTHER_KIND for a cache's directory: what is put there is no entry of the cache's */
export function assertWritable(directory: string): void {
  const path = resolve(directory)
  if (!isCache(systemFiles.list(path) ?? [])) return
  throw new StoreError(
    'FIRKIN_OTHER_KIND',
    `${path} holds a cache, which only its program changes; one that is damaged is emptied when it is opened`,
  )
}

/** The kind of keydir that the store was used with last. @throws {@link StoreError} FIRKIN_NOT_FOUND */
function keydirOf(directory: string, offersCreate: boolean): KeydirKind {
  try {
    return requireManifest(directory).keydirKind
  } catch (error) {
    if (!(offersCreate && error instanceof StoreError && error.code === 'FIRKIN_NOT_FOUND')) {
      throw error
    }
    throw new StoreError(error.code, `${error.message}; --create makes one`, { cause: error })
  }
}

/** Whether there is no directory, or nothing of a store in it. */
export function isVacant(directory: string): boolean {
  const names = systemFiles.list(resolve(directory)) ?? []
  return names.every((name) =>
    ['foreign', 'lock', 'reserve', 'temporary'].includes(parseName(name).type),
  )
}
