/** Holds the segments of a store open while a merge of its writer may remove them. */

import { CorruptionError, isError } from '../errors.ts'
import { knownTailSize, type Manifest } from '../format/manifest.ts'
import { errorCode, type Files } from '../io/files.ts'
import { generationOf, requireManifest } from './directory.ts'
import { SegmentFile, segmentIds } from './segment-file.ts'

/** The most attempts to open the segments, if their set keeps changing meanwhile. */
const MAX_ATTEMPTS = 100
/** The number of descriptors that are given back when the process has run out of them. */
const SPARE_FILES = 16

/**
 * The segments of a store as of one moment, held open so that a merge of its writer takes none of
 * them away. If there are too few descriptors for all of them, the rest are opened when they are
 * taken.
 */
export class HeldSegments {
  readonly manifest: Manifest
  /** Ascending. */
  readonly ids: readonly number[]
  readonly #files: Files
  readonly #directory: string
  /** `undefined` for a segment whose header is not written yet. */
  readonly #held = new Map<number, SegmentFile | undefined>()

  private constructor(files: Files, directory: string) {
    this.#files = files
    this.#directory = directory
    this.manifest = requireManifest(files, directory)
    this.ids = segmentIds(files, directory, this.manifest)
  }

  /** @throws {@link StoreError} FIRKIN_NOT_FOUND, FIRKIN_VERSION, FIRKIN_READ_FAILED */
  static hold(files: Files, directory: string): HeldSegments {
    for (let attempt = 1; ; attempt++) {
      const segments = new HeldSegments(files, directory)
      segments.#holdAll()
      const isSteady = generationOf(files, directory) === segments.manifest.generation
      if (isSteady || attempt === MAX_ATTEMPTS) return segments
      segments.close()
    }
  }

  /** The id of the newest segment of the tail. A merge may have written segments of higher ids. */
  get newestId(): number | undefined {
    const listed = new Set(this.manifest.segments.map(({ id }) => id))
    return this.ids.filter((id) => !listed.has(id)).at(-1)
  }

  /**
   * Hands over a segment, which the caller closes; `undefined` if its header is not written yet.
   *
   * @throws {@link CorruptionError} if it is missing
   */
  take(id: number): SegmentFile | undefined {
    if (!this.#held.has(id)) return this.#open(id)
    const segment = this.#held.get(id)
    this.#held.delete(id)
    return segment
  }

  /** Whether the manifest knows of records in a segment. */
  isPromised(id: number): boolean {
    const { manifest } = this
    return manifest.segments.some((sealed) => sealed.id === id) || knownTailSize(manifest, id) > 0
  }

  /** Whether a missing segment was taken away by a merge. */
  isGone(id: number): boolean {
    const now = requireManifest(this.#files, this.#directory)
    const isListed = now.segments.some((sealed) => sealed.id === id)
    return now.generation !== this.manifest.generation && !isListed && id !== now.tailId
  }

  close(): void {
    for (const segment of this.#held.values()) segment?.close()
    this.#held.clear()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #open(id: number): SegmentFile | undefined {
    return SegmentFile.open(this.#files, this.#directory, this.manifest, id)
  }

  #holdAll(): void {
    for (const id of this.ids) {
      try {
        this.#held.set(id, this.#open(id))
      } catch (error) {
        if (isOutOfFiles(error)) {
          this.#letGo()
          return
        }
        // A missing segment is reported when it is taken.
        if (!(error instanceof CorruptionError)) throw error
      }
    }
  }

  /** Closes the newest ones: a merge takes the oldest first. */
  #letGo(): void {
    for (const [id, segment] of [...this.#held].slice(-SPARE_FILES)) {
      segment?.close()
      this.#held.delete(id)
    }
  }
}

function isOutOfFiles(error: unknown): boolean {
  if (!isError(error)) return false
  return ['EMFILE', 'ENFILE'].includes(errorCode(error) ?? '') || isOutOfFiles(error.cause)
}
