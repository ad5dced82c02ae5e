import { CorruptionError } from '../errors.ts'
import type { SealedSegment } from '../format/manifest.ts'
import { openSegmentFile, readSegmentHeader, type SegmentHome } from './file.ts'
import { Segment } from './segment.ts'
import { SegmentUsage } from './usage.ts'

/** Opens a segment that the manifest lists. */
export function openSealed(home: SegmentHome, sealed: SealedSegment, mapping: boolean): Segment {
  const { path, file, size } = openSegmentFile(home, sealed.id)
  try {
    const header = readSegmentHeader(home, file, path, sealed.id)
    if (header === 'short' || size !== sealed.size) {
      throw new CorruptionError(
        `The file has ${size} bytes; the manifest says ${sealed.size}`,
        path,
        Math.min(size, sealed.size),
      )
    }
    const usage = new SegmentUsage(sealed)
    const { origin } = sealed
    return new Segment(home, sealed.id, origin, file, usage, mapping ? sealed.size : 0)
  } catch (error) {
    home.files.close(file)
    throw error
  }
}
