/** Runs background work in the process and on the thread of the test. */

import { setImmediate } from 'node:timers/promises'
import type { Files } from '../../src/io/files.ts'
import { copySegments } from '../../src/merge/copy.ts'
import type { CopyTarget } from '../../src/merge/targets.ts'
import type { BackgroundWork, Copying } from '../../src/merge/thread.ts'
import { buildHint } from '../../src/segment/hint-file.ts'

/**
 * Copies and makes hints on this thread and on `files`, with a turn of the loop after each step.
 */
export function inProcessWork(files: Files): BackgroundWork {
  return {
    copy(job, onProgress, signal) {
      const copy = copySegments(files, job)
      let targets: readonly CopyTarget[] | undefined
      let failure: { readonly error: unknown } | undefined
      const step = (): readonly CopyTarget[] | undefined => {
        // A caller that polls gets the same failure as one that waits.
        if (failure !== undefined) throw failure.error
        if (targets !== undefined) return targets
        try {
          if (signal.aborted) copy.return([])
          signal.throwIfAborted()
          const { done, value } = copy.next()
          if (done === true) targets = value
          else onProgress(value)
        } catch (error) {
          failure = { error }
          throw error
        }
        return targets
      }
      const steps = async (): Promise<readonly CopyTarget[]> => {
        for (;;) {
          await setImmediate()
          const made = step()
          if (made !== undefined) return made
        }
      }
      const done = steps()
      done.catch(() => undefined)
      return { done, look: step }
    },
    async hint(...jobs) {
      for (const job of jobs) {
        await setImmediate()
        buildHint(files, job)
      }
    },
  }
}

/** Makes a copying that ends with a promise, for callers that wait and for those that poll. */
export function copyingBy(done: Promise<readonly CopyTarget[]>): Copying {
  let look: Copying['look'] = () => undefined
  done.then(
    (targets) => {
      look = () => targets
    },
    (error: unknown) => {
      look = () => {
        throw error
      }
    },
  )
  return { done, look: () => look() }
}
