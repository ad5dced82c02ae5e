/**
 * Leaves a directory so that the next open has nothing to do.
 *
 * 1. Write what is staged, and cut off the space that was allocated ahead.
 * 2. Sync.
 * 3. Seal. The hints of the sealed segments are made meanwhile, on a thread.
 * 4. Write a checkpoint.
 * 5. Write the manifest, which says that the store was closed.
 *
 * If nothing was written since the store was opened, nothing is written here either.
 *
 * Invariant: after step 2 everything that has settled is durable. The later steps only make the
 * next open faster; if the disk has no space for one, that is reported, and it is skipped.
 */

import { isMoved, passingCode } from '../errors.ts'
import { removeCheckpoint, writeCheckpoint } from '../recovery/checkpoint-file.ts'
import type { RecoveryReport } from '../recovery/report.ts'
import { monotonicMs, nextTurn } from '../scheduling/time.ts'
import type { Engine } from './engine.ts'
import type { Sealer } from './sealer.ts'

/** The longest that the main thread is held at once, in milliseconds. */
const STEP_MS = 4

/** An open engine, as far as closing needs it. */
interface Closable {
  readonly engine: Engine
  readonly recovery: RecoveryReport
  readonly isCheckpointDamaged: boolean
  reportFailure(message: string, cause: unknown): void
}

/** The state in which to leave a directory. */
export interface ClosingOptions {
  /** Whether to write an image of the keydir. */
  readonly checkpoint: boolean
  /** Seals the segments and makes their hints; without it they get none. */
  readonly sealer?: Sealer | undefined
  /** Whether entries keep their numbers in the image, for a file that names entries by them. */
  readonly keepsNumbers?: boolean
}

/** Leaves the directory in good order. Nothing else may write to it any more. */
export async function closeCleanly(open: Closable, options: ClosingOptions): Promise<void> {
  const { segments, durability, commits } = open.engine
  const { files } = segments.context
  // What cannot be written is reported to its own callers.
  commits.writeStaged()
  await commits.cut()
  if (isAsOpened(open, options)) {
    files.assertThere()
    return
  }
  commits.finish()
  await durability.stop()
  try {
    await durability.sync()
    files.assertThere()
  } catch (error) {
    // What was written is made durable wherever the directory is now: a sync needs no names.
    if (isMoved(error)) await segments.syncLater()
    throw error
  }
  try {
    await prepareNextOpen(open, options)
  } catch (error) {
    if (passingCode(error) === undefined) throw error
    open.reportFailure('The next open takes longer: the store cannot be marked as closed', error)
  }
}

/** Seals, and writes the checkpoint and the manifest. */
async function prepareNextOpen(open: Closable, options: ClosingOptions): Promise<void> {
  const { engine } = open
  const { sealer, checkpoint } = options
  const { segments } = engine
  if (sealer === undefined) await segments.seal()
  else await sealer.seal()
  if (checkpoint) await leaveCheckpoint(open, options)
  else if (open.isCheckpointDamaged) removeCheckpoint(segments)
  const { active } = segments
  await segments.commit(() => ({
    tailId: active?.id ?? segments.manifest.tailId,
    tailSize: active?.writtenSize ?? segments.manifest.tailSize,
    nextSequence: engine.nextSequence,
    keydirKind: engine.keydir.kind,
    closed: true,
  }))
}

/** Whether the directory already holds everything that closing would write. */
function isAsOpened(open: Closable, { checkpoint }: ClosingOptions): boolean {
  const { engine, recovery, isCheckpointDamaged } = open
  const { segments } = engine
  const { manifest, active } = segments
  return (
    !isCheckpointDamaged &&
    recovery.closed &&
    (recovery.source === 'checkpoint' || !checkpoint) &&
    manifest.closed &&
    manifest.sweeps === segments.sweeps.list &&
    manifest.nextSequence === engine.nextSequence &&
    (active?.writtenSize ?? 0) === (active === undefined ? 0 : manifest.tailSize)
  )
}

/** Writes a checkpoint. If that fails the next open takes longer, and nothing is lost. */
async function leaveCheckpoint(
  open: Closable,
  { keepsNumbers = false }: ClosingOptions,
): Promise<void> {
  const { engine } = open
  try {
    while (!engine.live.readMore()) await nextTurn()
    if (!keepsNumbers) await shrink(engine)
    const { live, segments, nextSequence } = engine
    await segments.reserve.lendHalf(() => writeCheckpoint(segments, live.wholeKeydir, nextSequence))
  } catch (error) {
    open.reportFailure('The checkpoint cannot be written', error)
  }
}

/** Frees the memory that the keydir does not need, so that its image takes no more than it must. */
async function shrink(engine: Engine): Promise<void> {
  let endsAt = monotonicMs() + STEP_MS
  for (const _ of engine.live.shrink()) {
    if (monotonicMs() < endsAt) continue
    await nextTurn()
    endsAt = monotonicMs() + STEP_MS
  }
}
