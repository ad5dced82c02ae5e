/**
 * Files that are written as a whole under a temporary name, and are durable before they are
 * renamed.
 */

import {
  createOrReplace,
  createOrReplaceLater,
  discard,
  type Files,
  writeFully,
} from './files.ts'

/**
 * Writes a file of these bytes, replacing one that an earlier failure has left; durable on return.
 * If that fails, there is no file.
 *
 * @throws the operating system's error
 */
export function writeNewFile(files: Files, path: string, bytes: Uint8Array): void {
  try {
    const file = createOrReplace(files, path)
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

/** Like {@link writeNewFile}; settles once the file is durable. */
export async function writeNewFileLater(
  files: Files,
  path: string,
  bytes: Uint8Array,
): Promise<void> {
  try {
    const file = await createOrReplaceLater(files, path)
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
