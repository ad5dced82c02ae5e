/** Keeps what is taken out of a store beside it, under names that the store does not see. */

import { join } from 'node:path'
import { DAMAGED_SUFFIX, TORN_SUFFIX } from '../format/names.ts'
import { copyRange } from '../io/copy.ts'
import { discard, errorCode, type Files } from '../io/files.ts'

/** Files kept beside a store. A file that was kept before is never overwritten. */
export class KeptFiles {
  readonly #files: Files
  readonly #directory: string
  readonly #torn: string[] = []
  readonly #damaged: string[] = []

  constructor(files: Files, directory: string) {
    this.#files = files
    this.#directory = directory
  }

  /** The paths of what `keepTorn` and `keepDamaged` have kept. */
  get paths(): string[] {
    return [...this.#torn, ...this.#damaged]
  }

  /** Keeps the bytes of a file from `offset` on, before they are cut off. Returns the path. */
  keepTorn(name: string, offset: number): string {
    const path = this.#freePath(name + TORN_SUFFIX)
    copyRange(this.#files, this.#path(name), offset, path)
    this.#torn.push(path)
    return path
  }

  /**
   * Gives a file a second name, before its first one is removed. If the file system has no hard
   * links, the file is copied.
   */
  keepDamaged(name: string): void {
    const path = this.#freePath(name + DAMAGED_SUFFIX)
    try {
      this.#files.link(this.#path(name), path)
    } catch (error) {
      if (errorCode(error) === undefined || errorCode(error) === 'ENOSPC') throw error
      copyRange(this.#files, this.#path(name), 0, path)
    }
    this.#damaged.push(path)
  }

  /** Renames a file out of the way. Returns the path. */
  putAside(name: string, suffix: string): string {
    const path = this.#freePath(name + suffix)
    this.#files.rename(this.#path(name), path)
    return path
  }

  /** Removes what `keepDamaged` has kept: the files keep their first names. */
  discardDamaged(): void {
    for (const path of this.#damaged) discard(this.#files, path)
  }

  /** Returns the path for a name, or for the next one that is free. */
  #freePath(name: string): string {
    const names = new Set(this.#files.list(this.#directory))
    for (let number = 1; ; number++) {
      const free = number === 1 ? name : `${name}.${number}`
      if (!names.has(free)) return this.#path(free)
    }
  }

  #path(name: string): string {
    return join(this.#directory, name)
  }
}
