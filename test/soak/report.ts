import type { Sample } from './meter.ts'

/** What a workload's process says: its state from time to time, and its delays in the end. */
export type Report =
  | { readonly kind: 'sample'; readonly sample: Sample }
  | { readonly kind: 'end'; readonly delayMs: number; readonly mostDelayMs: number }
