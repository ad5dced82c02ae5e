/** Loads a keydir: from the checkpoint if it fits, otherwise from hints and segments. */

import { CorruptionError, type StoreError } from '../errors.ts'
import { FILE_HEADER_SIZE } from '../format/file-header.ts'
import type { KeydirKind } from '../format/keydir-kind.ts'
import type { Page } from '../format/record.ts'
import { createKeydir } from '../keydir/create.ts'
import type { Keydir } from '../keydir/keydir.ts'
import type { Segment } from '../segment/segment.ts'
import type { Segments } from '../segment/segments.ts'
import { SegmentUsage } from '../segment/usage.ts'
import {
  type Checkpoint,
  type ChunkReader,
  DamagedCheckpoint,
  loadCheckpoint,
} from './checkpoint-file.ts'
import { Replay } from './replay.ts'
import type { RecoveryReport } from './report.ts'

const NOTHING_DEAD = { deadPutCount: 0, deadBytes: 0 }

/** A keydir that is loaded up to the tail, or up to a position in it. */
export interface Load {
  readonly replay: Replay
  readonly chunks: ChunkReader | undefined
  /** The damage to a checkpoint of which nothing was loaded. */
  readonly checkpointFault: StoreError | undefined
  readonly source: RecoveryReport['source']
  /** The sealed segments that were read because their hint is not sound. */
  readonly unhinted: readonly Segment[]
  /** The number of records applied so far. */
  readonly loadedCount: number
  readonly nextSequence: number
  /** Where the replay of a tail segment begins, if not after its file header. */
  readonly tailFrom: ReadonlyMap<Segment, number>
}

/** Loads the records of the sealed segments, and those of the tail that the checkpoint holds. */
export function loadKeydir(
  segments: Segments,
  tail: readonly Segment[],
  kind: KeydirKind,
  mayLoadCheckpoint: boolean,
): Load {
  let checkpoint: Checkpoint | undefined
  let checkpointFault: StoreError | undefined
  try {
    if (mayLoadCheckpoint) checkpoint = loadCheckpoint(segments, tail, kind)
  } catch (error) {
    if (!(error instanceof DamagedCheckpoint)) throw error
    checkpointFault = error.told
  }
  if (checkpoint !== undefined) return loadAfter(checkpoint, segments, tail)
  const replay = new Replay(createKeydir(kind), segments)
  const unhinted = replay.loadSealed(segments.listed)
  return {
    replay,
    chunks: undefined,
    checkpointFault,
    source: unhinted.length > 0 ? 'segments' : 'hints',
    unhinted,
    loadedCount: replay.recordCount,
    nextSequence: 1,
    tailFrom: new Map(),
  }
}

/** Loads the records of sealed segments that are newer than a checkpoint. */
function loadAfter(checkpoint: Checkpoint, segments: Segments, tail: readonly Segment[]): Load {
  const replay = new Replay(checkpoint.keydir, segments)
  const unhinted = replay.loadNewer(checkpoint.position)
  const { tailId, tailSize } = checkpoint.position
  const first = tail.find((segment) => segment.id === tailId)
  return {
    replay,
    chunks: checkpoint.chunks,
    checkpointFault: undefined,
    source: 'checkpoint',
    unhinted,
    loadedCount: replay.recordCount,
    nextSequence: checkpoint.nextSequence,
    // The store may have had no segment when the checkpoint was written.
    tailFrom: new Map(first && [[first, Math.max(tailSize, FILE_HEADER_SIZE)]]),
  }
}

/**
 * Loads the keydir of an open store again, from hints and segments, after its checkpoint turned out
 * to be damaged.
 *
 * @param stage the records staged after those of the active segment, up to `stagedSize`
 */
export function reloadKeydir(
  segments: Segments,
  kind: KeydirKind,
  stage: Page,
  stagedSize: number,
): Keydir {
  const replay = new Replay(createKeydir(kind), segments)
  for (const segment of segments.all) segment.usage.setDead(NOTHING_DEAD)
  replay.loadSealed(segments.listed)
  for (const segment of segments.tail) {
    segment.usage.setFigures(new SegmentUsage())
    const { writtenSize } = segment
    // All of it was written: there is no preallocated space before its end.
    const scan = replay.replay(segment, FILE_HEADER_SIZE, writtenSize, writtenSize)
    if (scan.faultAt !== undefined)
      throw new CorruptionError(scan.fault, segment.path, scan.faultAt)
  }
  if (segments.active !== undefined) replay.replayStage(segments.active, stage, stagedSize)
  replay.finish()
  return replay.keydir
}
