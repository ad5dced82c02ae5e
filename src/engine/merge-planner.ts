/**
 * Decides which segments a store may merge now, and how far merging is behind.
 *
 * The figures of the segments come from the engine; pure functions say what they mean
 * (merge/plan.ts, merge/pressure.ts). A segment that cannot be read whole is left out: for good if
 * it is damaged, for an hour if the disk could not read it.
 */

import { CorruptionError, type StoreError } from '../errors.ts'
import { SourceError } from '../merge/copy.ts'
import type { LeftOutSegment, MergeCallOptions } from '../merge/options.ts'
import { type MergePlan, planAll, planAutomatic } from '../merge/plan.ts'
import { type MergeHindrance, type Pressure, pressureOf } from '../merge/pressure.ts'
import type { MergePolicy } from '../options.ts'
import { monotonicMs } from '../scheduling/time.ts'
import type { Engine } from './engine.ts'

/** The bytes that a merge writes besides its copies, mostly for a manifest. */
export const OTHER_BYTES = 16 * 1024
/** The time for which a segment that the disk could not read is left out. */
const UNREADABLE_MS = 3_600_000

/** The reason why a segment is left out, and until when. */
interface LeftOut {
  readonly error: StoreError
  readonly until: number
}

/** Limits to what a plan may contain. */
interface PlanLimits {
  /** Whether the active segment may be chosen. */
  readonly withActive: boolean
  /** Segments that this merge has made, which are not chosen again. */
  readonly made?: ReadonlySet<number>
  /** The most bytes that the copies may take. */
  readonly mostBytes?: number
}

/** Plans the merges of one store. */
export class MergePlanner {
  readonly #engine: Engine
  readonly #policy: MergePolicy
  readonly #maxSegmentBytes: number
  /** The segments that are left out, by id. */
  readonly #leftOut = new Map<number, LeftOut>()

  constructor(engine: Engine, policy: MergePolicy, maxSegmentBytes: number) {
    this.#engine = engine
    this.#policy = policy
    this.#maxSegmentBytes = maxSegmentBytes
  }

  /**
   * Plans a merge of all that has anything to give back, or by the policy of what is worth merging.
   */
  plan(
    { byPolicy = false }: MergeCallOptions,
    { withActive, made = new Set(), mostBytes = Number.POSITIVE_INFINITY }: PlanLimits,
  ): MergePlan {
    const { reserve } = this.#engine.segments
    const figures = this.#figures(withActive, made)
    const spaceBytes = Math.min(reserve.freeBytes + reserve.spareBytes - OTHER_BYTES, mostBytes)
    return byPolicy
      ? planAutomatic(figures, this.#policy, this.#now(), spaceBytes)
      : planAll(figures, this.#now(), spaceBytes)
  }

  /** Weighs how far merging is behind; takes time in proportion to the number of segments. */
  pressure(hindrance: MergeHindrance | undefined): Pressure {
    const { active } = this.#engine.segments
    // Full segments count as sealed: they wait for nothing but a sync.
    const figures = this.#figures(true, new Set()).map((figure) =>
      figure.id === active?.id ? { ...figure, sealed: false } : figure,
    )
    return pressureOf(figures, this.#policy, this.#maxSegmentBytes, hindrance, this.#now())
  }

  /** Whether the hour of the day is one in which merges may start by themselves. */
  get isInWindow(): boolean {
    const { window } = this.#policy
    if (window === undefined) return true
    const [from, to] = window
    const hour = new Date(this.#now()).getHours()
    return from <= to ? hour >= from && hour < to : hour >= from || hour < to
  }

  /** The segments that no merge rewrites. */
  get leftOut(): LeftOutSegment[] {
    return this.#engine.segments.all.flatMap(({ id, usage }) => {
      const error = this.#isLeftOut(id) ? this.#leftOut.get(id)?.error : undefined
      return error === undefined ? [] : [{ id, bytes: usage.size, error }]
    })
  }

  /**
   * Leaves out the segment of a plan that `error` says cannot be read whole; returns false if it
   * says something else.
   */
  leaveOut(plan: MergePlan, error: unknown): error is StoreError {
    if (!(error instanceof CorruptionError || error instanceof SourceError)) return false
    const { segments } = this.#engine
    // If the directory was moved, other files may have the same names in its place.
    segments.context.files.assertThere()
    const faulty = plan.inputs.find(({ id }) => segments.get(id).path === error.file)
    if (faulty === undefined) return false
    // Damage stays, but a disk may read later what it cannot read now.
    const restMs = error instanceof CorruptionError ? Number.POSITIVE_INFINITY : UNREADABLE_MS
    this.#leftOut.set(faulty.id, { error, until: monotonicMs() + restMs })
    return true
  }

  /** Forgets a segment that is deleted. */
  forget(id: number): void {
    this.#leftOut.delete(id)
  }

  #figures(withActive: boolean, made: ReadonlySet<number>) {
    const { segments } = this.#engine
    const listed = new Set(segments.listed)
    return segments.all.map((segment) => ({
      ...segment.usage,
      id: segment.id,
      sealed: (withActive || listed.has(segment)) && !made.has(segment.id),
      leftOut: this.#isLeftOut(segment.id),
    }))
  }

  #isLeftOut(id: number): boolean {
    return monotonicMs() < (this.#leftOut.get(id)?.until ?? 0)
  }

  #now(): number {
    return this.#engine.options.clock()
  }
}
