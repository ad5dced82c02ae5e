/** Finds out which store a damaged directory holds, and whether its manifest is sound. */

import { join } from 'node:path'
import { CorruptionError } from '../errors.ts'
import { decodeFileHeader, FILE_HEADER_SIZE, type FileType } from '../format/file-header.ts'
import type { Manifest } from '../format/manifest.ts'
import { parseName } from '../format/names.ts'
import { type Files, readFully } from '../io/files.ts'
import { readManifest } from '../segment/manifest-file.ts'

/** Returns the manifest if it is sound and belongs to the same store as the segments. */
export function findManifest(
  files: Files,
  directory: string,
  names: readonly string[],
): Manifest | undefined {
  try {
    const manifest = readManifest(files, directory)
    if (manifest === undefined) return undefined
    const segments = names.filter((name) => parseName(name).type === 'segment')
    const ids = storeIdsOf(files, directory, segments)
    const isForeign = ids.size > 0 && !ids.has(hexOf(manifest.storeId))
    return isForeign ? undefined : manifest
  } catch (error) {
    if (error instanceof CorruptionError) return undefined
    throw error
  }
}

/** Returns the store id in most files. @throws {@link CorruptionError} if no file has one */
export function findStoreId(files: Files, directory: string, names: readonly string[]): Uint8Array {
  const [winner] = [...storeIdsOf(files, directory, names)].sort(([, a], [, b]) => b - a)
  if (winner === undefined) {
    throw new CorruptionError('No file tells which store this was', directory, 0)
  }
  return Buffer.from(winner[0], 'hex')
}

/** Returns the store ids in the files' headers, with the number of files for each. */
function storeIdsOf(
  files: Files,
  directory: string,
  names: readonly string[],
): Map<string, number> {
  const votes = new Map<string, number>()
  for (const name of names) {
    const { type } = parseName(name)
    if (type !== 'segment' && type !== 'hint' && type !== 'checkpoint') continue
    const id = storeIdOf(files, join(directory, name), type)
    if (id !== undefined) votes.set(id, (votes.get(id) ?? 0) + 1)
  }
  return votes
}

function storeIdOf(files: Files, path: string, type: FileType): string | undefined {
  const file = files.open(path, 'read')
  try {
    const bytes = Buffer.alloc(FILE_HEADER_SIZE)
    readFully(files, file, bytes, bytes.length, 0)
    const header = decodeFileHeader(bytes)
    if ('fault' in header || header.type !== type) return undefined
    return hexOf(header.storeId)
  } finally {
    files.close(file)
  }
}

function hexOf(storeId: Uint8Array): string {
  return Buffer.from(storeId).toString('hex')
}
