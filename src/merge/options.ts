/** The options, progress and report of `store.merge`. */

import type { StoreError } from '../errors.ts'
import { checkChoice, checkNames, checkObject, checkType } from '../options.ts'
import type { CopyProgress } from './copy.ts'
import type { MergePlan, PlanEntry } from './plan.ts'

/** Options of one call of `store.merge`. */
export interface MergeCallOptions {
  /**
   * Only reports what would be done.
   * @defaultValue false
   */
  readonly dryRun?: boolean
  /**
   * Whether to merge only what the triggers and thresholds of the option `merge` choose, as an
   * automatic merge would, and not all that has anything to give back.
   * @defaultValue false
   */
  readonly byPolicy?: boolean
  /**
   * The action while another merge runs: `'wait'` waits for its end, and then merges what is left;
   * `'reject'` rejects with FIRKIN_MERGE_RUNNING.
   * @defaultValue 'wait'
   */
  readonly ifRunning?: 'wait' | 'reject'
  /**
   * Ends the merge before its commit, or the wait for another merge. The store is then as it was.
   */
  readonly signal?: AbortSignal
  /** Called about once per mebibyte read. If it throws, the merge ends as by `signal`. */
  readonly onProgress?: (progress: MergeProgress) => void
}

/** The progress of a merge, in bytes. */
export interface MergeProgress extends CopyProgress {
  /** The bytes to be read in all. */
  readonly bytesTotal: number
}

/**
 * A segment that no merge rewrites, because it cannot be read whole. Its sound records can still be
 * read.
 */
export interface LeftOutSegment {
  readonly id: number
  /** The segment's size in bytes. */
  readonly bytes: number
  /** The error that was found: a `CorruptionError` if the segment is damaged. */
  readonly error: StoreError
}

/** The result of a merge; with `dryRun`, what it would be. */
export interface MergeReport {
  readonly dryRun: boolean
  /** The segments that are removed, and why. */
  readonly segments: readonly PlanEntry[]
  /** The segments that stay because they cannot be read whole, as far as a merge has found them. */
  readonly leftOut: readonly LeftOutSegment[]
  /** The ids of the new segments. */
  readonly created: readonly number[]
  readonly bytesRead: number
  readonly bytesWritten: number
  /** Bytes on disk before the merge minus those after it; with `dryRun` an estimate. */
  readonly bytesGained: number
  readonly durationMs: number
}

/** Checks the options of one call. @throws TypeError if they are invalid */
export function checkCallOptions(options: MergeCallOptions): void {
  checkObject(options, 'Merge options')
  checkNames(options, ['dryRun', 'byPolicy', 'ifRunning', 'signal', 'onProgress'], 'merge option')
  for (const name of ['dryRun', 'byPolicy'] as const) {
    if (options[name] !== undefined) checkType(options[name], 'boolean', name)
  }
  if (options.ifRunning !== undefined) {
    checkChoice(options.ifRunning, ['wait', 'reject'], 'ifRunning')
  }
  if (options.onProgress !== undefined) checkType(options.onProgress, 'function', 'onProgress')
}

/** Adds up the reports of several merges; `undefined` for none. */
export function joined(reports: readonly MergeReport[]): MergeReport | undefined {
  const last = reports.at(-1)
  if (last === undefined) return undefined
  const sum = (figure: 'bytesRead' | 'bytesWritten' | 'bytesGained' | 'durationMs'): number =>
    reports.reduce((total, report) => total + report[figure], 0)
  return {
    ...last,
    segments: reports.flatMap(({ segments }) => segments),
    created: reports.flatMap(({ created }) => created),
    bytesRead: sum('bytesRead'),
    bytesWritten: sum('bytesWritten'),
    bytesGained: sum('bytesGained'),
    durationMs: sum('durationMs'),
  }
}

/** Returns the report of what a plan would do or, for an empty plan, of what it has done. */
export function planned(
  plan: MergePlan,
  leftOut: readonly LeftOutSegment[],
  dryRun: boolean,
): MergeReport {
  const segments = [...plan.inputs, ...plan.unread]
  const bytesRead = plan.inputs.reduce((sum, { bytes }) => sum + bytes, 0)
  const bytesGained = segments.reduce((sum, entry) => sum + entry.bytesGained, 0)
  const bytesGone = segments.reduce((sum, { bytes }) => sum + bytes, 0)
  return {
    dryRun,
    segments,
    leftOut,
    created: [],
    bytesRead,
    bytesWritten: bytesGone - bytesGained,
    bytesGained,
    durationMs: 0,
  }
}
