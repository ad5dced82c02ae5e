/** The figures of an open store that a survey needs: a part of what `store.stats()` returns. */

import type { RecoveryReport } from '../recovery/report.ts'
import type { SegmentStats } from '../segment/stats.ts'

/** The figures of a store. */
export interface StoreFigures {
  readonly nextSequence: number
  readonly liveBytes: number
  readonly deadBytes: number
  readonly tombstoneBytes: number
  readonly segments: readonly SegmentStats[]
  readonly recovery: Pick<RecoveryReport, 'source' | 'closed' | 'torn'>
}

/** A store that is open for reading, as far as a survey uses it. */
export interface SurveyedStore extends AsyncDisposable {
  refresh(): Promise<unknown>
  count(): number
  stats(): StoreFigures
}
