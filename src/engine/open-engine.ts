/**
 * Opens the engine of a directory, for a store or for a cache, and closes it again.
 *
 * 1. Make the directory ready, if a store may be created there.
 * 2. Hold it: open it and, if that is wanted, lock it.
 * 3. If that is wanted, salvage what is damaged.
 * 4. Recover the segments and the keydir from its files.
 *
 * Closing leaves the directory in good order (close-engine.ts), and releases it.
 */

import { CorruptionError, isError, isErrorOf, isMoved, StoreError } from '../errors.ts'
import { holdsStore, namesOfOthers } from '../format/names.ts'
import { accessCode, errorCode, type Files } from '../io/files.ts'
import { HeldFiles } from '../io/held-files.ts'
import { assertLocks } from '../io/lock.ts'
import { networkTypeOf, notLocal, warnOfNetwork } from '../io/network.ts'
import type { ResolvedOptions } from '../options.ts'
import { type Recovered, recover } from '../recovery/recovery.ts'
import type { LossReport, RecoveryReport } from '../recovery/report.ts'
import { salvageIfDamaged } from '../salvage/salvage.ts'
import type { EventLoop } from '../scheduling/event-loop.ts'
import { delay, inLaterTurn, monotonicMs } from '../scheduling/time.ts'
import { assertNoCache } from '../segment/kind.ts'
import { type ClosingOptions, closeCleanly } from './close-engine.ts'
import { Engine, type EngineListener } from './engine.ts'

/** Hears what an engine does, and decides what is done about it. */
interface EngineOwner
  extends Partial<Pick<EngineListener, 'synced' | 'rotated'>>,
    Pick<EngineListener, 'stalled'> {
  /** Something failed that no caller waits for. */
  failed(error: Error): void
}

/** The engine of a directory that is held. */
export class OpenEngine {
  readonly engine: Engine
  /** The absolute path of the directory. */
  readonly directory: string
  /** The report of opening. */
  readonly recovery: RecoveryReport
  readonly #held: HeldFiles
  readonly #isReadOnly: boolean
  #owner: EngineOwner | undefined
  #isCheckpointDamaged: boolean
  /** Whether an error has reported that the directory is not the one that was opened. */
  #isMoveReported = false

  /** Does no I/O; use {@link openEngine}. */
  constructor(
    directory: string,
    options: ResolvedOptions<unknown>,
    recovered: Recovered,
    held: HeldFiles,
    loop: EventLoop,
  ) {
    this.directory = directory
    this.recovery = recovered.report
    this.#held = held
    this.#isReadOnly = options.readOnly
    this.#isCheckpointDamaged = recovered.report.checkpointFault !== undefined
    this.engine = new Engine(recovered, options, loop, {
      synced: () => this.#owner?.synced?.(),
      rotated: (segmentId) => this.#owner?.rotated?.(segmentId),
      stalled: (byteCount) => this.#owner?.stalled(byteCount),
      failed: (error) => this.reportError(error),
      reloaded: (why) => {
        this.#isCheckpointDamaged = true
        this.reportError(why)
      },
    })
    held.onLoss = (error) => this.engine.durability.poison(error)
  }

  /** Sets who hears what the engine does. Call it once, in the turn in which it was opened. */
  serve(owner: EngineOwner): void {
    this.#owner = owner
  }

  /** Whether the checkpoint has turned out to be damaged. */
  get isCheckpointDamaged(): boolean {
    return this.#isCheckpointDamaged
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
    this.#owner?.failed(reported)
  }

  /** Gives up the files that are kept ready for writing. */
  stopPreparing(): void {
    const { reserve, nextFile } = this.engine.segments
    reserve.stop()
    nextFile.close()
  }

  /** Closes every file and releases the directory as it is, after opening has failed. */
  abandon(): void {
    this.stopPreparing()
    this.engine.close()
    this.#held.release()
  }

