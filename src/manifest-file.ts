import { join } from 'node:path'
import { CorruptionError } from './errors.ts'
import { decodeManifest, MAX_MANIFEST_SIZE, type Manifest } from './format/manifest.ts'
import { MANIFEST_NAME } from './format/names.ts'
import { type Files, readWhole } from './io/files.ts'
import { readFileHeader } from './segment/segment.ts'

/**
 * Reads the manifest of a directory; `undefined` where there is none.
 *
 * @throws {@link CorruptionError}
 * @throws {@link StoreError} FIRKIN_VERSION
 */
export function readManifest(files: Files, directory: string): Manifest | undefined {
  const path = join(directory, MANIFEST_NAME)
  const bytes = readWhole(files, path, MAX_MANIFEST_SIZE)
  if (bytes === undefined) return undefined
  const header = readFileHeader(bytes, path, 'manifest', {})
  if (header === 'short') {
    throw new CorruptionError('The file ends inside its header', path, bytes.length)
  }
  const manifest = decodeManifest(bytes, header.storeId, header.fileId)
  if (typeof manifest === 'number') {
    throw new CorruptionError('The manifest does not match its checksum', path, manifest)
  }
  return manifest
}
