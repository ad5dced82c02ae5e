/**
 * Giving back the room of files that are deleted.
 *
 * An operating system frees a file's pages and blocks when its last name, descriptor and mapping is gone, in the call
 * that takes the last one away: some 50 ms for 128 MiB (measured). So a deleted file's descriptor outlives its name and
 * its mapping, and is closed by a thread.
 *
 * 1. Take over the descriptor of a segment that nobody reads any more; its name is removed in the same turn.
 * 2. Where it is mapped, and no thread unmaps it, wait until the garbage collector has.
 * 3. Close it, by a thread, one file after the other.
 *
 * Invariant: a fifth as many descriptors wait as the store may have files open, and 24 at most. Where there
 * are more, the oldest is not waited for, or is closed in the call.
 */

import { StoreError } from '../errors.ts'
import type { FileDescriptor, Files } from '../io/files.ts'
import { afterThis, nextTurn } from '../scheduling/time.ts'

/** So many files may wait for the garbage collector, at most. */
const MOST_MAPPED = 8
/** So many may wait for the thread, at most. */
const MOST_READY = 16

/** What a segment leaves behind that is not read any more. */
export interface Remains {
  readonly file: FileDescriptor
  /** The memory that shows the file, where the garbage collector has to unmap it; nobody else may hold it. */
  readonly mapped: ArrayBufferLike | undefined
}

/** Told when memory was collected. */
const collected = new FinalizationRegistry<() => void>((told) => told())

/** Closes the files of deleted segments. */
export class Disposal {
  readonly #files: () => Files
  readonly #mostMapped: number
  readonly #mostReady: number
  readonly #failed: (error: StoreError) => void
  /** Those that the garbage collector is waited for, oldest first. */
  readonly #mapped = new Set<FileDescriptor>()
  readonly #ready: FileDescriptor[] = []
  #running: Promise<void> | undefined

  /**
   * @param maxOpenFiles how many files of segments may be open
   * @param failed told where a file cannot be closed
   */
  constructor(files: () => Files, maxOpenFiles: number, failed: (error: StoreError) => void) {
    this.#files = files
    this.#mostMapped = Math.min(MOST_MAPPED, maxOpenFiles >> 4)
    this.#mostReady = Math.min(MOST_READY, maxOpenFiles >> 3)
    this.#failed = failed
  }

  /** How many more files may wait for the thread. */
  get freeSlots(): number {
    return Math.max(0, this.#mostReady - this.#ready.length)
  }

  /** Takes over a file whose name is removed before this turn is over. */
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
    // The collector tells it before it has unmapped.
    await nextTurn()
    if (this.#mapped.delete(file)) this.#add(file)
  }

  #add(file: FileDescriptor): void {
    this.#ready.push(file)
    this.#running ??= this.#run()
    // Where the event loop does not turn nobody else closes them.
    while (this.#ready.length > this.#mostReady) this.#files().close(this.#ready.shift() as number)
  }

  async #run(): Promise<void> {
    // The names go first.
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
