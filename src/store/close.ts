/**
 * Leaving a directory so that the next open has nothing to do.
 *
 * write what is staged -> cut off room -> sync -> seal -> checkpoint -> manifest, which says that the store was closed
 *
 * The hints of what was sealed are made meanwhile, on a thread.
 *
 * Where nothing was written since the store was opened, nothing is written here either.
 *
 * Invariant: once the sync is done all that has settled is safe. What follows spares the next open time; where the disk has
 * no room for it, it is told and done without.
 */

import type { Engine } from '../engine/engine.ts'
import type { Sealer } from '../engine/sealer.ts'
import { isMoved, passingCode } from '../errors.ts'
import { removeCheckpoint, writeCheckpoint } from '../recovery/checkpoint-file.ts'
import type { RecoveryReport } from '../recovery/recovery.ts'
import { monotonicMs, nextTurn } from '../scheduling/time.ts'

/** How long the main thread is held at once, in milliseconds. */
const STEP_MS = 4

/** What closing needs to know. */
export interface ClosingOptions {
  /** Whether an image of the keydir is written. */
  readonly checkpoint: boolean
  /** What the store was opened from. */
  readonly recovery: RecoveryReport
  /** Whether the checkpoint that it was opened from has turned out to be damaged. */
  readonly wasDamaged: boolean
  /** None where others have taken the engine over. */
  readonly sealer: Sealer | undefined
  /** Told what fails without being in the way. */
  failed(message: string, cause: unknown): void
}

/** Leaves a store's directory in good order; nothing else writes to it any more. */
export async function closeCleanly(engine: Engine, options: ClosingOptions): Promise<void> {
  const { segments, durability, commits } = engine
  const { files } = segments.context
  // What cannot be written is told to its own callers.
  commits.writeStaged()
  await commits.cut()
  if (isAsOpened(engine, options)) {
    files.assertThere()
    return
  }
  commits.finish()
  await durability.stop()
  try {
    await durability.sync()
    files.assertThere()
  } catch (error) {
    // Wherever the directory has gone, what was written keeps its promises there: that takes no names.
    if (isMoved(error)) await segments.syncLater()
    throw error
  }
  try {
    await spareTime(engine, options)
  } catch (error) {
    if (passingCode(error) === undefined) throw error
    options.failed('The next open takes longer: the store cannot be marked as closed', error)
  }
}

/** Leaves what the next open goes by. */
async function spareTime(engine: Engine, options: ClosingOptions): Promise<void> {
  const { segments } = engine
  const { sealer } = options
  if (sealer === undefined) await segments.seal()
  else await sealer.seal()
  if (options.checkpoint) await leaveCheckpoint(engine, options)
  else if (options.wasDamaged) removeCheckpoint(segments)
  const { active } = segments
  await segments.commit(() => ({
    tailId: active?.id ?? segments.manifest.tailId,
    tailSize: active?.writtenSize ?? segments.manifest.tailSize,
    nextSequence: engine.nextSequence,
    keydirKind: engine.keydir.kind,
    closed: true,
  }))
}

/** Whether the directory already says all that closing would write. */
function isAsOpened(engine: Engine, options: ClosingOptions): boolean {
  const { recovery, checkpoint, wasDamaged } = options
  const { segments } = engine
  const { manifest, active } = segments
  return (
    !wasDamaged &&
    recovery.closed &&
    (recovery.source === 'checkpoint' || !checkpoint) &&
    manifest.closed &&
    manifest.sweeps === segments.sweeps.list &&
    manifest.nextSequence === engine.nextSequence &&
    (active?.writtenSize ?? 0) === (active === undefined ? 0 : manifest.tailSize)
  )
}

/** A checkpoint is a shortcut: where it cannot be written, the next open takes longer. */
async function leaveCheckpoint(engine: Engine, { failed, sealer }: ClosingOptions): Promise<void> {
  // Who has taken the engine over may keep the numbers of entries.
  const mayShrink = sealer !== undefined
  try {
    while (!engine.live.readMore()) await nextTurn()
    if (mayShrink) await shrink(engine)
    const { live, segments, nextSequence } = engine
    await segments.reserve.lendHalf(() => writeCheckpoint(segments, live.wholeKeydir, nextSequence))
  } catch (error) {
    failed('The checkpoint cannot be written', error)
  }
}

/** Gives back what memory the keydir does not need, so that its image is no larger than that. */
async function shrink(engine: Engine): Promise<void> {
  let endsAt = monotonicMs() + STEP_MS
  for (const _ of engine.live.shrink()) {
    if (monotonicMs() < endsAt) continue
    await nextTurn()
    endsAt = monotonicMs() + STEP_MS
  }
}
