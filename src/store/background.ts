/**
 * The background of a store: the work on its engine that no caller waits for.
 *
 * - A store that is open for writing seals segments and makes their hints, merges, sweeps expired
 *   keys, and keeps a reserve.
 * - A read-only store follows its writer, if the option `follow` says so.
 *
 * What the engine and this work report becomes an event of the store; a failure without a listener
 * becomes a process warning.
 */

import type { Engine } from '../engine/engine.ts'
import { Follower } from '../engine/follower.ts'
import { Merger } from '../engine/merge.ts'
import { asStoreError, type OpenEngine } from '../engine/open-engine.ts'
import { Sealer } from '../engine/sealer.ts'
import { Sweeper } from '../engine/sweeper.ts'
import type { MergeReport } from '../merge/options.ts'
import type { BackgroundWork } from '../merge/thread.ts'
import type { ResolvedOptions } from '../options.ts'
import { Chores } from '../scheduling/chores.ts'
import { systemLoop } from '../scheduling/event-loop.ts'
import { Reserve } from '../segment/reserve.ts'
import type { Segments } from '../segment/segments.ts'
import type { Environment } from './environment.ts'
import type { Events } from './events.ts'

/** The interval at which merging is considered, in milliseconds. */
const MERGE_LOOK_MS = 1000

/** The background work of one store. */
export class Background {
  /** These three are there if the store is open for writing. */
  readonly sealer: Sealer | undefined
  readonly merger: Merger | undefined
  readonly sweeper: Sweeper | undefined
  /** Only of a read-only store. */
  readonly follower: Follower | undefined
  /** The merges that have finished. */
  readonly mergeTotals = { count: 0, bytesRead: 0, bytesGained: 0 }
  readonly #opened: OpenEngine
  readonly #engine: Engine
  readonly #chores: Chores
  readonly #events: Events

  constructor(
    opened: OpenEngine,
    options: ResolvedOptions<unknown>,
    { backgroundWork, loop = systemLoop }: Environment,
    events: Events,
  ) {
    const { engine } = opened
    this.#opened = opened
    this.#engine = engine
    this.#events = events
    this.#chores = new Chores(loop, (error) => opened.reportError(error))
    opened.serve({
      synced: () => this.sealer?.sealLater(),
      rotated: (segment) => {
        this.merger?.weigh()
        events.emit('rotate', { segment })
      },
      stalled: (byteCount) => {
        this.#chores.catchUp()
        this.merger?.work(byteCount)
      },
      failed: (error) => events.error(error),
    })
    if (options.readOnly) {
      this.follower = this.#follow(options)
      return
    }
    beginReserve(engine.segments, options.reserveBytes)
    this.sweeper = new Sweeper(engine, this.#chores, loop, options.expiryIntervalMs)
    this.sealer = this.#sealInBackground(backgroundWork)
    this.merger = this.#mergeInBackground(options, this.sealer, backgroundWork)
    this.sealer.backfill(opened.recovery.unhinted)
    this.#chores.every(MERGE_LOOK_MS, () => this.considerMerging())
  }

  /** Starts a merge if one is due, and weighs how far merging is behind. */
  considerMerging(): void {
    this.merger?.consider()
    this.merger?.weigh()
  }

  /** Returns an error that a follower failed with, as an error of the store's. */
  followError(error: unknown): Error {
    return asStoreError(error, `Cannot see what was written to ${this.#opened.directory}`)
  }

  /** Stops what begins by time, and gives up the files that are kept ready. */
  stopTimers(): void {
    this.#chores.stop()
    this.#opened.stopPreparing()
  }

  /** Ends following, merging and sealing, and closes all views. */
  async end(): Promise<void> {
    await this.follower?.stop()
    this.#engine.live.views.closeAll()
    await this.merger?.stop()
    await this.sealer?.end()
  }

  #follow(options: ResolvedOptions<unknown>): Follower {
    return new Follower(this.#engine, options, options.followMs, {
      failed: (error) => this.#opened.reportError(this.followError(error)),
      resumed: () => this.#events.emit('resume'),
    })
  }

  #sealInBackground(backgroundWork: BackgroundWork): Sealer {
    const { durability, segments } = this.#engine
    durability.isSealing = true
    return new Sealer(segments, backgroundWork, {
      sealed: () => {
        durability.sealed()
        this.considerMerging()
      },
      failed: (message, cause) => {
        durability.sealed()
        this.#opened.reportFailure(message, cause)
      },
    })
  }

  #mergeInBackground(
    options: ResolvedOptions<unknown>,
    sealer: Sealer,
    backgroundWork: BackgroundWork,
  ): Merger {
    const events = this.#events
    return new Merger(this.#engine, options, sealer, backgroundWork, {
      started: (plan) => events.emit('merge', { phase: 'start', plan }),
      progressed: (progress) => events.emit('merge', { phase: 'progress', ...progress }),
      finished: (report) => this.#mergeFinished(report),
      failed: (error) => this.#opened.reportError(error),
      pressed: (pressure) => events.emit('pressure', pressure),
    })
  }

  #mergeFinished(report: MergeReport): void {
    this.mergeTotals.count++
    this.mergeTotals.bytesRead += report.bytesRead
    this.mergeTotals.bytesGained += report.bytesGained
    this.#events.emit('merge', { phase: 'end', ...report })
  }
}

function beginReserve(segments: Segments, byteCount: number): void {
  segments.reserve = new Reserve(segments.context, byteCount)
  segments.closeWith(segments.reserve)
  segments.reserve.begin()
}
