/**
 * Verification: reads every byte of every file of a store. It needs no keydir, so it works on an
 * open store and on a directory alike. Nothing is changed.
 */

import { StoreError } from '../errors.ts'
import type { Manifest } from '../format/manifest.ts'
import {
  CHECKPOINT_NAME,
  isTemporarySegment,
  MANIFEST_NAME,
  parseName,
  segmentIdsOf,
  segmentName,
} from '../format/names.ts'
import { type Files, withFile } from '../io/files.ts'
import { verifyCheckpoint } from '../recovery/checkpoint-file.ts'
import { readManifest } from '../segment/manifest-file.ts'
import { lacksFirst, TailEnds, tailIdsOf } from '../segment/tail.ts'
import type { Finding } from './findings.ts'
import { Verification, type VerifyOptions } from './verification.ts'
import { SegmentVerifier } from './verify-segment.ts'

/** The result of a verification. */
export interface VerifyReport {
  /** Whether there is no damage. */
  readonly ok: boolean
  readonly findings: readonly Finding[]
  readonly segments: number
  readonly records: number
  readonly bytes: number
}

/**
 * @internal Reads all files of the store in a directory.
 *
 * @throws {@link StoreError} FIRKIN_NOT_FOUND, FIRKIN_VERSION, FIRKIN_READ_FAILED
 */
export async function verifyDirectory(
  files: Files,
  directory: string,
  options: VerifyOptions = {},
): Promise<VerifyReport> {
  const verification = new Verification(files, directory, options)
  const segments = await verifyAll(verification)
  const { findings, recordCount, bytesRead } = verification
  return {
    ok: !findings.hasDamage,
    findings: findings.list,
    segments,
    records: recordCount,
    bytes: bytesRead,
  }
}

/** Verifies all files. Returns the number of segments. */
async function verifyAll(verification: Verification): Promise<number> {
  const { files, directory, options } = verification
  const names = files.list(directory)
  if (names === undefined) {
    throw new StoreError('FIRKIN_NOT_FOUND', `There is no directory ${directory}`)
  }
  const manifest = await verifyManifest(verification, names)
  if (manifest === undefined) return 0
  const verifier = new SegmentVerifier(verification, manifest)
  // Listed again: a writer may have begun the tail that the manifest names after the first listing.
  const tailIds = findTail(verification, verifier, files.list(directory) ?? names, manifest)
  verification.bytesTotal = manifest.segments.reduce((sum, { size }) => sum + size, 0)
  for (const id of tailIds) verification.bytesTotal += verifier.sizeOf(id)
  for (const sealed of manifest.segments) {
    await verification.reading(segmentName(sealed.id), () => verifier.verifySealed(sealed))
    await verification.giveWay()
  }
  const tail = new TailEnds(manifest.tailId)
  for (const id of tailIds) {
    await verification.reading(segmentName(id), () => verifier.verifyTail(id, tail))
    await verification.giveWay()
  }
  await verification.reading(CHECKPOINT_NAME, () => {
    const path = verification.path(CHECKPOINT_NAME)
    verification.findings.guard(() => verifyCheckpoint(files, path, manifest.storeId))
  })
  if (options.live !== true) findLeftovers(verification, names, manifest, tailIds)
  return manifest.segments.length + tailIds.length
}

/** Reads the manifest; `undefined` if it is damaged or missing, which is a finding. */
async function verifyManifest(
  verification: Verification,
  names: readonly string[],
): Promise<Manifest | undefined> {
  const { files, directory, findings } = verification
  const manifest = await verification.reading(MANIFEST_NAME, () =>
    findings.guard(() => readManifest(files, directory)),
  )
  if (manifest !== undefined || findings.list.length > 0) return manifest
  if (segmentIdsOf(names).length === 0) {
    throw new StoreError('FIRKIN_NOT_FOUND', `There is no store in ${directory}`)
  }
  findings.add('manifest', verification.path(MANIFEST_NAME), 0, 'The manifest is missing')
  return undefined
}

/** Returns the ids of the segments of the tail. If the first one is missing, that is a finding. */
function findTail(
  verification: Verification,
  verifier: SegmentVerifier,
  names: readonly string[],
  manifest: Manifest,
): number[] {
  const ids = tailIdsOf(segmentIdsOf(names), manifest)
  const { tailId } = manifest
  if (lacksFirst(ids, manifest) && !verification.hasGone(tailId, manifest)) {
    const path = verification.path(segmentName(tailId))
    verification.findings.add('segment', path, 0, 'The segment is missing')
  }
  return ids.filter((id) => verifier.isTail(id))
}

/** Finds files of the store's own names that do not belong to it. */
function findLeftovers(
  verification: Verification,
  names: readonly string[],
  manifest: Manifest,
  tailIds: readonly number[],
): void {
  const { files, findings } = verification
  const ids = new Set([...manifest.segments.map(({ id }) => id), ...tailIds])
  for (const name of names) {
    const parsed = parseName(name)
    const path = verification.path(name)
    const isLeftover =
      (parsed.type === 'temporary' && !isNextSegment(files, name, path)) ||
      ((parsed.type === 'segment' || parsed.type === 'hint') && !ids.has(parsed.id))
    if (isLeftover) findings.add('leftover', path, 0, 'The file is left over')
  }
}

/** Whether a temporary file is that of the next segment, created ahead by a writer: it is empty. */
function isNextSegment(files: Files, name: string, path: string): boolean {
  if (!isTemporarySegment(name)) return false
  return withFile(files, path, (file) => files.size(file)) === 0
}
