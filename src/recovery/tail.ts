/**
 * The tail of a store that is opened: finds its segments, replays them up to the first fault, and
 * makes them ready to be written.
 *
 * Invariants
 * - A fault is torn if it is after everything that is known to be whole, and no whole record is at
 *   the fault or after it in its file. What is in newer files was then never promised, and goes
 *   too. Any other fault is corrupt.
 * - A segment counts only if its predecessor is there as it was when the segment was begun.
 */

import { join } from 'node:path'
import { CorruptionError } from '../errors.ts'
import { FILE_HEADER_SIZE, type Predecessor } from '../format/file-header.ts'
import { knownTailSize, type Manifest } from '../format/manifest.ts'
import { segmentIdsOf, segmentName } from '../format/names.ts'
import { readFully, writeFully } from '../io/files.ts'
import { allocateBuffer } from '../io/memory.ts'
import {
  isBlank,
  openSegmentFile,
  readSegmentHeader,
  type SegmentContext,
} from '../segment/file.ts'
import { noSpaceCode } from '../segment/reserve.ts'
import type { ScanEnd } from '../segment/scan.ts'
import { Segment } from '../segment/segment.ts'
import type { Segments } from '../segment/segments.ts'
import { isTorn, lacksFirst, mayBeBlank, TailEnds, tailIdsOf } from '../segment/tail.ts'
import { SegmentUsage } from '../segment/usage.ts'
import type { Load } from './load-keydir.ts'
import { mappingSize, type RecoveryOptions } from './options.ts'
import type { Replay } from './replay.ts'
import type { TornTail } from './report.ts'

/** The size of the pieces in which bytes of the tail are written again. */
const RENEWAL_SIZE = 1024 * 1024

/** The tail as it was found. */
interface OpenTail {
  /** Oldest first; none of their records is counted yet. */
  readonly segments: Segment[]
  /** The predecessor of each segment except the first. */
  readonly predecessors: Map<Segment, Predecessor>
  /** The names of segments with an id of the tail that a crash left behind. */
  readonly leftovers: string[]
}

/** Opens the appended segments that the manifest does not list. */
export function openTail(
  context: SegmentContext,
  manifest: Manifest,
  names: readonly string[],
  options: RecoveryOptions,
): OpenTail {
  const ids = tailIdsOf(segmentIdsOf(names), manifest)
  const tail: OpenTail = { segments: [], predecessors: new Map(), leftovers: [] }
  if (lacksFirst(ids, manifest)) {
    const path = join(context.directory, segmentName(manifest.tailId))
    throw new CorruptionError('The segment is missing', path, 0)
  }
  try {
    for (const id of ids) addToTail(tail, id, context, manifest, options)
  } catch (error) {
    for (const segment of tail.segments) segment.close()
    throw error
  }
  return tail
}

/** Opens a segment that the manifest does not list, and adds it if it belongs to the tail. */
function addToTail(
  tail: OpenTail,
  id: number,
  context: SegmentContext,
  manifest: Manifest,
  options: RecoveryOptions,
): void {
  const { files } = context
  const { path, file, size } = openSegmentFile(context, id, !options.readOnly)
  try {
    const isFirst = id === manifest.tailId
    if (isFirst && size < manifest.tailSize) {
      throw new CorruptionError(
        `The file has ${size} bytes; the manifest says ${manifest.tailSize}`,
        path,
        size,
      )
    }
    // If the header never reached the disk, nothing in the file was promised.
    const blank = isBlank(files, file, size) && mayBeBlank(id, manifest)
    const header = blank ? 'short' : readSegmentHeader(context, file, path, id)
    if (header === 'short' || header.origin === 'merged') {
      tail.leftovers.push(segmentName(id))
      files.close(file)
      return
    }
    const usage = new SegmentUsage()
    const segment = new Segment(context, id, 'appended', file, usage, mappingSize(options))
    segment.writtenSize = size
    tail.segments.push(segment)
    if (header.predecessor !== undefined) tail.predecessors.set(segment, header.predecessor)
  } catch (error) {
    files.close(file)
    throw error
  }
}

/**
 * Replays the tail up to its first fault. Returns what is torn, by file.
 *
 * @throws {@link CorruptionError} if the fault is damage, or if `recovery` is `'strict'`
 */
