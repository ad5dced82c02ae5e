/** Opens the segments that a manifest lists. */

import { CorruptionError } from '../errors.ts'
import type { SealedSegment } from '../format/manifest.ts'
import { openSegmentFile, readSegmentHeader, type SegmentContext } from './file.ts'
import { Segment } from './segment.ts'
import { SegmentUsage } from './usage.ts'

/**
 * Opens a segment that the manifest lists.
 *
 * @throws {@link CorruptionError} if its file is missing, or is not what the manifest says
 */
export function openSealed(
  context: SegmentContext,
  sealed: SealedSegment,
  mapping: boolean,
): Segment {
  const { path, file, size } = openSegmentFile(context, sealed.id)
  try {
    const header = readSegmentHeader(context, file, path, sealed.id)
    if (header === 'short' || size !== sealed.size) {
      throw new CorruptionError(
        `The file has ${size} bytes; the manifest says ${sealed.size}`,
        path,
        Math.min(size, sealed.size),
      )
    }
    const usage = new SegmentUsage(sealed)
    const { origin } = sealed
    return new Segment(context, sealed.id, origin, file, usage, mapping ? sealed.size : 0)
  } catch (error) {
    context.files.close(file)
    throw error
  }
}
