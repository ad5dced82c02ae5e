/**
 * A cache's directory: whose it is, and how it is emptied.
 *
 * A marker tells a cache from a store that holds what cannot be had again: only a directory with the marker is ever
 * emptied, and only files with the store's own names, and the cache's, are removed from it.
 */

import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { StoreError } from '../errors.ts'
import { CACHE_MARKER_NAME, CACHE_ORDER_NAME, holdsStore, parseName } from '../format/names.ts'
import { type Files, readWhole, removeIfThere, systemFiles, writeFully } from '../io/files.ts'
import { HeldFiles } from '../io/held-files.ts'
import { type BackgroundWork, threadWork } from '../merge/thread.ts'
import type { ValueEncoding } from '../options.ts'
import type { EventLoop } from '../scheduling/event-loop.ts'
import { MAX_CACHE_MARK_SIZE } from '../segment/kind.ts'
import { assertFree } from '../store/open.ts'
import type { ResolvedCacheOptions } from './options.ts'

/** What a cache stands on; tests put others in its place. */
export interface CacheEnvironment {
  readonly files: Files
  /** Whether a kernel lock keeps others out. */
  readonly lock: boolean
  /** What makes hints. */
  readonly backgroundWork: BackgroundWork
  /** The event loop that writes keep waiting. @defaultValue the one that this runs on */
  readonly loop?: EventLoop
}

/** The machine that this runs on. */
export const systemEnvironment: CacheEnvironment = {
  files: systemFiles,
  lock: true,
  backgroundWork: threadWork,
}

const VERSION = 1

/** A cache survives its process, not the power: nothing is ever synced. */
export function neverSynced(files: Files): Files {
  return {
    open: (path, mode) => files.open(path, mode),
    openLater: (path, mode) => files.openLater(path, mode),
    close: (file) => files.close(file),
    closeLater: (file) => files.closeLater(file),
    read: (file, target, at, size, position) => files.read(file, target, at, size, position),
    write: (file, source, at, size, position) => files.write(file, source, at, size, position),
    writeLater: (file, source, at, size, position) =>
      files.writeLater(file, source, at, size, position),
    areWritesSlow: (byteCount) => files.areWritesSlow(byteCount),
    truncate: (file, size) => files.truncate(file, size),
    size: (file) => files.size(file),
    rename: (from, to) => files.rename(from, to),
    remove: (path) => files.remove(path),
    link: (from, to) => files.link(from, to),
    list: (directory) => files.list(directory),
    freeBytes: (directory) => files.freeBytes(directory),
    makeDirectory: (directory) => files.makeDirectory(directory),
    identify: (at) => files.identify(at),
    hold(directory) {
      const held = files.hold(directory)
      return {
        directory: held.directory,
        identity: held.identity,
        sync() {},
        async syncLater() {},
        spendSpare: () => held.spendSpare(),
        saveSpare: () => held.saveSpare(),
        close: () => held.close(),
      }
    },
    sync() {},
    async syncLater() {},
    syncDirectory() {},
    async syncDirectoryLater() {},
  }
}

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
  const expected = `${JSON.stringify({ cache: VERSION, ...markOf(valueEncoding) })}\n`
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
function markOf(encoding: ValueEncoding<never> | ValueEncoding<unknown>): object {
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
