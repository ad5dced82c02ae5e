/** Verifies the files of a store that is open. */

import type { Engine } from '../engine/engine.ts'
import type { Sealer } from '../engine/sealer.ts'
import { type VerifyReport, verifyDirectory } from '../inspection/verify.ts'

/**
 * Reads every byte of every file of an open store, and reports what is wrong.
 *
 * @param sealer knows which hints are still to be made
 * @param closing ends it
 */
export async function verifyOpenStore(
  engine: Engine,
  sealer: Sealer | undefined,
  closing: AbortSignal,
): Promise<VerifyReport> {
  if (!engine.options.readOnly) engine.commits.flush()
  // What a merge retires meanwhile stays until all is read.
  const view = engine.openView()
  try {
    const { files, directory } = engine.segments.context
    // What is read by name must be what is open.
    files.assertThere()
    const isHintDue = (id: number): boolean => sealer?.isHintDue(id) ?? false
    return await verifyDirectory(files, directory, { live: true, isHintDue, signal: closing })
  } finally {
    engine.live.views.close(view)
  }
}
