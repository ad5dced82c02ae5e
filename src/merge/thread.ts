/**
 * Runs copies and hints on a thread, from the side of the thread that asks for them; worker.ts is
 * the other side.
 */

import type { MessagePort, Transferable } from 'node:worker_threads'
import { CorruptionError, isError, StoreError } from '../errors.ts'
import { timers } from '../scheduling/time.ts'
import type { HintJob } from '../segment/hint-file.ts'
import { type CopyJob, type CopyProgress, SourceError } from './copy.ts'
import type { CopyTarget } from './targets.ts'
import { threadProgram } from './thread-program.ts'

/** A task of the merge thread. */
type ThreadTask =
  | { readonly kind: 'copy'; readonly job: CopyJob; readonly cancelled: SharedArrayBuffer }
  | { readonly kind: 'hint'; readonly jobs: readonly HintJob[] }

/** The data that the merge thread is started with. */
export interface ThreadData {
  readonly task: ThreadTask
  /** Takes the thread's messages. */
  readonly port: MessagePort
}

/** A message of the merge thread. */
export type ThreadMessage =
  | { readonly kind: 'progress'; readonly progress: CopyProgress }
  | { readonly kind: 'done'; readonly targets: readonly CopyTarget[] }
  | { readonly kind: 'failed'; readonly error: ErrorData }

/** Copies that are being made. */
export interface Copying {
  /**
   * Resolves when they are made. Rejects with the signal's reason if that fires first, and then
   * leaves no files.
   */
  readonly done: Promise<readonly CopyTarget[]>
  /**
   * Returns what `done` resolves to, for a caller that keeps the event loop from turning;
   * `undefined` if it is not over.
   */
  look(): readonly CopyTarget[] | undefined
}

/** Runs the heavy part of a merge, and makes hints: on a thread, or, in a test, on this one. */
export interface BackgroundWork {
  /**
   * Copies. `onProgress` is called in a later turn, or while someone looks. The job's lists of
   * offsets are given away.
   *
   * @throws the signal's reason if that has fired
   */
  copy(job: CopyJob, onProgress: (progress: CopyProgress) => void, signal: AbortSignal): Copying
  /** Makes the hints of sealed segments, one after the other. */
  hint(...jobs: HintJob[]): Promise<void>
}

/** The longest delay that a timer may have. */
const MAX_TIMER_MS = 2 ** 31 - 1

/**
 * Does the work on a thread of its own, which ends with the task or with the process. A thread does
 * not keep alive a process that has nothing else to do and has forgotten to close its store;
 * whoever waits for a thread uses {@link keepAlive}.
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
    // A caller that only looks gets the failure there.
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

/** Returns the result of `work`, and keeps the process alive until it is over. */
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
  // Loaded when there is something to do: few processes live that long.
  const { MessageChannel, receiveMessageOnPort, Worker } =
    process.getBuiltinModule('node:worker_threads')
  const { port1: here, port2: there } = new MessageChannel()
  const worker = new Worker(threadProgram.program, {
    eval: threadProgram.eval,
    workerData: { task, port: there } satisfies ThreadData,
    transferList: [there, ...given],
    name: 'firkin-merge',
    // The arguments that the process was started with may be for its main script only, such as
    // `--input-type`.
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
  // Its message could not be received, for lack of memory for example.
  here.on('messageerror', (error) => {
    failure ??= { error }
  })
  here.unref()
  const done = new Promise<readonly CopyTarget[]>((resolve, reject) => {
    worker.on('error', (error) => {
      failure ??= { error }
    })
    // It is over when the thread is: nothing of it goes on in the directory after that.
    worker.on('exit', (code) => {
      takeAll()
      here.close()
      // A thread that ends in order has made its hints, or ended with the process before it had
      // begun.
      const answer = targets ?? (task.kind === 'hint' && code === 0 ? [] : undefined)
      if (answer !== undefined && failure === undefined) resolve(answer)
      else reject(failure?.error ?? new Error(`The merge thread ended with code ${code}`))
    })
  })
  // Last, because adding a listener undoes it. What the thread leaves at any moment belongs to no
  // store, and the next open removes it.
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

/** The fields worth keeping of an error, besides those that every error has. */
const FIELDS = ['code', 'errno', 'syscall', 'path', 'dest', 'file', 'offset'] as const

/** An error as plain data, which can be sent to another thread. */
interface ErrorData extends Partial<Record<(typeof FIELDS)[number], unknown>> {
  readonly name: string
  readonly message: string
  readonly stack: string | undefined
  readonly cause: ErrorData | string | undefined
}

/** Turns an error into data for another thread. */
export function dataOf(error: unknown): ErrorData {
  if (!isError(error)) return dataOf(new Error(String(error)))
  const { name, message, stack, cause } = error
  const fields: Partial<Record<(typeof FIELDS)[number], unknown>> = {}
  for (const field of FIELDS) if (field in error) fields[field] = (error as ErrorData)[field]
  const from = isError(cause) ? dataOf(cause) : cause === undefined ? cause : String(cause)
  return { ...fields, name, message, stack, cause: from }
}

/** Turns the data of another thread back into an error. */
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
