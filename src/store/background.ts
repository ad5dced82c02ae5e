/**
 * The background of a store: its engine, and the work on it that no caller waits for.
 *
 * - A store that is open for writing seals segments and makes their hints, merges, sweeps expired
 *   keys, and keeps a reserve.
 * - A read-only store follows its writer, if it is to.
 * - A cache that has adopted the engine does all of that itself.
 *
 * What the engine and this work report becomes an event of the store; a failure without a listener
 * becomes a process warning.
 */

import { Engine, type EngineListener } from '../engine/engine.ts'
import { Follower } from '../engine/follower.ts'
import { Merger } from '../engine/merge.ts'
import { Sealer } from '../engine/sealer.ts'
import { Sweeper } from '../engine/sweeper.ts'
import { isMoved } from '../errors.ts'
import type { MergeReport } from '../merge/options.ts'
import type { BackgroundWork } from '../merge/thread.ts'
import type { ResolvedOptions } from '../options.ts'
import type { Recovered, RecoveryReport } from '../recovery/recovery.ts'
import { Chores } from '../scheduling/chores.ts'
import { systemLoop } from '../scheduling/event-loop.ts'
import { Reserve } from '../segment/reserve.ts'
import type { Segments } from '../segment/segments.ts'
import type { Adopter, Environment } from './environment.ts'
import type { Events } from './events.ts'
import { asStoreError } from './open.ts'

/** The interval at which merging is considered, in milliseconds. */
const MERGE_LOOK_MS = 1000

/** The engine of one store, with its background work. */
export class Background {
  readonly engine: Engine
  /** The report of opening. */
  readonly recovery: RecoveryReport
  /** These three are there if the store is open for writing and no cache has adopted its engine. */
  readonly sealer: Sealer | undefined
  readonly merger: Merger | undefined
  readonly sweeper: Sweeper | undefined
  /** Only of a read-only store. */
  readonly follower: Follower | undefined
  /** The merges that have finished. */
  readonly mergeTotals = { count: 0, bytesRead: 0, bytesGained: 0 }
  readonly #chores: Chores
  readonly #directory: string
  readonly #events: Events
  readonly #adopter: Adopter | undefined
  #isCheckpointDamaged: boolean
  /** Whether an error has reported that the directory is not the one that was opened. */
  #isMoveReported = false

  constructor(
    directory: string,
    options: ResolvedOptions<unknown>,
    recovered: Recovered,
    { backgroundWork, loop = systemLoop, adopt }: Environment,
    events: Events,
  ) {
    this.#directory = directory
    this.#events = events
    this.recovery = recovered.report
    this.#isCheckpointDamaged = recovered.report.checkpointFault !== undefined
    this.#chores = new Chores(loop, (error) => this.reportError(error))
    if (!options.readOnly && adopt === undefined) {
      beginReserve(recovered.segments, options.reserveBytes)
    }
    this.engine = new Engine(recovered, options, loop, this.#engineListener())
    if (options.readOnly) {
      this.follower = this.#follow(options)
    } else if (adopt !== undefined) {
      this.#adopter = adopt(this.engine)
    } else {
      this.sweeper = new Sweeper(this.engine, this.#chores, loop, options.expiryIntervalMs)
      this.sealer = this.#sealInBackground(recovered.segments, backgroundWork)
      this.merger = this.#mergeInBackground(options, this.sealer, backgroundWork)
      this.sealer.backfill(recovered.report.unhinted)
      this.#chores.every(MERGE_LOOK_MS, () => this.considerMerging())
    }
  }

  /** Whether the checkpoint has turned out to be damaged. */
  get isCheckpointDamaged(): boolean {
    return this.#isCheckpointDamaged
  }

  /** Starts a merge if one is due, and weighs how far merging is behind. */
  considerMerging(): void {
    this.merger?.consider()
    this.merger?.weigh()
  }

  /** Returns an error that a follower failed with, as an error of the store's. */
  followError(error: unknown): Error {
    return asStoreError(error, `Cannot see what was written to ${this.#directory}`)
  }

  /** Stops what begins by time, and gives up the files that are kept ready. */
  stopTimers(): void {
    this.#chores.stop()
    const { reserve, nextFile } = this.engine.segments
    reserve.stop()
    nextFile.close()
  }

  /** Ends following, merging and sealing, and closes all views. */
  async end(): Promise<void> {
    await this.follower?.stop()
    this.engine.live.views.closeAll()
    await this.merger?.stop()
    await this.sealer?.end()
  }

  /** Waits for all work on the files, and closes the engine. */
  async close(): Promise<void> {
    const { engine } = this
    await engine.durability.stop()
    await this.sealer?.settle()
    await engine.segments.settle()
    await engine.retirement.settle()
    engine.close()
  }

  /** Reports a failure that no caller waits for. */
  reportFailure(message: string, cause: unknown): void {
    this.reportError(asStoreError(cause, message))
  }

  /** Reports an error that no caller waits for. */
  reportError(error: unknown): void {
    const reported = asStoreError(error, 'Work in the background failed')
    if (isMoved(reported)) {
      // All background work meets it, on other threads too.
      if (this.#isMoveReported) return
      this.#isMoveReported = true
      this.engine.durability.poison(reported)
    }
    this.#events.error(reported)
  }

  #engineListener(): EngineListener {
    return {
      synced: () => this.sealer?.sealLater(),
      rotated: (segment) => {
        this.merger?.weigh()
        this.#events.emit('rotate', { segment })
      },
      stalled: (byteCount) => {
        this.#chores.catchUp()
        this.merger?.work(byteCount)
        this.#adopter?.stalled()
      },
      failed: (error) => this.reportError(error),
      reloaded: (why) => {
        this.#isCheckpointDamaged = true
        this.reportError(why)
      },
    }
  }

  #follow(options: ResolvedOptions<unknown>): Follower {
    return new Follower(this.engine, options, options.followMs, {
      failed: (error) => this.reportError(this.followError(error)),
      resumed: () => this.#events.emit('resume'),
    })
  }

  #sealInBackground(segments: Segments, backgroundWork: BackgroundWork): Sealer {
    const { durability } = this.engine
    durability.isSealing = true
    return new Sealer(segments, backgroundWork, {
      sealed: () => {
        durability.sealed()
        this.considerMerging()
      },
      failed: (message, cause) => {
        durability.sealed()
        this.reportFailure(message, cause)
      },
    })
  }

  #mergeInBackground(
    options: ResolvedOptions<unknown>,
    sealer: Sealer,
    backgroundWork: BackgroundWork,
  ): Merger {
    const events = this.#events
    return new Merger(this.engine, options, sealer, backgroundWork, {
      started: (plan) => events.emit('merge', { phase: 'start', plan }),
      progressed: (progress) => events.emit('merge', { phase: 'progress', ...progress }),
      finished: (report) => this.#mergeFinished(report),
      failed: (error) => this.reportError(error),
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
