/** Creates the files of segments ahead. */

import { join } from 'node:path'
import { segmentName, temporaryName } from '../format/names.ts'
import { discard, type FileDescriptor, type Files } from '../io/files.ts'

/**
 * The file of the next segment, created ahead by a thread, since that takes tens of milliseconds
 * while a disk is busy.
 *
 * The file is empty, and has a temporary name until it is taken. If there is none, the segment's
 * file is created on the spot.
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
   * Begins to create the file, if it is not there yet.
   *
   * @param id the segment after which its temporary name is chosen
   */
  prepare(id: number): void {
    if (this.#isClosed || this.#ready !== undefined || this.#creating !== undefined) return
    const name = temporaryName(segmentName(id), ++this.#createdCount)
    this.#creating = this.#create(join(this.#directory, name)).finally(() => {
      this.#creating = undefined
    })
  }

  /** Returns the file, renamed to this path; `undefined` if there is none. */
  take(path: string): FileDescriptor | undefined {
    const ready = this.#ready
    if (ready === undefined) return undefined
    this.#ready = undefined
    try {
      // A rename would replace a file that is there, while creating one reports it.
      if (this.#files.identify(path) === undefined) {
        this.#files.rename(ready.path, path)
        return ready.file
      }
    } catch {
      // The caller creates a file in its place, or learns what is wrong by that.
    }
    this.#remove(ready)
    return undefined
  }

  /** Removes the file, also if it is still being created. */
  close(): void {
    this.#isClosed = true
    if (this.#ready !== undefined) this.#remove(this.#ready)
    this.#ready = undefined
  }

  /** Resolves when no thread creates the file any more. */
  async settle(): Promise<void> {
    await this.#creating
  }

  async #create(path: string): Promise<void> {
    let file: FileDescriptor
    try {
      file = await this.#files.openLater(path, 'create')
    } catch {
      // The file only saves time.
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
