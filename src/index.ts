export type { BackupOptions, BackupProgress, BackupReport } from './backup.ts'
export type { BatchOperation, WriteBatch } from './batch.ts'
export type { Key } from './encoding.ts'
export { CorruptionError, type ErrorCode, StoreError } from './errors.ts'
export type { KeydirKind } from './keydir/keydir.ts'
export type { LostKey } from './losses.ts'
export type { LeftOutSegment, MergeCallOptions, MergeProgress, MergeReport } from './merge/call.ts'
export type { MergePlan, PlanEntry, PlanReason } from './merge/plan.ts'
export type { MergeHindrance, Pressure } from './merge/pressure.ts'
export type {
  KeyEncoding,
  MergeOptions,
  RecoveryMode,
  StoreOptions,
  SyncOption,
  ValueCodec,
  ValueEncoding,
  ValueEncodingOf,
  ValueInput,
} from './options.ts'
export type { PutOptions } from './put-options.ts'
export type { RangeOptions } from './range.ts'
export type { RecoveryReport, TornTail } from './recovery.ts'
export type { DamagedRange, LossReport } from './salvage.ts'
export type { Snapshot } from './snapshot.ts'
export type { SegmentStats, StoreStats } from './stats.ts'
export { type MergeEvent, open, type Store, type StoreEvents } from './store.ts'
export type { Finding, FindingKind, VerifyReport } from './verify.ts'
export type { KeyOf, RangeIterator } from './view-reader.ts'
