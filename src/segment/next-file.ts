import { join } from 'node:path'
import { segmentName, temporaryName } from '../format/names.ts'
import { discard, type FileDescriptor, type Files } from '../io/files.ts'

/**
 * The file of the segment to come, created by a thread: where a disk is busy that takes tens of milliseconds.
 *
 * It is empty, and has a temporary name until it is taken. Where there is none the segment's file is created on the spot.
 */
export class NextFile {
  readonly #files: Files
  readonly #directory: string
  #createdCount = 0
  #ready: { readonly path: string; readonly file: FileDescriptor } | undefined
  #creating: Promise<void> | undefined
  #isClosed = false

  constructor(files: Files, directory: string) {
    this.#files = files
    this.#directory = directory
  }

  /**
   * Begins to create it, where it is not there yet.
   *
   * @param id of a segment, after which its temporary name is
   */
  prepare(id: number): void {
    if (this.#isClosed || this.#ready !== undefined || this.#creating !== undefined) return
    const name = temporaryName(segmentName(id), ++this.#createdCount)
    this.#creating = this.#create(join(this.#directory, name)).finally(() => {
      this.#creating = undefined
    })
  }

  /** The file, under this name from now on; `undefined` where it is not there. */
  take(path: string): FileDescriptor | undefined {
    const ready = this.#ready
    if (ready === undefined) return undefined
    this.#ready = undefined
    try {
      // To rename would replace what is there; to create a file says what is wrong.
      if (this.#files.identify(path) === undefined) {
        this.#files.rename(ready.path, path)
        return ready.file
      }
    } catch {
      // A file is created in its place, or that says what is wrong.
    }
    this.#remove(ready)
    return undefined
  }

  /** Removes it, or what will have been created. */
  close(): void {
    this.#isClosed = true
    if (this.#ready !== undefined) this.#remove(this.#ready)
    this.#ready = undefined
  }

  /** Resolves when nothing goes on with it any more. */
  async settle(): Promise<void> {
    await this.#creating
  }

  async #create(path: string): Promise<void> {
    let file: FileDescriptor
    try {
      file = await this.#files.openLater(path, 'create')
    } catch {
      // It is only for speed.
      return
    }
    if (this.#isClosed) this.#remove({ path, file })
    else this.#ready = { path, file }
  }

  #remove({ path, file }: { readonly path: string; readonly file: FileDescriptor }): void {
    this.#files.close(file)
    discard(this.#files, path)
  }
}
