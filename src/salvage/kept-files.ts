import { join } from 'node:path'
import { DAMAGED_SUFFIX, TORN_SUFFIX } from '../format/names.ts'
import { copyRange } from '../io/copy.ts'
import { discard, errorCode, type Files } from '../io/files.ts'

/** What is kept beside a store of what goes, under names that the store does not see. */
export class KeptFiles {
  readonly #files: Files
  readonly #directory: string
  readonly #torn: string[] = []
  readonly #damaged: string[] = []

  constructor(files: Files, directory: string) {
    this.#files = files
    this.#directory = directory
  }

  /** Where everything is kept. */
  get paths(): string[] {
    return [...this.#torn, ...this.#damaged]
  }

  /** Keeps what a file has from `offset` on, before it is cut. */
  keepTorn(name: string, offset: number): void {
    const path = this.#freePath(name + TORN_SUFFIX)
    copyRange(this.#files, join(this.#directory, name), offset, path)
    this.#torn.push(path)
  }

  /** Gives a file a second name, before its first one is removed; or copies it, where there are no links. */
  keepDamaged(name: string): void {
    const path = this.#freePath(name + DAMAGED_SUFFIX)
    try {
      this.#files.link(join(this.#directory, name), path)
    } catch (error) {
      if (errorCode(error) === undefined || errorCode(error) === 'ENOSPC') throw error
      copyRange(this.#files, join(this.#directory, name), 0, path)
    }
    this.#damaged.push(path)
  }

  /** Removes the second names of files that keep their first ones. */
  discardDamaged(): void {
    for (const path of this.#damaged) discard(this.#files, path)
  }

  /** The path for a name, or for the next one that is free: what was kept before is not overwritten. */
  #freePath(name: string): string {
    const names = new Set(this.#files.list(this.#directory))
    for (let number = 1; ; number++) {
      const free = number === 1 ? name : `${name}.${number}`
      if (!names.has(free)) return join(this.#directory, free)
    }
  }
}
