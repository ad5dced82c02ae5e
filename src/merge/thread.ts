import { Worker } from 'node:worker_threads'
import { CorruptionError, StoreError } from '../errors.ts'
import type { HintJob } from '../segment/hint-file.ts'
import { timers } from '../time.ts'
import { type CopyJob, type CopyProgress, SourceError } from './copy.ts'
import type { CopyTarget } from './targets.ts'

/** What the merge thread is to do. */
export type ThreadTask =
  | { readonly kind: 'copy'; readonly job: CopyJob; readonly cancelled: SharedArrayBuffer }
  | { readonly kind: 'hint'; readonly jobs: readonly HintJob[] }

/** What the merge thread says. */
export type ThreadMessage =
  | { readonly kind: 'progress'; readonly progress: CopyProgress }
  | { readonly kind: 'done'; readonly targets: readonly CopyTarget[] }

/** Runs the heavy part of a merge, and the making of hints; on a thread, or in a test on this one. */
export interface Labour {
  /** Copies; rejects with the signal's reason where that fires first, and leaves no files then. */
  copy(
    job: CopyJob,
    onProgress: (progress: CopyProgress) => void,
    signal: AbortSignal,
  ): Promise<readonly CopyTarget[]>
  /** Makes the hints of sealed segments, one after the other. */
  hint(...jobs: HintJob[]): Promise<void>
}

/** The longest that a timer may have. */
const MAX_TIMER_MS = 2 ** 31 - 1

/**
 * Does it on a thread of its own, which ends with the task, or with the process: a thread keeps no process alive that
 * has nothing else to do and has forgotten to close its store. Who waits for one does so by {@link keepAlive}.
 */
export const threadLabour: Labour = {
  async copy(job, onProgress, signal) {
    const cancelled = new SharedArrayBuffer(4)
    const cancel = (): void => {
      const flag = new Int32Array(cancelled)
      Atomics.store(flag, 0, 1)
      Atomics.notify(flag, 0)
    }
    signal.addEventListener('abort', cancel, { once: true })
    try {
      signal.throwIfAborted()
      const targets = await run({ kind: 'copy', job, cancelled }, onProgress)
      if (signal.aborted && targets.length === 0) signal.throwIfAborted()
      return targets
    } finally {
      signal.removeEventListener('abort', cancel)
    }
  },
  async hint(...jobs) {
    await run({ kind: 'hint', jobs }, () => {})
  },
}

/** Answers `work`, and keeps the process alive until that is over. */
export async function keepAlive<T>(work: Promise<T>): Promise<T> {
  const timer = timers.setInterval(() => {}, MAX_TIMER_MS)
  try {
    return await work
  } finally {
    timers.clearInterval(timer)
  }
}

function run(
  task: ThreadTask,
  onProgress: (progress: CopyProgress) => void,
): Promise<readonly CopyTarget[]> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(workerFile(), {
      workerData: task,
      name: 'firkin-merge',
      // What the process was started with may be for its main script only, `--input-type` for one.
      execArgv: [],
    })
    let targets: readonly CopyTarget[] | undefined
    let failure: unknown
    worker.on('message', (message: ThreadMessage) => {
      if (message.kind === 'progress') onProgress(message.progress)
      else targets = message.targets
    })
    worker.on('error', (error) => {
      failure = withClass(error)
    })
    // What it has said cannot be taken over, for want of memory say.
    worker.on('messageerror', (error) => {
      failure ??= error
    })
    // It is over when the thread is: nothing of it goes on in the directory then.
    worker.on('exit', (code) => {
      // A thread that ends in order has made its hints, or went with the process before it had begun.
      const answer = targets ?? (task.kind === 'hint' && code === 0 ? [] : undefined)
      if (answer !== undefined && failure === undefined) resolve(answer)
      else reject(failure ?? new Error(`The merge thread ended with code ${code}`))
    })
    // Last, for a listener takes it back. What the thread leaves at any moment is of no store, and goes at the next open.
    worker.unref()
  })
}

/** An error that came from another thread has its fields, but not its class. */
function withClass(error: unknown): unknown {
  if (!(error instanceof Error) || !('code' in error)) return error
  if (error.code === 'FIRKIN_MOVED') return new StoreError(error.code, error.message)
  if (!('file' in error)) return error
  if (error.code === 'FIRKIN_READ_FAILED') return new SourceError(String(error.file), error.cause)
  if (error.code !== 'FIRKIN_CORRUPT') return error
  const { message, file, offset } = error as CorruptionError
  return new CorruptionError(message.replace(` (${file}, offset ${offset})`, ''), file, offset)
}

/** A thread cannot load TypeScript on Node 20: run from source, it is taken from the build. */
function workerFile(): URL {
  const source = import.meta.url.endsWith('.ts')
  return new URL(source ? '../../dist/src/merge/worker.js' : './worker.js', import.meta.url)
}
