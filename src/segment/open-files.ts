/** A file that is opened again where it is needed. */
export interface Reopenable {
  /** When it was used last, as counted by {@link OpenFiles.use}. */
  readonly usedAt: number
  /** Closes the file until it is needed. */
  rest(): void
}

/**
 * Bounds how many files of sealed segments are open at a time: the one that was not used for longest is closed for another.
 *
 * A store may have more segments than a process may have files open. What is mapped needs no open file. A read that needs one
 * that was closed takes two calls to the operating system more.
 */
export class OpenFiles {
  readonly #limit: number
  readonly #open = new Set<Reopenable>()
  #useCount = 0

  /** @param limit at least 1 */
  constructor(limit: number) {
    this.#limit = limit
  }

  /** The number of a use; later ones have higher numbers. */
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
