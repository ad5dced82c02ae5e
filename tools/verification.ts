import { resolve } from 'node:path'
import { generationOf } from '../src/inspection/directory.ts'
import {
  type VerifyProgress,
  type VerifyReport,
  verifyDirectory,
} from '../src/inspection/verify.ts'
import { systemFiles } from '../src/io/files.ts'
import { lockHolder } from '../src/io/lock.ts'
import type { Call } from './session.ts'

/** How often a store is read again whose writer has replaced the set of segments meanwhile. */
const MAX_ATTEMPTS = 5

/**
 * Reads every byte of a store, beside its writer should it have one.
 *
 * @param onProgress told how far it has come
 *
 * @throws {@link StoreError} FIRKIN_NOT_FOUND, FIRKIN_VERSION, FIRKIN_READ_FAILED
 */
export async function verifyStore(
  { output, interrupt }: Pick<Call, 'output' | 'interrupt'>,
  directory: string,
  onProgress: (progress: VerifyProgress) => void = () => undefined,
): Promise<VerifyReport> {
  const path = resolve(directory)
  for (let attempt = 1; ; attempt++) {
    const live = lockHolder(path) !== undefined
    const before = live ? generationOf(systemFiles, path) : undefined
    using progress = output.progress('verify', 'bytes')
    const report = await verifyDirectory(systemFiles, path, {
      live,
      onProgress(come) {
        onProgress(come)
        interrupt.throwIfAborted()
        progress.update(come.bytesRead, come.bytesTotal)
      },
    })
    // Files that a merge has deleted under the reader's eyes are no damage.
    const mayPass = live && generationOf(systemFiles, path) !== before
    if (report.ok || !mayPass || attempt === MAX_ATTEMPTS) return report
  }
}