export function replayTail(
  segments: Segments,
  predecessors: ReadonlyMap<Segment, Predecessor>,
  { replay, tailFrom }: Load,
  options: RecoveryOptions,
): TornTail[] {
  const torn: TornTail[] = []
  const ends = new TailEnds(segments.manifest.tailId)
  for (const segment of segments.tail) {
    const fileSize = segment.writtenSize
    if (!ends.goesOn(predecessors.get(segment))) {
      torn.push({ file: segment.path, offset: 0, bytes: fileSize })
      segment.writtenSize = 0
      continue
    }
    const from = tailFrom.get(segment) ?? FILE_HEADER_SIZE
    const known = knownTailSize(segments.manifest, segment.id)
    const scan = replay.replay(segment, from, fileSize, known)
    segment.writtenSize = Math.max(scan.end, from)
    ends.ends(segment.id, segment.writtenSize, scan.faultAt !== undefined)
    if (scan.faultAt === undefined) continue
    assertTorn(segments, replay, segment, scan)
    torn.push({ file: segment.path, offset: scan.end, bytes: fileSize - scan.end })
  }
  const [first] = torn
  if (first !== undefined && options.recovery === 'strict') {
    throw new CorruptionError('The tail is torn', first.file, first.offset)
  }
  return torn
}

/** @throws {@link CorruptionError} if a fault in the tail is not a tear */
function assertTorn(segments: Segments, replay: Replay, segment: Segment, scan: ScanEnd): void {
  const faultAt = scan.faultAt ?? scan.end
  const known = knownTailSize(segments.manifest, segment.id)
  const fileSize = segments.context.files.size(segment.file)
  if (!isTorn(scan.end, known, replay.findFrom(segment, faultAt, fileSize))) {
    throw new CorruptionError(scan.fault, segment.path, faultAt)
  }
}

/** Cuts the tail to the records that count, and writes them again, before more are appended. */
export function renewTail(segments: Segments, torn: readonly TornTail[]): void {
  if (torn.length > 0) cutTorn(segments, torn)
  for (const segment of segments.tail) cutPreallocation(segments, segment)
  for (const segment of segments.tail) renew(segments, segment)
}

function cutTorn(segments: Segments, torn: readonly TornTail[]): void {
  const { files, directory } = segments.context
  const byPath = new Map(segments.tail.map((segment) => [segment.path, segment]))
  // Newest first: a crash meanwhile must not leave a gap followed by a newer segment.
  for (const { file, offset } of [...torn].reverse()) {
    const segment = byPath.get(file)
    if (segment === undefined) continue
    if (offset === 0) {
      segments.drop(segment)
      segment.close()
      files.remove(file)
    } else {
      files.truncate(segment.file, offset)
      files.sync(segment.file)
    }
  }
  files.syncDirectory(directory)
}

/** Cuts off preallocated space: the records that are appended now follow the last one. */
function cutPreallocation({ context }: Segments, segment: Segment): void {
  const { files } = context
  if (files.size(segment.file) === segment.writtenSize) return
  files.truncate(segment.file, segment.writtenSize)
  files.sync(segment.file)
}

/**
 * Writes the bytes of a tail segment again that may never have been synced. After a sync has
 * failed, the operating system may still show them and take them for written, so that the next sync
 * would succeed without them.
 */
function renew(segments: Segments, segment: Segment): void {
  const { files } = segments.context
  const end = segment.writtenSize
  const from = knownTailSize(segments.manifest, segment.id)
  const buffer = allocateBuffer(Math.min(RENEWAL_SIZE, Math.max(0, end - from)))
  for (let at = from; at < end; at += buffer.length) {
    const read = readFully(files, segment.file, buffer, Math.min(buffer.length, end - at), at)
    writeFully(files, segment.file, buffer, read, at)
  }
}

/** Lists full segments as sealed. If there is no space for a manifest, the next sync does it. */
export async function sealTail(segments: Segments): Promise<void> {
  await segments.syncLater()
  try {
    await segments.seal()
  } catch (error) {
    if (noSpaceCode(error) === undefined) throw error
  }
}
