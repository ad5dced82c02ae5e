/**
 * A cache's directory: whose it is, and how it is emptied.
 *
 * A marker tells a cache from a store that holds what cannot be had again: only a directory with the marker is ever
 * emptied, and only files with the store's own names, and the cache's, are removed from it.
 */

import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { type ErrorCode, StoreError } from '../errors.ts'
import { CACHE_MARKER_NAME, CACHE_ORDER_NAME, holdsStore, parseName } from '../format/names.ts'
import { errorCode, type Files, readWhole, removeIfThere, writeFully } from '../io/files.ts'
import { HeldFiles } from '../io/held-files.ts'
import type { ValueEncoding } from '../options.ts'
import { MAX_CACHE_MARK_SIZE } from '../segment/kind.ts'
import { assertFree } from '../store/open.ts'
import type { CacheEnvironment } from './environment.ts'
import type { ResolvedCacheOptions } from './options.ts'

const VERSION = 1

/**
 * Makes a directory a cache's, where it is none yet and no store is in it.
 *
 * @throws {@link StoreError} FIRKIN_OTHER_KIND where a store is there that is no cache's; FIRKIN_NOT_EMPTY where files of
 * others are, unless that is allowed; FIRKIN_VERSION where the cache
 * was written by another version, or with another `valueEncoding`
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
    throw new StoreError('FIRKIN_VERSION', `The cache in ${directory} is of another kind: ${found}`)
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
    `${directory} holds a store, and no cache; it is not touched`,
  )
}

/** What the marker says of an encoding: two that may read each other's values have the same. */
function encodingFields(encoding: ValueEncoding<never> | ValueEncoding<unknown>): object {
  if (typeof encoding === 'string') return { valueEncoding: encoding }
  const { name, encode, decode } = encoding
  if (name !== undefined) return { valueEncoding: 'codec', name }
  const digest = createHash('sha256')
  for (const part of [encode, decode]) {
    digest.update(`${Function.prototype.toString.call(part)}\0`)
  }
  return { valueEncoding: 'codec', source: digest.digest('base64url') }
}

/**
 * Removes all that a cache keeps in its directory, the marker last.
 *
 * @throws {@link StoreError} FIRKIN_LOCKED where another process has it open; FIRKIN_OTHER_KIND where it is no cache's
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

/** What is no damage of a cache's files. */
const NOT_DAMAGE: ReadonlySet<ErrorCode> = new Set([
  'FIRKIN_LOCKED',
  'FIRKIN_LOCK_UNAVAILABLE',
  'FIRKIN_NOT_PERMITTED',
  'FIRKIN_READ_ONLY_FILE_SYSTEM',
  'FIRKIN_OTHER_KIND',
  'FIRKIN_NOT_EMPTY',
  'FIRKIN_MOVED',
])

/** What is in the way of a directory for as long as others want it, and says nothing of what is in it. */
const TRANSIENT = ['EACCES', 'EAGAIN', 'EBUSY', 'EMFILE', 'ENFILE', 'ENOMEM', 'EPERM', 'EROFS']

/** Whether what stands in the way of using a directory that is no other's may be helped by emptying it. */
export function isDamage(error: unknown): boolean {
  if (!(error instanceof StoreError)) return true
  const code = errorCode(error.cause)
  if (code !== undefined && TRANSIENT.includes(code)) return false
  return !NOT_DAMAGE.has(error.code)
}
