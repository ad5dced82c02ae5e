/** The directories that callers name, by a path or by a URL. */

import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

/** A URL that is given as text would be taken for a relative path. */
const URL_TEXT = /^file:\//i

/**
 * Returns the absolute path of a directory, from a path or from a `file:` URL of any realm.
 *
 * @throws TypeError for anything else
 */
export function directoryPath(directory: string | URL): string {
  const path = isUrl(directory) ? pathOf(directory) : directory
  if (typeof path !== 'string' || path === '' || path.includes('\0')) throw noPath(directory)
  if (URL_TEXT.test(path)) {
    throw new TypeError(`The directory is the text of a URL; pass new URL(${JSON.stringify(path)})`)
  }
  return resolve(path)
}

/** Whether a value is a URL, of any realm. */
export function isUrl(value: unknown): value is URL {
  const { href, protocol } = Object(value)
  return typeof href === 'string' && typeof protocol === 'string'
}

function pathOf(url: URL): string {
  try {
    return fileURLToPath(url.href)
  } catch (error) {
    throw noPath(url, error)
  }
}

function noPath(directory: unknown, cause?: unknown): TypeError {
  const shown = isUrl(directory) ? directory.href : String(directory)
  return new TypeError(`The directory is ${shown}; it must be a path or a file: URL`, { cause })
}
