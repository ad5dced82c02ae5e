/** Bounds how many files of segments are open. */

/** A file that can be closed and opened again when it is needed. */
export interface Reopenable {
  /** The number of its last use, see {@link OpenFiles.use}. */
  readonly usedAt: number
  /** Closes the file until it is needed. */
  rest(): void
}

/**
 * Bounds how many files of sealed segments are open at a time: to open another one, it closes the
 * one that was unused for longest.
 *
 * A store may have more segments than a process may have files open. A mapped segment needs no open
 * file. A read that needs a file that was closed takes two more calls to the operating system.
 */
export class OpenFiles {
  readonly #limit: number
  readonly #open = new Set<Reopenable>()
  #useCount = 0

  /** @param limit at least 1 */
  constructor(limit: number) {
    this.#limit = limit
  }

  /** Returns the number of a new use; later ones have higher numbers. */
  use(): number {
    return ++this.#useCount
  }

  /** Takes note that a file was opened, and has just been used. */
  opened(file: Reopenable): void {
    this.#open.add(file)
    if (this.#open.size <= this.#limit) return
    let oldest = file
    for (const each of this.#open) if (each.usedAt < oldest.usedAt) oldest = each
    oldest.rest()
  }

  /** Takes note that a file was closed. */
  closed(file: Reopenable): void {
    this.#open.delete(file)
  }
}
