/**
 * Opens a store's directory.
 *
 * 1. Make the directory ready, if a store may be created there.
 * 2. Hold it: open it and, if that is wanted, lock it.
 * 3. Recover the segments and the keydir from its files.
 */

import { join, resolve } from 'node:path'
import { CorruptionError, StoreError } from '../errors.ts'
import { CACHE_ORDER_NAME, holdsStore, namesOfOthers } from '../format/names.ts'
import { accessCode, errorCode, type Files, removeIfThere } from '../io/files.ts'
import { HeldFiles } from '../io/held-files.ts'
import type { ResolvedOptions } from '../options.ts'
import { type Recovered, recover } from '../recovery/recovery.ts'
import { assertNoCache } from '../segment/kind.ts'

/** The most attempts of a read-only open while merges change the set of segments. */
const MAX_ATTEMPTS = 10

/** Returns the absolute path of a directory. @throws TypeError */
export function checkDirectory(directory: string): string {
  if (typeof directory === 'string' && directory !== '') return resolve(directory)
  throw new TypeError(`The directory is ${String(directory)}; it must be a path`)
}

/**
 * Makes the directory ready and holds it: opens it and, if that is wanted, locks it.
 *
 * @throws {@link StoreError} FIRKIN_NOT_FOUND, FIRKIN_NOT_EMPTY, FIRKIN_OTHER_KIND,
 * FIRKIN_IO_FAILED, and as {@link takeLock}
 */
function prepare(files: Files, directory: string, options: ResolvedOptions<unknown>): HeldFiles {
  try {
    const names = files.list(directory)
    if (!options.allowCache) assertNoCache(directory, names ?? [])
    if (!options.readOnly) makeReady(files, directory, names ?? [], options)
  } catch (error) {
    throw refused(
      error,
      options.readOnly ? cannotOpen(directory) : `Cannot make the directory ${directory}`,
    )
  }
  try {
    const writing = options.lock ? 'locked' : 'unlocked'
    return HeldFiles.hold(files, directory, options.readOnly ? 'read' : writing)
  } catch (error) {
    if (errorCode(error) === 'ENOENT') throw notFound(directory)
    throw refused(error, cannotOpen(directory))
  }
}

function makeReady(
  files: Files,
  directory: string,
  names: readonly string[],
  options: ResolvedOptions<unknown>,
): void {
  if (holdsStore(names)) return
  // If there is no store nothing is left behind, not even the lock's file.
  if (!options.createIfMissing) throw notFound(directory)
  if (!options.allowNonEmpty) assertFree(directory, names)
  // Even if the directory exists: the names that lead to a store are durable before it is begun.
  files.makeDirectory(directory)
}

/** The most names that an error lists. */
const MOST_NAMES = 5

/**
 * Refuses a directory that holds files of others.
 *
 * @param names the names in the directory
 * @throws {@link StoreError} FIRKIN_NOT_EMPTY
 */
export function assertFree(directory: string, names: readonly string[]): void {
  const others = namesOfOthers(names).sort()
  if (others.length === 0) return
  const more = others.length > MOST_NAMES ? `, and ${others.length - MOST_NAMES} more` : ''
  throw new StoreError(
    'FIRKIN_NOT_EMPTY',
    `${directory} holds files of others: ${others.slice(0, MOST_NAMES).join(', ')}${more}; ` +
      'nothing is created among them without `allowNonEmpty: true`',
  )
}

function cannotOpen(directory: string): string {
  return `Cannot open the directory ${directory}`
}

function notFound(directory: string): StoreError {
  return new StoreError('FIRKIN_NOT_FOUND', `There is no store in ${directory}`)
}

/** Returns an error of the operating system as a `StoreError` for opening; any other unchanged. */
function refused(error: unknown, message: string): unknown {
  if (errorCode(error) === undefined) return error
  return new StoreError(accessCode(error, 'FIRKIN_IO_FAILED'), message, { cause: error })
}

/**
 * Removes the file by which a cache numbers its entries: whoever else writes there numbers them
 * differently, and adds others.
 */
function forgetOrder(files: HeldFiles, { readOnly }: ResolvedOptions<unknown>): void {
  if (!readOnly) removeIfThere(files, join(files.directory, CACHE_ORDER_NAME))
}

/**
 * Holds a directory and recovers the store in it. If that fails the directory is released again.
 *
 * @param isAdopted whether a cache opens it
 * @throws {@link StoreError} as `open`
 */
export async function holdAndRecover(
  files: Files,
  directory: string,
  options: ResolvedOptions<unknown>,
  isAdopted: boolean,
): Promise<{ held: HeldFiles; recovered: Recovered }> {
  const held = prepare(files, directory, options)
  try {
    if (options.allowCache && !isAdopted) forgetOrder(held, options)
    return { held, recovered: await recoverWithRetry(held, options) }
  } catch (error) {
    held.release()
    throw asStoreError(error, `Cannot open the store in ${directory}`)
  }
}

/** Recovers. Beside a writer, tries again if a merge has changed the set of segments meanwhile. */
async function recoverWithRetry(
  files: HeldFiles,
  options: ResolvedOptions<unknown>,
): Promise<Recovered> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await recover(files, options)
    } catch (error) {
      const mayPass = options.readOnly && error instanceof CorruptionError
      if (!mayPass || attempt === MAX_ATTEMPTS) throw error
    }
  }
}

/** Returns an error of the operating system as a `StoreError`, and any other unchanged. */
export function asStoreError(error: unknown, message: string): Error {
  if (error instanceof StoreError || error instanceof TypeError || error instanceof RangeError) {
    return error
  }
  if (errorCode(error) === undefined) return error instanceof Error ? error : new Error(message)
  return new StoreError('FIRKIN_IO_FAILED', message, { cause: error })
}
