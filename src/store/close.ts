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

import type { Engine } from '../engine/engine.ts'
import { isMoved, passingCode } from '../errors.ts'
import { removeCheckpoint, writeCheckpoint } from '../recovery/checkpoint-file.ts'
import { monotonicMs, nextTurn } from '../scheduling/time.ts'
import type { Background } from './background.ts'

/** The longest that the main thread is held at once, in milliseconds. */
const STEP_MS = 4

/**
 * Leaves a store's directory in good order. Nothing else may write to it any more.
 *
 * @param writesCheckpoint whether to write an image of the keydir
 */
export async function closeCleanly(
  background: Background,
  writesCheckpoint: boolean,
): Promise<void> {
  const { segments, durability, commits } = background.engine
  const { files } = segments.context
  // What cannot be written is reported to its own callers.
  commits.writeStaged()
  await commits.cut()
  if (isAsOpened(background, writesCheckpoint)) {
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
    await prepareNextOpen(background, writesCheckpoint)
  } catch (error) {
    if (passingCode(error) === undefined) throw error
    background.reportFailure(
      'The next open takes longer: the store cannot be marked as closed',
      error,
    )
  }
}

/** Seals, and writes the checkpoint and the manifest. */
async function prepareNextOpen(background: Background, writesCheckpoint: boolean): Promise<void> {
  const { engine, sealer } = background
  const { segments } = engine
  if (sealer === undefined) await segments.seal()
  else await sealer.seal()
  if (writesCheckpoint) await leaveCheckpoint(background)
  else if (background.isCheckpointDamaged) removeCheckpoint(segments)
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
function isAsOpened(background: Background, writesCheckpoint: boolean): boolean {
  const { engine, recovery, isCheckpointDamaged } = background
  const { segments } = engine
  const { manifest, active } = segments
  return (
    !isCheckpointDamaged &&
    recovery.closed &&
    (recovery.source === 'checkpoint' || !writesCheckpoint) &&
    manifest.closed &&
    manifest.sweeps === segments.sweeps.list &&
    manifest.nextSequence === engine.nextSequence &&
    (active?.writtenSize ?? 0) === (active === undefined ? 0 : manifest.tailSize)
  )
}

/** Writes a checkpoint. If that fails the next open takes longer, and nothing is lost. */
async function leaveCheckpoint(background: Background): Promise<void> {
  const { engine, sealer } = background
  // A cache that has adopted the engine may keep the numbers of entries.
  const mayShrink = sealer !== undefined
  try {
    while (!engine.live.readMore()) await nextTurn()
    if (mayShrink) await shrink(engine)
    const { live, segments, nextSequence } = engine
    await segments.reserve.lendHalf(() => writeCheckpoint(segments, live.wholeKeydir, nextSequence))
  } catch (error) {
    background.reportFailure('The checkpoint cannot be written', error)
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
