import {
  MessageChannel,
  type MessagePort,
  receiveMessageOnPort,
  type Transferable,
  Worker,
} from 'node:worker_threads'
import { CorruptionError, StoreError } from '../errors.ts'
import { timers } from '../scheduling/time.ts'
import type { HintJob } from '../segment/hint-file.ts'
import { type CopyJob, type CopyProgress, SourceError } from './copy.ts'
import type { CopyTarget } from './targets.ts'

/** What the merge thread is to do. */
export type ThreadTask =
  | { readonly kind: 'copy'; readonly job: CopyJob; readonly cancelled: SharedArrayBuffer }
  | { readonly kind: 'hint'; readonly jobs: readonly HintJob[] }

/** What the merge thread is given. */
export interface ThreadData {
  readonly task: ThreadTask
  /** Where it tells what it does. */
  readonly port: MessagePort
}

/** What the merge thread says. */
export type ThreadMessage =
  | { readonly kind: 'progress'; readonly progress: CopyProgress }
  | { readonly kind: 'done'; readonly targets: readonly CopyTarget[] }
  | { readonly kind: 'failed'; readonly error: ErrorData }

/** Copies that are being made. */
export interface Copying {
  /** Resolves when they are made; rejects with the signal's reason where that fires first, and leaves no files then. */
  readonly done: Promise<readonly CopyTarget[]>
  /** What `done` resolves to, for a caller that keeps the event loop from turning; `undefined` where it is not over. */
  look(): readonly CopyTarget[] | undefined
}

/** Runs the heavy part of a merge, and the making of hints; on a thread, or in a test on this one. */
export interface BackgroundWork {
  /**
   * Copies. What `onProgress` is told comes in a later turn, or while somebody looks. The job's lists of offsets are
   * given away.
   *
   * @throws the signal's reason where that has fired
   */
  copy(job: CopyJob, onProgress: (progress: CopyProgress) => void, signal: AbortSignal): Copying
  /** Makes the hints of sealed segments, one after the other. */
  hint(...jobs: HintJob[]): Promise<void>
}

/** The longest that a timer may have. */
const MAX_TIMER_MS = 2 ** 31 - 1

/**
 * Does it on a thread of its own, which ends with the task, or with the process: a thread keeps no process alive that
 * has nothing else to do and has forgotten to close its store. Who waits for one does so by {@link keepAlive}.
 */
export const threadWork: BackgroundWork = {
  copy(job, onProgress, signal) {
    signal.throwIfAborted()
    const cancelled = new SharedArrayBuffer(4)
    const cancel = (): void => {
      const flag = new Int32Array(cancelled)
      Atomics.store(flag, 0, 1)
      Atomics.notify(flag, 0)
    }
    signal.addEventListener('abort', cancel, { once: true })
    const lists = job.sources.map(({ live }) => live.buffer as ArrayBuffer)
    const copying = run({ kind: 'copy', job, cancelled }, onProgress, lists)
    const whole = (targets: readonly CopyTarget[]): readonly CopyTarget[] => {
      if (signal.aborted && targets.length === 0) signal.throwIfAborted()
      return targets
    }
    const done = copying.done.then(whole).finally(() => signal.removeEventListener('abort', cancel))
    // Who only looks hears of a failure there.
    done.catch(() => {})
    return {
      done,
      look: () => {
        const targets = copying.look()
        return targets && whole(targets)
      },
    }
  },
  async hint(...jobs) {
    await run({ kind: 'hint', jobs }, () => {}).done
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
  given: readonly Transferable[] = [],
): Copying {
  const { port1: here, port2: there } = new MessageChannel()
  const worker = new Worker(workerFile(), {
    workerData: { task, port: there } satisfies ThreadData,
    transferList: [there, ...given],
    name: 'firkin-merge',
    // What the process was started with may be for its main script only, `--input-type` for one.
    execArgv: [],
  })
  let targets: readonly CopyTarget[] | undefined
  let failure: { readonly error: unknown } | undefined
  const take = (message: ThreadMessage): void => {
    if (message.kind === 'progress') onProgress(message.progress)
    else if (message.kind === 'done') targets = message.targets
    else failure ??= { error: errorOf(message.error) }
  }
  const takeAll = (): void => {
    for (let got = receiveMessageOnPort(here); got !== undefined; got = receiveMessageOnPort(here))
      take(got.message)
  }
  here.on('message', take)
  // What it has said cannot be taken over, for want of memory say.
  here.on('messageerror', (error) => {
    failure ??= { error }
  })
  here.unref()
  const done = new Promise<readonly CopyTarget[]>((resolve, reject) => {
    worker.on('error', (error) => {
      failure ??= { error }
    })
    // It is over when the thread is: nothing of it goes on in the directory then.
    worker.on('exit', (code) => {
      takeAll()
      here.close()
      // A thread that ends in order has made its hints, or went with the process before it had begun.
      const answer = targets ?? (task.kind === 'hint' && code === 0 ? [] : undefined)
      if (answer !== undefined && failure === undefined) resolve(answer)
      else reject(failure?.error ?? new Error(`The merge thread ended with code ${code}`))
    })
  })
  // Last, for a listener takes it back. What the thread leaves at any moment is of no store, and goes at the next open.
  worker.unref()
  return {
    done,
    look: () => {
      if (targets === undefined) takeAll()
      if (failure !== undefined) throw failure.error
      return targets
    },
  }
}

/** What an error has beside what every error has, and is worth keeping. */
const FIELDS = ['code', 'errno', 'syscall', 'path', 'dest', 'file', 'offset'] as const

/** An error as plain data, which another thread can be sent. */
export interface ErrorData extends Partial<Record<(typeof FIELDS)[number], unknown>> {
  readonly name: string
  readonly message: string
  readonly stack: string | undefined
  readonly cause: ErrorData | string | undefined
}

/** An error for another thread. */
export function dataOf(error: unknown): ErrorData {
  if (!(error instanceof Error)) return dataOf(new Error(String(error)))
  const { name, message, stack, cause } = error
  const fields: Partial<Record<(typeof FIELDS)[number], unknown>> = {}
  for (const field of FIELDS) if (field in error) fields[field] = (error as ErrorData)[field]
  const from = cause instanceof Error ? dataOf(cause) : cause === undefined ? cause : String(cause)
  return { ...fields, name, message, stack, cause: from }
}

/** The error of another thread. */
function errorOf({ name, message, stack, cause: from, ...fields }: ErrorData): Error {
  const cause = typeof from === 'object' ? errorOf(from) : from
  if (fields.code === 'FIRKIN_MOVED') return new StoreError(fields.code, message)
  const file = String(fields.file)
  if (fields.code === 'FIRKIN_READ_FAILED') return new SourceError(file, cause)
  if (fields.code === 'FIRKIN_CORRUPT') {
    const offset = Number(fields.offset)
    return new CorruptionError(message.replace(` (${file}, offset ${offset})`, ''), file, offset)
  }
  return Object.assign(new Error(message, { cause }), fields, { name, stack })
}

/** A thread cannot load TypeScript on Node 20: run from source, it is taken from the build. */
function workerFile(): URL {
  const source = import.meta.url.endsWith('.ts')
  return new URL(source ? '../../dist/src/merge/worker.js' : './worker.js', import.meta.url)
}
