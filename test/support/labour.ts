import { setImmediate } from 'node:timers/promises'
import type { Files } from '../../src/io/files.ts'
import { copySegments } from '../../src/merge/copy.ts'
import type { Labour } from '../../src/merge/thread.ts'
import { buildHint } from '../../src/segment/hint-file.ts'

/** Does the heavy part of a merge, and hints, on this thread and on `files`, giving way after each step. */
export function inProcessLabour(files: Files): Labour {
  return {
    async copy(job, onProgress, signal) {
      const copy = copySegments(files, job)
      for (;;) {
        await setImmediate()
        if (signal.aborted) copy.return([])
        signal.throwIfAborted()
        const step = copy.next()
        if (step.done === true) return step.value
        onProgress(step.value)
      }
    },
    async hint(...jobs) {
      for (const job of jobs) {
        await setImmediate()
        buildHint(files, job)
      }
    },
  }
}
