import { resolve } from 'node:path'
import { CorruptionError } from '../errors.ts'
import { FILE_HEADER_SIZE, storeSeed } from '../format/file-header.ts'
import type { Manifest } from '../format/manifest.ts'
import { segmentIdsOf } from '../format/names.ts'
import { type FileDescriptor, systemFiles } from '../io/files.ts'
import { openSegmentFile, readSegmentHeader } from '../segment/file.ts'
import type { ScanOptions } from '../segment/scan.ts'
import { asReadFailure } from './read-failure.ts'

/** A segment's file, open to be read by itself. */
export class SegmentFile {
  readonly path: string
  /** Whether a merge has made it. */
  readonly isMerged: boolean
  /** What is wrong with its header; its records may be sound all the same. */
  readonly fault: CorruptionError | undefined
  readonly #file: FileDescriptor
  readonly #seed: number

  private constructor(
    path: string,
    file: FileDescriptor,
    seed: number,
    isMerged: boolean,
    fault: CorruptionError | undefined,
  ) {
    this.path = path
    this.isMerged = isMerged
    this.fault = fault
    this.#file = file
    this.#seed = seed
  }

  /**
   * Opens a segment of a store; `undefined` where its header is not written yet.
   *
   * @throws {@link CorruptionError} where it is missing
   */
  static open(directory: string, { storeId }: Manifest, id: number): SegmentFile | undefined {
    const context = { files: systemFiles, directory: resolve(directory), storeId }
    const { path, file } = openSegmentFile(context, id)
    const seed = storeSeed(storeId)
    try {
      const header = readSegmentHeader(context, file, path, id)
      if (header !== 'short') {
        return new SegmentFile(path, file, seed, header.origin === 'merged', undefined)
      }
    } catch (error) {
      if (error instanceof CorruptionError) return new SegmentFile(path, file, seed, true, error)
      systemFiles.close(file)
      throw asReadFailure(error, path)
    }
    systemFiles.close(file)
    return undefined
  }

  /** The size that the file has now. */
  get size(): number {
    return systemFiles.size(this.#file)
  }

  /** What a scan of the records from `from` up to `to` takes. */
  scanOptions(
    batches: ScanOptions['batches'],
    from = FILE_HEADER_SIZE,
    to = this.size,
  ): ScanOptions {
    const ascending = batches === 'whole' && !this.isMerged
    return { files: systemFiles, file: this.#file, from, to, seed: this.#seed, ascending, batches }
  }

  close(): void {
    systemFiles.close(this.#file)
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

/** The ids of a store's segments, ascending: those that the manifest lists, and those of its tail. */
export function segmentIds(directory: string, manifest: Manifest): number[] {
  const listed = new Set(manifest.segments.map(({ id }) => id))
  const tail = segmentIdsOf(systemFiles.list(resolve(directory)) ?? []).filter(
    (id) => id >= manifest.tailId && !listed.has(id) && isAppended(directory, manifest, id),
  )
  // The one that is known to be there is of the store even if it is missing.
  const promised = manifest.tailSize > 0 ? [manifest.tailId] : []
  return [...new Set([...listed, ...promised, ...tail])].sort((a, b) => a - b)
}

/** Whether a segment came by writes: what a merge has made is of the store only once it is listed. */
function isAppended(directory: string, manifest: Manifest, id: number): boolean {
  try {
    using segment = SegmentFile.open(directory, manifest, id)
    return segment === undefined || segment.fault !== undefined || !segment.isMerged
  } catch (error) {
    // It has just gone: a merge of the writer is over.
    if (error instanceof CorruptionError) return false
    throw error
  }
}
