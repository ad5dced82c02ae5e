/** How the tool opens stores. */

import { resolve } from 'node:path'
import { StoreError } from '../src/errors.ts'
import type { KeydirKind } from '../src/format/keydir-kind.ts'
import { assertChangeable, isVacant, requireManifest } from '../src/inspection/directory.ts'
import { systemFiles } from '../src/io/files.ts'
import { readCacheMark } from '../src/segment/kind.ts'
import { open, type Store } from '../src/store/store.ts'
import { describeFailure } from './failure.ts'
import type { Output } from './output.ts'

/** A store of bytes. */
export type ByteStore = Store<Buffer, 'buffer'>

/**
 * Opens a store beside its writer, should it have one; nothing is changed.
 *
 * @param output warned of a shortcut that could not be used; without it, whoever calls tells of that
 */
export async function openToRead(directory: string, output?: Output): Promise<ByteStore> {
  // With the kind that was used last its checkpoint fits.
  const { keydirKind: keydir } = requireManifest(systemFiles, resolve(directory))
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
  assertChangeable(systemFiles, resolve(directory))
  const isNew = create && isVacant(systemFiles, resolve(directory))
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

/** The kind of keydir that the store was used with last. @throws {@link StoreError} FIRKIN_NOT_FOUND */
function keydirOf(directory: string, offersCreate: boolean): KeydirKind {
  try {
    return requireManifest(systemFiles, resolve(directory)).keydirKind
  } catch (error) {
    if (!(offersCreate && error instanceof StoreError && error.code === 'FIRKIN_NOT_FOUND')) {
      throw error
    }
    throw new StoreError(error.code, `${error.message}; --create makes one`, { cause: error })
  }
}
