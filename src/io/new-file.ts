/** Files that are written whole under a temporary name, durable before they are renamed to their own. */

import { createAnew, createAnewLater, discard, type Files, writeFully } from './files.ts'

/**
 * Writes a file of these bytes, in the place of what a failure has left there; durable on return. Where that fails there is
 * no file.
 *
 * @throws the operating system's error
 */
export function writeNewFile(files: Files, path: string, bytes: Uint8Array): void {
  try {
    const file = createAnew(files, path)
    try {
      writeFully(files, file, bytes, bytes.length, 0)
      files.sync(file)
    } finally {
      files.close(file)
    }
  } catch (error) {
    discard(files, path)
    throw error
  }
}

/** As {@link writeNewFile}; settles once the file is durable. */
export async function writeNewFileLater(
  files: Files,
  path: string,
  bytes: Uint8Array,
): Promise<void> {
  try {
    const file = await createAnewLater(files, path)
    try {
      writeFully(files, file, bytes, bytes.length, 0)
      await files.syncLater(file)
    } finally {
      files.close(file)
    }
  } catch (error) {
    discard(files, path)
    throw error
  }
}
