import { join } from 'node:path'
import {
  discard,
  errorCode,
  type FileDescriptor,
  type Files,
  readFully,
  writeFully,
} from '../io/files.ts'

/** What the name of a damaged file gets at its end. */
const DAMAGED_SUFFIX = '.damaged'
/** What the name of a file gets at its end under which the bytes are kept that were cut off it. */
const TORN_SUFFIX = '.torn'
const COPY_SIZE = 1024 * 1024

/** What is kept beside a store of what goes, under names that the store does not see. */
export class Aside {
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
    this.#copy(name, offset, path)
    this.#torn.push(path)
  }

  /** Gives a file a second name, before its first one is removed; or copies it, where there are no links. */
  keepDamaged(name: string): void {
    const path = this.#freePath(name + DAMAGED_SUFFIX)
    try {
      this.#files.link(join(this.#directory, name), path)
    } catch (error) {
      if (errorCode(error) === undefined || errorCode(error) === 'ENOSPC') throw error
      this.#copy(name, 0, path)
    }
    this.#damaged.push(path)
  }

  /** Removes the second names of files that keep their first ones. */
  discardDamaged(): void {
    for (const path of this.#damaged) discard(this.#files, path)
  }

  /** Copies what a file has from `offset` on. */
  #copy(name: string, offset: number, path: string): void {
    const files = this.#files
    let target: FileDescriptor | undefined
    const source = files.open(join(this.#directory, name), 'read')
    try {
      target = files.open(path, 'create')
      const buffer = Buffer.allocUnsafe(COPY_SIZE)
      for (let at = 0; ; ) {
        const size = readFully(files, source, buffer, buffer.length, offset + at)
        if (size === 0) break
        writeFully(files, target, buffer, size, at)
        at += size
      }
      files.sync(target)
    } catch (error) {
      if (target !== undefined) discard(files, path)
      throw error
    } finally {
      if (target !== undefined) files.close(target)
      files.close(source)
    }
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
