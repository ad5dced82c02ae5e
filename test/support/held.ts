import type { Files } from '../../src/io/files.ts'
import { type DirectoryId, HeldFiles } from '../../src/io/held-files.ts'

/** Uses a directory that is held, without its lock, until that is over. */
export async function withHeld<T>(
  files: Files,
  directory: string,
  use: (held: HeldFiles) => T | Promise<T>,
): Promise<T> {
  const held = HeldFiles.hold(files, directory, 'unlocked')
  try {
    return await use(held)
  } finally {
    held.release()
  }
}

/** A directory as it is now. */
export function directoryIdOf(files: Files, directory: string): DirectoryId {
  const held = HeldFiles.hold(files, directory, 'unlocked')
  held.release()
  return held.directoryId
}
