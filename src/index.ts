/** The public API of the package `firkin`. */

export type { Key } from './engine/encoding.ts'
export type { RangeOptions } from './engine/range.ts'
export { CorruptionError, type ErrorCode, StoreError } from './errors.ts'
export type { KeydirKind } from './format/keydir-kind.ts'
export type { Finding, FindingKind } from './inspection/findings.ts'
export type { VerifyReport } from './inspection/verify.ts'
export type {
  LeftOutSegment,
  MergeCallOptions,
  MergeProgress,
  MergeReport,
} from './merge/options.ts'
export type { MergePlan, PlanEntry, PlanReason } from './merge/plan.ts'
export type { MergeHindrance, Pressure } from './merge/pressure.ts'
export type {
  KeyEncoding,
  MergeOptions,
  RecoveryMode,
  StoreOptions,
  StoreSettings,
  SyncOption,
  ValueCodec,
  ValueEncoding,
  ValueEncodingOf,
  ValueInput,
} from './options.ts'
export type {
  DamagedRange,
  LossReport,
  LostKey,
  RecoveryReport,
  TornTail,
} from './recovery/report.ts'
export type { SegmentStats } from './segment/stats.ts'
export type { BackupOptions, BackupProgress, BackupReport } from './store/backup.ts'
export type { BatchOperation, WriteBatch } from './store/batch.ts'
export type { MergeEvent, StoreEvents } from './store/events.ts'
export type { PutOptions } from './store/put-options.ts'
export type { Snapshot } from './store/snapshot.ts'
export type { StoreStats } from './store/stats.ts'
export { open, type Store } from './store/store.ts'
export type { KeyOf, RangeIterator } from './store/view-reader.ts'
