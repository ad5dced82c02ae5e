/** Looks at a store's directory without opening the store. */

import { join } from 'node:path'
import { CorruptionError, StoreError } from '../errors.ts'
import type { Manifest } from '../format/manifest.ts'
import { MANIFEST_NAME, parseName } from '../format/names.ts'
import type { Files } from '../io/files.ts'
import { isCache } from '../segment/kind.ts'
import { readManifest } from '../segment/manifest-file.ts'
import { asReadFailure } from './read-failure.ts'

/**
 * Reads the manifest of the store in a directory.
 *
 * @throws {@link StoreError} FIRKIN_NOT_FOUND, FIRKIN_VERSION, FIRKIN_READ_FAILED
 * @throws {@link CorruptionError} if it is damaged, or missing although there are segments
 */
export function requireManifest(files: Files, directory: string): Manifest {
  const names = files.list(directory)
  if (names === undefined) {
    throw new StoreError('FIRKIN_NOT_FOUND', `There is no directory ${directory}`)
  }
  const manifest = tryManifest(files, directory)
  if (manifest !== undefined) return manifest
  if (names.some((name) => parseName(name).type === 'segment')) {
    throw new CorruptionError(
      'The manifest is missing, and there are segments',
      join(directory, MANIFEST_NAME),
      0,
    )
  }
  throw new StoreError('FIRKIN_NOT_FOUND', `There is no store in ${directory}`)
}

/** Returns the generation of the store's set of segments; `undefined` if there is no store. */
export function generationOf(files: Files, directory: string): number | undefined {
  return tryManifest(files, directory)?.generation
}

/** Whether there is no directory, or nothing of a store in it. */
export function isVacant(files: Files, directory: string): boolean {
  const names = files.list(directory) ?? []
  return names.every((name) =>
    ['foreign', 'lock', 'reserve', 'temporary'].includes(parseName(name).type),
  )
}

/**
 * Asserts that a directory is not a cache's: only the cache itself writes entries there.
 *
 * @throws {@link StoreError} FIRKIN_OTHER_KIND
 */
export function assertChangeable(files: Files, directory: string): void {
  if (!isCache(files.list(directory) ?? [])) return
  throw new StoreError(
    'FIRKIN_OTHER_KIND',
    `${directory} holds a cache, which only its program changes; ` +
      'one that is damaged is emptied when it is opened',
  )
}

function tryManifest(files: Files, directory: string): Manifest | undefined {
  try {
    return readManifest(files, directory)
  } catch (error) {
    throw asReadFailure(error, join(directory, MANIFEST_NAME))
  }
}
