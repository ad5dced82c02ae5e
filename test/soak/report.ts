/** The messages of a workload's process. */

import type { Sample } from './meter.ts'

/** A report: the state, from time to time, and the delays at the end. */
export type Report =
  | { readonly kind: 'sample'; readonly sample: Sample }
  | { readonly kind: 'end'; readonly delayMs: number; readonly mostDelayMs: number }
