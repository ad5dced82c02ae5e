/**
 * The events of a store.
 *
 * Invariant: no listener runs in the middle of an operation. An event is emitted once what runs now
 * is over, so a listener may call any method; what it throws is an uncaught exception.
 */

import { EventEmitter } from 'node:events'
import type { MergeProgress, MergeReport } from '../merge/options.ts'
import type { MergePlan } from '../merge/plan.ts'
import type { Pressure } from '../merge/pressure.ts'
import type { RecoveryReport } from '../recovery/report.ts'
import { afterThis } from '../scheduling/time.ts'

/** The events of a store, each with what its listeners get. */
export interface StoreEvents {
  /** The report of opening; emitted in the turn after `open` resolved. */
  recover: [report: RecoveryReport]
  /** A new segment was begun. */
  rotate: [event: { readonly segment: number }]
  /** A merge started, progresses, or has ended. */
  merge: [event: MergeEvent]
  /**
   * A store that follows its writer can do so again. An event `error` reported that it could not:
   * once, and once more if the reason changed.
   */
  resume: []
  /**
   * Writers are slowed because merging is behind, or no longer are; or more is on disk than the
   * target.
   */
  pressure: [event: Pressure]
  /** Something failed that no caller waits for. Without a listener it is a process warning. */
  error: [error: Error]
}

/** A step of a merge. */
export type MergeEvent =
  | { readonly phase: 'start'; readonly plan: MergePlan }
  | ({ readonly phase: 'progress' } & MergeProgress)
  | ({ readonly phase: 'end' } & MergeReport)

/** The listeners of one store. */
export class Events {
  readonly #emitter = new EventEmitter<StoreEvents>()

  /** Calls `listener` at each event of this name. */
  on<N extends keyof StoreEvents>(name: N, listener: (...args: StoreEvents[N]) => void): void {
    this.#emitter.on(name, listener as never)
  }

  /** Calls `listener` at the next event of this name. */
  once<N extends keyof StoreEvents>(name: N, listener: (...args: StoreEvents[N]) => void): void {
    this.#emitter.once(name, listener as never)
  }

  /** Stops calling `listener`. */
  off<N extends keyof StoreEvents>(name: N, listener: (...args: StoreEvents[N]) => void): void {
    this.#emitter.off(name, listener as never)
  }

  /** Emits an event once what runs now is over. */
  emit<N extends keyof StoreEvents>(name: N, ...args: StoreEvents[N]): void {
    afterThis(() => this.emitNow(name, ...args))
  }

  /** Emits an event at once, outside of any operation. */
  emitNow<N extends keyof StoreEvents>(name: N, ...args: StoreEvents[N]): void {
    this.#emitter.emit(name, ...(args as never))
  }

  /** Emits the event `error`, or a process warning if nobody listens. */
  error(error: Error): void {
    if (this.#emitter.listenerCount('error') > 0) this.emit('error', error)
    else process.emitWarning(error)
  }
}
