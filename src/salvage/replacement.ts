/**
 * Replaces the damaged segments of a store by copies of their sound records.
 *
 * 1. Copy the sound records of each damaged segment into a new one.
 * 2. Give the damaged files a second name that the store does not see, and keep a copy of what is
 *    to be cut off a torn tail. So no byte that was found is lost, even if a crash comes in
 *    between.
 * 3. Install a manifest that lists the sound segments and the copies.
 * 4. Remove the first names of the damaged files.
 */

import { join } from 'node:path'
import type { Manifest, SealedSegment } from '../format/manifest.ts'
import { hintName, segmentIdsOf } from '../format/names.ts'
import { BATCH_END } from '../format/record.ts'
import type { HeldFiles } from '../io/held-files.ts'
import { Targets } from '../merge/targets.ts'
import { heldContext } from '../segment/segment.ts'
import { Segments } from '../segment/segments.ts'
import { KeptFiles } from './kept-files.ts'
import type { Progress } from './progress.ts'
import type { ReadSegment, SegmentReader } from './segment-reader.ts'
import { findManifest } from './store-identity.ts'

/** The store whose segments are replaced. */
interface ReplacedStore {
  readonly files: HeldFiles
  readonly reader: SegmentReader
  /** The names in its directory. */
  readonly names: readonly string[]
  /** Its manifest, or a new one if that is lost. */
  readonly base: Manifest
  /** Higher than every sequence that is known to have been used. */
  readonly nextSequence: number
  readonly maxSegmentBytes: number
}

/** Replaces the damaged ones of these segments. Returns the paths at which files are kept. */
export async function replaceDamaged(
  store: ReplacedStore,
  segments: readonly ReadSegment[],
  progress: Progress,
): Promise<string[]> {
  const { files, names, base } = store
  const { directory } = files
  const damaged = segments.filter(({ ranges }) => ranges.length > 0)
  const sound = segments.filter(({ ranges }) => ranges.length === 0)
  const targetIds = idsForCopies(store, damaged)
  const { targets, written } = await copySound(store, damaged, targetIds, progress)
  const going = damaged
    .flatMap(({ id, name }) => [name, hintName(id)])
    .filter((name) => names.includes(name))
  const keptFiles = new KeptFiles(files, directory)
  try {
    for (const { name, end, isTorn } of sound) if (isTorn) keptFiles.keepTorn(name, end)
    for (const name of going) keptFiles.keepDamaged(name)
    files.syncDirectory(directory)
    cutTails(files, sound)
    const kept = sound.map(({ id, origin, usage }) => usage.seal(id, origin))
    await install(store, [...kept, ...written], (targetIds.at(-1) ?? 0) + 1)
  } catch (error) {
    // Once the manifest lists the copies they belong to the store, whatever fails afterwards.
    const { generation } = findManifest(files, directory, names) ?? base
    if (generation === base.generation) {
      targets.discard()
      keptFiles.discardDamaged()
    }
    throw error
  }
  for (const name of going) files.remove(join(directory, name))
  files.syncDirectory(directory)
  return keptFiles.paths
}

/** Returns ids for the copies that the damaged segments can take at most. */
function idsForCopies(
  { names, base, maxSegmentBytes }: ReplacedStore,
  damaged: readonly ReadSegment[],
): number[] {
  const highest = Math.max(0, ...segmentIdsOf(names))
  const firstId = Math.max(base.nextSegmentId, highest + 1)
  const bytes = damaged.reduce((sum, { size }) => sum + size, 0)
  // Of two consecutive copies at least one is half full, or holds a single record.
  const most = 2 * Math.ceil(bytes / maxSegmentBytes) + 1
  return Array.from({ length: most }, (_, index) => firstId + index)
}

/** Copies the sound records of damaged segments. If that fails, there are no copies. */
async function copySound(
  { files, reader, base, maxSegmentBytes }: ReplacedStore,
  damaged: readonly ReadSegment[],
  targetIds: readonly number[],
  progress: Progress,
): Promise<{ targets: Targets; written: SealedSegment[] }> {
  const { storeId } = base
  const { directory } = files
  const targets = new Targets(files, { directory, storeId, targetIds, maxSegmentBytes })
  progress.expect(damaged.reduce((sum, { size }) => sum + size, 0))
  try {
    for (const segment of damaged) {
      reader.visitAgain(segment, (fields, page) => {
        if (fields.kind !== BATCH_END) targets.copy(fields, page)
      })
      await progress.advance(segment.size)
    }
    return { targets, written: targets.finish().map(({ sealed }) => sealed) }
  } catch (error) {
    targets.discard()
    throw error
  }
}

/** Cuts torn bytes and preallocated space off sound segments. */
function cutTails(files: HeldFiles, sound: readonly ReadSegment[]): void {
  for (const { name, end, size } of sound) {
    if (end === size) continue
    const file = files.open(join(files.directory, name), 'write')
    try {
      files.truncate(file, end)
      files.sync(file)
    } finally {
      files.close(file)
    }
  }
}

/** Installs a manifest that lists these segments, and no tail. */
async function install(
  { files, base, nextSequence }: ReplacedStore,
  segments: readonly SealedSegment[],
  nextSegmentId: number,
): Promise<void> {
  const highest = Math.max(0, ...segments.map(({ maxSequence }) => maxSequence))
  const context = heldContext(files, base.storeId)
  await new Segments(context, base, nextSegmentId, 0).commit(() => ({
    tailId: nextSegmentId,
    tailSize: 0,
    nextSegmentId,
    nextSequence: Math.max(base.nextSequence, highest + 1, nextSequence),
    segments,
  }))
}
