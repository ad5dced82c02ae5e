/**
 * Frees the disk space of deleted files.
 *
 * An operating system frees a file's pages and blocks when its last name, descriptor and mapping
 * are gone, in the call that removes the last of them: some 50 ms for 128 MiB (measured). So a
 * deleted file's descriptor outlives its name and its mapping, and is closed by a thread.
 *
 * 1. Take over the descriptor of a segment that is not read any more; its name is removed in the
 *    same turn of the event loop.
 * 2. If it is mapped, and no thread unmaps it, wait until the garbage collector has.
 * 3. Close it, by a thread, one file after the other.
 *
 * Invariant: no more than 24 descriptors wait, or a fifth of the number of files that the store may
 * have open if that is less. If there are more, the oldest is not waited for, or is closed in the
 * call.
 */

import { StoreError } from '../errors.ts'
import type { FileDescriptor, Files } from '../io/files.ts'
import { afterThis, nextTurn } from '../scheduling/time.ts'

/** The most files that may wait for the garbage collector. */
const MOST_MAPPED = 8
/** The most files that may wait for the thread. */
const MOST_READY = 16

/** The remains of a segment that is not read any more. */
export interface Remains {
  readonly file: FileDescriptor
  /**
   * The memory that shows the file, if the garbage collector has to unmap it; nothing else may
   * refer to it.
   */
  readonly mapped: ArrayBufferLike | undefined
}

/** Calls back when memory was collected. */
const collected = new FinalizationRegistry<() => void>((callback) => callback())

/** Closes the files of deleted segments. */
export class Disposal {
  readonly #files: () => Files
  readonly #mostMapped: number
  readonly #mostReady: number
  readonly #failed: (error: StoreError) => void
  /** The files that wait for the garbage collector, oldest first. */
  readonly #mapped = new Set<FileDescriptor>()
  /** The files that wait for the thread, oldest first. */
  readonly #ready: FileDescriptor[] = []
  #running: Promise<void> | undefined

  /**
   * @param maxOpenFiles how many files of segments may be open
   * @param failed called if a file cannot be closed
   */
  constructor(files: () => Files, maxOpenFiles: number, failed: (error: StoreError) => void) {
    this.#files = files
    this.#mostMapped = Math.min(MOST_MAPPED, maxOpenFiles >> 4)
    this.#mostReady = Math.min(MOST_READY, maxOpenFiles >> 3)
    this.#failed = failed
  }

  /** The number of files that may still be added to those that wait for the thread. */
  get freeSlots(): number {
    return Math.max(0, this.#mostReady - this.#ready.length)
  }

  /** Takes over a file whose name is removed before this turn of the event loop ends. */
  take({ file, mapped }: Remains): void {
    if (mapped === undefined) {
      this.#add(file)
      return
    }
    this.#mapped.add(file)
    collected.register(mapped, () => void this.#unmapped(file))
    for (const oldest of this.#mapped) {
      if (this.#mapped.size <= this.#mostMapped) break
      this.#mapped.delete(oldest)
      this.#add(oldest)
    }
  }

  /** Resolves once every file is closed. */
  async settle(): Promise<void> {
    for (const file of this.#mapped) this.#add(file)
    this.#mapped.clear()
    await this.#running
  }

  async #unmapped(file: FileDescriptor): Promise<void> {
    // The collector calls back before it has unmapped.
    await nextTurn()
    if (this.#mapped.delete(file)) this.#add(file)
  }

  #add(file: FileDescriptor): void {
    this.#ready.push(file)
    this.#running ??= this.#run()
    // While the event loop does not turn, nothing else closes them.
    while (this.#ready.length > this.#mostReady) this.#files().close(this.#ready.shift() as number)
  }

  async #run(): Promise<void> {
    // The names are removed first.
    await new Promise<void>((resolve) => afterThis(resolve))
    for (let file = this.#ready.shift(); file !== undefined; file = this.#ready.shift()) {
      try {
        await this.#files().closeLater(file)
      } catch (cause) {
        const message = 'The file of a deleted segment cannot be closed'
        this.#failed(new StoreError('FIRKIN_IO_FAILED', message, { cause }))
      }
    }
    this.#running = undefined
  }
}
