/** Opens stores for the commands. */

import { resolve } from 'node:path'
import { StoreError } from '../src/errors.ts'
import type { KeydirKind } from '../src/format/keydir-kind.ts'
import { assertChangeable, isVacant, requireManifest } from '../src/inspection/directory.ts'
import { systemFiles } from '../src/io/files.ts'
import { readCacheMark } from '../src/segment/kind.ts'
import { open, type Store } from '../src/store/store.ts'
import { describeFailure } from './failure.ts'
import type { Output } from './output.ts'
import type { Call } from './session.ts'
import { parseDuration } from './text.ts'

/** A store of bytes. */
export type ByteStore = Store<Buffer, 'buffer'>

/**
 * Opens a store for reading, beside its writer if it has one. Nothing is changed.
 *
 * @param output for warnings of shortcuts that could not be used; without it the caller reports
 * them
 */
export async function openToRead(directory: string, output?: Output): Promise<ByteStore> {
  // The checkpoint fits only the kind of keydir that was used last.
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
    // Mapped bytes would count as memory, and each value is read only once.
    mapping: false,
  })
  store.on('error', (error) => output?.warn(describeFailure(error).message))
  return store
}

/** The option of each command that takes a store's lock; {@link openToWrite} reads it. */
export const WAIT_OPTION = [
  '--wait <duration>',
  'how long to wait for another process that has the store open: 250ms, 10s',
] as const

/** The options of a command that takes a store's lock. */
export interface WaitOptions {
  readonly wait?: string
}

/** Options of opening a store for writing. */
export interface WriteOptions {
  /** Whether a store is created if there is none. */
  readonly create: boolean
  /** Whether the command has an option `--create`. */
  readonly offersCreate?: boolean
  /** Whether a write settles only once it survives a power loss. */
  readonly durable?: boolean
}

/**
 * Opens a store for writing, and prints what recovery cut. Only the command `merge` merges.
 *
 * @throws {@link StoreError} as {@link open}, and FIRKIN_OTHER_KIND for a cache's directory
 */
export async function openToWrite(
  directory: string,
  { options, output, interrupt }: Call<WaitOptions>,
  { create, offersCreate = false, durable = false }: WriteOptions,
): Promise<ByteStore> {
  const lockWaitMs = options.wait === undefined ? 0 : Math.ceil(parseDuration(options.wait))
  assertChangeable(systemFiles, resolve(directory))
  const isNew = create && isVacant(systemFiles, resolve(directory))
  const keydir = isNew ? {} : { keydir: keydirOf(directory, offersCreate) }
  const store = await open<Buffer, 'buffer'>(directory, {
    createIfMissing: create,
    keyEncoding: 'buffer',
    merge: { automatic: false },
    sync: durable ? 'always' : 'interval',
    lockWaitMs,
    signal: interrupt,
    ...keydir,
  })
  store.on('error', (error) => output.warn(describeFailure(error).message))
  for (const { file, bytes } of store.stats().recovery.torn) {
    output.note(`${file}: cut ${output.size(bytes)} that a crash had left unfinished`)
  }
  return store
}

/** Returns the kind of keydir that was used last. @throws {@link StoreError} FIRKIN_NOT_FOUND */
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
