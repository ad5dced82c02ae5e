/** The outside world of a store: files, threads, the event loop, and a cache that adopts it. */

import type { Engine } from '../engine/engine.ts'
import { type Files, systemFiles } from '../io/files.ts'
import { type BackgroundWork, threadWork } from '../merge/thread.ts'
import type { EventLoop } from '../scheduling/event-loop.ts'

/** The parts of the outside world that a store uses. Tests replace them. */
export interface Environment {
  readonly files: Files
  readonly backgroundWork: BackgroundWork
  /** The event loop that writes make turn. @defaultValue the one that this runs on */
  readonly loop?: EventLoop
  /**
   * Takes over the engine, for a cache, which then decides what is removed, and when. The store
   * neither seals nor merges, makes no hints, and does not look for expired keys.
   */
  readonly adopt?: (engine: Engine) => Adopter
}

/** The owner of an engine that was taken over from a store. */
export interface Adopter {
  /** As `stalled` of {@link EngineListener}. */
  stalled(): void
}

/** The operating system's files and this process's threads. */
export const systemEnvironment: Environment = { files: systemFiles, backgroundWork: threadWork }
