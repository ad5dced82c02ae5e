import { resolve } from 'node:path'
import { CorruptionError } from '../errors.ts'
import { errorCode, systemFiles } from '../io/files.ts'
import { generationOf } from './directory.ts'

/** How often a store is looked at whose writer replaces the set of segments under the looker's eyes. */
const MAX_ATTEMPTS = 100

/**
 * Answers a look at a store's files. Where a merge of the writer has deleted what was looked for, it looks again.
 *
 * @throws whatever `look` does, where the writer is not the reason
 */
export async function steadily<T>(directory: string, look: () => T | Promise<T>): Promise<T> {
  const path = resolve(directory)
  for (let attempt = 1; ; attempt++) {
    const before = generationOf(systemFiles, path)
    try {
      return await look()
    } catch (error) {
      const mayPass = isOfFiles(error) && generationOf(systemFiles, path) !== before
      if (!mayPass || attempt === MAX_ATTEMPTS) throw error
    }
  }
}

/** Whether an error is that a file is not there, or not as the manifest says. */
function isOfFiles(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  return error instanceof CorruptionError || errorCode(error) === 'ENOENT' || isOfFiles(error.cause)
}
