/** A verification in progress: the files, findings and figures that its parts share. */

import { join } from 'node:path'
import type { Manifest } from '../format/manifest.ts'
import { segmentName } from '../format/names.ts'
import type { Files } from '../io/files.ts'
import { nextTurn } from '../scheduling/time.ts'
import { readManifest } from '../segment/manifest-file.ts'
import { Findings } from './findings.ts'
import { asReadFailure } from './read-failure.ts'

/** The progress of a verification, in bytes of segments. */
export interface VerifyProgress {
  readonly bytesRead: number
  readonly bytesTotal: number
}

/** Options of a verification. */
export interface VerifyOptions {
  /**
   * Whether the store is open for writing, so that files come and go: leftovers are not looked for.
   * @defaultValue false
   */
  readonly live?: boolean
  /** Whether the hint of a segment is still being made, and so is not missing yet. */
  readonly isHintDue?: (id: number) => boolean
  /** Ends the verification. */
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: VerifyProgress) => void
}

/** The state of one verification. */
export class Verification {
  readonly files: Files
  readonly directory: string
  readonly options: VerifyOptions
  readonly findings = new Findings()
  /** The number of records read so far. */
  recordCount = 0
  /** The bytes of the segments that are read to their end, and those of all segments. */
  bytesRead = 0
  bytesTotal = 0

  constructor(files: Files, directory: string, options: VerifyOptions) {
    this.files = files
    this.directory = directory
    this.options = options
  }

  /** Returns the path of the file with a name. */
  path(name: string): string {
    return join(this.directory, name)
  }

  /** Returns what `read` returns. If the operating system refuses, the error names the file. */
  async reading<T>(name: string, read: () => T | Promise<T>): Promise<T> {
    try {
      return await read()
    } catch (error) {
      throw asReadFailure(error, this.path(name))
    }
  }

  /** Whether a merge of the writer has deleted a segment since `manifest` was read. */
  hasGone(id: number, { generation }: Manifest): boolean {
    if (this.options.live !== true) return false
    const names = this.files.list(this.directory) ?? []
    if (names.includes(segmentName(id))) return false
    const now = readManifest(this.files, this.directory)
    if (now === undefined || now.generation === generation) return false
    return id !== now.tailId && !now.segments.some((sealed) => sealed.id === id)
  }

  /** Reports the progress. @param begun the bytes read of a segment that is not read to its end */
  reportProgress(begun: number): void {
    this.options.onProgress?.({
      bytesRead: this.bytesRead + begun,
      bytesTotal: this.bytesTotal,
    })
  }

  /** Lets other work have its turn, and ends the verification if that is asked for. */
  async giveWay(): Promise<void> {
    await nextTurn()
    this.options.signal?.throwIfAborted()
  }
}
