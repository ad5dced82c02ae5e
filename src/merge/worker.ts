/** The merge thread: runs one task, reports its progress and result, and ends. */

import { isMainThread, type Transferable, workerData } from 'node:worker_threads'
import { systemFiles } from '../io/files.ts'
import { monotonicMs } from '../scheduling/time.ts'
import { buildHint } from '../segment/hint-file.ts'
import { type CopyJob, copySegments } from './copy.ts'
import type { CopyTarget } from './targets.ts'
import { dataOf, type ThreadData, type ThreadMessage } from './thread.ts'

if (isMainThread) throw new Error('This file is the merge thread; it is not to be run by itself')

const { task, port } = workerData as ThreadData
const send = (message: ThreadMessage, given: readonly Transferable[] = []): void =>
  port.postMessage(message, given)

try {
  if (task.kind === 'hint') {
    for (const job of task.jobs) buildHint(systemFiles, job)
    send({ kind: 'done', targets: [] })
  } else {
    const targets = copy(task.job, new Int32Array(task.cancelled))
    send(
      { kind: 'done', targets },
      targets.map(({ hint }) => hint.buffer as ArrayBuffer),
    )
  }
} catch (error) {
  send({ kind: 'failed', error: dataOf(error) })
}
port.close()

/** Copies at the allowed pace; returns no targets if it is cancelled. */
function copy(job: CopyJob, cancelled: Int32Array<SharedArrayBuffer>): readonly CopyTarget[] {
  const { maxBytesPerSecond } = job
  const beganAt = monotonicMs()
  const work = copySegments(systemFiles, job)
  for (;;) {
    const step = work.next()
    if (step.done === true) return step.value
    if (Atomics.load(cancelled, 0) === 1) {
      work.return([])
      return []
    }
    send({ kind: 'progress', progress: step.value })
    if (maxBytesPerSecond > 0) {
      const dueMs = (step.value.bytesRead / maxBytesPerSecond) * 1000
      // Cancelling wakes it.
      Atomics.wait(cancelled, 0, 0, Math.max(0, dueMs - (monotonicMs() - beganAt)))
    }
  }
}
