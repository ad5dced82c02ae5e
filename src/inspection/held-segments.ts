import { CorruptionError } from '../errors.ts'
import type { Manifest } from '../format/manifest.ts'
import { errorCode, systemFiles } from '../io/files.ts'
import { generationOf, requireManifest } from './directory.ts'
import { SegmentFile, segmentIds } from './segment-file.ts'

/** How often is looked again for a set of segments that does not change while it is opened. */
const MAX_ATTEMPTS = 100
/** So many files are left to others where no more can be open. */
const SPARE_FILES = 16

/**
 * The segments of a store as of one moment, open, so that a merge of its writer takes none of them away. Where so many
 * files cannot be open, the rest are opened in their turn.
 */
export class HeldSegments {
  readonly manifest: Manifest
  /** Ascending. */
  readonly ids: readonly number[]
  readonly #directory: string
  /** `undefined` for one whose header is not written yet. */
  readonly #held = new Map<number, SegmentFile | undefined>()

  private constructor(directory: string) {
    this.#directory = directory
    this.manifest = requireManifest(systemFiles, directory)
    this.ids = segmentIds(directory, this.manifest)
  }

  /** @throws {@link StoreError} FIRKIN_NOT_FOUND, FIRKIN_VERSION, FIRKIN_READ_FAILED */
  static hold(directory: string): HeldSegments {
    for (let attempt = 1; ; attempt++) {
      const segments = new HeldSegments(directory)
      segments.#holdAll()
      if (
        generationOf(systemFiles, directory) === segments.manifest.generation ||
        attempt === MAX_ATTEMPTS
      ) {
        return segments
      }
      segments.close()
    }
  }

  /**
   * A segment, which the receiver closes; `undefined` where its header is not written yet.
   *
   * @throws {@link CorruptionError} where it is missing
   */
  take(id: number): SegmentFile | undefined {
    if (!this.#held.has(id)) return SegmentFile.open(this.#directory, this.manifest, id)
    const segment = this.#held.get(id)
    this.#held.delete(id)
    return segment
  }

  /** Whether a segment that is missing was taken away by a merge. */
  isGone(id: number): boolean {
    const now = requireManifest(systemFiles, this.#directory)
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

  #holdAll(): void {
    for (const id of this.ids) {
      try {
        this.#held.set(id, SegmentFile.open(this.#directory, this.manifest, id))
      } catch (error) {
        if (isOutOfFiles(error)) {
          this.#letGo()
          return
        }
        // What is missing is told of in its turn.
        if (!(error instanceof CorruptionError)) throw error
      }
    }
  }

  /** Lets the newest go: a merge takes the oldest first. */
  #letGo(): void {
    for (const [id, segment] of [...this.#held].slice(-SPARE_FILES)) {
      segment?.close()
      this.#held.delete(id)
    }
  }
}

function isOutOfFiles(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  return ['EMFILE', 'ENFILE'].includes(errorCode(error) ?? '') || isOutOfFiles(error.cause)
}
