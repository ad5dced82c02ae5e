/**
 * What a directory is: a store's, or a cache's.
 *
 * A cache is a store whose values stand behind a head of the cache's own, and which has an order and a budget beside.
 * Whoever takes one for the other reads wrong values, or writes what the other cannot read. So a cache's directory says
 * what it is, by a file that is there before the store in it and goes after it; a store's directory has none.
 */

import { join } from 'node:path'
import { StoreError } from '../errors.ts'
import { CACHE_MARKER_NAME } from '../format/names.ts'
import { type Files, readWhole } from '../io/files.ts'

/** No cache's mark is larger, in bytes. */
export const MAX_CACHE_MARK_SIZE = 1024

/** What a cache's directory says of its values. */
export interface CacheMark {
  /** As the option of that name; `codec` for one of the caller's own, `undefined` where the mark cannot be read. */
  readonly valueEncoding: string | undefined
  /** What the codec calls itself. */
  readonly name: string | undefined
}

/** Whether these are the names in a cache's directory. */
export function isCache(names: readonly string[]): boolean {
  return names.includes(CACHE_MARKER_NAME)
}

/** @throws {@link StoreError} FIRKIN_OTHER_KIND where these are the names in a cache's directory */
export function assertNoCache(directory: string, names: readonly string[]): void {
  if (!isCache(names)) return
  throw new StoreError(
    'FIRKIN_OTHER_KIND',
    `${directory} holds a cache, and no store: \`openCache\` opens it, and \`allowCache: true\` as what it is made of`,
  )
}

/** What is in the file that marks a directory as a cache's; `undefined` where there is none. */
export function cacheMarkIn(files: Files, directory: string): Buffer | undefined {
  return readWhole(files, join(directory, CACHE_MARKER_NAME), MAX_CACHE_MARK_SIZE)
}

/** What a cache's directory says of its values; `undefined` where it is no cache's. */
export function readCacheMark(files: Files, directory: string): CacheMark | undefined {
  const bytes = cacheMarkIn(files, directory)
  if (bytes === undefined) return undefined
  const { valueEncoding, name } = parsed(bytes.toString())
  return { valueEncoding: textOf(valueEncoding), name: textOf(name) }
}

function parsed(text: string): { valueEncoding?: unknown; name?: unknown } {
  try {
    return Object(JSON.parse(text))
  } catch {
    // A kill, or the loss of power, has cut it short: that it is there tells enough.
    return {}
  }
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}
