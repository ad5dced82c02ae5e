/** The outside world of a store: files, threads and the event loop. */

import { type Files, systemFiles } from '../io/files.ts'
import { type BackgroundWork, threadWork } from '../merge/thread.ts'
import type { EventLoop } from '../scheduling/event-loop.ts'

/** The parts of the outside world that a store uses. Tests replace them. */
export interface Environment {
  readonly files: Files
  readonly backgroundWork: BackgroundWork
  /** The event loop that writes make turn. @defaultValue the one that this runs on */
  readonly loop?: EventLoop
}

/** The operating system's files and this process's threads. */
export const systemEnvironment: Environment = { files: systemFiles, backgroundWork: threadWork }
