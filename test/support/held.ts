/** Holds directories without their locks. */

import type { Files } from '../../src/io/files.ts'
import { type DirectoryId, HeldFiles } from '../../src/io/held-files.ts'

/** Holds a directory, without its lock, while `use` runs. */
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

/** Returns the place of a directory as it is now. */
export function directoryIdOf(files: Files, directory: string): DirectoryId {
  const held = HeldFiles.hold(files, directory, 'unlocked')
  held.release()
  return held.directoryId
}
