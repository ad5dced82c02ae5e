/**
 * Files that replace others atomically: they are written as a whole under a temporary name, and are
 * durable before they are renamed.
 */

import {
  createOrReplace,
  createOrReplaceLater,
  discard,
  type FileDescriptor,
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

/** Like {@link writeNewFile}, of several pieces; settles once the file is durable. */
export async function writeNewFileLater(
  files: Files,
  path: string,
  pieces: Iterable<Uint8Array>,
): Promise<void> {
  try {
    const file = await createOrReplaceLater(files, path)
    try {
      writePieces(files, file, pieces)
      await files.syncLater(file)
    } finally {
      files.close(file)
    }
  } catch (error) {
    discard(files, path)
    throw error
  }
}

/** Writes pieces to the beginning of a file, one after the other. */
export function writePieces(
  files: Files,
  file: FileDescriptor,
  pieces: Iterable<Uint8Array>,
): void {
  let position = 0
  for (const piece of pieces) {
    writeFully(files, file, piece, piece.length, position)
    position += piece.length
  }
}

/**
 * Renames a new file, replacing the one that has its name. If that fails, the new file is removed.
 *
 * @throws the operating system's error
 */
export function installNewFile(files: Files, temporary: string, path: string): void {
  try {
    files.rename(temporary, path)
  } catch (error) {
    discard(files, temporary)
    throw error
  }
}
