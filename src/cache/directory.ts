/**
 * The directory of a cache: whether it is one, when emptying it may help, and how that is done.
 *
 * A marker distinguishes a cache from a store, whose contents cannot be loaded again. Only a
 * directory with the marker is ever emptied, and only files with the names of a store or a cache
 * are removed from it.
 */

import { join } from 'node:path'
import { assertFree } from '../engine/open-engine.ts'
import { type ErrorCode, StoreError } from '../errors.ts'
import { CACHE_MARKER_NAME, CACHE_ORDER_NAME, holdsStore, parseName } from '../format/names.ts'
import { errorCode, type Files, readWhole, removeIfThere, writeFully } from '../io/files.ts'
import { HeldFiles } from '../io/held-files.ts'
import type { ValueEncoding } from '../options.ts'
import { MAX_CACHE_MARK_SIZE } from '../segment/kind.ts'
import type { CacheEnvironment } from './environment.ts'
import type { ResolvedCacheOptions } from './options.ts'

/** The version that the marker names. */
const VERSION = 1

/**
 * Marks a directory as a cache's, unless it is one already. Creates it if it is missing.
 *
 * @throws {@link StoreError} FIRKIN_OTHER_KIND if it holds a store that is not a cache;
 * FIRKIN_NOT_EMPTY if it holds other files, unless that is allowed; FIRKIN_VERSION if the cache was
 * written by another version, or with another `valueEncoding`
 */
export function claimDirectory(
  files: Files,
  directory: string,
  {
    valueEncoding,
    allowNonEmpty,
  }: Pick<ResolvedCacheOptions<unknown>, 'valueEncoding' | 'allowNonEmpty'>,
): void {
  const names = files.list(directory)
  const path = join(directory, CACHE_MARKER_NAME)
  const expected = `${JSON.stringify({ cache: VERSION, ...encodingFields(valueEncoding) })}\n`
  const found = readWhole(files, path, MAX_CACHE_MARK_SIZE)?.toString()
  if (found === expected) return
  if (found !== undefined) {
    const why = `The cache in ${directory} has another version or valueEncoding: ${found}`
    throw new StoreError('FIRKIN_VERSION', why)
  }
  if (holdsStore(names ?? [])) {
    throw isStore(directory)
  }
  if (names === undefined) files.makeDirectory(directory)
  else if (!allowNonEmpty) {
    assertFree(
      directory,
      names.filter((name) => name !== CACHE_ORDER_NAME),
    )
  }
  const file = files.open(path, 'create')
  try {
    writeFully(files, file, Buffer.from(expected), expected.length, 0)
  } finally {
    files.close(file)
  }
}

function isStore(directory: string): StoreError {
  return new StoreError(
    'FIRKIN_OTHER_KIND',
    `${directory} holds a store, not a cache; it is left as it is`,
  )
}

/** Describes an encoding for the marker. Two that can read each other's values give the same. */
function encodingFields(encoding: ValueEncoding<never> | ValueEncoding<unknown>): object {
  if (typeof encoding === 'string') return { valueEncoding: encoding }
  const { name, encode, decode } = encoding
  if (name !== undefined) return { valueEncoding: 'codec', name }
  const digest = process.getBuiltinModule('node:crypto').createHash('sha256')
  for (const part of [encode, decode]) {
    digest.update(`${Function.prototype.toString.call(part)}\0`)
  }
  return { valueEncoding: 'codec', source: digest.digest('base64url') }
}

/**
 * Removes all files of a cache from its directory, the marker last.
 *
 * @throws {@link StoreError} FIRKIN_LOCKED if another process has the cache open; FIRKIN_OTHER_KIND
 * if the directory holds a store that is not a cache
 */
export function emptyDirectory({ files, lock }: CacheEnvironment, directory: string): void {
  const names = files.list(directory) ?? []
  if (!names.includes(CACHE_MARKER_NAME)) {
    if (!holdsStore(names)) return
    throw isStore(directory)
  }
  const held = HeldFiles.hold(files, directory, lock ? 'locked' : 'unlocked')
  try {
    for (const name of names) {
      const { type } = parseName(name)
      if (type !== 'foreign' && type !== 'lock') removeIfThere(held, join(held.directory, name))
    }
    removeIfThere(held, join(held.directory, CACHE_ORDER_NAME))
    removeIfThere(held, join(held.directory, CACHE_MARKER_NAME))
  } finally {
    held.release()
  }
}

/** The codes of errors that do not mean damage to a cache's files. */
const NOT_DAMAGE: ReadonlySet<ErrorCode> = new Set([
  'FIRKIN_LOCKED',
  'FIRKIN_LOCK_UNAVAILABLE',
  'FIRKIN_NOT_PERMITTED',
  'FIRKIN_READ_ONLY_FILE_SYSTEM',
  'FIRKIN_OTHER_KIND',
  'FIRKIN_NOT_EMPTY',
  'FIRKIN_NOT_LOCAL',
  'FIRKIN_MOVED',
])

/** The system's codes for conditions that may pass, and that say nothing about the files. */
const TRANSIENT = ['EACCES', 'EAGAIN', 'EBUSY', 'EMFILE', 'ENFILE', 'ENOMEM', 'EPERM', 'EROFS']

/** Whether emptying the directory may help against an error that keeps it from being used. */
export function isDamage(error: unknown): boolean {
  if (!(error instanceof StoreError)) return true
  const code = errorCode(error.cause)
  if (code !== undefined && TRANSIENT.includes(code)) return false
  return !NOT_DAMAGE.has(error.code)
}