  /**
   * Leaves the directory in good order, closes every file, and releases the directory. Nothing else
   * may use the engine any more.
   *
   * @throws {@link StoreError} if it could not be left in good order; it is released all the same
   */
  async close(options: ClosingOptions): Promise<void> {
    const { engine } = this
    this.stopPreparing()
    engine.live.views.closeAll()
    try {
      if (!this.#isReadOnly) await closeCleanly(this, options)
    } catch (error) {
      throw asStoreError(error, 'The store cannot be closed in good order')
    } finally {
      // Nothing may touch the files once the lock is released.
      await engine.durability.stop()
      await options.sealer?.settle()
      await engine.segments.settle()
      await engine.retirement.settle()
      engine.close()
      this.#held.release()
    }
  }
}

/**
 * Opens the engine of a directory.
 *
 * @param directory an absolute path
 * @throws {@link StoreError} as `open`
 */
export async function openEngine(
  files: Files,
  directory: string,
  options: ResolvedOptions<unknown>,
  loop: EventLoop,
): Promise<OpenEngine> {
  const { held, recovered } = await inLaterTurn(holdAndRecover(files, directory, options))
  try {
    return new OpenEngine(directory, options, recovered, held, loop)
  } catch (error) {
    recovered.segments.close()
    held.release()
    throw asStoreError(error, `Cannot open the store in ${directory}`)
  }
}

/** The time between two looks at a lock that another process holds, in milliseconds. */
const LOCK_INTERVAL_MS = 50
/** The most attempts of a read-only open while merges change the set of segments. */
const MAX_ATTEMPTS = 10

/**
 * Returns the options for a directory in the file system that it lies in, or would be made in. One
 * that may be on another machine is not mapped, and who opens it for writing is warned.
 *
 * @throws {@link StoreError} FIRKIN_NOT_LOCAL
 */
export function fitToFileSystem<
  T extends Pick<ResolvedOptions<unknown>, 'localOnly' | 'readOnly' | 'mapping'>,
>(files: Files, directory: string, options: T): T {
  const type = networkTypeOf(files, directory)
  if (type === undefined) return options
  if (options.localOnly) throw notLocal(directory, type)
  if (!options.readOnly) warnOfNetwork(directory, type)
  return { ...options, mapping: false }
}

/**
 * Makes the directory ready and holds it: opens it and, if that is wanted, locks it.
 *
 * @throws {@link StoreError} FIRKIN_NOT_FOUND, FIRKIN_NOT_EMPTY, FIRKIN_OTHER_KIND,
 * FIRKIN_IO_FAILED, and as {@link takeLock}
 */
function prepare(files: Files, directory: string, options: ResolvedOptions<unknown>): HeldFiles {
  try {
    const names = files.list(directory)
    if (!options.allowCache) assertNoCache(directory, names ?? [])
    if (!options.readOnly) makeReady(files, directory, names ?? [], options)
  } catch (error) {
    throw refused(
      error,
      options.readOnly ? cannotOpen(directory) : `Cannot make the directory ${directory}`,
    )
  }
  try {
    const writing = options.lock ? 'locked' : 'unlocked'
    return HeldFiles.hold(files, directory, options.readOnly ? 'read' : writing)
  } catch (error) {
    if (errorCode(error) === 'ENOENT') throw notFound(directory)
    throw refused(error, cannotOpen(directory))
  }
}

/**
 * As {@link prepare}, but waits for another process that holds the lock, for `lockWaitMs`.
 *
 * @throws the reason of `signal` if that fires meanwhile
 */
async function prepareInTime(
  files: Files,
  directory: string,
  options: ResolvedOptions<unknown>,
): Promise<HeldFiles> {
  const { lockWaitMs, signal } = options
  const endsAt = monotonicMs() + lockWaitMs
  for (;;) {
    signal?.throwIfAborted()
    try {
      return prepare(files, directory, options)
    } catch (error) {
      if (!(error instanceof StoreError) || error.code !== 'FIRKIN_LOCKED') throw error
      const leftMs = endsAt - monotonicMs()
      if (leftMs > 0) await delay(Math.min(leftMs, LOCK_INTERVAL_MS), signal)
      else if (lockWaitMs === 0) throw error
      else throw new StoreError(error.code, `${error.message}; waited for ${lockWaitMs} ms`)
    }
  }
}

function makeReady(
  files: Files,
  directory: string,
  names: readonly string[],
  options: ResolvedOptions<unknown>,
): void {
  if (holdsStore(names)) return
  // If there is no store nothing is left behind, not even the lock's file.
  if (!options.createIfMissing) throw notFound(directory)
  if (!options.allowNonEmpty) assertFree(directory, names)
  if (options.lock) assertLocks(directory)
  // Even if the directory exists: the names that lead to a store are durable before it is begun.
  files.makeDirectory(directory)
}

/** The most names that an error lists. */
const MOST_NAMES = 5

/**
 * Refuses a directory that holds files of others.
 *
 * @param names the names in the directory
 * @throws {@link StoreError} FIRKIN_NOT_EMPTY
 */
export function assertFree(directory: string, names: readonly string[]): void {
  const others = namesOfOthers(names).sort()
  if (others.length === 0) return
  const more = others.length > MOST_NAMES ? `, and ${others.length - MOST_NAMES} more` : ''
  throw new StoreError(
    'FIRKIN_NOT_EMPTY',
    `${directory} holds files of others: ${others.slice(0, MOST_NAMES).join(', ')}${more}; ` +
      'nothing is created among them without `allowNonEmpty: true`',
  )
}

function cannotOpen(directory: string): string {
  return `Cannot open the directory ${directory}`
}

function notFound(directory: string): StoreError {
  return new StoreError('FIRKIN_NOT_FOUND', `There is no store in ${directory}`)
}

/** Returns an error of the operating system as a `StoreError` for opening; any other unchanged. */
function refused(error: unknown, message: string): unknown {
  if (errorCode(error) === undefined) return error
  return new StoreError(accessCode(error, 'FIRKIN_IO_FAILED'), message, { cause: error })
}

/** Holds a directory and recovers the store in it. If that fails, releases it again. */
async function holdAndRecover(
  files: Files,
  directory: string,
  options: ResolvedOptions<unknown>,
): Promise<{ held: HeldFiles; recovered: Recovered }> {
  const held = await prepareInTime(files, directory, options)
  try {
    const isSalvage = options.recovery === 'salvage'
    const lost = isSalvage ? await salvageIfDamaged(held, options) : undefined
    return { held, recovered: await recoverWithRetry(held, options, lost) }
  } catch (error) {
    held.release()
    throw asStoreError(error, `Cannot open the store in ${directory}`)
  }
}

/** Recovers. Beside a writer, tries again if a merge has changed the set of segments meanwhile. */
async function recoverWithRetry(
  files: HeldFiles,
  options: ResolvedOptions<unknown>,
  lost: LossReport | undefined,
): Promise<Recovered> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await recover(files, options, lost)
    } catch (error) {
      const mayPass = options.readOnly && error instanceof CorruptionError
      if (!mayPass || attempt === MAX_ATTEMPTS) throw error
    }
  }
}

/** Returns an error of the operating system as a `StoreError`, and any other unchanged. */
export function asStoreError(error: unknown, message: string): Error {
  if (
    error instanceof StoreError ||
    isErrorOf('TypeError', error) ||
    isErrorOf('RangeError', error)
  ) {
    return error
  }
  if (errorCode(error) === undefined) return isError(error) ? error : new Error(message)
  return new StoreError('FIRKIN_IO_FAILED', message, { cause: error })
}
