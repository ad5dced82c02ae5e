/** The merge thread: runs one job, tells its progress, answers its result, and ends. */

import { parentPort, workerData } from 'node:worker_threads'
import { systemFiles } from '../io/files.ts'
import { buildHint } from '../segment/hint-file.ts'
import { monotonicMs } from '../time.ts'
import { copySegments } from './copy.ts'
import type { ThreadMessage, ThreadTask } from './thread.ts'

const port = parentPort
if (port === null) throw new Error('This file is the merge thread; it is not to be run by itself')

const task = workerData as ThreadTask
const send = (message: ThreadMessage, transfer: ArrayBuffer[] = []): void =>
  port.postMessage(message, transfer)

if (task.kind === 'hint') {
  for (const job of task.jobs) buildHint(systemFiles, job)
  send({ kind: 'done', targets: [] })
} else {
  const copy = copySegments(systemFiles, task.job)
  const cancelled = new Int32Array(task.cancelled)
  const beganAt = monotonicMs()
  for (;;) {
    const step = copy.next()
    if (step.done === true) {
      send({ kind: 'done', targets: step.value })
      break
    }
    if (Atomics.load(cancelled, 0) === 1) {
      copy.return([])
      send({ kind: 'done', targets: [] })
      break
    }
    send({ kind: 'progress', progress: step.value })
    const { maxBytesPerSecond } = task.job
    if (maxBytesPerSecond > 0) {
      const dueMs = (step.value.bytesRead / maxBytesPerSecond) * 1000
      // Woken where it is cancelled.
      Atomics.wait(cancelled, 0, 0, Math.max(0, dueMs - (monotonicMs() - beganAt)))
    }
  }
}
