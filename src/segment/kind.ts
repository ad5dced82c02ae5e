/**
 * Tells a cache's directory from a store's.
 *
 * A cache is a store whose values begin with a head of the cache's own, and which has an order and
 * a budget besides. Opening one as the other would read wrong values, or write values that the
 * other cannot read. So a cache's directory has a file that marks it as such, which is created
 * before the store in it and removed after it. A store's directory has no such file.
 */

import { join } from 'node:path'
import { StoreError } from '../errors.ts'
import { CACHE_MARKER_NAME } from '../format/names.ts'
import { type Files, readWhole } from '../io/files.ts'

/** The largest size of a cache's mark in bytes. */
export const MAX_CACHE_MARK_SIZE = 1024

/** The description of a cache's values in the file that marks its directory. */
interface CacheMark {
  /**
   * The option of that name; `codec` for a codec of the caller's own, `undefined` if the mark
   * cannot be read.
   */
  readonly valueEncoding: string | undefined
  /** The name that the codec gives itself. */
  readonly name: string | undefined
}

/** Returns whether these are the names in a cache's directory. */
export function isCache(names: readonly string[]): boolean {
  return names.includes(CACHE_MARKER_NAME)
}

/** @throws {@link StoreError} FIRKIN_OTHER_KIND if these are the names in a cache's directory */
export function assertNoCache(directory: string, names: readonly string[]): void {
  if (!isCache(names)) return
  throw new StoreError(
    'FIRKIN_OTHER_KIND',
    `${directory} holds a cache, not a store: open it with \`openCache\`, or the store inside ` +
      'with `allowCache: true`',
  )
}

/** Returns the content of the file that marks a cache's directory; `undefined` if there is none. */
export function cacheMarkIn(files: Files, directory: string): Buffer | undefined {
  return readWhole(files, join(directory, CACHE_MARKER_NAME), MAX_CACHE_MARK_SIZE)
}

/** Returns what a cache's directory says of its values; `undefined` if it is not a cache's. */
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
    // A kill or a power loss has cut it short; that the file is there is enough.
    return {}
  }
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}
