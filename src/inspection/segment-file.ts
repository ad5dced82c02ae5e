/** Opens the files of segments without opening their store. */

import { CorruptionError } from '../errors.ts'
import { FILE_HEADER_SIZE, storeSeed } from '../format/file-header.ts'
import type { Manifest } from '../format/manifest.ts'
import { segmentIdsOf } from '../format/names.ts'
import type { FileDescriptor, Files } from '../io/files.ts'
import { openSegmentFile, readSegmentHeader } from '../segment/file.ts'
import type { ScanOptions } from '../segment/scan.ts'
import { asReadFailure } from './read-failure.ts'

/** The file of one segment, open to be read without opening its store. */
export class SegmentFile {
  readonly id: number
  readonly path: string
  /** Whether a merge has written it. */
  readonly isMerged: boolean
  /** The damage to its header, if any. Its records may be sound all the same. */
  readonly fault: CorruptionError | undefined
  readonly #files: Files
  readonly #file: FileDescriptor
  readonly #seed: number

  private constructor(
    { files, id, path, file, seed }: OpenedSegment,
    isMerged: boolean,
    fault: CorruptionError | undefined,
  ) {
    this.id = id
    this.path = path
    this.isMerged = isMerged
    this.fault = fault
    this.#files = files
    this.#file = file
    this.#seed = seed
  }

  /**
   * Opens a segment of a store. Returns `undefined` if its header is not written yet.
   *
   * @throws {@link CorruptionError} if it is missing
   */
  static open(
    files: Files,
    directory: string,
    { storeId }: Manifest,
    id: number,
  ): SegmentFile | undefined {
    const context = { files, directory, storeId }
    const { path, file } = openSegmentFile(context, id)
    const opened = { files, id, path, file, seed: storeSeed(storeId) }
    try {
      const header = readSegmentHeader(context, file, path, id)
      if (header !== 'short') return new SegmentFile(opened, header.origin === 'merged', undefined)
    } catch (error) {
      if (error instanceof CorruptionError) return new SegmentFile(opened, true, error)
      files.close(file)
      throw asReadFailure(error, path)
    }
    files.close(file)
    return undefined
  }

  /** The current size of the file. */
  get size(): number {
    return this.#files.size(this.#file)
  }

  /** Returns the options for a scan of the records from `from` up to `to`. */
  scanOptions(batches: 'whole' | 'loose', from = FILE_HEADER_SIZE, to = this.size): ScanOptions {
    const ascending = batches === 'whole' && !this.isMerged
    return { files: this.#files, file: this.#file, from, to, seed: this.#seed, ascending, batches }
  }

  close(): void {
    this.#files.close(this.#file)
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

interface OpenedSegment {
  readonly files: Files
  readonly id: number
  readonly path: string
  readonly file: FileDescriptor
  readonly seed: number
}

/** Returns the ids of a store's segments, ascending: the listed ones and those of the tail. */
export function segmentIds(files: Files, directory: string, manifest: Manifest): number[] {
  const listed = new Set(manifest.segments.map(({ id }) => id))
  const tail = segmentIdsOf(files.list(directory) ?? []).filter(
    (id) => id >= manifest.tailId && !listed.has(id) && isAppended(files, directory, manifest, id),
  )
  // If the manifest knows of bytes in the first tail segment, it is of the store even if missing.
  const promised = manifest.tailSize > 0 ? [manifest.tailId] : []
  return [...new Set([...listed, ...promised, ...tail])].sort((a, b) => a - b)
}

/** Whether a segment was appended. A merged one is of the store only once it is listed. */
function isAppended(files: Files, directory: string, manifest: Manifest, id: number): boolean {
  try {
    using segment = SegmentFile.open(files, directory, manifest, id)
    return segment === undefined || segment.fault !== undefined || !segment.isMerged
  } catch (error) {
    // A merge of the writer has just removed it.
    if (error instanceof CorruptionError) return false
    throw error
  }
}
