/** What a caller of `store.merge` gives, and gets. */

import type { StoreError } from '../errors.ts'
import { checkChoice, checkNames, checkObject, checkType } from '../options.ts'
import type { CopyProgress } from './copy.ts'
import type { MergePlan, PlanEntry } from './plan.ts'

/** Options of one call of `store.merge`. */
export interface MergeCallOptions {
  /**
   * Only says what would be done.
   * @defaultValue false
   */
  readonly dryRun?: boolean
  /**
   * Whether only what the triggers and thresholds of the option `merge` choose is merged, as it would be by
   * itself, and not all that has anything to give back.
   * @defaultValue false
   */
  readonly byPolicy?: boolean
  /**
   * What is done while another merge runs: `'wait'` waits for its end, and then merges what it has left; `'reject'`
   * rejects with FIRKIN_MERGE_RUNNING.
   * @defaultValue 'wait'
   */
  readonly ifRunning?: 'wait' | 'reject'
  /** Ends the merge before its commit, or the wait for it; the store is then as it was. */
  readonly signal?: AbortSignal
  /** Called about every mebibyte that is read. What it throws ends the merge as `signal` does. */
  readonly onProgress?: (progress: MergeProgress) => void
}

/** How far a merge has come, in bytes. */
export interface MergeProgress extends CopyProgress {
  /** What is to be read in all. */
  readonly bytesTotal: number
}

/** A segment that no merge rewrites, for it cannot be read whole. Its sound records are served as ever. */
export interface LeftOutSegment {
  readonly id: number
  /** The segment's size in bytes. */
  readonly bytes: number
  /** What is wrong with it: a `CorruptionError` where it is damaged. */
  readonly error: StoreError
}

/** What a merge did, or with `dryRun` would do. */
export interface MergeReport {
  readonly dryRun: boolean
  /** Each segment that goes, and why. */
  readonly segments: readonly PlanEntry[]
  /** The segments that stay because they cannot be read whole, as far as a merge has come across them. */
  readonly leftOut: readonly LeftOutSegment[]
  /** The ids of the segments that came. */
  readonly created: readonly number[]
  readonly bytesRead: number
  readonly bytesWritten: number
  /** Bytes on disk before less after; with `dryRun` as estimated. */
  readonly bytesGained: number
  readonly durationMs: number
}

/** Checks the options of one call. @throws TypeError for what is none */
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

/** What several merges did together; `undefined` of none. */
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

/** What a plan would do, or, where it is empty, has done. */
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
