/** Verifies a store and shows the progress. */

import { resolve } from 'node:path'
import { verifySteadily } from '../src/inspection/steady.ts'
import type { VerifyProgress } from '../src/inspection/verification.ts'
import { type VerifyReport, verifyDirectory } from '../src/inspection/verify.ts'
import { systemFiles } from '../src/io/files.ts'
import type { Call } from './session.ts'

/**
 * Reads every byte of a store, beside its writer if it has one, and shows the progress.
 *
 * @param onProgress called with the progress
 *
 * @throws {@link StoreError} FIRKIN_NOT_FOUND, FIRKIN_VERSION, FIRKIN_READ_FAILED
 */
export async function verifyStore(
  { output, interrupt }: Pick<Call, 'output' | 'interrupt'>,
  directory: string,
  onProgress: (progress: VerifyProgress) => void = () => undefined,
): Promise<VerifyReport> {
  const path = resolve(directory)
  return await verifySteadily(systemFiles, path, async (live) => {
    using progress = output.progress('verify', 'bytes')
    return await verifyDirectory(systemFiles, path, {
      live,
      onProgress(come) {
        onProgress(come)
        interrupt.throwIfAborted()
        progress.update(come.bytesRead, come.bytesTotal)
      },
    })
  })
}
