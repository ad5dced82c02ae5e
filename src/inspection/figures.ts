/** The figures of an open store that a survey needs: a part of what `store.stats()` returns. */

import type { RecoveryReport } from '../recovery/report.ts'

/** The figures of one segment. */
export interface SegmentFigures {
  readonly id: number
  readonly origin: 'appended' | 'merged'
  readonly active: boolean
  readonly bytes: number
  readonly liveBytes: number
  readonly deadBytes: number
  readonly tombstoneBytes: number
  readonly livePuts: number
  readonly deadPuts: number
  readonly tombstones: number
  readonly minSequence: number
  readonly maxSequence: number
  readonly lastExpiryMs: number
}

/** The figures of a store. */
export interface StoreFigures {
  readonly nextSequence: number
  readonly liveBytes: number
  readonly deadBytes: number
  readonly tombstoneBytes: number
  readonly segments: readonly SegmentFigures[]
  readonly recovery: Pick<RecoveryReport, 'source' | 'closed' | 'torn'>
}

/** A store that is open for reading, as far as a survey uses it. */
export interface SurveyedStore extends AsyncDisposable {
  refresh(): Promise<unknown>
  count(): number
  stats(): StoreFigures
}
