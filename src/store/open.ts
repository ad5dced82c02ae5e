/** From a path to what a store stands on: the directory, its lock, and what recovery makes of its files. */

import { join, resolve } from 'node:path'
import { CorruptionError, StoreError } from '../errors.ts'
import { CACHE_ORDER_NAME, holdsStore, namesOfOthers } from '../format/names.ts'
import { accessCode, errorCode, type Files, removeIfThere } from '../io/files.ts'
import { HeldFiles } from '../io/held-files.ts'
import type { ResolvedOptions } from '../options.ts'
import { type Recovered, recover } from '../recovery/recovery.ts'
import { assertNoCache } from '../segment/kind.ts'

/** How often a read-only open tries again when a merge changes the set of segments meanwhile. */
const MAX_ATTEMPTS = 10

/** A directory as an absolute path. @throws TypeError */
export function checkDirectory(directory: string): string {
  if (typeof directory === 'string' && directory !== '') return resolve(directory)
  throw new TypeError(`The directory is ${String(directory)}; it must be a path`)
}

/**
 * Makes the directory ready, and holds it: open, and locked where that is wanted.
 *
 * @throws {@link StoreError} FIRKIN_NOT_FOUND, FIRKIN_NOT_EMPTY, FIRKIN_OTHER_KIND, FIRKIN_IO_FAILED, and as {@link takeLock}
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
  // Nothing is left where there is nothing, not even the lock's file.
  if (!options.createIfMissing) throw notFound(directory)
  if (!options.allowNonEmpty) assertFree(directory, names)
  // Also where it is there: a store is not begun before the names that lead to it are durable.
  files.makeDirectory(directory)
}

/** How many names an error tells. */
const MOST_NAMES = 5

/** @throws {@link StoreError} FIRKIN_NOT_EMPTY where there are files of others among the names of a directory */
export function assertFree(directory: string, names: readonly string[]): void {
  const others = namesOfOthers(names).sort()
  if (others.length === 0) return
  const more = others.length > MOST_NAMES ? `, and ${others.length - MOST_NAMES} more` : ''
  throw new StoreError(
    'FIRKIN_NOT_EMPTY',
    `${directory} holds files of others: ${others.slice(0, MOST_NAMES).join(', ')}${more}; nothing is created among ` +
      'them without `allowNonEmpty: true`',
  )
}

function cannotOpen(directory: string): string {
  return `Cannot open the directory ${directory}`
}

function notFound(directory: string): StoreError {
  return new StoreError('FIRKIN_NOT_FOUND', `There is no store in ${directory}`)
}

/** What keeps a store out of its directory, as an error of the store's. */
function refused(error: unknown, message: string): unknown {
  if (errorCode(error) === undefined) return error
  return new StoreError(accessCode(error, 'FIRKIN_IO_FAILED'), message, { cause: error })
}

/** Removes what a cache goes by to number its entries: who else writes there numbers them anew, and adds others. */
function forgetOrder(files: HeldFiles, { readOnly }: ResolvedOptions<unknown>): void {
  if (!readOnly) removeIfThere(files, join(files.directory, CACHE_ORDER_NAME))
}

/**
 * Takes a directory and recovers what is in it; where that fails it is given up again.
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

/** Recovers; beside a writer, again where a merge has changed the set of segments meanwhile. */
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

/** What the operating system refused, as an error of the store's; all else as it is. */
export function asStoreError(error: unknown, message: string): Error {
  if (error instanceof StoreError || error instanceof TypeError || error instanceof RangeError) {
    return error
  }
  if (errorCode(error) === undefined) return error instanceof Error ? error : new Error(message)
  return new StoreError('FIRKIN_IO_FAILED', message, { cause: error })
}
