import { join, resolve } from 'node:path'
import { CorruptionError } from '../src/errors.ts'
import { MANIFEST_NAME } from '../src/format/names.ts'
import { errorCode, systemFiles } from '../src/io/files.ts'
import { readManifest } from '../src/segment/manifest-file.ts'
import { asReadFailure } from './failure.ts'

/** How often a store is looked at whose writer replaces the set of segments under the looker's eyes. */
const MAX_ATTEMPTS = 100

/**
 * Answers a look at a store's files. Where a merge of the writer has deleted what was looked for, it looks again.
 *
 * @throws whatever `look` does, where the writer is not the reason
 */
export async function steadily<T>(directory: string, look: () => T | Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    const before = generationOf(directory)
    try {
      return await look()
    } catch (error) {
      const mayPass = isOfFiles(error) && generationOf(directory) !== before
      if (!mayPass || attempt === MAX_ATTEMPTS) throw error
    }
  }
}

/** Which set of segments a store has: another number is another set; `undefined` where there is none. */
export function generationOf(directory: string): number | undefined {
  const path = resolve(directory)
  try {
    return readManifest(systemFiles, path)?.generation
  } catch (error) {
    throw asReadFailure(error, join(path, MANIFEST_NAME))
  }
}

/** Whether an error is that a file is not there, or not as the manifest says. */
function isOfFiles(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  return error instanceof CorruptionError || errorCode(error) === 'ENOENT' || isOfFiles(error.cause)
}
