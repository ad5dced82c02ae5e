/** Looks at a store again if its writer replaces the set of segments meanwhile. */

import { CorruptionError, isError } from '../errors.ts'
import { errorCode, type Files } from '../io/files.ts'
import { lockHolder } from '../io/lock.ts'
import { generationOf } from './directory.ts'
import type { VerifyReport } from './verify.ts'

/** The most attempts to look at a store. */
const MAX_ATTEMPTS = 100

/** The most attempts to verify a store, which takes longer. */
const MAX_VERIFICATIONS = 5

/**
 * Looks at a store's files, and returns what `look` returns. If `look` fails because a merge of the
 * writer has deleted a file, it is called again.
 *
 * @throws whatever `look` throws for any other reason
 */
export async function steadily<T>(
  files: Files,
  directory: string,
  look: () => T | Promise<T>,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    const before = generationOf(files, directory)
    try {
      return await look()
    } catch (error) {
      const mayPass = isOfFiles(error) && generationOf(files, directory) !== before
      if (!mayPass || attempt === MAX_ATTEMPTS) throw error
    }
  }
}

/**
 * Verifies a store beside its writer, if it has one. If damage is found and a merge has replaced
 * the set of segments meanwhile, `verify` is called again: files that the merge has deleted are not
 * damage.
 *
 * @param verify verifies the store once; it is told whether the store is open for writing
 */
export async function verifySteadily(
  files: Files,
  directory: string,
  verify: (live: boolean) => Promise<VerifyReport>,
): Promise<VerifyReport> {
  for (let attempt = 1; ; attempt++) {
    const live = lockHolder(directory) !== undefined
    const before = live ? generationOf(files, directory) : undefined
    const report = await verify(live)
    const mayPass = live && generationOf(files, directory) !== before
    if (report.ok || !mayPass || attempt === MAX_VERIFICATIONS) return report
  }
}

/** Whether an error says that a file is missing, or not as the manifest says. */
function isOfFiles(error: unknown): boolean {
  if (!isError(error)) return false
  return error instanceof CorruptionError || errorCode(error) === 'ENOENT' || isOfFiles(error.cause)
}
